"""The backend contract: what a way of hiding declares and does, so that the roles know nothing of it.

A backend declares its *phases*; the roles walk through them. Each phase is one request from the aggregator
to every client that is still there and one response from each. What a phase is *for* decides who handles it:

* ``ADVERTISE``: the role sends the hash D_i of its commitment with the backend's public part; sid follows from
  all of them.
* ``EXCHANGE``: the backend's own business: keys, shares.
* ``INPUT``: the backend hides the vector; the role opens D_i with it.
* ``AGREE``: the role fixes and signs the set S, by the backend's ``agreement``; the backend may object.
* ``RELEASE``: the clients give out what opens the sum.
* ``OPEN``: key holders open the sum; the clients have no part in it.

Once a client has signed a set, every later request carries the quorum's signatures, and the role checks them and
answers once, durably, before the backend sees the request.

The roles own identities, signatures, commitments, nonces, durability and evidence. The backend never sees a
commitment; what it hides is a vector of integers modulo p, and what it returns is the exact sum of those of
S.

Every ``receive_*`` raises before it changes anything.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mpc.framing import integer
from mpc.ring import ELEMENT_BYTES, Vector, from_bytes
from secure_agg.agreement import Agreement, Participants, Session
from secure_agg.config import Policy, RoundConfig
from secure_agg.errors import BadInput, ConfigError, MalformedMessage
from secure_agg.identity import Roster
from secure_agg.ledger import merkle
from secure_agg.messages import ADVERTISE, SignedAdvertisement, encode
from zk.transcript import digest

__all__ = [
    "AggregatorSide",
    "Answer",
    "Backend",
    "ClientSide",
    "Hidden",
    "Opener",
    "Phase",
    "PhaseKind",
    "Session",
    "TrustStatement",
    "hidden_vector",
]


class PhaseKind(enum.Enum):
    """What a phase is for, and so who handles it."""

    ADVERTISE = "advertise"
    EXCHANGE = "exchange"
    INPUT = "input"
    AGREE = "agree"
    RELEASE = "release"
    OPEN = "open"


@dataclass(frozen=True)
class Phase:
    """One request and response between the aggregator and each client."""

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


def hidden_vector(hidden: memoryview, *, phase: str, culprit: str) -> Vector:
    """A vector of Z_p that was sent as it is.

    Raises:
        BadInput: an element is not canonical.
    """
    try:
        return from_bytes(hidden)
    except ValueError as error:
        raise BadInput(str(error), phase=phase, culprit=culprit) from error


class ClientSide(ABC):
    """A backend's part of one client in one attempt. All its randomness comes from ``derive``."""

    def bind(self, nonce: bytes, vector: Vector) -> bytes:
        """The nonce under which the commitment of ``vector`` is hashed, before anything is sent.

        A backend whose hidden form must be fixed as early as the commitment derives it from ``nonce`` and that form.
        """
        return nonce

    @abstractmethod
    def advertise(self) -> bytes:
        """The public part of the advertisement."""

    @abstractmethod
    def begin(self, session: Session) -> None:
        """The participants are fixed. Called once, before any other phase; all advertisements have been
        checked.

        Raises:
            RemoteProtocolError: this client won't go on with these participants.
        """

    def exchange(self, phase: str, request: bytes) -> bytes:
        """Answer an EXCHANGE phase."""
        raise ConfigError(f"backend {type(self).__name__} has no exchange in phase {phase!r}")

    @abstractmethod
    def hide(self, request: bytes, vector: Vector) -> tuple[bytes, Hidden]:
        """INPUT: hide ``vector``, which may be overwritten.

        Returns:
            The backend's part of the message, and the hidden vector as it is sent.
        """

    @abstractmethod
    def agree(self, survivors: tuple[str, ...]) -> None:
        """AGREE: object to this set by raising, before the role signs it."""

    def release(self, phase: str, request: bytes) -> bytes:
        """RELEASE: give out what opens the sum over the agreed set. The quorum has been checked; called
        once.
        """
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
        """Take a response of an EXCHANGE phase. It is signed to everybody, so it may be relayed with its
        signature.
        """
        raise ConfigError(f"backend {type(self).__name__} has no exchange in phase {phase!r}")

    @abstractmethod
    def receive_input(self, name: str, part: bytes, hidden: memoryview, nonce: bytes) -> None:
        """Take a hidden vector into the sum; its size is within the backend's limits.

        Args:
            nonce: the one that opened the commitment hash; see ``ClientSide.bind``.
        """

    @abstractmethod
    def agree(self, survivors: tuple[str, ...]) -> None:
        """The set S has been fixed."""

    def receive_release(self, phase: str, name: str, body: bytes) -> None:
        """Take a response of a RELEASE phase."""
        raise ConfigError(f"backend {type(self).__name__} releases nothing in phase {phase!r}")

    def openers(self) -> tuple[str, ...]:
        """The operators that an OPEN phase asks, in id order."""
        return ()

    @property
    def vouched_by(self) -> str | None:
        """The operator who signed that the sum passed the check, if any did."""
        return None

    def opening(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        """OPEN: the backend's part of the request to one operator, and the hidden sum."""
        raise ConfigError(f"backend {type(self).__name__} opens nothing in phase {phase!r}")

    def receive_opening(self, phase: str, name: str, body: bytes, bulk: memoryview) -> None:
        """Take an operator's response of an OPEN phase."""
        raise ConfigError(f"backend {type(self).__name__} opens nothing in phase {phase!r}")

    @abstractmethod
    def total(self) -> Vector:
        """The exact sum of the vectors of S, modulo p.

        Raises:
            RoundAborted: what was released does not suffice.
        """


class Backend(ABC):
    """A way of hiding. One instance serves any number of rounds; it holds no state of any.

    Attributes:
        name: under which it is registered, and chosen.
        trust: who must be trusted with what.
        agreement: which set is summed, and who signs it.
    """

    name: ClassVar[str]
    trust: ClassVar[TrustStatement]
    agreement: ClassVar[Agreement] = Agreement()

    def check_policy(self, policy: Policy) -> None:
        """Refuse settings that this backend can't serve.

        Raises:
            ConfigError: an unknown option, or a setting out of range.
        """
        if policy.options:
            raise ConfigError(f"backend {self.name!r} has no option {policy.options[0].name!r}")

    @abstractmethod
    def phases(self, config: RoundConfig) -> tuple[Phase, ...]:
        """The phases of a round, in order. The first is of kind ADVERTISE."""

    def commitment_hash(self, config: RoundConfig, name: str, commitment: bytes, nonce: bytes) -> bytes:
        """D_i: what a client signs before anything is fixed."""
        attempt = (integer(config.round), integer(config.attempt))
        return digest("commitment-hash", config.task.encode(), *attempt, name.encode(), commitment, nonce)

    def session_id(self, config: RoundConfig, advertisements: Sequence[SignedAdvertisement]) -> bytes:
        """sid = H(ctx, root of all signed advertisements, in id order)."""
        root = merkle.root([encode(advertisement) for advertisement in advertisements])
        return digest("session", config.context, integer(len(advertisements)), root)

    def hidden_sizes(self, config: RoundConfig) -> range:
        """Sizes in bytes that a hidden vector can have: by default that of the vector itself."""
        size = config.layout.total * ELEMENT_BYTES
        return range(size, size + 1)

    def holders(self, policy: Policy) -> int:
        """Number of key holders that open a sum; most backends have none, and so no key to set up."""
        return 0

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

    @abstractmethod
    def check_advertisement(self, name: str, part: bytes) -> None:
        """Refuse a public part that no honest client sends.

        Raises:
            RemoteProtocolError: names the sender.
        """

    @abstractmethod
    def client(self, config: RoundConfig, name: str, derive: Callable[[str], bytes], setup: bytes) -> ClientSide:
        """This backend's part of a client. ``derive(label)`` gives 32 secret bytes, the same after a
        restart.
        """

    @abstractmethod
    def aggregator(self, config: RoundConfig, setup: bytes) -> AggregatorSide:
        """This backend's part of the aggregator."""
