"""Proofs of RFC 9162 as a log's verifiers check them: what fails is a ``VerificationError`` like all else of a log."""

from __future__ import annotations

from collections.abc import Sequence

from secure_agg.errors import VerificationError
from zk import merkle


def check_inclusion(record: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a record stands at ``index`` in the tree of ``size`` records and head ``root``.

    Raises:
        VerificationError: it does not, or the proof is too long or too short.
    """
    try:
        merkle.verify_inclusion(merkle.leaf_hash(record), index, size, proof, root)
    except merkle.MerkleError as error:
        raise VerificationError(str(error)) from error


def check_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``old_size`` records is the beginning of the one of ``new_size`` records.

    Raises:
        VerificationError: it is not, or the proof is too long or too short.
    """
    try:
        merkle.verify_consistency(old_size, new_size, old_root, new_root, proof)
    except merkle.MerkleError as error:
        raise VerificationError(str(error)) from error
