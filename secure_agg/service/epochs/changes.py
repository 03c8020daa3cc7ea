"""What is proposed for a task's next epoch, as a party sees it over the service, and what it signs of that.

A service is believed nothing: the epochs in force are followed from what this party pins, a proposal is what its digest
says, and each signature that is shown was checked. What an owner signs is that digest, and nothing that is sent later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from secure_agg.errors import VerificationError, WrongContext
from secure_agg.plugins.homes import proposals
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import encode
from secure_agg.roles.epochs import checking
from secure_agg.roles.epochs.change import Change, differences
from secure_agg.roles.epochs.following import Place, Step, Steps, Where, follow
from secure_agg.roles.epochs.pins import authority, epoch_digest, most_proposed
from secure_agg.roles.trust import Trust
from secure_agg.service import wire
from secure_agg.service.link import Link, Party


@dataclass(frozen=True)
class Outsider:
    """A party without a home: an administrator, or who is to become a member.

    Attributes:
        identity: its key.
        task, trust: see ``Party``.
    """

    identity: Identity
    task: str
    trust: Trust

    @property
    def name(self) -> str:
        """Its id."""
        return self.identity.name


@dataclass(frozen=True)
class Proposed:
    """A proposal that lies open.

    Attributes:
        by: id of who has brought it, as the service says.
        epoch: its number.
        digest: of all that it says: what is signed, and what people compare.
        changes: from what is in force, in words.
        authorised: ids of who has authorised it.
        needed: how many of those who may have to.
        to_authorise: who else may, while more are needed.
        to_accept: whose new keys have not accepted it yet.
        proposal: itself, with these signatures.
    """

    by: str
    epoch: int
    digest: bytes
    changes: Mapping[str, str]
    authorised: tuple[str, ...]
    needed: int
    to_authorise: tuple[str, ...]
    to_accept: tuple[str, ...]
    proposal: EpochEvidence = field(repr=False)

    @property
    def is_ready(self) -> bool:
        """Whether all have signed who have to: members close the epoch in force before their next round."""
        return not self.to_authorise and not self.to_accept


class Changes:
    """One party's. It asks over a link that somebody else may use in turn.

    Attributes:
        trust: what is in force.
        steps: the epochs that have come since what the party pins, or has followed.
    """

    def __init__(self, link: Link, party: Party) -> None:
        """
        Raises:
            OperatorLost, RemoteProtocolError: see ``Link``.
            VerificationError: the epochs that the service shows do not follow from what is pinned, or are in no ledger.
        """
        self._link, self._task, self._name = link, party.task, party.name
        known = party.epochs if isinstance(party, ClientHome) else None
        place = Place(party.trust, known.newest if known else None, known.seen if known else None)
        steps = list[Step]()
        while found := self._following(place):
            for step in found:
                place, _ = follow(place, self._task, step)
            steps += found
        self.steps, self.trust = Steps(tuple(steps)), place.trust

    def _following(self, place: Place) -> tuple[Step, ...]:
        """The next epochs after what this party has come to, as many as are sent at once."""
        number = place.trust.task(self._task).epoch
        where = Where(number, epoch_digest(place.trust, self._task), place.checkpoint.size if place.checkpoint else 0)
        return Steps.from_bytes(self._link.epochs(encode(where))).steps

    def open(self) -> list[Proposed]:
        """All that lie open.

        Raises:
            OperatorLost, RemoteProtocolError: see ``Link``.
            VerificationError: one is another than the service says, or a signature in it is none.
        """
        found = []
        for shown in self._shown():
            try:
                found.append(self._read(shown.by, shown.digest))
            except WrongContext:  # it was replaced meanwhile
                continue
        return found

    def find(self, digest: bytes) -> Proposed:
        """The one with a digest.

        Raises:
            WrongContext: none has it.
            OperatorLost, RemoteProtocolError, VerificationError: see ``open``.
        """
        by = {shown.digest: shown.by for shown in self._shown()}
        if digest not in by:
            raise WrongContext(f"no proposal {digest.hex()[:16]}… lies open", phase=wire.REQUEST)
        return self._read(by[digest], digest)

    def propose(self, change: Change) -> Proposed:
        """Propose the next epoch; nothing changes by that.

        Raises:
            ConfigError: the change can't be.
            OperatorLost, RemoteProtocolError: see ``Link``; or others have signed this party's last proposal.
        """
        return self.bring(proposals.propose(self.trust, self._task, change))

    def bring(self, proposal: EpochEvidence) -> Proposed:
        """Show a proposal, with the signatures in it, to all; returns what lies open then.

        Raises:
            OperatorLost, RemoteProtocolError, VerificationError: see ``open``.
        """
        self._link.propose(proposal.to_bytes())
        try:
            return self.find(proposal.says.digest)
        except WrongContext:  # the epoch has begun by now
            return self.look_at(proposal, self._name)

    def _shown(self) -> tuple[wire.Shown, ...]:
        """What the service says lies open: one of each party that may propose, at most."""
        pins = self.trust.task(self._task)
        parties = len(pins.roster) + len(pins.administrators) + len(self.trust.operators)
        return wire.read_offers(self._link.proposals(wire.list_limit(parties)), parties)

    def _read(self, by: str, digest: bytes) -> Proposed:
        most = most_proposed(self.trust, self._task)
        proposal = EpochEvidence.from_bytes(self._link.proposal(digest, 4 * most), most)
        body = proposal.says
        if body.digest != digest or body.task != self._task:
            raise VerificationError(
                f"the service shows {body.digest.hex()[:16]}… of task {body.task!r} as proposal {digest.hex()[:16]}…"
            )
        return self.look_at(proposal, by)

    def look_at(self, proposal: EpochEvidence, by: str) -> Proposed:
        """What a proposal would change, and who has signed it.

        Raises:
            VerificationError, ConfigError: it can't follow, or a signature in it is none.
        """
        body = proposal.says
        checking.check_signed(self.trust, proposal)
        missing = checking.missing(self.trust, proposal)
        return Proposed(
            by=by,
            epoch=body.epoch,
            digest=body.digest,
            changes=differences(self.trust, body),
            authorised=tuple(item.name for item in proposal.authorisations),
            needed=authority(self.trust, body.task)[1],
            to_authorise=tuple(missing["authorise"]),
            to_accept=tuple(missing["accept"]),
            proposal=proposal,
        )
