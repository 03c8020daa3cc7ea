"""The backend contract: what a way of hiding declares and does, so that the roles know nothing of it.

A backend declares its *phases*; the roles walk through them. Each phase is one request from the aggregator
to everybody it asks who is still there, and one response from each. What a phase is *for* decides who handles it.
Clients are asked in

* ``ADVERTISE``: the role sends the hash D_i of its commitment with the backend's public part; sid follows from
  all of them.
* ``EXCHANGE``: the backend's own business: keys, shares.
* ``INPUT``: the backend hides the vector; the role opens D_i with it.
* ``AGREE``: the role fixes and signs the set S, by the backend's ``agreement``; the backend may object.
* ``RELEASE``: the clients give out what opens the sum.

and operators, whom the clients have pinned, in

* ``BEGIN``: they are told which round it is.
* ``OPERATE``: the backend's own business.
* ``CONSENT``: they fix and sign the set S.
* ``OPEN``: key holders, who keep nothing of a round, open the sum from all that is public about it.

Once a client or operator has signed a set, every later request carries the quorum's signatures, and the role checks
them and answers once, durably, before the backend sees the request.

The roles own identities, signatures, commitments, nonces, durability and evidence. The backend never sees a commitment;
what it hides is a vector of integers modulo p, and what it returns is the exact sum of those of S.

Every ``receive_*`` raises before it changes anything.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from mpc.framing import integer
from mpc.keys import KeyPair
from mpc.ring import ELEMENT_BYTES, Vector, from_bytes
from secure_agg.errors import (
    BadCommitment,
    BadInput,
    ConfigError,
    MalformedMessage,
    VerificationError,
)
from secure_agg.protocol.agreement import Agreement, Participants, Session
from secure_agg.protocol.claims import SUM
from secure_agg.protocol.config import Policy, RoundConfig, free_bits
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.habits import Habits
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import ADVERTISE, Message, Opening, Signature, SignedAdvertisement, Statement, encode
from zk import merkle
from zk.commitment import Commitment
from zk.transcript import DIGEST_BYTES, digest

__all__ = [
    "AggregatorSide",
    "Answer",
    "Backend",
    "ClientSide",
    "Hidden",
    "Letter",
    "Once",
    "Opener",
    "OperatorSide",
    "Phase",
    "PhaseKind",
    "Session",
    "TrustStatement",
    "commitment_hash",
    "hidden_vector",
]


class PhaseKind(enum.Enum):
    """What a phase is for, and so who handles it."""

    ADVERTISE = "advertise"
    EXCHANGE = "exchange"
    INPUT = "input"
    AGREE = "agree"
    RELEASE = "release"
    BEGIN = "begin"
    OPERATE = "operate"
    CONSENT = "consent"
    OPEN = "open"

    @property
    def of_operators(self) -> bool:
        """Whether operators are asked, and the clients have no part in it."""
        return self in (PhaseKind.BEGIN, PhaseKind.OPERATE, PhaseKind.CONSENT, PhaseKind.OPEN)


@dataclass(frozen=True)
class Phase:
    """One request and response between the aggregator and each party it asks."""

    name: str
    kind: PhaseKind


@dataclass(frozen=True)
class TrustStatement:
    """Who must be trusted with what: shown by ``secure-agg backends``."""

    summary: str
    trusted: str
    dropouts: str
    post_quantum: str
    limits: str


Hidden = bytes | memoryview
"""A hidden vector as it is sent."""

Once = Callable[[Callable[[], bytes]], bytes]
"""The durable bytes of an attempt: what the first call made, whatever a later one would make, also after a restart."""


class Letter(NamedTuple):
    """What a client sends straight to one operator when it joins: a share, sealed to it."""

    recipient: str
    body: bytes
    bulk: Hidden


def letter_limit(config: RoundConfig) -> int:
    """Most bytes of a letter's bulk: a share of the vector in words of 64 bits, and what seals it."""
    return 8 * config.layout.total + (1 << 10)


def hidden_vector(hidden: memoryview, *, phase: str, culprit: str) -> Vector:
    """A vector of Z_p that was sent as it is.

    Raises:
        BadInput: an element is not canonical.
    """
    try:
        return from_bytes(hidden)
    except ValueError as error:
        raise BadInput(str(error), phase=phase, culprit=culprit) from error


def commitment_hash(config: RoundConfig, name: str, commitment: bytes, nonce: bytes) -> bytes:
    """D_i, where a backend makes it from nothing else: H(task, round, attempt, id, C_i, nonce)."""
    attempt = (integer(config.round), integer(config.attempt))
    return digest("commitment-hash", config.task.encode(), *attempt, name.encode(), commitment, nonce)


