"""When a record came under a signed checkpoint, and by whose clock. Nothing in the protocol depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CheckpointTime:
    """Two kinds of statement: the ledger's own, which nothing is signed over, and its witnesses', which they sign.

    Attributes:
        size: of the first checkpoint over the record.
        signed: when the ledger signed that, in POSIX seconds by the clock of the machine that it is on; None where
            that is lost. Whoever runs the ledger can write anything here.
        witnessed_size: size of the first checkpoint over the record that has cosignatures; None where none has.
        witnessed: by witness, when it cosigned that one, in POSIX seconds by its own clock and under its signature.
            The record is not younger.
    """

    size: int
    signed: int | None
    witnessed_size: int | None
    witnessed: Mapping[str, int]
