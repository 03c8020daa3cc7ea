"""Proofs and memory of logs of different lengths.

The leaves are synthetic and go in below the ledger's checks, with one signed head at the end: what proofs and appends
read is as in a ledger that has grown round by round.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from benchmarks.measure.memory import growth, in_fresh_process
from benchmarks.results import Row, Target
from benchmarks.timing import interleaved
from secure_agg.ledger.connection import connect
from secure_agg.ledger.database import NewLeaf
from secure_agg.ledger.log import Ledger
from zk import merkle

SHORT: Final = 1_000
_LIMIT_MS: Final = 1.0
_RECORD_BYTES: Final = 8.0  # by which memory may grow with each record; SQLite keeps up to 2 MB of pages anyway
_CHUNK: Final = 10_000
_PROOFS: Final = 200
_APPENDS: Final = 20


def leaf(index: int) -> bytes:
    """The synthetic leaf at an index."""
    return b"synthetic leaf %d" % index


def build(path: Path, size: int) -> None:
    """Make a ledger of so many synthetic leaves at ``path``."""
    with Ledger(path) as ledger:
        frontier = merkle.Frontier()
        db = connect(path, read_only=False)
        db.execute("PRAGMA synchronous = OFF")
        for begin in range(0, size, _CHUNK):
            leaves: list[tuple[int, str, int, bytes, bytes]] = []
            nodes: list[merkle.Node] = []
            for index in range(begin, min(begin + _CHUNK, size)):
                first, *parents = frontier.push(merkle.leaf_hash(leaf(index)))
                leaves.append((index, "synthetic", index, leaf(index), first.hash))
                nodes += parents
            db.execute("BEGIN")
            db.executemany("INSERT INTO leaves VALUES (?, ?, ?, ?, ?)", leaves)
            db.executemany("INSERT INTO nodes VALUES (?, ?, ?)", nodes)
            db.execute("COMMIT")
        head = ledger._sign(size, frontier.root())
        db.execute("INSERT INTO heads VALUES (?, ?, ?)", (size, head.root, head.signature))
        db.close()


def rows(folder: Path, leaves: int, repeat: int) -> list[Row]:
    """Proofs at ``leaves`` records, and the memory beside that of a short log. ``folder`` is empty."""
    short, long = folder / "short.db", folder / "long.db"
    build(short, min(SHORT, leaves))
    build(long, leaves)
    with Ledger(long, read_only=True) as ledger:
        proving = _proving(ledger, leaves, repeat)
    return [*proving, _memory(short, long, leaves)]


def _proving(ledger: Ledger, size: int, repeat: int) -> list[Row]:
    head = ledger.head()
    places = [secrets.randbelow(size) for _ in range(_PROOFS)]
    node = ledger._database.node
    included = [(place, merkle.inclusion_proof(place, size, node)) for place in places]
    extended = [(place, merkle.consistency_proof(place, size, node)) for place in places if place]
    roots = {place: merkle.Frontier.load(place, node).root() for place, _ in extended}

    def verify_inclusion() -> None:
        for place, proof in included:
            merkle.verify_inclusion(merkle.leaf_hash(leaf(place)), place, size, proof, head.root)

    def verify_consistency() -> None:
        for place, proof in extended:
            merkle.verify_consistency(place, size, roots[place], head.root, proof)

    samples = interleaved(
        {
            "inclusion": lambda: [merkle.inclusion_proof(place, size, node) for place in places],
            "verify_inclusion": verify_inclusion,
            "consistency": lambda: [merkle.consistency_proof(place, size, node) for place in places],
            "verify_consistency": verify_consistency,
            "receipt": lambda: [ledger.receipt(place) for place in places],
        },
        repeat,
    )
    names = {
        "inclusion": "inclusion proof, made",
        "verify_inclusion": "inclusion proof, verified",
        "consistency": "consistency proof, made",
        "verify_consistency": "consistency proof, verified",
        "receipt": "receipt, made",
    }
    return [
        Row.timed(
            f"ledger.{key}",
            name,
            samples[key].scaled(1 / _PROOFS),
            targets=(Target("median", _LIMIT_MS),),
            note=f"{size:,} records, random places",
        )
        for key, name in names.items()
    ]


def _memory(short: Path, long: Path, leaves: int) -> Row:
    measured = [in_fresh_process(_use, str(path), length) for path, length in ((short, SHORT), (long, leaves))]
    return Row(
        key="ledger.memory",
        name="open, append, prove: peak growth",
        unit="MB",
        median=measured[1],
        peer=f"the same at {min(SHORT, leaves):,} records",
        peer_median=measured[0],
        ratio=measured[1] / measured[0],
        derived=1e6 * (measured[1] - measured[0]) / leaves,
        derived_unit="B/record",
        targets=(Target("derived", _RECORD_BYTES),),
        note=f"{leaves:,} records, {_APPENDS} appends, {_PROOFS} receipts, in a fresh process",
    )


def _use(path: str, size: int) -> int:
    def work() -> None:
        with Ledger(path) as ledger:
            for number in range(_APPENDS):
                with ledger._database.exclusive():
                    new = NewLeaf("measured", number, secrets.token_bytes(6400))
                    ledger._database.append([new], ledger._sign, ledger._approve)
            for _ in range(_PROOFS):
                ledger.receipt(secrets.randbelow(size))

    return growth(work)