class ClientSide(ABC):
    """A backend's part of one client in one attempt. All its randomness comes from ``derive``.

    A client in a new process is taken through the requests that it has answered before: ``begin``, ``exchange``,
    ``hide`` and ``agree`` are then called as they were, and what they return is not used.
    """

    def bind(self, commitment: Commitment, nonce: bytes, vector: Vector) -> bytes:
        """The nonce under which the commitment of ``vector`` is hashed, before anything is sent.

        A backend whose hidden form must be fixed as early as the commitment derives it from ``nonce`` and that form.
        """
        return nonce

    def letters(self) -> Sequence[Letter]:
        """What goes to operators with the advertisement; the role signs each. Called once, after ``advertise``."""
        return ()

    @abstractmethod
    def advertise(self) -> bytes:
        """The public part of the advertisement."""

    @abstractmethod
    def begin(self, session: Session) -> None:
        """The participants are fixed. Called once, before any other phase; all advertisements have been checked.

        Raises:
            RemoteProtocolError: this client won't go on with these participants.
        """

    def exchange(self, phase: str, request: bytes) -> bytes:
        """Answer an EXCHANGE phase, without work that grows with the model."""
        raise ConfigError(f"backend {type(self).__name__} has no exchange in phase {phase!r}")

    @abstractmethod
    def hide(self, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        """INPUT: check the request and take in what it brings.

        Returns:
            What hides the vector, which it may overwrite: it gives the backend's part of the message, and the hidden
            vector as it is sent. Called at most once, and not where the input was sent before.
        """

    @abstractmethod
    def agree(self, survivors: tuple[str, ...]) -> None:
        """AGREE: object to this set by raising, before the role signs it."""

    def release(self, phase: str, request: bytes) -> bytes:
        """RELEASE: give out what opens the sum over the agreed set. The quorum has been checked; called once."""
        raise ConfigError(f"backend {type(self).__name__} releases nothing in phase {phase!r}")


@dataclass(frozen=True)
class Answer:
    """What an opener has found: a sum that is still to be checked, or a share of the decryption."""

    sums: Vector | None = None
    body: bytes = b""
    bulk: bytes = b""


class Opener(ABC):
    """A secret decryption key, or a member's share of one; its ``repr`` shows nothing of it."""

    @property
    @abstractmethod
    def public(self) -> bytes:
        """The encryption key, in the backend's encoding: what a certificate is for."""

    @abstractmethod
    def secret_bytes(self) -> bytes:
        """The secret in clear, for ``Backend.opener``: to be stored encrypted, and nowhere else."""

    @abstractmethod
    def check(self, participants: Participants, request: bytes, hidden: memoryview) -> None:
        """Check the form of what is to be opened, from public data alone.

        Raises:
            RemoteProtocolError: it is malformed, or not what the participants have sent.
        """

    @abstractmethod
    def open(self, participants: Participants, request: bytes, hidden: memoryview) -> Answer:
        """Decrypt what ``check`` has passed.

        Raises:
            RemoteProtocolError: it decrypts to no sum. The caller tells nobody why.
        """


class AggregatorSide(ABC):
    """A backend's part of the aggregator in one attempt."""

    @abstractmethod
    def receive_advertisement(self, name: str, part: bytes) -> None:
        """Check the public part of an advertisement on arrival."""

    @abstractmethod
    def begin(self, session: Session) -> None:
        """The participants are fixed."""

    def request(self, phase: str, name: str) -> bytes:
        """The backend's part of the request to one client."""
        return b""

    def receive_exchange(self, phase: str, name: str, body: bytes, signature: bytes) -> None:
        """Take a response of an EXCHANGE phase. It is signed to everybody, so it may be relayed with its signature."""
        raise ConfigError(f"backend {type(self).__name__} has no exchange in phase {phase!r}")

    @abstractmethod
    def receive_input(self, name: str, part: bytes, message: Message, nonce: bytes) -> None:
        """Take a hidden vector into the sum; its size is within the backend's limits.

        Args:
            part: the backend's part of the message's body.
            message: the one it came in. The vector is the bulk, whose digest has been checked.
            nonce: the one that opened the commitment hash; see ``ClientSide.bind``.
        """

    @abstractmethod
    def agree(self, survivors: tuple[str, ...]) -> None:
        """The set S has been fixed."""

    def receive_release(self, phase: str, name: str, body: bytes) -> None:
        """Take a response of a RELEASE phase."""
        raise ConfigError(f"backend {type(self).__name__} releases nothing in phase {phase!r}")

    def operators(self) -> tuple[str, ...]:
        """The operators that are asked, in id order: those who have answered so far."""
        return ()

    def can_lose(self, phase: str, names: frozenset[str]) -> bool:
        """Whether the round can go on without these operators; most backends need all of theirs."""
        return False

    def lose(self, phase: str, names: frozenset[str]) -> None:  # noqa: B027 - ``total`` then shows whether it can be
        """Go on without operators that have not answered in a phase.

        Raises:
            OperatorLost: the round can't go on without them.
        """

    @property
    def vouched_by(self) -> str | None:
        """The operator who signed that the sum passed the check, if any did."""
        return None

    def operation(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        """OPERATE, OPEN: the backend's part of the request to one operator, and its bulk: the hidden sum in OPEN."""
        raise ConfigError(f"backend {type(self).__name__} asks no operators in phase {phase!r}")

    def receive_operation(self, phase: str, name: str, message: Message) -> None:
        """Take an operator's response of an OPERATE or OPEN phase, whose form and signature have been checked."""
        raise ConfigError(f"backend {type(self).__name__} asks no operators in phase {phase!r}")

    def survivors(self) -> tuple[str, ...]:
        """CONSENT: the clients whose inputs all operators hold, in id order."""
        raise ConfigError(f"backend {type(self).__name__} has its clients agree")

    def openings(self) -> tuple[Opening, ...]:
        """Of S, in id order, where operators and not clients have opened the commitments."""
        return ()

    def attestation(self) -> tuple[Signature, ...]:
        """Of a result that is no sum: the operators' signatures, in id order."""
        return ()

    @property
    def faults(self) -> tuple[FaultProof, ...]:
        """What has been proved of parties so far, for anybody to check."""
        return ()

    @abstractmethod
    def total(self) -> Vector:
        """The exact sum of the vectors of S, modulo p.

        Raises:
            RoundAborted: what was released does not suffice.
            VerificationError: what it leads to is no sum of vectors; the role ends the round, and names nobody.
        """


class OperatorSide(ABC):
    """A backend's part of one operator that keeps shares during a round. Every method raises before it changes
    anything.
    """

    @abstractmethod
    def receive_letter(self, name: str, message: Message) -> bytes:
        """Take a client's share, from a message whose form and signature have been checked.

        Returns:
            The commitment hash D_i that it belongs to.

        Raises:
            RemoteProtocolError: it is not what the client announced. A second one of this client comes to nothing.
        """

    @abstractmethod
    def begin(self, session: Session) -> None:
        """The participants are fixed. Called once, before any phase but the letters."""

    @abstractmethod
    def operate(self, phase: str, request: bytes, bulk: memoryview) -> tuple[bytes, Hidden]:
        """OPERATE: answer. After the set is signed, the quorum has been checked."""

    @abstractmethod
    def consent(self, statement: Statement) -> None:
        """CONSENT: object to this set by raising, before the role signs it."""


class Backend(Habits):
    """A way of hiding. One instance serves any number of rounds; it holds no state of any.

    Attributes:
        name: under which it is registered, and chosen.
        trust: who must be trusted with what.
        agreement: which set is summed, and who signs it.
        operated: operators keep the clients' shares and sign the set. The setup says who they are, and so it belongs
            to the evidence. Clients speak once: what they send when they join is all, and binds them.
        together: these operators have to be in one process, since they compute together.
        hides: nobody but its owner reads an update.
        lasting: an update stays secret from a quantum computer that reads today's traffic later.
        judges: it computes what a plain sum can't: norm bounds, trimmed means, medians.
    """

    name: ClassVar[str]
    trust: ClassVar[TrustStatement]
    agreement: ClassVar[Agreement] = Agreement()
    operated: ClassVar[bool] = False
    together: ClassVar[bool] = False
    hides: ClassVar[bool] = True
    lasting: ClassVar[bool] = False
    judges: ClassVar[bool] = False

    def check_policy(self, policy: Policy) -> None:
        """Refuse settings that this backend can't serve.

        Raises:
            ConfigError: an unknown option, or a setting out of range.
        """
        if policy.options:
            raise ConfigError(f"backend {self.name!r} has no option {policy.options[0].name!r}")

    def usual_bits(self, clients: int) -> int:
        """Bits per value for sums over so many clients where a policy's maker names none: as many as make nothing
        larger. Where a coordinate takes its 4 bytes anyway that is what a commitment binds.
        """
        return free_bits(clients)

    def largest(self, policy: Policy) -> int:
        """The most that a coordinate of one client's vector is, where it has been let into the sum."""
        return policy.top

    @abstractmethod
    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """The phases of a round, in order. The first is of kind ADVERTISE."""

    def claim(self, policy: Policy) -> str:
        """What a round's record claims of its result: that it is the committed sum, or no more than that the operators
        have signed it.
        """
        return SUM

    def addends(self, policy: Policy, participants: int) -> int:
        """Of how many values each coordinate of the result is the sum: all participants', where it is their sum."""
        return participants

    def commitment_hash(self, config: RoundConfig, name: str, commitment: bytes, nonce: bytes) -> bytes:
        """D_i: what a client signs before anything is fixed."""
        return commitment_hash(config, name, commitment, nonce)

    def open_commitment(self, session: Session, name: str, commitment: bytes, nonce: bytes) -> Commitment:
        """Decode a revealed commitment and check that it is the one whose hash its owner signed.

        Raises:
            BadCommitment: not canonical, or not what was hashed.
        """
        try:
            opened = Commitment.from_bytes(commitment, session.config.commitment.rank)
        except ValueError as error:
            raise BadCommitment(f"{error}", culprit=name) from error
        hashed = self.commitment_hash(session.config, name, commitment, nonce)
        if len(nonce) != DIGEST_BYTES or hashed != session.commitment_hashes[name]:
            raise BadCommitment("a commitment does not open the hash signed for it", culprit=name)
        return opened

    def session_id(self, config: RoundConfig, advertisements: Sequence[SignedAdvertisement]) -> bytes:
        """sid = H(ctx, root of all signed advertisements, in id order)."""
        root = merkle.root([encode(advertisement) for advertisement in advertisements])
        return digest("session", config.context, integer(len(advertisements)), root)

    def hidden_sizes(self, config: RoundConfig) -> range:
        """Sizes in bytes that a hidden vector can have: by default that of the vector itself."""
        size = config.layout.total * ELEMENT_BYTES
        return range(size, size + 1)

    def usual_size(self, config: RoundConfig) -> float:
        """Bytes that a hidden vector has on average: by default the most it can have."""
        return float(self.hidden_sizes(config)[-1])

    def amounts(self, config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
        """What a round's costs grow with besides its parameters, clients and hidden vectors, by role and name.

        Args:
            survivors: clients of the cohort who are left to the end.

        Returns:
            For ``client``, ``aggregator`` and ``operator``. What one of each amount takes is measured (see
            ``secure_agg.planning``), so units are the backend's own.

        Raises:
            ConfigError: such a round would be refused.
        """
        return {}

    def holders(self, policy: Policy) -> int:
        """Number of key holders that open a sum; most backends have none, and so no key to set up."""
        return 0

    def aggregators(self, policy: Policy) -> int:
        """Number of aggregators that share a sum among them; most backends have none but the one that coordinates."""
        return 0

    def operators_needed(self, policy: Policy) -> int:
        """Fewest of its key holders and aggregators that a round can begin with; most backends need all of them."""
        return self.holders(policy) + self.aggregators(policy)

    def generate(self, config: RoundConfig, holders: Sequence[str]) -> dict[str, Opener]:
        """A fresh key for rounds like this one: a secret for each of the holders, by name."""
        raise ConfigError(f"backend {self.name!r} has no key holders")

    def opener(self, policy: Policy, data: bytes) -> Opener:
        """Take over what ``Opener.secret_bytes`` made.

        Raises:
            ConfigError: the key is for another policy than this.
            RemoteProtocolError: it is no key of this backend.
        """
        raise ConfigError(f"backend {self.name!r} has no key holders")

    def check_setup(self, config: RoundConfig, setup: bytes | memoryview, operators: Roster) -> None:
        """Check the public material of a round, which the first request carries. Most backends have none.

        Raises:
            RemoteProtocolError: it is not the configured one, or nobody who is pinned vouches for it.
        """
        if config.setup or len(setup):
            raise MalformedMessage(f"backend {self.name!r} takes no setup", phase=ADVERTISE)

    def signers(self, config: RoundConfig, setup: bytes) -> Roster:
        """The operators who sign the set, as the setup names them; most backends' clients sign.

        Raises:
            RemoteProtocolError: the setup is not the configured one.
        """
        return Roster({})

    def operator(
        self, config: RoundConfig, identity: Identity, channel: KeyPair, setup: bytes, cohort: Roster
    ) -> OperatorSide:
        """This backend's part of an operator. ``channel``: the key pair that clients seal its shares to.

        Raises:
            RemoteProtocolError: the setup names another channel key.
        """
        raise ConfigError(f"backend {self.name!r} has no operators that keep shares")

    def check_fault(self, proof: FaultProof, config: RoundConfig) -> None:
        """Check what a proof says of its culprit; kinds that all backends have are checked before.

        Raises:
            VerificationError: it proves nothing.
        """
        raise VerificationError(f"backend {self.name!r} knows no fault of kind {proof.kind!r}")

    @abstractmethod
    def check_advertisement(self, name: str, part: bytes) -> None:
        """Refuse a public part that no honest client sends.

        Raises:
            RemoteProtocolError: names the sender.
        """

    @abstractmethod
    def client(
        self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes, once: Once
    ) -> ClientSide:
        """This backend's part of a client.

        Args:
            derive: gives 32 secret bytes for a label, the same after a restart.
            once: keeps what can't be made again from those: of use in ``bind`` alone, when the commitment is fixed.
        """

    @abstractmethod
    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """This backend's part of the aggregator."""
