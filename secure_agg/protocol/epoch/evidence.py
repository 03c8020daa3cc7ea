"""What makes an epoch: who has authorised it, who has closed the one before, and that new keys are their owners'."""

from __future__ import annotations

import functools
import hashlib
from typing import Final

from mpc.framing import frame
from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import MalformedMessage, VerificationError
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.epoch.body import MAX_BODY, EpochBody
from secure_agg.protocol.messages import Signature, Wire, decode, encode
from zk.transcript import digest

MAX_EVIDENCE: Final = 4 * MAX_BODY
"""Most bytes of an epoch's evidence: the body, and signatures of everybody in it."""
_TAG: Final = "secure-agg/epoch/1"


def authorise_bytes(task: str, previous_epoch: bytes, body: bytes) -> bytes:
    """What whoever has the authority signs, once for every (task, epoch): ``body`` is H(body)."""
    return frame("epoch-authorise", task.encode(), previous_epoch, body)


def accept_bytes(task: str, body: bytes, name: str, public: bytes) -> bytes:
    """What a new or rotated key signs: it knows the epoch, and is its owner's."""
    return frame("epoch-accept", task.encode(), body, name.encode(), public)


class Authorised(Wire, frozen=True):
    """One signature that authorises an epoch, with what it is over: an exhibit of a proof of fault.

    Attributes:
        task, previous_epoch: which epoch.
        body: H(body).
        signature: 64 bytes.
    """

    task: str
    previous_epoch: bytes
    body: bytes
    signature: bytes

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is over."""
        return authorise_bytes(self.task, self.previous_epoch, self.body)


@functools.lru_cache(maxsize=4)
def _body(data: bytes) -> EpochBody:
    """A body, decoded once for all who ask: it may name thousands of keys, each of which is checked."""
    return EpochBody.from_bytes(data)


@checked_class
class EpochEvidence(Wire, frozen=True, kw_only=True, tag=_TAG):
    """All that an epoch is checked by, apart from the epoch before; and a proposal, while signatures are missing.

    Attributes:
        body: the epoch, encoded.
        authorisations: of owners or administrators of the epoch before, in id order.
        acceptances: of new and rotated keys, in id order.
        closure: the certificate by which the members of the epoch before have closed it, see
            ``protocol.renunciation``; empty where cohorts were drawn, since nobody can close for all.
    """

    body: bytes
    authorisations: tuple[Signature, ...] = ()
    acceptances: tuple[Signature, ...] = ()
    closure: bytes = b""

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        return (
            f"EpochEvidence({len(self.body)} bytes of body, {len(self.authorisations)} authorisations, "
            f"{len(self.acceptances)} acceptances, {'closed' if self.closure else 'not closed'})"
        )

    def to_bytes(self) -> bytes:
        """The one encoding; it begins with the format's name."""
        return encode(self)

    @staticmethod
    def is_one(data: bytes | memoryview) -> bool:
        """Whether a file claims to be an epoch, or the proposal of one."""
        return _TAG.encode() in bytes(data[: len(_TAG) + 8])

    @staticmethod
    def from_bytes(data: bytes | memoryview, most_body: int = MAX_BODY) -> EpochEvidence:
        """Decode strictly; check nothing else but that the body is one.

        Args:
            most_body: bytes that it may have, known before any key in it is looked at. The whole may have four times as
                many.

        Raises:
            VerificationError: not canonical, or longer.
        """
        try:
            found = decode(EpochEvidence, data, 4 * most_body)
            if len(found.body) > most_body:
                raise MalformedMessage(f"a body of {len(found.body)} bytes, above {most_body}")
            _body(found.body)
        except MalformedMessage as error:
            raise VerificationError(f"this is no epoch: {error}") from error
        return found

    @property
    def says(self) -> EpochBody:
        """The body, decoded."""
        return _body(self.body)

    @property
    def closed_by(self) -> bytes:
        """Digest of the certificate in it; zeros where there is none."""
        return digest("renunciation", self.closure) if self.closure else NO_DIGEST

    def digest(self) -> bytes:
        """SHA-256 of the encoding: its name where evidence is kept."""
        return hashlib.sha256(self.to_bytes()).digest()
