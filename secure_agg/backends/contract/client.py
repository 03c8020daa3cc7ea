"""A backend's part of one client in one attempt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from mpc.ring import Vector
from secure_agg.errors import LocalProtocolError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.session import Session
from zk.commitment import Commitment

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


def _no_letters() -> Iterable[Letter]:
    return ()


class Joining(NamedTuple):
    """What a client takes part with.

    Attributes:
        nonce: under which its commitment is hashed, and later opened. A backend whose hidden form must be fixed as
            early as the commitment derives it from the role's nonce and that form.
        part: the public part of the advertisement.
        hashed: D_i, where it is made otherwise than by ``commitment_hash``; else empty.
        letters: makes what goes to operators with the advertisement; the role signs each. Called once at most.
    """

    nonce: bytes
    part: bytes = b""
    hashed: bytes = b""
    letters: Callable[[], Iterable[Letter]] = _no_letters


class ClientSide(ABC):
    """A backend's part of one client. All its randomness comes from the ``derive`` that it was made with.

    Attributes:
        keeps: phases whose requests the role keeps, durably, for ``accuse``.
        faults: what this client has seen proved of others: the role refuses them in the task's later rounds.

    A client in a new process is taken through the requests that it has answered before: all but what follows the agreed
    set is then called as it was, and what it returns is not used.
    """

    keeps: tuple[str, ...] = ()
    faults: Sequence[FaultProof] = ()

    def start_from(self, base: bytes) -> None:
        """Before ``join``, in a buffered round: which of its bases the vector is a difference from.

        Args:
            base: digest of the model.
        """
        raise LocalProtocolError(f"{type(self).__name__} has no buffered rounds")

    @abstractmethod
    def join(self, commitment: Commitment, nonce: bytes, vector: Vector) -> Joining:
        """Take part with a vector, before anything is sent.

        Args:
            commitment: to ``vector``.
            nonce: 32 secret bytes.
        """

    def begin(self, session: Session) -> None:  # noqa: B027 - most have nothing that depends on it
        """The participants are fixed. Called once, before any later phase; all advertisements have been checked.

        Raises:
            RemoteProtocolError: this client won't go on with these participants.
        """

    def answer(self, phase: str, request: bytes) -> bytes:
        """Answer an EXCHANGE phase, without work that grows with the model before INPUT; or a RELEASE phase: give out
        what opens the sum over the agreed set. Before that the quorum has been checked, and it is called once.
        """
        raise LocalProtocolError(f"{type(self).__name__} has no phase {phase!r}", phase=phase)

    def hide(self, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
        """INPUT: check the request and take in what it brings.

        This is in two steps, apart from ``answer``. A request can be refused, and is taken in again by a client that
        was restarted; the vector is then not even computed, if its hidden form was sent before.

        Returns:
            What hides the vector, which it may overwrite: it gives the backend's part of the message, and the hidden
            vector as it is sent. Called at most once, and not where the input was sent before.
        """
        raise LocalProtocolError(f"{type(self).__name__} has sent all it has when it joined")

    def sent(self, commitment: bytes, digest: bytes, sketch: bytes) -> None:  # noqa: B027 - most don't look back
        """The input has been sent.

        Args:
            commitment: that went with it, encoded.
            digest: SHA-256 of the hidden vector.
            sketch: where a norm is bounded, what C'_i and its proof are known by: see ``sketch_digest``.
        """

    def excise(self, phase: str, request: bytes) -> tuple[tuple[str, ...], bytes]:
        """EXCISE: check what is proved of whom. The quorum for the set so far has been checked.

        Returns:
            Those who stay in the set, and what takes the others out of the sum.

        Raises:
            RemoteProtocolError: it is not proved.
            TooFewClients: what is left is too few to be summed.
        """
        raise LocalProtocolError(f"{type(self).__name__} takes nobody out of a sum", phase=phase)

    def accuse(
        self,
        cohort: Mapping[str, bytes],
        operator: str,
        public: bytes,
        kept: Mapping[str, bytes],
        phase: str,
        request: bytes,
    ) -> Iterable[FaultProof]:
        """What a request that was refused may prove of the aggregator that has signed it. The role checks each.

        Args:
            cohort: identity keys of all who could have taken part.
            public: the aggregator's.
            kept: requests of ``keeps`` that were answered, as they were received, by phase.
            request: as it was received.
        """
        return ()

    def agree(self, survivors: tuple[str, ...]) -> None:  # noqa: B027 - most have nothing against any set
        """AGREE: object to this set by raising, before the role signs it."""
