"""A process that encrypts chunks for ``lattice_pool``; run as a script, it reads requests and writes serialised
vectors.

It imports nothing of this package, so that it is there in a sixth of a second. It ends when its input does: with the
process that started it, however that ends.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, Final

import numpy as np

READY: Final = b"\x01"
"""Written once, when requests can be taken."""
KEY: Final = 0
"""Request: a public context of ``length`` bytes follows; ``count`` is the scheme's place in ``SLOT_TYPES``."""
CHUNKS: Final = 1
"""Request: ``count`` plaintexts of ``length`` bytes follow. The answers are lengths and serialised vectors."""
REQUEST: Final = struct.Struct("<BIQ")  # kind, count, length
LENGTH: Final = struct.Struct("<Q")
SLOT_TYPES: Final = ("<i8", "<f8")
"""How slots are sent: BFV's, then CKKS's."""


def main() -> None:
    """Answer requests until the input ends.

    A request is read completely before it is worked on, and worked off before anything is written: the other side
    has its own share to encrypt meanwhile and serves no pipe.
    """
    import tenseal as ts

    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(READY)
    sink.flush()
    context: Any = None
    scheme = 0
    while head := source.read(REQUEST.size):
        kind, count, length = REQUEST.unpack(head)
        if kind == KEY:
            context, scheme = ts.Context.load(source.read(length), n_threads=1), count
            continue
        vector = (ts._ts_cpp.BFVVector, ts._ts_cpp.CKKSVector)[scheme]
        plaintexts = [np.frombuffer(source.read(length), SLOT_TYPES[scheme]) for _ in range(count)]
        answers = [vector(context.data, slots.tolist()).serialize() for slots in plaintexts]
        for data in answers:
            sink.write(LENGTH.pack(len(data)))
            sink.write(data)
        sink.flush()


if __name__ == "__main__":
    main()
