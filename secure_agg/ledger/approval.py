"""What lets an append that was cut short be finished: the log's own mark on leaves that are about to get their head.

A head is signed only over leaves that are durable, so that a crash never makes the log sign two roots of one size: the
leaves are committed first, then signed, then the heads are committed. Whoever opens the ledger next signs exactly
what was left. The mark says that these leaves passed the ledger's checks: a stranger who can write the file, but has
no key, can't have something signed by pretending that an append was cut short.
"""

from __future__ import annotations

from mpc.framing import frame, integer
from secure_agg.errors import BadSignature, LedgerDamaged
from secure_agg.protocol.identity import verify_signature


def approval_text(origin: str, size: int, root: bytes) -> bytes:
    """What the log's key signs before the head: a frame, which no checkpoint's text can be."""
    return frame("append-approval", origin.encode(), integer(size), root)


def check_approval(log_public: bytes, origin: str, size: int, root: bytes, approval: bytes) -> None:
    """Check that the log's key approved of this root of this size.

    Raises:
        LedgerDamaged: it did not.
    """
    try:
        verify_signature(log_public, approval, approval_text(origin, size, root), phase="ledger", culprit=origin)
    except (BadSignature, TypeError) as error:
        raise LedgerDamaged(
            f"an append up to size {size} was cut short, and the ledger's key never approved it"
        ) from error
