"""What a site has told before: it refuses an answer that, beside an earlier one, tells of few records.

Two sums over sets of records that differ by one tell that one's value. So a site remembers the sets that it has given
sums of, as bits over all records it has seen, and refuses a set that differs from an earlier one in fewer records than
its minimum: by another condition, other edges, or since records came or went. A record is known by a keyed hash of all
that it holds: one that was corrected counts as another.

This is about pairs. Three questions or more may tell together what no two do: how many are asked, of what, is for
rules to bound, and what many tell for differential privacy.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg import files
from secure_agg.errors import QueryRefused, StoreError
from secure_agg.stats.tables import Table

Mask = npt.NDArray[np.bool_]
MAX_LOG_BYTES: Final = 1 << 26
"""Of a log, packed; and 16 times as much unpacked."""
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 12


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    key: bytes
    records: bytes
    sets: list[bytes]


class QueryLog:
    """The sets of records that one site has given sums of; in memory, or in a file of mode 0600."""

    def __init__(self, path: Path | None = None) -> None:
        """
        Raises:
            StoreError: there is a file, and it is no log.
        """
        self._path = path
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._places: dict[bytes, int] = {}
        self._sets: set[int] = set()
        self._last: tuple[Table, list[int]] | None = None
        if path is not None and path.exists():
            self._read(path)

    def __len__(self) -> int:
        return len(self._sets)

    def admit(self, table: Table, masks: Iterable[Mask], min_count: int) -> None:
        """Remember sets of records, on disk before it returns, if sums of all of them may be given.

        Args:
            table: of the site, whole.
            masks: the sets, each over the table's records.
            min_count: of the site's rules; below 2 nothing is compared, and nothing kept.

        Raises:
            QueryRefused: one of them and an earlier one, or another of them, differ by fewer records, or there is no
                room. Nothing was remembered.
            StoreError: can't be written.
        """
        if min_count < 2:
            return
        places = self._places_of(table)
        new: set[int] = set()
        for mask in masks:
            chosen = self._bits(places, mask)
            if chosen in self._sets or chosen in new or not chosen:
                continue
            if any(0 < (chosen ^ other).bit_count() < min_count for other in (*self._sets, *new)):
                raise QueryRefused(
                    f"beside an earlier answer this one would tell of fewer than {min_count} records: ask as before, "
                    "or for sets that differ by more"
                )
            new.add(chosen)
        before = self._sets
        self._sets = before | new
        if self._path is not None and new:
            try:
                self._write(self._path)
            except Exception:
                self._sets = before
                raise

    def _bits(self, places: list[int], mask: Mask) -> int:
        bits = np.zeros(len(self._places), dtype=np.bool_)
        bits[np.asarray(places, dtype=np.int64)[mask]] = True
        return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")

    def _places_of(self, table: Table) -> list[int]:
        """The place of each record of a table among all that were ever seen; equal records have places of their own."""
        if self._last is not None and self._last[0] is table:
            return self._last[1]
        names, places = sorted(table.columns), list[int]()
        seen: dict[bytes, int] = {}
        columns: list[list[Any]] = [table.columns[name].tolist() for name in names]
        head = msgspec.json.encode(names)
        for row in zip(*columns, strict=True):
            data = msgspec.json.encode([value if isinstance(value, str | None) else value.hex() for value in row])
            number = seen[data] = seen.get(data, -1) + 1
            text = hashlib.blake2b(number.to_bytes(8, "big") + head + data, digest_size=_ID_BYTES, key=self._key)
            places.append(self._places.setdefault(text.digest(), len(self._places)))
        self._last = table, places
        return places

    def _read(self, path: Path) -> None:
        packed = files.read(path, MAX_LOG_BYTES, "log of questions")
        try:
            unpacking = zlib.decompressobj()
            data = unpacking.decompress(packed, 16 * MAX_LOG_BYTES)
            kept = msgspec.msgpack.decode(data, type=_Kept)
            if kept.version != 1 or len(kept.key) != _KEY_BYTES or len(kept.records) % _ID_BYTES or not unpacking.eof:
                raise ValueError("of another version, or cut short")
        except (ValueError, zlib.error, msgspec.MsgspecError) as error:
            raise StoreError(f"{path} is no log of questions: {error}; without it nothing is answered") from None
        self._key = kept.key
        ids = [kept.records[start : start + _ID_BYTES] for start in range(0, len(kept.records), _ID_BYTES)]
        self._places = {found: place for place, found in enumerate(ids)}
        self._sets = {int.from_bytes(one, "little") for one in kept.sets}

    def _write(self, path: Path) -> None:
        sets = [one.to_bytes(-(-one.bit_length() // 8), "little") for one in sorted(self._sets)]
        kept = _Kept(version=1, key=self._key, records=b"".join(self._places), sets=sets)
        data = msgspec.msgpack.encode(kept)
        packed = zlib.compress(data)
        if len(packed) > MAX_LOG_BYTES or len(data) > 16 * MAX_LOG_BYTES:
            raise QueryRefused(f"the log of questions is full: {len(packed)} bytes are more than {MAX_LOG_BYTES}")
        with files.failing(path, StoreError):
            files.replace(path, packed, mode=0o600)
