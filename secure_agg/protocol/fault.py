"""A proof of fault: what shows anybody that one party broke the protocol. Data only: the check is the auditor's."""

from __future__ import annotations

from typing import Final

from secure_agg import formats
from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import MalformedMessage, VerificationError
from secure_agg.protocol.messages import Wire, decode, encode

TWO_ADVERTISEMENTS: Final = "two-advertisements"
"""A client signed two different advertisements for one configuration: the exhibits, as they were sent."""
BAD_NORM_PROOF: Final = "bad-norm-proof"
"""A client signed an input whose norm proof proves nothing: the exhibits are that message without its bulk, and the
round's advertisements, an ``AdvertisementList`` without a backend's part.
"""
TWO_EPOCHS: Final = "two-epochs"
"""Somebody authorised two different successors of one epoch: the exhibits are two ``Authorised``. It is about no round,
so there is no configuration.
"""
MAX_FAULT: Final = 1 << 34
"""Most bytes of a proof: it may hold a share of the largest model."""
_TAG: Final = "secure-agg/fault/1"


@checked_class
class FaultProof(Wire, frozen=True, kw_only=True, tag=_TAG):
    """What one party has done wrong in one round, or between two, in its own signed words.

    Attributes:
        kind: of the fault; says what the exhibits are.
        culprit: id of the party.
        public: its identity key, which a verifier compares with its own pins.
        config: the round's, encoded; empty for what is about no round.
        setup: of the round, where the backend has one.
        exhibits: what shows it.
    """

    kind: str
    culprit: str
    public: bytes
    config: bytes
    setup: bytes
    exhibits: tuple[bytes, ...]

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        return f"FaultProof({self.kind!r}, culprit={self.culprit!r}, exhibits={len(self.exhibits)})"

    def to_bytes(self) -> bytes:
        """The one encoding; it begins with the format's name."""
        return encode(self)

    @staticmethod
    def is_one(data: bytes) -> bool:
        """Whether a file claims to be a proof of fault."""
        return _TAG.encode() in data[: len(_TAG) + 8]

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> FaultProof:
        """Decode strictly; check nothing else.

        Raises:
            VerificationError: not a canonical proof of this version.
        """
        try:
            return decode(FaultProof, data, MAX_FAULT)
        except MalformedMessage as error:
            other = formats.instead(data, formats.FAULT)
            raise VerificationError(f"this is no proof of fault: {error}{other}") from error
