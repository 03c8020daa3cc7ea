"""What the homomorphic backends have in common: commit, then reveal; add ciphertexts; let a key holder open the sum.

Ciphertexts are malleable and a key holder is an oracle, hence two rules beyond masking's. The set that a quorum signs
is of commitment *hashes*; commitments and ciphertexts are sent only after that, so nobody's can be derived from
another's. And a commitment's nonce binds the ciphertext that goes with it (``bound_nonce``), so a ciphertext is fixed
as early as the commitment.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping

from mpc.ring import Vector
from secure_agg.backends.contract import (
    AggregatorSide,
    ClientSide,
    Hidden,
    Joining,
    KeyedBackend,
    Once,
    Outcome,
    Phase,
    PhaseKind,
    Said,
    opened_sum,
)
from secure_agg.backends.homomorphic.scheme import Scheme, Summing
from secure_agg.errors import (
    BadCommitment,
    PolicyViolation,
    RemoteProtocolError,
    Unattributed,
    stamping,
)
from secure_agg.protocol.agreement import Agreement
from secure_agg.protocol.certificate import KeyCertificate
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import DECRYPT
from secure_agg.protocol.messages import (
    ADVERTISE,
    CONSISTENCY,
    Statement,
    StatementEntry,
    Wire,
    decode,
    encode,
)
from secure_agg.protocol.session import Session
from zk.commitment import Commitment
from zk.transcript import DIGEST_BYTES, digest

USUAL_BITS = 16
ENCRYPTED_INPUT = "masked-input"
"""The input phase has one name in all backends, so that fault injection does."""


def bound_nonce(nonce: bytes, ciphertext_digest: bytes) -> bytes:
    """The nonce of a commitment hash that binds a ciphertext too, by its SHA-256."""
    return digest("bound-nonce", nonce, ciphertext_digest)


class CiphertextPart(Wire, frozen=True):
    """The backend's part of an input: the inner nonce, from which and the ciphertext the commitment's follows."""

    nonce: bytes


class CommitThenReveal(Agreement):
    """The statement is of the commitment hashes of all who advertised; who opens one later is summed."""

    def entry(self, session: Session, name: str, commitment: bytes) -> StatementEntry:
        """A member's commitment hash, whatever it commits to."""
        return StatementEntry(name, session.commitment_hashes[name])

    def statement(self, session: Session, commitments: Mapping[str, bytes]) -> Statement:
        """All of U, whoever has revealed a commitment."""
        return Statement(tuple(self.entry(session, name, b"") for name in session.members))


