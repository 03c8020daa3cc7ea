"""Renunciation: the right to open a sum over updates of one model is given up, by so many that nobody can use it.

A round whose last phase failed may still be finished later, by the same answers. So nobody can give its updates to
another sum, or the difference of the two would show somebody's update: the model is spent. Whoever has released
nothing of it may instead sign that it never will. A *certificate* of enough such signatures, counted over the whole
cohort G and not over who took part, shows that no sum of that *generation* was opened or ever will be; it admits
everybody to the next generation of the same model, those who have released something too.

How many are enough follows from how many answers open a sum. Release and renunciation exclude each other at each honest
party, so r that release and n that renounce are at most |G| − f, and corrupt parties do both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from mpc import graph
from mpc.framing import frame, integer
from mpc.graph import Degree
from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import MalformedMessage, TooFewClients, VerificationError
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.identity import Identity, check_id, is_id_order, verify_signature
from secure_agg.protocol.messages import Signature, Wire, decode, encode, pack, unpack
from zk.transcript import DIGEST_BYTES, digest

RENOUNCE: Final = "renounce"
"""The phase, if one likes, in which somebody is asked to renounce; it is of no attempt."""
RENUNCIATION_VERSION: Final = 1
_MAX_SIGNERS: Final = 1 << 20
MAX_CLOSURE: Final = 1 << 24
"""Most bytes of a certificate that closes an epoch: it is in that epoch's evidence."""
MAX_OPERATORS: Final = 256
"""Most operators that sign anything."""


@checked_class
class Renunciation(Wire, frozen=True, kw_only=True):
    """What is signed: in one generation of one model nothing more is released, whatever attempt of it was begun.

    Attributes:
        task, epoch, round, draw, cohort_root, start_model, base_model, generation: as in the configuration.
        successor: digest of the body of the epoch that follows, where the epoch is closed by this too; else empty.
    """

    task: str
    epoch: int
    round: int
    draw: int
    cohort_root: bytes
    start_model: bytes
    base_model: bytes
    generation: int
    successor: bytes

    def __post_init__(self) -> None:
        check_fields(self)
        check_id(self.task)
        for name, length in (("cohort_root", 32), ("start_model", 32), ("base_model", 32)):
            if len(getattr(self, name)) != length:
                raise MalformedMessage(f"{name} of a renunciation has {len(getattr(self, name))} bytes, not {length}")
        for name, most in (("epoch", 2**32), ("round", 2**53), ("draw", 2**32), ("generation", 2**32)):
            if not 0 <= getattr(self, name) <= most:
                raise MalformedMessage(f"{name} of a renunciation is {getattr(self, name)}, outside [0, {most}]")
        if len(self.successor) not in (0, DIGEST_BYTES):
            raise MalformedMessage(f"the successor of a renunciation has {len(self.successor)} bytes, not 0 or 32")

    @staticmethod
    def of(config: RoundConfig, successor: bytes = b"") -> Renunciation:
        """Of the generation that a round is in; the same for all attempts at it."""
        return Renunciation(
            task=config.task,
            epoch=config.epoch,
            round=config.round,
            draw=config.draw,
            cohort_root=config.cohort_root,
            start_model=config.start_model,
            base_model=config.base_model,
            generation=config.generation,
            successor=successor,
        )

    @property
    def signed_bytes(self) -> bytes:
        """What a signature is over."""
        return frame(
            RENOUNCE,
            self.task.encode(),
            integer(self.epoch),
            integer(self.round),
            integer(self.draw),
            self.cohort_root,
            self.start_model,
            self.base_model,
            integer(self.generation),
            self.successor,
        )

    def sign(self, identity: Identity) -> Signature:
        """Sign it. Who signs has to be bound to it durably before: see ``roles.memory.bonds``."""
        return Signature(identity.name, identity.sign(self.signed_bytes))


@dataclass(frozen=True)
class Renouncers:
    """Who may renounce a generation of a round, and how many of them have to.

    Attributes:
        voters: identity keys by id: of the whole cohort, or of the operators without whom no sum is opened.
        threshold: a. Above the number of voters there can be no certificate.
        operators: whether they are operators.
    """

    voters: Mapping[str, bytes]
    threshold: int
    operators: bool = False

    @property
    def possible(self) -> bool:
        """Whether all voters together are enough."""
        return 0 < self.threshold <= len(self.voters)

    @property
    def seats(self) -> bytes:
        """Digest of the operators' ids and keys; of cohorts, which the configuration names, that of nobody."""
        if not self.operators:
            return NO_DIGEST
        listed = sorted(self.voters.items(), key=lambda item: item[0].encode())
        return digest("seats", *(part for name, key in listed for part in (name.encode(), key)))


