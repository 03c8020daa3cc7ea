"""Merkle trees: RFC 6962 vectors, every proof up to 64 leaves, and proofs that were tampered with."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zk import merkle

VECTORS = json.loads((Path(__file__).parents[1] / "conformance" / "norm" / "vectors" / "rfc6962.json").read_text())
LEAVES = 64
HASHES = [merkle.leaf_hash(bytes([i])) for i in range(LEAVES)]


def recursive_root(hashes: Sequence[bytes]) -> bytes:
    """MTH as RFC 9162, section 2.1.1 writes it: the slow oracle."""
    if len(hashes) < 2:
        return hashes[0] if hashes else merkle.EMPTY_ROOT
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return merkle.node_hash(recursive_root(hashes[:split]), recursive_root(hashes[split:]))


ROOTS = [recursive_root(HASHES[:size]) for size in range(LEAVES + 1)]


class CountedNodes:
    """The complete subtrees over ``HASHES``; counts reads and refuses subtrees that reach past ``size``."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.reads = 0

    def __call__(self, level: int, index: int) -> bytes:
        self.reads += 1
        begin, end = index << level, (index + 1) << level
        assert end <= self.size
        return recursive_root(HASHES[begin:end])


def test_roots_are_those_of_rfc_6962() -> None:
    leaves = [bytes.fromhex(text) for text in VECTORS["leaf_inputs_hex"]]
    roots = [merkle.root(leaves[:size]).hex() for size in range(len(leaves) + 1)]
    assert roots == VECTORS["roots_hex_by_size"]


def test_roots_of_single_byte_leaves() -> None:
    first, last = map(int, VECTORS["single_byte_leaves"]["sizes"].split(".."))
    leaves = [bytes([i]) for i in range(last)]
    roots = b"".join(merkle.root(leaves[:size]) for size in range(first, last + 1))
    assert hashlib.sha256(roots).hexdigest() == VECTORS["single_byte_leaves"]["sha256_over_concatenated_roots"]


def test_a_frontier_gives_every_root_and_every_complete_subtree_once() -> None:
    frontier = merkle.Frontier()
    nodes: dict[tuple[int, int], bytes] = {}
    for size in range(LEAVES + 1):
        assert (frontier.size, frontier.root()) == (size, ROOTS[size])
        assert merkle.Frontier.load(size, lambda level, index: nodes[level, index]).root() == ROOTS[size]
        if size < LEAVES:
            for node in frontier.push(HASHES[size]):
                assert (node.level, node.position) not in nodes
                nodes[node.level, node.position] = node.hash
    assert nodes == {
        (level, index): recursive_root(HASHES[index << level : (index + 1) << level])
        for level in range(7)
        for index in range(LEAVES >> level)
    }


def test_every_leaf_of_every_size_is_proved_included_in_logarithmic_reads() -> None:
    for size in range(1, LEAVES + 1):
        for index in range(size):
            nodes = CountedNodes(size)
            proof = merkle.inclusion_proof(index, size, nodes)
            merkle.verify_inclusion(HASHES[index], index, size, proof, ROOTS[size])
            assert nodes.reads <= 2 * size.bit_length()


def test_every_size_is_proved_consistent_with_every_later_one_in_logarithmic_reads() -> None:
    for new in range(LEAVES + 1):
        for old in range(new + 1):
            nodes = CountedNodes(new)
            proof = merkle.consistency_proof(old, new, nodes)
            merkle.verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)
            assert nodes.reads <= 3 * new.bit_length()


def refused(check: Callable[..., None], *arguments: object) -> None:
    with pytest.raises(merkle.MerkleError):
        check(*arguments)


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


