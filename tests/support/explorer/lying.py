"""A log that lies: under its own key it publishes whatever leaves it likes, with tiles and a head that fit them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from secure_agg.ledger.log import Ledger
from secure_agg.ledger.place import Place
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.tiles import CHECKPOINT, WIDTH, encode_bundle, evidence_path, tiles
from zk import merkle


def leaves_of(path: Path) -> list[bytes]:
    """The encodings of a ledger's records, those of epochs too."""
    with Ledger(path, read_only=True) as log:
        return [log.entry(index).to_bytes() for index in range(len(log))]


def lie(path: Path, folder: Path, leaves: Sequence[bytes], evidence: Sequence[bytes] = ()) -> Path:
    """Publish other leaves in the place of a published ledger's, and more evidence.

    Args:
        path: of the ledger, whose key signs.
        folder: where it is published; fewer than 257 leaves.
        leaves: encodings of records.
        evidence: what lies beside them by its hash.
    """
    with Ledger(path, read_only=True) as log:
        origin, public = log.origin, log.log_public
    if len(leaves) > WIDTH:
        raise ValueError(f"{len(leaves)} leaves, of {WIDTH} at most")
    key = Place(path).prepare(origin)
    head = SignedHead.sign(key, origin, len(leaves), merkle.root(list(leaves)))
    shutil.rmtree(folder / "tile")
    files = {CHECKPOINT: head.note(public).to_bytes()}
    for tile in tiles(len(leaves)):
        files[tile.path] = b"".join(merkle.leaf_hash(leaf) for leaf in leaves)
        files[tile.entries_path] = encode_bundle(leaves)
    files |= {evidence_path(hashlib.sha256(data).digest()): data for data in evidence}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder
