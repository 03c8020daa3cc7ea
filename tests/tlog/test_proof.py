"""Proofs that fail are a log's failures, whatever is wrong with them: nobody who reads a log meets another error."""

from __future__ import annotations

import pytest

from secure_agg.errors import VerificationError
from secure_agg.tlog.proof import check_consistency, check_inclusion
from zk import merkle

RECORDS = [bytes([i]) * 3 for i in range(5)]
ROOT = merkle.root(RECORDS)
HASHES = {
    (level, place): merkle.root(RECORDS[place << level : (place + 1) << level])
    for level in range(3)
    for place in range(5)
}


def node(level: int, place: int) -> bytes:
    return HASHES[level, place]


def test_true_proofs_pass() -> None:
    check_inclusion(RECORDS[2], 2, 5, merkle.inclusion_proof(2, 5, node), ROOT)
    check_consistency(3, 5, merkle.root(RECORDS[:3]), ROOT, merkle.consistency_proof(3, 5, node))


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_what_does_not_lead_to_the_root_is_a_verification_error(cut: int) -> None:
    proof = merkle.inclusion_proof(2, 5, node)[:cut]
    with pytest.raises(VerificationError, match=r"inclusion proof|not in the tree"):
        check_inclusion(RECORDS[2], 2, 5, proof, ROOT)
    with pytest.raises(VerificationError, match=r"consistency proof|not the beginning"):
        check_consistency(3, 5, merkle.root(RECORDS[:3]), ROOT, merkle.consistency_proof(3, 5, node)[:cut])


def test_hashes_of_another_size_are_a_verification_error() -> None:
    with pytest.raises(VerificationError, match="32 bytes"):
        check_inclusion(RECORDS[2], 2, 5, (b"short",), ROOT)
    with pytest.raises(VerificationError, match="32 bytes"):
        check_consistency(3, 5, ROOT, b"", ())
