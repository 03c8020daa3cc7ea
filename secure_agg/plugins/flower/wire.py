"""How a payload rides in a Flower message, beside the records of the app.

It is raw bytes in a record of its own, as one array, or as three where it is larger than a chunk. Flower cuts an array
into chunks of 5 MiB, each an object that it sends by itself and keeps once, so no message grows with the model. A
result goes to every node between a header and receipts of its own: cut where the result ends, its chunks are the same
objects for all, held once by a SuperLink.
"""

from __future__ import annotations

from typing import Final

from flwr.app import Array, ArrayRecord, RecordDict
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE

from secure_agg.errors import MalformedMessage
from secure_agg.plugins.core.parcels import MAX_PAYLOAD, Parcel

PAYLOAD: Final = "secure-agg"
"""The record that holds the payload."""

_SMALL: Final = ("whole",)
_NAMES: Final = ("head", "bulk", "tail")
_CHUNK: Final = FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
_DTYPE: Final = "bytes"
_STYPE: Final = "raw.v1"


def put(content: RecordDict, payload: bytes) -> RecordDict:
    """``content`` with the payload beside its records; the records themselves are shared, not copied."""
    names, pieces = (_SMALL, (payload,)) if len(payload) < _CHUNK else (_NAMES, _cut(payload))
    arrays = {name: Array(_DTYPE, (len(data),), _STYPE, data) for name, data in zip(names, pieces, strict=True)}
    return RecordDict({**content, PAYLOAD: ArrayRecord(arrays)})


def take(content: RecordDict, limit: int = MAX_PAYLOAD) -> tuple[bytes | None, RecordDict]:
    """The payload, None where there is none, and the records beside it.

    Args:
        limit: most bytes of the payload; of one that is longer no copy is made.

    Raises:
        MalformedMessage: the record is there but holds something else, or more.
    """
    rest = RecordDict({name: record for name, record in content.items() if name != PAYLOAD})
    record = content.array_records.get(PAYLOAD)
    if record is None:
        return None, rest
    if tuple(record) not in (_SMALL, _NAMES) or any((a.dtype, a.stype) != (_DTYPE, _STYPE) for a in record.values()):
        raise MalformedMessage(f"record {PAYLOAD!r} holds no payload")
    size = sum(len(array.data) for array in record.values())
    if size > limit:
        raise MalformedMessage(f"a payload has {size} bytes, above {limit}")
    pieces = [array.data for array in record.values()]
    return pieces[0] if len(pieces) == 1 else b"".join(pieces), rest


def _cut(payload: bytes) -> tuple[bytes, bytes, bytes]:
    """In three, of which the second is whole chunks up to where the largest part of the parcel ends."""
    sizes = [len(part) for part in Parcel.from_bytes(payload).parts] or [0]  # a question may have no parts
    place = sizes.index(max(sizes))
    end = len(payload) - sum(sizes[place + 1 :])
    start = end - sizes[place] // _CHUNK * _CHUNK
    return payload[:start], payload[start:end], payload[end:]
