"""The lists in evidence and in requests about it, decoded once it is known how long they may be."""

from __future__ import annotations

from typing import Final

import msgspec

from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import (
    Opening,
    Signature,
    SignedAdvertisement,
    Wire,
    decode_list,
)
from secure_agg.protocol.norm.wire import opening_kind

MAX_OPERATORS: Final = 256
"""Most operators that sign a set."""

# Bytes that entries of the lists have, at least: names have one character, keys and digests 32 bytes, signatures 64.
LEAST_MEMBER: Final = 37
_LEAST_ADVERTISEMENT: Final = 71
_LEAST_OPENING: Final = 39
_LEAST_SIGNATURE: Final = 69


class CohortMember(Wire, frozen=True, gc=False):
    """A member of G with its identity key."""

    name: str
    public: bytes


def is_later(data: memoryview | bytes, first: type[msgspec.Struct]) -> bool:
    """Whether an array has one field more than those of a first generation have."""
    return bytes(data[:1]) == bytes([0x90 + len(first.__struct_fields__) + 1])


def read_advertisements(data: msgspec.Raw, config: RoundConfig) -> tuple[SignedAdvertisement, ...]:
    """Those of U.

    Raises:
        MalformedMessage: another list, or longer than the configuration allows.
    """
    return decode_list(SignedAdvertisement, data, config.cohort_size, _LEAST_ADVERTISEMENT)


def read_openings(data: msgspec.Raw, config: RoundConfig) -> tuple[Opening, ...]:
    """Those of the participants, of the form that the configuration asks for; likewise."""
    return decode_list(opening_kind(config), data, config.cohort_size, _LEAST_OPENING)


def read_signatures(data: msgspec.Raw, config: RoundConfig) -> tuple[Signature, ...]:
    """Of members, or operators, under a set or a result; likewise."""
    return decode_list(Signature, data, max(config.cohort_size, MAX_OPERATORS), _LEAST_SIGNATURE)


def raw_list(entries: tuple[Wire, ...]) -> msgspec.Raw:
    """A list as a field that is decoded later."""
    return msgspec.Raw(msgspec.msgpack.encode(entries))
