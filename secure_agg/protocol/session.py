"""A round once it is fixed who takes part: the session of those who advertised, and the participants of its sum."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from secure_agg.errors import LocalProtocolError, MalformedMessage
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.buffer import Bases
from secure_agg.protocol.messages import ADVERTISE, Advertisement, Opening, SignedAdvertisement
from secure_agg.protocol.sparse.roll import Neighbourhood
from zk.commitment import Commitment
from zk.norm.commitment import SketchCommitment
from zk.transcript import DIGEST_BYTES

_T = TypeVar("_T")


@dataclass(frozen=True)
class Session:
    """A round once its participants are fixed.

    Attributes:
        config: the round's.
        sid: 32 bytes that everything from now on is bound to.
        members: U, the ids of those who advertised, in id order.
        keys: their identity keys.
        commitment_hashes: their D_i.
        parts: the backend's part of each advertisement.
        advertisements: as they were signed.
        signers: the operators who sign the set, where they and not the members do.
        bases: of a buffered round, see ``protocol.config.buffer``.
        near: where clients choose their peers: the positions of all members, and what the session follows from. Of
            whom they do not see they then have no commitment hash, part or advertisement.
    """

    config: RoundConfig
    sid: bytes
    members: tuple[str, ...]
    keys: Mapping[str, bytes]
    commitment_hashes: dict[str, bytes]
    parts: dict[str, bytes]
    advertisements: dict[str, SignedAdvertisement]
    signers: Mapping[str, bytes]
    bases: Bases = ()
    near: Neighbourhood | None = None
    _found: dict[tuple[str, Hashable], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def quorum(self) -> int:
        """t_sig: the same in every attempt and view of the round."""
        return self.config.policy.quorum(self.config.cohort_size)

    @property
    def neighbourhood(self) -> Neighbourhood:
        """``near`` where it is there.

        Raises:
            LocalProtocolError: everybody sees everything in this session.
        """
        if self.near is None:
            raise LocalProtocolError("everybody sees everything in this session", phase=ADVERTISE)
        return self.near

    def advertised(self, item: SignedAdvertisement) -> Advertisement:
        """Check and decode what a member has advertised.

        Raises:
            BadSignature, MalformedMessage: as they say; they name the client.
        """
        name = item.name
        body = item.verify(self.config.context, self.keys[name])
        if len(body.commitment_hash) != DIGEST_BYTES:
            raise MalformedMessage("a commitment hash is no digest", phase=ADVERTISE, culprit=name)
        return body

    def add(self, name: str, item: SignedAdvertisement, body: Advertisement) -> None:
        """Know what a member has advertised, which has been checked to be in the session."""
        self.advertisements[name] = item
        self.commitment_hashes[name] = body.commitment_hash
        self.parts[name] = body.backend

    def once(self, what: str, of: Hashable, work: Callable[[], _T]) -> _T:
        """What ``work()`` returns, which is called once in this session's life: whoever holds the same session holds
        what was found. Nothing is kept of work that has raised.

        Args:
            what: names the work.
            of: all that it depends on besides the session.
        """
        known = what, of
        if known not in self._found:
            self._found[known] = work()
        found: _T = self._found[known]
        return found


@dataclass(frozen=True)
class Participants:
    """Who is summed in a round, as its members signed it.

    Attributes:
        session: the round once its advertisers were fixed.
        openings: of S, in id order.
        commitments: what they open to.
        root: of the statement that the quorum signed.
        sketches: C'_i of S, where a norm is bounded.
    """

    session: Session
    openings: tuple[Opening, ...]
    commitments: tuple[Commitment, ...]
    root: bytes
    sketches: tuple[SketchCommitment, ...] = ()
