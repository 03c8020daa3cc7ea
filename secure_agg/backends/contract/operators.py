"""A backend's part of operators: of share holders, who keep something of a round, and of key holders, who don't."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from mpc.ring import Vector
from secure_agg.backends.contract.client import Hidden
from secure_agg.protocol.messages import Message, Statement
from secure_agg.protocol.session import Participants, Session


class OperatorSide(ABC):
    """A backend's part of one share holder in one attempt. Every method raises before it changes anything."""

    @abstractmethod
    def take(self, name: str, message: Message) -> bytes:
        """Take a client's letter, from a message whose form and signature have been checked.

        Returns:
            The commitment hash D_i that it belongs to.

        Raises:
            RemoteProtocolError: it is not what the client announced. A second one of this client comes to nothing.
        """

    @abstractmethod
    def begin(self, session: Session) -> None:
        """The participants are fixed. Called once, before any phase but the letters."""

    @abstractmethod
    def answer(self, phase: str, request: bytes, bulk: memoryview) -> tuple[bytes, Hidden]:
        """OPERATE: answer. After the set is signed, the quorum has been checked."""

    @abstractmethod
    def agree(self, statement: Statement) -> None:
        """CONSENT: object to this set by raising, before the role signs it."""


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Answer:
    """What an opener has found: a sum that is still to be checked, or a share of the decryption."""

    sums: Vector | None = None
    body: bytes = b""
    bulk: bytes = b""


class Opener(ABC):
    """A secret decryption key, or a member's share of one; its ``repr`` shows nothing of it.

    It checks before it opens, in two steps: in between the key holder binds to this request for good.
    """

    @property
    @abstractmethod
    def public(self) -> bytes:
        """The encryption key, in the backend's encoding: what a certificate is for."""

    @abstractmethod
    def secret_bytes(self) -> bytes:
        """The secret in clear, for ``KeyedBackend.opener``: to be stored encrypted, and nowhere else."""

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
