"""What a site has told before: it refuses an answer that, beside an earlier one, tells of few records.

Two sums over sets of records that differ by one tell that one's value. So a site remembers the sets that it has given
sums of, as bits over all records it has seen, and refuses a set that differs from an earlier one in fewer records than
its minimum: by another condition, other edges, or since records came or went. A record is known by a keyed hash of what
it holds in the columns that the table had at first: one that was corrected counts as another, and a column that is
added makes no table new.

A logistic regression counts each record by a share that the analyst's point decides on: a steep one cuts a set out, and
two that differ at one record tell it. So points are remembered too, and shares compared with shares and with sets.

This is about pairs. Three questions or more may tell together what no two do: how many are asked, of what, is for
rules to bound, and what many tell for differential privacy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg import files, locks
from secure_agg.errors import ConfigError, QueryRefused, StoreError
from secure_agg.stats.question import RESOLUTION_BITS, Question
from secure_agg.stats.tables import Table

Mask = npt.NDArray[np.bool_]
MAX_LOG_BYTES: Final = 1 << 26
"""Of a log, packed; and 16 times as much unpacked."""
_TOO_NEAR: Final = (
    "beside an earlier answer this one would tell of fewer than {} records: ask as before, or for sets that differ by "
    "more records"
)
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 12


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    key: bytes
    records: bytes
    sets: list[bytes]
    points: list[bytes] = []
    columns: list[str] = []
    refusals: int = 0


@dataclass(frozen=True, eq=False)
class Fitting:
    """How records count in logistic regressions.

    Attributes:
        asked: the one that is asked now; None where the question is another.
        shares: what each record of the table counts in one, float64, 0 for those that it is not about.
    """

    asked: Question | None
    shares: Callable[[Question], npt.NDArray[np.float64]]


def is_few(parts: npt.NDArray[np.float64], min_count: int) -> bool:
    """Whether a sum in which each record has this part is, in effect, one of fewer records than a minimum: all parts
    together are less than so many of the largest. A sum that resolves none is of nobody.
    """
    sizes = np.abs(parts)
    largest = float(sizes.max(initial=0.0))
    return largest > 2.0**-RESOLUTION_BITS and float(sizes.sum()) < min_count * largest * (1 - 1e-9)


class QueryLog:
    """The sets of records that one site has given sums of; in memory, or in a file of mode 0600, which several
    processes may answer by at once.
    """

    def __init__(self, path: Path | None = None) -> None:
        """
        Raises:
            StoreError: there is a file, and it is no log.
        """
        self._path = path
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._places: dict[bytes, int] = {}
        self._sets: set[int] = set()
        self._points: set[bytes] = set()
        self._columns: list[str] = []
        self._refusals = 0
        self._last: tuple[Table, list[int]] | None = None
        self._stamp: tuple[int, ...] = ()
        if path is not None:
            self._catch_up(path)

    def __len__(self) -> int:
        return len(self._sets)

    def admit(self, table: Table, masks: Iterable[Mask], min_count: int, fitting: Fitting | None = None) -> None:
        """Remember sets of records, on disk before it returns, if sums of all of them may be given.

        Args:
            table: of the site, whole.
            masks: the sets, each over the table's records.
            min_count: of the site's rules; below 2 nothing is compared, and nothing kept.
            fitting: of the table, where records may count by shares.

        Raises:
            QueryRefused: one of them and an earlier one, or another of them, differ by fewer records, or there is no
                room. Nothing was remembered.
            StoreError: can't be written.
        """
        if min_count < 2:
            return
        with self._held():
            self._admit(table, masks, min_count, fitting)

    def check_refusals(self, most: int | None) -> None:
        """
        Args:
            most: refusals after which nothing is answered; None for any number.

        Raises:
            QueryRefused: there were as many.
        """
        if most is None:
            return
        with self._held():
            if self._refusals >= most:
                raise QueryRefused(f"this site has refused {most} questions: its owner has to look at them first")

    def note_refusal(self) -> None:
        """Count a refusal, on disk before it is known.

        Raises:
            StoreError: can't be written.
        """
        with self._held():
            self._refusals += 1
            if self._path is not None:
                self._write(self._path)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """While no other process answers by this file, and with what others have answered."""
        if self._path is None:
            yield
            return
        with files.failing(self._path, StoreError):
            lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            locks.hold(lock)
            self._catch_up(self._path)
            yield
        finally:
            os.close(lock)

    def _catch_up(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            stamp = found.st_ino, found.st_size, found.st_mtime_ns
            if stamp != self._stamp:
                self._read(path)
                self._stamp, self._last = stamp, None

    def _admit(self, table: Table, masks: Iterable[Mask], min_count: int, fitting: Fitting | None) -> None:
        places = self._places_of(table)
        sizes: dict[int, list[int]] = {}
        for known in self._sets:
            sizes.setdefault(known.bit_count(), []).append(known)
        new: set[int] = set()
        for mask in masks:
            chosen = self._bits(places, mask)
            if chosen in self._sets or chosen in new or not chosen:
                continue
            size = chosen.bit_count()
            for near in range(size - min_count + 1, size + min_count):  # others differ by as many at least
                if any(0 < (chosen ^ other).bit_count() < min_count for other in sizes.get(near, ())):
                    raise QueryRefused(_TOO_NEAR.format(min_count))
            sizes.setdefault(size, []).append(chosen)
            new.add(chosen)
        points = self._points
        if fitting is not None:
            points = self._check_shares(fitting, places, new, min_count)
        before = self._sets, self._points
        self._sets, self._points = self._sets | new, points
        if self._path is not None and (self._sets, self._points) != before:
            try:
                self._write(self._path)
            except Exception:
                self._sets, self._points = before
                raise

    def _check_shares(self, fitting: Fitting, places: list[int], new: set[int], min_count: int) -> set[bytes]:
        """All points, with the one that is asked for now.

        Raises:
            QueryRefused: beside a set, or another regression's shares, these tell of few records.
        """
        at, size = np.asarray(places, dtype=np.int64), len(self._places)

        def spread(question: Question) -> npt.NDArray[np.float64]:
            found = np.zeros(size)
            found[at] = fitting.shares(question)
            return found

        def of(chosen: int) -> npt.NDArray[np.uint8]:
            bits = np.frombuffer(chosen.to_bytes(-(-size // 8), "little"), np.uint8)
            return np.unpackbits(bits, count=size, bitorder="little")

        earlier = []
        for point in self._points:
            with contextlib.suppress(ConfigError, QueryRefused):  # of a column that is gone, for example
                earlier.append(spread(msgspec.json.decode(point, type=Question)))
        asked = msgspec.json.encode(fitting.asked) if fitting.asked is not None else None

        def differences() -> Iterator[npt.NDArray[np.float64]]:
            for chosen in new:
                yield from (shares - of(chosen) for shares in earlier)
            if fitting.asked is not None and asked not in self._points:
                mine = spread(fitting.asked)
                yield from (mine - of(chosen) for chosen in (*self._sets, *new))
                yield from (mine - shares for shares in earlier)

        if any(is_few(difference, min_count) for difference in differences()):
            raise QueryRefused(_TOO_NEAR.format(min_count))
        return self._points | ({asked} if asked is not None else set())

    def _bits(self, places: list[int], mask: Mask) -> int:
        bits = np.zeros(len(self._places), dtype=np.bool_)
        bits[np.asarray(places, dtype=np.int64)[mask]] = True
        return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")

    def _places_of(self, table: Table) -> list[int]:
        """The place of each record of a table among all that were ever seen; equal records have places of their own.

        Raises:
            QueryRefused: a column is gone that records were known by.
        """
        if self._last is not None and self._last[0] is table:
            return self._last[1]
        if gone := [name for name in self._columns if name not in table.columns]:
            raise QueryRefused(
                f"the records of this table can't be compared with those of earlier answers: column {gone[0]!r} is gone"
            )
        self._columns = names = self._columns or sorted(table.columns)
        places = list[int]()
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
        self._points, self._columns, self._refusals = set(kept.points), kept.columns, kept.refusals

    def _write(self, path: Path) -> None:
        sets = [one.to_bytes(-(-one.bit_length() // 8), "little") for one in sorted(self._sets)]
        kept = _Kept(
            version=1,
            key=self._key,
            records=b"".join(self._places),
            sets=sets,
            points=sorted(self._points),
            columns=self._columns,
            refusals=self._refusals,
        )
        data = msgspec.msgpack.encode(kept)
        packed = zlib.compress(data)
        if len(packed) > MAX_LOG_BYTES or len(data) > 16 * MAX_LOG_BYTES:
            raise QueryRefused(f"the log of questions is full: {len(packed)} bytes are more than {MAX_LOG_BYTES}")
        with files.failing(path, StoreError):
            files.replace(path, packed, mode=0o600)
            found = path.stat()
            self._stamp = found.st_ino, found.st_size, found.st_mtime_ns
