"""What a key holder is asked when a sum is to be opened, and what it says of that."""

from __future__ import annotations

from typing import Final

import msgspec

from secure_agg.errors import MalformedMessage
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence.lists import (
    LEAST_MEMBER,
    CohortMember,
    is_later,
    read_advertisements,
    read_openings,
    read_signatures,
)
from secure_agg.protocol.messages import (
    MAX_CONFIG,
    Opening,
    Signature,
    SignedAdvertisement,
    Wire,
    decode,
    decode_list,
)

DECRYPT: Final = "decrypt"
"""The phase in which key holders open a sum."""


class OpeningRequest(Wire, frozen=True, kw_only=True):
    """An OPEN phase's request to a key holder: all that is public about the round so far. Bulk: the hidden sum.

    Attributes:
        config, cohort, advertisements, openings, agreement: as in the evidence.
        backend: the backend's part.
    """

    config: bytes
    cohort: tuple[CohortMember, ...]
    advertisements: tuple[SignedAdvertisement, ...]
    openings: tuple[Opening, ...]
    agreement: tuple[Signature, ...]
    backend: bytes

    @staticmethod
    def read(data: bytes) -> tuple[OpeningRequest, RoundConfig]:
        """Decode strictly, with the lists as long as the configuration allows.

        Raises:
            MalformedMessage: not such a request.
        """
        later = is_later(data, _OpeningLists)
        found = decode(_RenouncedLists if later else _OpeningLists, data, len(data))
        config = decode(RoundConfig, found.config, MAX_CONFIG)
        if later != bool(config.generation):
            raise MalformedMessage("a certificate of renunciation goes with a later generation")
        request = OpeningRequest(
            config=found.config,
            cohort=decode_list(CohortMember, found.cohort, config.cohort_size, LEAST_MEMBER),
            advertisements=read_advertisements(found.advertisements, config),
            openings=read_openings(found.openings, config),
            agreement=read_signatures(found.agreement, config),
            backend=found.backend,
        )
        if isinstance(found, _RenouncedLists):
            request = request.with_renounced(found.renounced)
        return request, config

    def with_renounced(self, renounced: bytes) -> RenouncedOpeningRequest:
        """This request in a later generation."""
        fields = {name: getattr(self, name) for name in OpeningRequest.__struct_fields__}
        return RenouncedOpeningRequest(**fields, renounced=renounced)


class RenouncedOpeningRequest(OpeningRequest, frozen=True, kw_only=True):
    """The same in a later generation.

    Attributes:
        renounced: the certificate that has ended the one before.
    """

    renounced: bytes


class _OpeningLists(Wire, frozen=True, kw_only=True):
    """``OpeningRequest``, whose lists stay as they are encoded until it is known how long they may be."""

    config: bytes
    cohort: msgspec.Raw
    advertisements: msgspec.Raw
    openings: msgspec.Raw
    agreement: msgspec.Raw
    backend: bytes


class _RenouncedLists(_OpeningLists, frozen=True, kw_only=True):
    """Likewise of a later generation."""

    renounced: bytes


class Opened(Wire, frozen=True):
    """Phase decrypt, response of a holder of the whole key: whether the sum passed the check. Bulk: X ‖ T if so."""

    passed: bool
