"""Which set of clients is summed, and who has to have signed it before anything is opened.

The rule here is that of ``masking`` and ``plain``: the members of the set S sign the list of their ids and commitments,
and a quorum floor((|G| + f)/2) + 1 of the cohort binds the round to this one S: any two quorums share an honest member,
who signs once. Where a policy wants more clients in a sum, so many sign it. A backend with another rule (signatures
over commitment hashes, or by the aggregators) subclasses it; the roles and the auditor only call these methods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpc.framing import frame, integer
from mpc.ring import Vector, byte_view
from secure_agg.errors import BadSignature, DuplicateMessage, PolicyViolation, TooFewClients, UnknownSender
from secure_agg.protocol.identity import in_id_order, is_id_order, verify_signature
from secure_agg.protocol.messages import CONSISTENCY, Signature, Statement, StatementEntry
from secure_agg.protocol.session import Session
from zk import merkle
from zk.transcript import digest


@dataclass(frozen=True)
class Ballot:
    """What a statement's signatures are checked against, worked out once.

    Attributes:
        voters: who may sign, with identity keys.
        message: what they sign.
    """

    voters: Mapping[str, bytes]
    message: bytes

    def check(self, signature: Signature) -> None:
        """Check one signature.

        Raises:
            UnknownSender, BadSignature: as they say.
        """
        name = signature.name
        if name not in self.voters:
            raise UnknownSender(f"{name!r} signed but has no say in it", phase=CONSISTENCY, culprit=name)
        verify_signature(self.voters[name], signature.signature, self.message, phase=CONSISTENCY, culprit=name)


@dataclass(frozen=True)
class AgreedSet:
    """A set as it is signed.

    Attributes:
        names: S, or whoever else the statement lists, in id order.
        root: of the tree over the entries.
        message: what is signed.
    """

    names: tuple[str, ...]
    root: bytes
    message: bytes


def leaf(entry: StatementEntry) -> bytes:
    """An entry in the tree whose root is signed."""
    return frame("survivor", entry.name.encode(), entry.value)


def attested_bytes(sid: bytes, root: bytes, result: Vector) -> bytes:
    """What operators sign of a result that is no sum: the round, the root of the agreed set, and the result."""
    return frame("attested", sid, root, hashlib.sha256(byte_view(result)).digest())


class Agreement:
    """S is signed by its members, over the commitments they have opened."""

    def entry(self, session: Session, name: str, commitment: bytes) -> StatementEntry:
        """What the statement says of one member."""
        return StatementEntry(name, digest("commitment", commitment))

    def statement(self, session: Session, commitments: Mapping[str, bytes]) -> Statement:
        """The statement for a round in which these commitments are summed."""
        return Statement(tuple(self.entry(session, name, commitments[name]) for name in in_id_order(commitments)))

    def check_statement(self, session: Session, statement: Statement) -> tuple[str, ...]:
        """Check the form of a statement and return S.

        Raises:
            PolicyViolation: not in id order, or an entry that is no digest.
            UnknownSender: somebody who did not advertise.
            TooFewClients: |S| is below n_min or the quorum.
        """
        names = tuple(entry.name for entry in statement.entries)
        if not is_id_order(names):
            raise PolicyViolation("the set is not in id order, each id once", phase=CONSISTENCY)
        for entry in statement.entries:
            if len(entry.value) != 32:
                raise PolicyViolation(f"the entry of {entry.name!r} in the set is no digest", phase=CONSISTENCY)
        self.check_names(session, names)
        return names

    def check_names(self, session: Session, names: Sequence[str]) -> None:
        """Check a set by its members alone.

        Raises:
            UnknownSender: somebody who did not advertise.
            TooFewClients: |S| is below n_min or the quorum.
        """
        for name in names:
            if name not in session.keys:
                raise UnknownSender(f"{name!r} is in the set but did not advertise", phase=CONSISTENCY)
        least = self.least(session)
        if len(names) < least:
            raise TooFewClients(f"{len(names)} clients are left, {least} are needed", phase=CONSISTENCY)

    def root(self, statement: Statement) -> bytes:
        """Tree root over the entries, in id order."""
        return merkle.root([leaf(entry) for entry in statement.entries])

    def signed_bytes(self, sid: bytes, statement: Statement) -> bytes:
        """What a signature of a statement that everybody is shown is over: (sid, |S|, root of the entries)."""
        return frame("agreement", sid, integer(len(statement.entries)), self.root(statement))

    def agreed(self, session: Session, statement: Statement) -> AgreedSet:
        """What is signed of a statement."""
        return self.sign_over(session, tuple(entry.name for entry in statement.entries), self.root(statement))

    def sign_over(self, session: Session, names: tuple[str, ...], root: bytes) -> AgreedSet:
        """A signature is over sid, |S| and the root of the entries. Where clients see neighbours only it is over the
        bits of S in place of its size: who is in it decides which share of whom is given out, and nobody has seen the
        list that the root is of.
        """
        near = session.near
        who = integer(len(names)) if near is None else hashlib.sha256(near.bits(names)).digest()
        return AgreedSet(names, root, frame("agreement", session.sid, who, root))

    def least(self, session: Session) -> int:
        """The smallest set that may be summed."""
        return max(session.config.policy.min_clients, session.quorum)

    def quorum(self, session: Session) -> int:
        """How many signatures bind a round to one set: t_sig, so that no two sets have them, and n_min, since only
        whoever signs is known to have given an input. Whoever is merely named in the set may have been kept away from
        the others, or from all of them.
        """
        return self.least(session)

    def voters(self, session: Session, agreed: AgreedSet) -> Mapping[str, bytes]:
        """Who may sign, with identity keys: the members of the set."""
        return {name: session.keys[name] for name in agreed.names}

    def ballot(self, session: Session, agreed: AgreedSet) -> Ballot:
        """Who may sign this set, and what."""
        return Ballot(self.voters(session, agreed), agreed.message)

    def check_quorum(self, session: Session, agreed: AgreedSet, signatures: Sequence[Signature]) -> None:
        """Check that enough of those who may have signed this very set.

        Raises:
            TooFewClients: fewer than the quorum.
            DuplicateMessage: one signer twice, or not in id order.
            UnknownSender, BadSignature: as they say. Whoever has handed them on is at fault, which is for the caller to
                say.
        """
        names = [signature.name for signature in signatures]
        if not is_id_order(names):
            raise DuplicateMessage("signatures are not in id order, each signer once", phase=CONSISTENCY)
        if len(names) < self.quorum(session):
            raise TooFewClients(f"{len(names)} signed the set, {self.quorum(session)} are needed", phase=CONSISTENCY)
        ballot = self.ballot(session, agreed)
        for signature in signatures:
            if signature.name not in ballot.voters:
                raise BadSignature(f"{signature.name!r} signed but has no say in the set", phase=CONSISTENCY)
            ballot.check(signature)


class SignedByOperators(Agreement):
    """The operators sign the set, over the commitment hashes that its members have signed: all of them do."""

    def entry(self, session: Session, name: str, commitment: bytes) -> StatementEntry:
        """A member's commitment hash, whatever it commits to."""
        return StatementEntry(name, session.commitment_hashes[name])

    def quorum(self, session: Session) -> int:
        """All."""
        return len(session.signers)

    def voters(self, session: Session, agreed: AgreedSet) -> Mapping[str, bytes]:
        """Those whom the setup names."""
        return session.signers
