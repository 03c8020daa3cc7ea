"""A backend's part of the aggregator in one attempt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mpc.ring import ELEMENT_BYTES, Vector, from_bytes
from secure_agg.backends.contract.client import Hidden
from secure_agg.errors import BadInput, MalformedMessage
from secure_agg.executing import IN_PROCESS, Executor
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import DECRYPT, Opened
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.messages import Message, Opening, Signature, decode
from secure_agg.protocol.norm.wire import SketchedOpening
from secure_agg.protocol.session import Session


def hidden_vector(hidden: memoryview, *, phase: str, culprit: str) -> Vector:
    """A vector of Z_p that was sent as it is.

    Raises:
        BadInput: an element is not canonical.
    """
    try:
        return from_bytes(hidden)
    except ValueError as error:
        raise BadInput(str(error), phase=phase, culprit=culprit) from error


class Said(NamedTuple):
    """One party's answer in a phase, after the role has checked what is its own.

    Attributes:
        name: whose.
        part: the backend's part of the body: of an advertisement or an input what is beside the commitment, else all.
        message: the whole, whose form, signature and digest of the bulk have been checked. What is said to everybody
            may be relayed with its signature. The bulk is a hidden vector within the backend's sizes, or an operator's.
        nonce: in INPUT the one that opened the commitment hash; see ``Joining``.
        commitment: in INPUT the one that it opened to, encoded.
        sketch: in INPUT, where a norm is bounded, C'_i and the hash of its proof, which the client has signed; both
            have been checked.
    """

    name: str
    part: bytes
    message: Message
    nonce: bytes = b""
    commitment: bytes = b""
    sketch: SketchedOpening | None = None


def opened_sum(config: RoundConfig, said: Said) -> Vector | None:
    """The answer of a key holder who holds a whole key: the sum, or None where it failed its check.

    Raises:
        MalformedMessage, BadInput: it is neither.
    """
    name, bulk = said.name, said.message.bulk
    passed = decode(Opened, said.part, 16, phase=DECRYPT, culprit=name).passed
    size = config.layout.total * ELEMENT_BYTES if passed else 0
    if len(bulk) != size:
        raise MalformedMessage(f"{len(bulk)} bytes of sums, not {size}", phase=DECRYPT, culprit=name)
    return hidden_vector(bulk, phase=DECRYPT, culprit=name).copy() if passed else None


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Outcome:
    """What a round has come to; whether it is right is checked by the role.

    Attributes:
        sums: the exact sum of the vectors of S, modulo p.
        openings: of S, in id order, where operators and not clients have opened the commitments.
        attestation: of a result that is no sum: the operators' signatures, in id order.
        vouched_by: the operator who has signed that the sum passed the check, if any did.
    """

    sums: Vector
    openings: tuple[Opening, ...] = ()
    attestation: tuple[Signature, ...] = ()
    vouched_by: str | None = None


class AggregatorSide(ABC):
    """A backend's part of the aggregator.

    Attributes:
        operators: those who are asked, in id order, as far as they are there: the role takes out who does not answer,
            the backend whom it proves wrong.
        faults: what has been proved of parties so far, for anybody to check; also of a round that comes to nothing.
        executor: that may be asked to do work on long vectors; the role sets it before it says anything.
    """

    operators: tuple[str, ...] = ()
    faults: Sequence[FaultProof] = ()
    executor: Executor = IN_PROCESS

    def begin(self, session: Session) -> None:  # noqa: B027 - most have nothing that depends on it
        """The participants are fixed."""

    def ask(self, phase: str, name: str) -> tuple[bytes, Hidden]:
        """The backend's part of the request to one client, or operator, and the bulk that goes to an operator: in OPEN
        the hidden sum.
        """
        return b"", b""

    @abstractmethod
    def take(self, phase: str, said: Said) -> None:
        """Take one answer. Of votes the role takes all.

        Raises:
            RemoteProtocolError: it is refused, and nothing has changed.
        """

    def wants(self, phase: str) -> bool:
        """Whether there is anything to ask in an optional phase. All before it are closed."""
        return True

    def survivors(self) -> tuple[str, ...] | None:
        """The clients whose inputs are in the sum, in id order; None where that is all whose input was taken. Asked
        again in a phase of kind EXCISE.
        """
        return None

    def agree(self, survivors: tuple[str, ...]) -> None:  # noqa: B027 - most add up what they have
        """The set S has been fixed.

        Raises:
            RoundAborted: its sum could not be opened.
        """

    def summed(self) -> Hidden | None:
        """Once the set is fixed: what stands for all hidden vectors that were taken, to be kept in their place; None
        where each of them may still be needed.
        """
        return None

    def restore(self, summed: bytes) -> None:
        """Go on from what ``summed`` has given; zeros were taken in the place of each vector.

        Raises:
            MalformedMessage: it is no such thing.
        """
        raise MalformedMessage("this backend keeps no sum in the place of vectors")

    def needed(self, phase: str) -> int:
        """Fewest operators that a round can go on with from this phase."""
        return len(self.operators)

    @abstractmethod
    def outcome(self) -> Outcome:
        """What the round has come to.

        Raises:
            RoundAborted: what was released does not suffice.
            VerificationError: it leads to no sum of vectors; the role ends the round, and names nobody.
        """