def tampered_proofs(proof: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    """Hashes changed, dropped, doubled, cut; the proof reversed, extended, truncated, emptied."""
    proof = tuple(proof)
    variants = [(*proof, HASHES[0]), (HASHES[0], *proof), (*proof, bytes(32)), (*proof, b"")]
    for i, value in enumerate(proof):
        variants += [
            (*proof[:i], changed, *proof[i + 1 :])
            for changed in (flipped(value, 0), flipped(value, 255), value[:31], value + b"\0", b"", bytes(32))
        ]
        variants += [proof[:i] + proof[i + 1 :], (*proof[:i], value, *proof[i:])]
    if proof:
        variants += [(), proof[:-1]]
    if len(proof) > 1:
        variants += [proof[::-1], (proof[1], proof[0], *proof[2:])]
    return variants


SIZES = (1, 2, 3, 4, 5, 7, 8, 11, 16, 23, 32, 33)


@pytest.mark.parametrize("size", SIZES)
def test_a_tampered_inclusion_proof_is_refused(size: int) -> None:
    for index in range(size):
        leaf, root = HASHES[index], ROOTS[size]
        proof = merkle.inclusion_proof(index, size, CountedNodes(size))
        for variant in tampered_proofs(proof):
            refused(merkle.verify_inclusion, leaf, index, size, variant, root)
        for wrong in (index - 1, index + 1, -1, size, index + size):
            refused(merkle.verify_inclusion, leaf, wrong, size, proof, root)
        for wrong in (0, -size, 2 * size, index):
            refused(merkle.verify_inclusion, leaf, index, wrong, proof, root)
        for bit in (0, 100, 255):
            refused(merkle.verify_inclusion, flipped(leaf, bit), index, size, proof, root)
            refused(merkle.verify_inclusion, leaf, index, size, proof, flipped(root, bit))
        if size > 1:
            refused(merkle.verify_inclusion, root, index, size, proof, leaf)
        refused(merkle.verify_inclusion, leaf[:31], index, size, proof, root)
        refused(merkle.verify_inclusion, leaf, index, size, proof, b"")


@pytest.mark.parametrize("new", SIZES)
def test_a_tampered_consistency_proof_is_refused(new: int) -> None:
    for old in range(1, new):
        first, second = ROOTS[old], ROOTS[new]
        proof = merkle.consistency_proof(old, new, CountedNodes(new))
        for variant in tampered_proofs(proof):
            refused(merkle.verify_consistency, old, new, first, second, variant)
        for wrong in (old - 1, old + 1, 2 * old, -old, new + 1):
            refused(merkle.verify_consistency, wrong, new, first, second, proof)
        for wrong in (2 * new, old, old - 1, 0):
            refused(merkle.verify_consistency, old, wrong, first, second, proof)
        refused(merkle.verify_consistency, old, new, second, first, proof)
        refused(merkle.verify_consistency, old, new, first, first, proof)
        refused(merkle.verify_consistency, old, new, second, second, proof)
        for bit in (0, 255):
            refused(merkle.verify_consistency, old, new, flipped(first, bit), second, proof)
            refused(merkle.verify_consistency, old, new, first, flipped(second, bit), proof)


PROBED = tuple(range(1, 131))
"""The sizes of the exhaustive probes: past 128, and every shape of the right edge below."""


def perfect_tree(size: int) -> tuple[list[bytes], list[bytes], merkle.NodeSource]:
    """Leaf hashes, the root of every size, and all complete subtrees of a tree."""
    frontier, nodes, roots = merkle.Frontier(), dict[tuple[int, int], bytes](), [merkle.EMPTY_ROOT]
    hashes = [merkle.leaf_hash(b"leaf %d" % i) for i in range(size)]
    for value in hashes:
        nodes.update(((node.level, node.position), node.hash) for node in frontier.push(value))
        roots.append(frontier.root())
    return hashes, roots, lambda level, index: nodes[level, index]


def junk_proofs(proof: Sequence[bytes], *nearby: bytes) -> list[Sequence[bytes]]:
    """The probes of the public test suites: nothing, junk before and after, a bit in each hash, cut at both ends."""
    probes: list[Sequence[bytes]] = [(*proof, b""), (b"", *proof), (*proof, b"\x00"), ()]
    for junk in (bytes(32), merkle.EMPTY_ROOT, *nearby):
        probes += [(*proof, junk), (junk, *proof)]
    for i, value in enumerate(proof):
        probes += [
            (*proof[:i], changed, *proof[i + 1 :])
            for changed in (flipped(value, 4 * i % 256), value[:-1], value + b"\x00", bytes(32))
        ]
    probes += [proof[1:], proof[:-1], (*proof, *proof), tuple(reversed(proof))]
    return [probe for probe in probes if tuple(probe) != tuple(proof)]


def test_every_inclusion_proof_up_to_130_leaves_survives_the_public_probes() -> None:
    hashes, roots, nodes = perfect_tree(PROBED[-1])
    for size in PROBED:
        for index in sorted({0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size))):
            leaf, head = hashes[index], roots[size]
            proof = merkle.inclusion_proof(index, size, nodes)
            merkle.verify_inclusion(leaf, index, size, proof, head)
            for probe in junk_proofs(proof, head, leaf):
                refused(merkle.verify_inclusion, leaf, index, size, probe, head)
            for wrong in (index - 1, index + 1, index ^ 2, size, -1 - index, index + 2**64):
                refused(merkle.verify_inclusion, leaf, wrong, size, proof, head)
            # A path does not depend on the size as such, only on the right edge: another size may give the same one.
            for wrong in {2 * size, size // 2, size + 1, size - 1, 0, -size} - {size}:
                if wrong <= index or len(merkle.inclusion_proof(index, min(wrong, size), nodes)) != len(proof):
                    refused(merkle.verify_inclusion, leaf, index, wrong, proof, head)
            for junk in (b"", bytes(31), bytes(32), merkle.EMPTY_ROOT, flipped(head, index), head[:-1], head + b"\0"):
                refused(merkle.verify_inclusion, leaf, index, size, proof, junk)
                refused(merkle.verify_inclusion, junk, index, size, proof, head)


def test_every_consistency_proof_up_to_130_leaves_survives_the_public_probes() -> None:
    _, roots, nodes = perfect_tree(PROBED[-1])
    for new in PROBED:
        for old in sorted({1, 2, new // 3, new // 2, new - 2, new - 1} & set(range(1, new))):
            first, second = roots[old], roots[new]
            proof = merkle.consistency_proof(old, new, nodes)
            merkle.verify_consistency(old, new, first, second, proof)
            for probe in junk_proofs(proof, first, second):
                refused(merkle.verify_consistency, old, new, first, second, probe)
            for wrong in (old - 1, old + 1, old ^ 2, new + 1, 2 * new, -old):
                if wrong != new:
                    refused(merkle.verify_consistency, wrong, new, first, second, proof)
            for wrong in (2 * new, new // 2, -new, 0):
                refused(merkle.verify_consistency, old, wrong, first, second, proof)
            refused(merkle.verify_consistency, old, new, second, first, proof)
            refused(merkle.verify_consistency, new, old, first, second, proof)
            for junk in (b"", bytes(31), bytes(32), merkle.EMPTY_ROOT, flipped(first, old), first + b"\0"):
                refused(merkle.verify_consistency, old, new, junk, second, proof)
                refused(merkle.verify_consistency, old, new, first, junk, proof)


def test_consistency_of_equal_and_empty_trees_takes_no_proof_and_no_other_root() -> None:
    merkle.verify_consistency(0, 0, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, ())
    refused(merkle.verify_consistency, 0, 0, ROOTS[1], ROOTS[1], ())
    refused(merkle.verify_consistency, 0, 0, merkle.EMPTY_ROOT, ROOTS[1], ())
    refused(merkle.verify_consistency, 0, 5, ROOTS[1], ROOTS[5], ())
    refused(merkle.verify_consistency, 0, 5, merkle.EMPTY_ROOT, ROOTS[5], (HASHES[0],))
    refused(merkle.verify_consistency, 5, 5, ROOTS[5], ROOTS[4], ())
    refused(merkle.verify_consistency, 5, 5, ROOTS[5], ROOTS[5], (HASHES[0],))
    refused(merkle.verify_consistency, 5, 4, ROOTS[5], ROOTS[4], ())


def test_provers_refuse_positions_that_do_not_exist() -> None:
    for index, size in ((-1, 3), (3, 3), (0, 0)):
        with pytest.raises(ValueError):
            merkle.inclusion_proof(index, size, CountedNodes(size))
    for old, new in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError):
            merkle.consistency_proof(old, new, CountedNodes(new))


@given(st.data())
def test_random_hashes_are_never_a_proof(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, LEAVES))
    index = data.draw(st.integers(0, size - 1))
    proof = data.draw(st.lists(st.binary(min_size=32, max_size=32), max_size=8))
    true_proof = merkle.inclusion_proof(index, size, CountedNodes(size))
    if tuple(proof) != true_proof:
        refused(merkle.verify_inclusion, HASHES[index], index, size, proof, ROOTS[size])


# --- some leaves at once --------------------------------------------------------------------------------------------


@given(st.integers(1, LEAVES), st.data())
def test_some_leaves_lead_to_the_root(size: int, data: st.DataObject) -> None:
    chosen = sorted(data.draw(st.sets(st.integers(0, size - 1))))
    tree = merkle.Tree([bytes([i]) for i in range(size)])
    proof = tree.beside(chosen)
    assert tree.root() == ROOTS[size]
    assert merkle.subset_root({i: HASHES[i] for i in chosen}, size, proof) == ROOTS[size]
    assert len(proof) <= max(1, len(chosen)) * size.bit_length()
    for bad in (proof[1:], (*proof, bytes(32))):
        if bad != proof:
            with pytest.raises(merkle.MerkleError):
                merkle.subset_root({i: HASHES[i] for i in chosen}, size, bad)
    if chosen:
        other = {i: HASHES[i] for i in chosen} | {chosen[0]: bytes(32)}
        assert merkle.subset_root(other, size, proof) != ROOTS[size]
    if len(chosen) < size:
        moved = {i + 1 if i == max(chosen, default=-1) else i: HASHES[i] for i in chosen}
        if chosen and max(moved) < size:
            with contextlib.suppress(merkle.MerkleError):
                assert merkle.subset_root(moved, size, proof) != ROOTS[size]


@given(st.integers(1, LEAVES), st.data())
def test_the_path_of_one_leaf_is_the_audit_path(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    tree = merkle.Tree([bytes([i]) for i in range(size)])
    merkle.verify_inclusion(HASHES[index], index, size, tree.path(index), tree.root())
    assert sorted(tree.path(index)) == sorted(tree.beside([index]))


def test_leaves_are_named_in_order_within_the_tree() -> None:
    tree = merkle.Tree([bytes([i]) for i in range(5)])
    for bad in ([1, 0], [1, 1], [5], [-1, 2]):
        with pytest.raises(ValueError):
            tree.beside(bad)
    for leaves in ({5: bytes(32)}, {-1: bytes(32)}, {0: bytes(31)}):
        with pytest.raises(merkle.MerkleError):
            merkle.subset_root(leaves, 5, (bytes(32),))