class HomomorphicClient(ClientSide):
    """Encrypts when it commits, sends when the set is agreed."""

    def __init__(self, scheme: Scheme, randomness: bytes, once: Once) -> None:
        self._scheme, self._randomness, self._once = scheme, randomness, once
        self._nonce, self._ciphertext = b"", b""

    def join(self, commitment: Commitment, nonce: bytes, vector: Vector) -> Joining:
        """Encrypt, and derive a nonce that fixes the ciphertext."""

        def encrypt() -> bytes:
            return self._scheme.encrypt(vector, self._randomness)

        self._nonce, self._ciphertext = nonce, encrypt() if self._scheme.repeatable else self._once(encrypt)
        return Joining(bound_nonce(nonce, hashlib.sha256(self._ciphertext).digest()))

    def hide(self, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        """The ciphertext, once."""
        if request:
            raise PolicyViolation("an input request says nothing but the agreed set", phase=ENCRYPTED_INPUT)
        return self._reveal

    def _reveal(self, vector: Vector) -> tuple[bytes, Hidden]:
        ciphertext, self._ciphertext = self._ciphertext, b""
        return encode(CiphertextPart(self._nonce)), ciphertext


class HomomorphicAggregator(AggregatorSide):
    """Adds ciphertexts. It holds public material only."""

    def __init__(self, scheme: Scheme, certificate: KeyCertificate) -> None:
        self._scheme = scheme
        self.operators = certificate.names
        self._sum: Summing = scheme.summing()
        self._total: bytes | None = None
        self._sums: Vector | None = None
        self._vouched_by: str | None = None

    def ask(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        """In phase decrypt the encrypted sum."""
        return b"", self.summed() if phase == DECRYPT else b""

    def summed(self) -> Hidden:
        """The encrypted sum."""
        if self._total is None:
            self._total = bytes(self._sum.total())
        return self._total

    def restore(self, summed: bytes) -> None:
        """Go on from the encrypted sum; the key holder checks what it decrypts to."""
        self._total = summed

    def take(self, phase: str, said: Said) -> None:
        """Take a client's ciphertexts, or a key holder's answer."""
        if phase == ENCRYPTED_INPUT:
            self._take_input(said)
        elif phase == DECRYPT:
            self._take_opened(said)

    def _take_input(self, said: Said) -> None:
        """Add a ciphertext vector that its commitment hash has fixed."""
        inner = decode(CiphertextPart, said.part, 64, phase=ENCRYPTED_INPUT, culprit=said.name).nonce
        check_bound(said.name, inner, said.message.header.bulk_digest, said.nonce)
        if not len(said.message.bulk):  # of a round that is resumed: no ciphertext is written down, only their sum
            return
        with stamping(RemoteProtocolError, phase=ENCRYPTED_INPUT, culprit=said.name):
            self._sum.add(said.message.bulk)

    def needed(self, phase: str) -> int:
        """Key holders whose answers open a sum."""
        return 1

    def _take_opened(self, said: Said) -> None:
        """Take the sum, or the one bit that it failed its check."""
        sums = opened_sum(self._scheme.config, said)
        if sums is not None:
            self._sums, self._vouched_by = sums, said.name

    def outcome(self) -> Outcome:
        """What the key holder has opened.

        Raises:
            Unattributed: the sum is not what was committed to, it has said.
        """
        if self._sums is None:
            raise Unattributed("the key holder did not open the sum: it failed the check", phase=DECRYPT)
        return Outcome(self._sums, vouched_by=self._vouched_by)


def check_bound(name: str, inner: bytes, ciphertext_digest: bytes, nonce: bytes) -> None:
    """Check that a ciphertext, by its SHA-256, is the one that a commitment's nonce binds.

    Raises:
        BadCommitment: names the client.
    """
    if len(inner) != DIGEST_BYTES or bound_nonce(inner, ciphertext_digest) != nonce:
        raise BadCommitment(
            "the ciphertext is not the one fixed with the commitment", phase=ENCRYPTED_INPUT, culprit=name
        )


class HomomorphicBackend(KeyedBackend):
    """Common to ``bfv``, ``ckks`` and ``paillier``: they differ in their scheme."""

    agreement = CommitThenReveal()

    @abstractmethod
    def scheme(self, config: RoundConfig, public: bytes) -> Scheme:
        """The scheme under a public key, for this round's vectors.

        Raises:
            ConfigError: sums would not be exact, or not secure.
            RemoteProtocolError: it is no public key for it, or carries a secret.
        """

    def usual_bits(self, clients: int) -> int:
        """More bits make ciphertexts larger."""
        return min(USUAL_BITS, super().usual_bits(clients))

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """Commit, agree, reveal, open."""
        return (
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            Phase(CONSISTENCY, PhaseKind.AGREE),
            Phase(ENCRYPTED_INPUT, PhaseKind.INPUT),
            Phase(DECRYPT, PhaseKind.OPEN),
        )

    def check_key(self, config: RoundConfig, public: bytes, holders: tuple[str, ...]) -> None:
        """The scheme takes it over, or refuses it."""
        self.scheme(config, public)

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """Encrypts under the certified key."""
        return HomomorphicClient(self.scheme(config, self.certificate(setup).public), derive("encryption"), once)

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """Adds up under the certified key."""
        certificate = self.certificate(setup)
        return HomomorphicAggregator(self.scheme(config, certificate.public), certificate)
