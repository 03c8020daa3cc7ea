"""Proposals that lie open in a server's home: everybody who has a say sees them there, and adds signatures.

A server can't forge one. What an owner signs is the digest of all that an epoch says, and members' nodes check every
signature again, against their own pins, before they close the epoch in force. What a server can do is to hide a
proposal, or to lose it: then owners bring it as a file, with the signatures that they have given.

Each party has one proposal here, so nobody fills the disk; and one that others have signed stays, since they are bound
to it and can sign no other. As soon as one has enough signatures it lies ready, and the next round begins with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_agg import files
from secure_agg.errors import ConfigError, PolicyViolation, SecureAggError, StoreError, VerificationError, WrongContext
from secure_agg.plugins.homes import proposals
from secure_agg.plugins.homes.folder import locked_by
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.epoch.evidence import MAX_EVIDENCE
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Wire, decode, encode
from secure_agg.roles.epochs import checking
from secure_agg.roles.epochs.change import new_keys
from secure_agg.roles.epochs.pins import authority, epoch_digest, most_proposed
from secure_agg.roles.trust import Trust
from zk.transcript import digest

_FOLDER: Final = "offers"
_LOCK: Final = "lock"
_ENDING: Final = ".offer"
_MAX_FILE: Final = MAX_EVIDENCE + (1 << 10)


class _Kept(Wire, frozen=True):
    by: str
    proposal: bytes


@dataclass(frozen=True)
class Offer:
    """One proposal that lies open.

    Attributes:
        by: id of who has brought it.
        proposal: with the signatures so far, each of which was checked.
        body: digest of what it says, and
        accepting: who is to have a new key by it, under that key: both worked out once, since strangers who ask are
            looked up here, and a proposal may name thousands.
    """

    by: str
    proposal: EpochEvidence
    body: bytes
    accepting: Roster

    @staticmethod
    def of(by: str, proposal: EpochEvidence, trust: Trust) -> Offer:
        """One whose signatures were checked, under what is in force."""
        says = proposal.says
        return Offer(by, proposal, says.digest, Roster(new_keys(trust, says)))


class Offers:
    """Of one server's task. Any number of threads and processes may use it."""

    def __init__(self, home: ServerHome) -> None:
        self._home, self._folder = home, home.path / _FOLDER
        self._read: dict[Path, tuple[tuple[bytes, int, int, int], Offer]] = {}

    def __repr__(self) -> str:
        return f"Offers({self._home.path})"

    def open(self) -> dict[bytes, Offer]:
        """All that can follow the epoch in force, by the digest of what they say.

        Raises:
            StoreError: the disk fails.
        """
        with self._locked():
            return dict(self._offers(self._home.trust))

    def find(self, body: bytes) -> Offer:
        """The one that says what has this digest.

        Raises:
            WrongContext: none does, or the epoch in force is another by now.
            StoreError: the disk fails.
        """
        found = self.open().get(body)
        if found is None:
            raise WrongContext(f"no proposal {body.hex()[:16]}… lies open")
        return found

    @property
    def most(self) -> int:
        """Most bytes of the body of a proposal that lies here."""
        return most_proposed(self._home.trust, self._home.task)

    def deciding(self) -> Roster:
        """Who may authorise the next epoch, under the keys that they have now."""
        return authority(self._home.trust, self._home.task)[0]

    def accepting(self) -> list[Roster]:
        """Who is to have a new key by what lies open, under that key.

        Raises:
            StoreError: the disk fails.
        """
        return [offer.accepting for offer in self.open().values()]

    def put(self, by: str, proposal: EpochEvidence, *, decides: bool = True) -> Offer:
        """Bring a proposal, or signatures of one that lies here.

        Args:
            by: id of who brings it, by its key.
            decides: whether that is a key that has a say now, and not one that a proposal names.
            proposal: with any signatures of who is asked for one.

        Returns:
            What lies here now.

        Raises:
            VerificationError, ConfigError: it is too large, can't follow the epoch in force, or a signature in it is
                nobody's who is asked for one.
            PolicyViolation: it is new, and ``by`` has no say in what is proposed; or others have signed the last one
                that it brought.
            StoreError: the disk fails.
        """
        trust = self._home.trust
        if len(proposal.body) > (most := self.most):
            raise VerificationError(
                f"a proposal of {len(proposal.body)} bytes, above {most}: one of so many new keys goes by files"
            )
        body = proposal.says
        if body.task != self._home.task or proposal.closure:
            raise VerificationError(f"no proposal of task {self._home.task!r}: it is of another, or closed already")
        checking.check_signed(trust, proposal)
        with self._locked():
            known = self._offers(trust)
            here = known.get(body.digest)
            if here is None:
                self._check_new(trust, by if decides else "", known)
            merged = checking.merged([*([here.proposal] if here else []), proposal])
            offer = Offer.of(here.by if here else by, merged, trust)
            if here is None or merged != here.proposal:
                self._keep(offer)
            with contextlib.suppress(VerificationError):  # until enough have signed
                checking.check_ready(trust, merged)
                self._lay(merged)
        return offer

    def _lay(self, proposal: EpochEvidence) -> None:
        try:
            proposals.submit(self._home, [proposal])
        except ConfigError:  # another lies ready, which was brought as a file
            return

    def _check_new(self, trust: Trust, by: str, known: Mapping[bytes, Offer]) -> None:
        """Refuse what is one too many."""
        deciding = {self._home.name, *trust.task(self._home.task).roster, *authority(trust, self._home.task)[0]}
        if by not in deciding:
            raise PolicyViolation(f"{by or 'a new key'!r} proposes nothing: it is no member, nor administrator")
        for offer in known.values():
            signed = {item.name for item in (*offer.proposal.authorisations, *offer.proposal.acceptances)}
            if offer.by == by and signed - {by}:
                raise PolicyViolation(
                    f"{by!r} has proposed {offer.body.hex()[:16]}…, which others have signed: it stays "
                    "until another epoch begins",
                    culprit=by,
                )

    # --- files ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with files.failing(self._folder, StoreError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked_by(self._folder / _LOCK))
            except ConfigError as error:
                raise StoreError(str(error.args[0])) from error
            yield

    def _offers(self, trust: Trust) -> dict[bytes, Offer]:
        """What follows the epoch in force; what does not, once another is, is removed."""
        found: dict[bytes, Offer] = {}
        for path in sorted(self._folder.glob(f"*{_ENDING}")):
            try:
                offer = self._load(path, trust)
            except StoreError:
                raise
            except SecureAggError:
                self._read.pop(path, None)
                with files.failing(path, StoreError):
                    path.unlink(missing_ok=True)
            else:
                found[offer.body] = offer
        return found

    def _load(self, path: Path, trust: Trust) -> Offer:
        """A file's, checked; or what it was when it was checked last.

        Raises:
            VerificationError, ConfigError, MalformedMessage: it holds nothing that follows.
        """
        with files.failing(path, StoreError):
            about = path.stat()
        seen = (epoch_digest(trust, self._home.task), about.st_ino, about.st_mtime_ns, about.st_size)
        before = self._read.get(path)
        if before is not None and before[0] == seen:
            return before[1]
        if about.st_size > _MAX_FILE:
            raise VerificationError(f"{path} has {about.st_size} bytes, above {_MAX_FILE}")
        with files.failing(path, StoreError):
            data = path.read_bytes()
        kept = decode(_Kept, data, _MAX_FILE)
        proposal = EpochEvidence.from_bytes(kept.proposal)
        checking.check_signed(trust, proposal)
        offer = Offer.of(kept.by, proposal, trust)
        self._read[path] = seen, offer
        return offer

    def _keep(self, offer: Offer) -> None:
        path = self._folder / f"{digest('offer', offer.by.encode()).hex()[:32]}{_ENDING}"
        data = encode(_Kept(offer.by, offer.proposal.to_bytes()))
        with files.failing(path, StoreError), files.whole(path, mode=0o600) as file:
            file.write(data)
