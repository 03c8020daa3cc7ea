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

from mpc.ring import ELEMENT_BYTES, Vector
from secure_agg.backends.contract import (
    AggregatorSide,
    Backend,
    ClientSide,
    Hidden,
    Once,
    Phase,
    PhaseKind,
    hidden_vector,
)
from secure_agg.backends.homomorphic.scheme import Scheme, Summing
from secure_agg.errors import (
    BadCommitment,
    BadKey,
    MalformedMessage,
    OperatorLost,
    PolicyViolation,
    RemoteProtocolError,
    Unattributed,
    stamping,
)
from secure_agg.protocol.agreement import Agreement
from secure_agg.protocol.certificate import KeyCertificate, read_certificate, setup_digest
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.evidence import DECRYPT, Opened
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import (
    ADVERTISE,
    CONSISTENCY,
    Message,
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

    def bind(self, commitment: Commitment, nonce: bytes, vector: Vector) -> bytes:
        """Encrypt, and derive a nonce that fixes the ciphertext."""

        def encrypt() -> bytes:
            return self._scheme.encrypt(vector, self._randomness)

        self._nonce, self._ciphertext = nonce, encrypt() if self._scheme.repeatable else self._once(encrypt)
        return bound_nonce(nonce, hashlib.sha256(self._ciphertext).digest())

    def advertise(self) -> bytes:
        """Nothing: the key is the key holder's."""
        return b""

    def begin(self, session: Session) -> None:
        """Nothing depends on the participants."""

    def hide(self, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        """The ciphertext, once."""
        if request:
            raise PolicyViolation("an input request says nothing but the agreed set", phase=ENCRYPTED_INPUT)
        return self._reveal

    def _reveal(self, vector: Vector) -> tuple[bytes, Hidden]:
        ciphertext, self._ciphertext = self._ciphertext, b""
        return encode(CiphertextPart(self._nonce)), ciphertext

    def agree(self, survivors: tuple[str, ...]) -> None:
        """Any set that the role accepts."""


class HomomorphicAggregator(AggregatorSide):
    """Adds ciphertexts. It holds public material only."""

    def __init__(self, scheme: Scheme, certificate: KeyCertificate) -> None:
        self._scheme = scheme
        self._certificate = certificate
        self._sum: Summing = scheme.summing()
        self._sums: Vector | None = None
        self._vouched_by: str | None = None

    def receive_advertisement(self, name: str, part: bytes) -> None:
        """Refuse what no client sends."""
        no_part(name, part)

    def begin(self, session: Session) -> None:
        """Nothing depends on the participants."""

    def receive_input(self, name: str, part: bytes, message: Message, nonce: bytes) -> None:
        """Add a ciphertext vector that its commitment hash has fixed."""
        inner = decode(CiphertextPart, part, 64, phase=ENCRYPTED_INPUT, culprit=name).nonce
        check_bound(name, inner, message.header.bulk_digest, nonce)
        with stamping(RemoteProtocolError, phase=ENCRYPTED_INPUT, culprit=name):
            self._sum.add(message.bulk)

    def agree(self, survivors: tuple[str, ...]) -> None:
        """The sum is over those who reveal."""

    def operators(self) -> tuple[str, ...]:
        """Who holds the key, by the certificate."""
        return self._certificate.names

    @property
    def needed(self) -> int:
        """Key holders whose answers open a sum."""
        return 1

    def can_lose(self, phase: str, names: frozenset[str]) -> bool:
        """Whether enough are left to open the sum."""
        return len(set(self.operators()) - names) >= self.needed

    def lose(self, phase: str, names: frozenset[str]) -> None:
        """Go on as long as enough have answered."""
        if not self.can_lose(phase, names):
            left = len(set(self.operators()) - names)
            raise OperatorLost(
                f"{left} key holders have answered, {self.needed} are needed", phase=phase, culprit=min(names)
            )

    def operation(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        """The encrypted sum."""
        return b"", self._sum.total()

    def receive_operation(self, phase: str, name: str, message: Message) -> None:
        """Take the sum, or the one bit that it failed its check."""
        opened = decode(Opened, message.body, 16, phase=DECRYPT, culprit=name)
        bulk = message.bulk
        if not opened.passed:
            if len(bulk):
                raise MalformedMessage("a refusal says nothing else", phase=DECRYPT, culprit=name)
            return
        size = self._scheme.config.layout.total * ELEMENT_BYTES
        if len(bulk) != size:
            raise MalformedMessage(f"{len(bulk)} bytes of sums, not {size}", phase=DECRYPT, culprit=name)
        self._sums, self._vouched_by = hidden_vector(bulk, phase=DECRYPT, culprit=name).copy(), name

    @property
    def vouched_by(self) -> str | None:
        """The key holder, once it has said that the sum passed."""
        return self._vouched_by

    def total(self) -> Vector:
        """What the key holder has opened.

        Raises:
            Unattributed: the sum is not what was committed to, it has said.
        """
        if self._sums is None:
            raise Unattributed("the key holder did not open the sum: it failed the check", phase=DECRYPT)
        return self._sums


def no_part(name: str, part: bytes) -> None:
    """Refuse an advertisement with a part of its own: the key is the key holder's."""
    if part:
        raise MalformedMessage("a homomorphic backend advertises no keys", phase=ADVERTISE, culprit=name)


def check_bound(name: str, inner: bytes, ciphertext_digest: bytes, nonce: bytes) -> None:
    """Check that a ciphertext, by its SHA-256, is the one that a commitment's nonce binds.

    Raises:
        BadCommitment: names the client.
    """
    if len(inner) != DIGEST_BYTES or bound_nonce(inner, ciphertext_digest) != nonce:
        raise BadCommitment(
            "the ciphertext is not the one fixed with the commitment", phase=ENCRYPTED_INPUT, culprit=name
        )


class HomomorphicBackend(Backend):
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

    def holders(self, policy: Policy) -> int:
        """One, unless the backend can split its key."""
        return 1

    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """Commit, agree, reveal, open."""
        return (
            Phase(ADVERTISE, PhaseKind.ADVERTISE),
            Phase(CONSISTENCY, PhaseKind.AGREE),
            Phase(ENCRYPTED_INPUT, PhaseKind.INPUT),
            Phase(DECRYPT, PhaseKind.OPEN),
        )

    def check_setup(self, config: RoundConfig, setup: bytes | memoryview, operators: Roster) -> None:
        """The certificate has to be the configured one, of all key holders and only them, for a key without its secret.

        Args:
            operators: who may be a key holder: the pinned ones but for the aggregator.
        """
        if setup_digest(setup) != config.setup:
            raise PolicyViolation("the encryption key is not the configured one", phase=ADVERTISE)
        certificate = read_certificate(config, setup, operators)
        if len(certificate.names) != self.holders(config.policy):
            raise BadKey(
                f"{len(certificate.names)} key holders vouch for the key, the policy has {self.holders(config.policy)}",
                phase=ADVERTISE,
            )
        self.check_holders(self.scheme(config, certificate.public), certificate.names)

    def check_holders(self, scheme: Scheme, names: tuple[str, ...]) -> None:
        """Check that a key is held by those who vouch for it, where the key says by whom.

        Raises:
            BadKey: it says others.
        """

    def check_advertisement(self, name: str, part: bytes) -> None:
        """There is no public part."""
        no_part(name, part)

    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """Encrypts under the certified key."""
        return HomomorphicClient(self.scheme(config, read_checked(setup).public), derive("encryption"), once)

    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """Adds up under the certified key."""
        certificate = read_checked(setup)
        return HomomorphicAggregator(self.scheme(config, certificate.public), certificate)


def read_checked(setup: bytes) -> KeyCertificate:
    """A setup that ``check_setup`` has passed."""
    return decode(KeyCertificate, setup, len(setup), phase=ADVERTISE)