@checked_class
class RenunciationCertificate(Wire, frozen=True, kw_only=True):
    """A renunciation with enough signatures.

    Attributes:
        version: of this record, 1.
        statement: what was signed.
        signatures: in id order.
    """

    version: int
    statement: Renunciation
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        said = self.statement
        return (
            f"RenunciationCertificate(task={said.task!r}, round={said.round}, generation={said.generation}, "
            f"signatures={len(self.signatures)})"
        )

    @staticmethod
    def of(statement: Renunciation, signatures: Iterable[Signature]) -> RenunciationCertificate:
        """Of signatures in any order."""
        ordered = sorted(signatures, key=lambda signature: signature.name.encode())
        return RenunciationCertificate(version=RENUNCIATION_VERSION, statement=statement, signatures=tuple(ordered))

    def to_bytes(self) -> bytes:
        """The canonical encoding."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> RenunciationCertificate:
        """Decode strictly; check nothing else.

        Raises:
            VerificationError: no canonical certificate of this version.
        """
        try:
            found = decode(RenunciationCertificate, data, certificate_limit(_MAX_SIGNERS))
        except MalformedMessage as error:
            raise VerificationError(f"this is no certificate of renunciation: {error}") from error
        if found.version != RENUNCIATION_VERSION:
            raise VerificationError(f"certificate version {found.version} is not {RENUNCIATION_VERSION}")
        return found

    def digest(self) -> bytes:
        """32 bytes: what the configurations of the next generation name."""
        return digest("renunciation", self.to_bytes())

    def check(self, renouncers: Renouncers) -> None:
        """Check that enough of those who may have signed.

        Raises:
            VerificationError: not in id order, each once; a stranger's signature; or none that is one.
            TooFewClients: fewer than are needed, or there can be no certificate.
        """
        names = [signature.name for signature in self.signatures]
        if not is_id_order(names):
            raise VerificationError("the signatures of a renunciation are not in id order, each once", phase=RENOUNCE)
        if not renouncers.possible or len(names) < renouncers.threshold:
            raise TooFewClients(
                f"{len(names)} of {len(renouncers.voters)} renounced generation {self.statement.generation} of round "
                f"{self.statement.round}, {renouncers.threshold} are needed",
                phase=RENOUNCE,
            )
        message = self.statement.signed_bytes
        for signature in self.signatures:
            check_renounced(renouncers, message, signature)

    def check_precedes(self, config: RoundConfig, renouncers: Renouncers) -> None:
        """Check that this is what a configuration of the next generation goes on from: the same updates, renounced.

        Args:
            renouncers: of the generation that was renounced.

        Raises:
            VerificationError: see ``check_statement``.
            VerificationError, TooFewClients: see ``check``.
        """
        self.check_statement(config)
        self.check(renouncers)

    def check_statement(self, config: RoundConfig) -> None:
        """The part of ``check_precedes`` that is not about signatures. An epoch that was closed goes on in the next,
        whose roster and rounds its own record says.

        Raises:
            VerificationError: it is of another generation, model, round or cohort, or not the one that is named.
        """
        said = self.statement
        if config.renounced != self.digest():
            raise VerificationError("the certificate is not the one that the configuration names", phase=RENOUNCE)
        again = replace(Renunciation.of(config), generation=config.generation - 1, successor=said.successor)
        if said.successor:
            again = replace(
                again, epoch=config.epoch - 1, round=said.round, draw=said.draw, cohort_root=said.cohort_root
            )
        if said != again:
            raise VerificationError(
                f"the certificate is of generation {said.generation} of round {said.round} over another model, cohort "
                f"or epoch, and the configuration is of generation {config.generation} of round {config.round}",
                phase=RENOUNCE,
            )


def check_renounced(renouncers: Renouncers, message: bytes, signature: Signature) -> None:
    """Check one signature.

    Raises:
        VerificationError: of a stranger, or it is none.
    """
    key = renouncers.voters.get(signature.name)
    if key is None:
        raise VerificationError(f"{signature.name!r} has no right to renounce", phase=RENOUNCE)
    verify_signature(key, signature.signature, message, phase=RENOUNCE, culprit=None)


def certificate_limit(signers: int) -> int:
    """Most bytes of a certificate with so many signatures."""
    return 1024 + 256 * signers


def first_bulk(config: RoundConfig, setup: bytes, renounced: bytes) -> bytes:
    """What goes with a round's first request: the setup; in a later generation the certificate before it, with its
    length.
    """
    return pack(renounced, setup) if config.generation else setup


def split_first(config: RoundConfig, bulk: bytes | memoryview) -> tuple[bytes, bytes]:
    """The setup, and the certificate, which is empty in a first generation; neither is checked.

    Raises:
        MalformedMessage: the bulk is too short, or the certificate longer than so many members can sign; where an epoch
            may have been closed by more members than it has now, above 16 MiB.
    """
    if not config.generation:
        return bytes(bulk), b""
    limit = certificate_limit(max(config.cohort_size, MAX_OPERATORS))
    renounced, setup = unpack(bulk, max(limit, MAX_CLOSURE) if config.epoch else limit)
    return bytes(setup), bytes(renounced)


class RenounceRequest(Wire, frozen=True):
    """Phase *renounce*, an aggregator to whom may renounce: bulk as of a round's first request.

    Attributes:
        config: of any attempt in the generation that is to be renounced.
        successor: see ``Renunciation``.
    """

    config: bytes
    successor: bytes


# --- how many are enough ----------------------------------------------------------------------------------------


def of_complete_graph(members: int, corrupt: int, quorum: int) -> int:
    """a = |G| + f − t + 1, where t answers of members open a sum: r + f ≥ t and n + f ≥ a leave r + n > |G| − f. Always
    at most t_sig, where t is: 6 of 10, 13 of 20, 65 of 100.

    Args:
        members: |G|.
        corrupt: f.
        quorum: t.
    """
    return members + corrupt - quorum + 1


def of_operators(parties: int, needed: int, corrupt: int) -> int:
    """a = k − t + c + 1, where t of k operators open a sum and c of them may be corrupt, by the same count."""
    return parties - needed + corrupt + 1


Shape = Callable[[int], Degree | None]
"""The graph of so many who advertised; None where it is complete."""


def split_bits(members: int, corrupt: int, quorum: int, renounced: int, advertised: int, shape: Degree) -> float:
    """log2 of a bound on the probability that whoever has not renounced can open a sum of a sparse graph.

    Whoever releases, and the corrupt, are w = |G| − a + f. An honest signer of S whose seed stays closed hides the
    rest, which is connected to it. So these w must hold at least the share threshold of every honest signer's own
    neighbours, which each has drawn by itself: over all choices of w − f honest members and of t_sig − f honest
    signers, of the |U| − f that advertised.
    """
    releasing = min(members - renounced, advertised - corrupt)
    signers = quorum - corrupt
    honest = advertised - corrupt
    if signers > honest:
        return -float("inf")
    marked = min(releasing + corrupt, advertised - 1)
    return (
        graph.log2_choose(honest, releasing)
        + graph.log2_choose(honest, signers)
        + signers * graph.log2_at_least(advertised - 1, marked, shape.neighbours, shape.threshold)
    )


def of_sparse_graph(members: int, corrupt: int, quorum: int, advertised: int, shape: Shape) -> int:
    """The fewest a whose ``split_bits`` are at most −40, whoever advertises: 185 of 256, 723 of 1,000, 7,248 of
    10,000 with a third corrupt and a tenth silent. Never fewer than on a complete graph, which small U fall back to.

    Degrees change in steps, so the largest a does not have to be at an end of what |U| may be: some numbers after the
    least are tried too. Whoever masks checks its own session beside (``backends.masking.rules``).

    Args:
        members: |G|.
        corrupt: f.
        quorum: t_sig.
        advertised: u_min.
        shape: the graph of so many.

    Returns:
        a; |G| + 1 if all of G are not enough.
    """
    least = of_complete_graph(members, corrupt, quorum)
    for size in _sizes(advertised, members):
        found = shape(size)
        while (
            found
            and least <= members
            and split_bits(members, corrupt, quorum, least, size, found) > -graph.PRIVACY_BITS
        ):
            least += 1
    return least


def _sizes(low: int, high: int) -> Sequence[int]:
    return sorted({*range(low, min(low + 4, high)), (low + high) // 2, high})
