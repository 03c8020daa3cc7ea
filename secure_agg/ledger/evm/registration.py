"""What the contract is given of a round, made from the round's evidence and from nothing else: anybody can make it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from secure_agg import backends
from secure_agg.errors import ConfigError, VerificationError
from secure_agg.ledger.evm.statement import (
    MAX_CLIENTS,
    MAX_MEMBERS,
    Domain,
    Entry,
    SumStatement,
    add_packed,
    decode_commitment,
    entries_root,
    member_leaf,
    participant_point,
    statement_value,
)
from secure_agg.protocol.claims import CLAIMS, PROVED, SUM
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Opening
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.participants import open_session
from secure_agg.roles.trust import Trust
from zk import kzg, merkle
from zk.transcript import DIGEST_BYTES


class Participant(NamedTuple):
    """One of S, with all that an answer about it shows.

    Attributes:
        name: its id.
        place: index of its leaf in the statement that was signed.
        commitment: C_i, encoded.
        nonce: empty where the statement holds D("commitment", C_i), the 32 bytes that open D_i where it holds that.
    """

    name: str
    place: int
    commitment: bytes
    nonce: bytes


class Answer(NamedTuple):
    """What answers a challenge.

    Attributes:
        entry: the challenged one.
        entry_path: its inclusion proof under the registered entries.
        participant: whose it is.
        member_path: inclusion proof of the participant's leaf under the record's participants_root.
        opening: of the entry's point, 48 bytes.
    """

    entry: Entry
    entry_path: tuple[bytes, ...]
    participant: Participant
    member_path: tuple[bytes, ...]
    opening: bytes


@dataclass(frozen=True)
class AnchoredRound:
    """A round as the contract sees it.

    Attributes:
        record: the ledger's leaf.
        members: leaves of the statement that was signed, whose tree head is the record's participants_root.
        participants: S, in the order of the statement.
    """

    record: RoundRecord
    members: tuple[bytes, ...]
    participants: tuple[Participant, ...]

    @staticmethod
    def of(evidence: Evidence, trust: Trust | None = None, *, beacon: bytes | None = None) -> AnchoredRound:
        """Verify a round, and take from it what the contract needs.

        Args:
            evidence, trust, beacon: as in ``Auditor.verify``.

        Raises:
            VerificationError: the evidence does not prove its result, or contradicts ``trust``.
            ConfigError: the contract has no way to check this kind of round.
        """
        # What is no sum is refused below, whoever accepts it: the contract opens sums of commitments.
        return AnchoredRound.of_verified(evidence, Auditor(trust, CLAIMS).verify(evidence, beacon=beacon))

    @staticmethod
    def of_verified(evidence: Evidence, verified: Verified) -> AnchoredRound:
        """The same for evidence that was verified already.

        Raises:
            ConfigError: the contract has no way to check this kind of round.
        """
        record = verified.record
        config = evidence.config
        if record.claim not in PROVED:
            raise ConfigError(
                f"a round that claims {record.claim!r} is no sum of commitments: there is nothing to anchor"
            )
        if record.claim != SUM:
            raise ConfigError(
                f"a round that claims {record.claim!r} has another record than the contract rebuilds: it anchors those "
                f"that claim {SUM!r}"
            )
        if record.participants > MAX_CLIENTS or config.cohort_size > MAX_MEMBERS:
            raise ConfigError(f"the contract takes {MAX_CLIENTS} participants of {MAX_MEMBERS}, and these are more")
        cohort = Roster({member.name: member.public for member in evidence.cohort})
        session = open_session(config, cohort, evidence.advertisements, evidence.setup)
        commitments = {opening.name: opening.commitment for opening in evidence.openings}
        statement = backends.load(config.policy.backend).agreement.statement(session, commitments)
        members = tuple(member_leaf(entry.name, entry.value) for entry in statement.entries)
        if merkle.root(members) != record.participants_root:
            raise VerificationError("the statement that was signed has another root than the record")
        places = {entry.name: place for place, entry in enumerate(statement.entries)}
        participants = tuple(
            Participant(
                opening.name,
                places[opening.name],
                opening.commitment,
                _nonce(config, opening, statement.entries[places[opening.name]].value),
            )
            for opening in evidence.openings
        )
        return AnchoredRound(record, members, participants)

    @cached_property
    def leaf(self) -> bytes:
        """RFC 9162 leaf hash of the record."""
        return merkle.leaf_hash(self.record.to_bytes())

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Of the participants; takes some milliseconds for each."""
        return tuple(Entry(item.place, kzg.commit(decode_commitment(item.commitment))) for item in self.participants)

    @cached_property
    def statement(self) -> SumStatement:
        """What the opening that comes with a registration is about."""
        sums = add_packed([decode_commitment(item.commitment) for item in self.participants])
        return SumStatement(self.leaf, len(self.members), self.entries, sums)

    def answer(self, index: int, domain: Domain) -> Answer:
        """What answers a challenge of one participant.

        Raises:
            VerificationError: there is no such participant.
        """
        if not 0 <= index < len(self.participants):
            raise VerificationError(f"there is no participant {index} among {len(self.participants)}")
        participant, head = self.participants[index], entries_root(self.entries)
        z = participant_point(domain, self.leaf, head, index, participant.commitment)
        return Answer(
            entry=self.entries[index],
            entry_path=_path([entry.to_bytes() for entry in self.entries], index),
            participant=participant,
            member_path=_path(self.members, participant.place),
            opening=kzg.open_at(decode_commitment(participant.commitment), z)[1],
        )


def _path(leaves: tuple[bytes, ...] | list[bytes], index: int) -> tuple[bytes, ...]:
    """Inclusion proof of one of a few leaves."""

    def node(level: int, position: int) -> bytes:
        return merkle.root(leaves[position << level : (position + 1) << level])

    return merkle.inclusion_proof(index, len(leaves), node)


def _nonce(config: RoundConfig, opening: Opening, held: bytes) -> bytes:
    """What shows, next to the commitment, that a statement holds it.

    Raises:
        ConfigError: the statement holds something else, which the contract could not open.
    """
    for nonce in (b"", opening.nonce):
        value = statement_value(config.task, config.round, config.attempt, opening.name, opening.commitment, nonce)
        if len(nonce) in (0, DIGEST_BYTES) and held == value:
            return nonce
    raise ConfigError(
        f"rounds of backend {config.policy.backend!r} can't be anchored: what their participants signed is no hash of "
        "one commitment, and the contract could not check an answer to a challenge"
    )
