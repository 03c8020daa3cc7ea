"""Merkle trees of RFC 9162, section 2.1 (the same as RFC 6962): roots, inclusion and consistency proofs.

Provers read the tree through a :data:`NodeSource`, which gives the roots of *complete* subtrees: node
``(level, index)`` covers the 2^level leaves from ``index · 2^level`` on, so ``(0, i)`` is leaf ``i``'s hash.
A proof takes O(log n) such reads. Verifiers get nothing but sizes, hashes and the proof.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

HASH_BYTES = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


class MerkleError(ValueError):
    """A proof does not lead to the root that it is checked against."""


NodeSource = Callable[[int, int], bytes]
"""``(level, index)`` to the hash of a complete subtree."""


class Node(NamedTuple):
    """The root of a complete subtree, the ``position``-th of its level."""

    level: int
    position: int
    hash: bytes


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The tree head of the leaves' data (section 2.1.1); SHA-256 of nothing for no leaves."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.push(leaf_hash(leaf))
    return frontier.root()


class Frontier:
    """The complete subtrees that a tree is made of, largest first: its root and growth need no more.

    Holds O(log n) hashes whatever the size.
    """

    def __init__(self) -> None:
        """The empty tree."""
        self.size = 0
        self._peaks: list[Node] = []

    @staticmethod
    def load(size: int, node: NodeSource) -> Frontier:
        """The frontier of the first ``size`` leaves, in one read per set bit of ``size``."""
        frontier = Frontier()
        frontier.size = size
        begin = 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                index = begin >> level
                frontier._peaks.append(Node(level, index, node(level, index)))
                begin += 1 << level
        return frontier

    def copy(self) -> Frontier:
        """The same tree, to be grown on its own."""
        frontier = Frontier()
        frontier.size = self.size
        frontier._peaks = list(self._peaks)
        return frontier

    def push(self, leaf: bytes) -> list[Node]:
        """Add a leaf by its hash; returns every complete subtree that it finishes, itself first."""
        node = Node(0, self.size, leaf)
        finished = [node]
        while self._peaks and self._peaks[-1].level == node.level:
            left = self._peaks.pop()
            node = Node(node.level + 1, node.position >> 1, node_hash(left.hash, node.hash))
            finished.append(node)
        self._peaks.append(node)
        self.size += 1
        return finished

    def root(self) -> bytes:
        """The tree head of all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        result = self._peaks[-1].hash
        for peak in reversed(self._peaks[:-1]):
            result = node_hash(peak.hash, result)
        return result


def _split(size: int) -> int:
    """The largest power of two below ``size`` (≥ 2)."""
    return 1 << (size - 1).bit_length() - 1


def _range_root(node: NodeSource, begin: int, end: int) -> bytes:
    """MTH(D[begin:end]) of RFC 9162; ``begin`` is a multiple of a power of two ≥ the length."""
    size = end - begin
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, begin >> level)
    middle = begin + _split(size)
    return node_hash(_range_root(node, begin, middle), _range_root(node, middle, end))


def inclusion_proof(index: int, size: int, node: NodeSource) -> tuple[bytes, ...]:
    """PATH(index, D[0:size]) of RFC 9162, section 2.1.3.1: the siblings from the leaf up.

    Raises:
        ValueError: not 0 ≤ index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} among {size}")
    proof: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_range_root(node, middle, end))
            end = middle
        else:
            proof.append(_range_root(node, begin, middle))
            begin = middle
    return tuple(reversed(proof))


class Tree:
    """A tree that is held whole, of at least one leaf: gives the proofs of any of its leaves."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        """``leaves``: their data."""
        self.size = len(leaves)
        self._levels = [[leaf_hash(leaf) for leaf in leaves]]
        while len(below := self._levels[-1]) > 1:
            self._levels.append([node_hash(*below[i : i + 2]) for i in range(0, len(below) - 1, 2)])

    def node(self, level: int, index: int) -> bytes:
        """See ``NodeSource``."""
        return self._levels[level][index]

    def root(self) -> bytes:
        """The tree head."""
        return _range_root(self.node, 0, self.size)

    def path(self, index: int) -> tuple[bytes, ...]:
        """See ``inclusion_proof``."""
        return inclusion_proof(index, self.size, self.node)

    def beside(self, indices: Sequence[int]) -> tuple[bytes, ...]:
        """See ``subset_proof``."""
        return subset_proof(indices, self.size, self.node)


def subset_proof(indices: Sequence[int], size: int, node: NodeSource) -> tuple[bytes, ...]:
    """What leads from some leaves to the root: the heads of the largest subtrees that hold none of them, left to right.

    Of k leaves of n these are some k · log2(n / k) hashes, where paths of each alone would take k · log2 n.

    Args:
        indices: of the leaves, in increasing order, each once.

    Raises:
        ValueError: they are not, or not below ``size``.
    """
    if list(indices) != sorted(set(indices)) or (indices and not 0 <= indices[0] <= indices[-1] < size):
        raise ValueError(f"leaves of a tree of {size} are named in increasing order, each once")

    def heads(begin: int, end: int, low: int, high: int) -> Iterator[bytes]:
        if low == high:
            yield _range_root(node, begin, end)
        elif end - begin > 1:
            middle = begin + _split(end - begin)
            cut = bisect_left(indices, middle, low, high)
            yield from heads(begin, middle, low, cut)
            yield from heads(middle, end, cut, high)

    return tuple(heads(0, size, 0, len(indices)))


def subset_root(leaves: Mapping[int, bytes], size: int, proof: Sequence[bytes]) -> bytes:
    """The root that some leaves and their ``subset_proof`` lead to.

    Args:
        leaves: hashes, by index.

    Raises:
        MerkleError: an index outside the tree, or too many or too few hashes.
    """
    _check_hashes((*leaves.values(), *proof))
    indices, rest = sorted(leaves), iter(proof)
    if size < 1 or (indices and not 0 <= indices[0] <= indices[-1] < size):
        raise MerkleError(f"leaves outside a tree of {size}")

    def head(begin: int, end: int, low: int, high: int) -> bytes:
        if low == high:
            if (found := next(rest, None)) is None:
                raise MerkleError("the proof of some leaves is too short")
            return found
        if end - begin == 1:
            return leaves[begin]
        middle = begin + _split(end - begin)
        cut = bisect_left(indices, middle, low, high)
        left = head(begin, middle, low, cut)
        return node_hash(left, head(middle, end, cut, high))

    root = head(0, size, 0, len(indices))
    if next(rest, None) is not None:
        raise MerkleError("the proof of some leaves is too long")
    return root


def consistency_proof(old_size: int, new_size: int, node: NodeSource) -> tuple[bytes, ...]:
    """PROOF(old_size, D[0:new_size]) of RFC 9162, section 2.1.4.1; empty for equal sizes and for old size 0.

    Raises:
        ValueError: not 0 ≤ old_size ≤ new_size.
    """
    if not 0 <= old_size <= new_size:
        raise ValueError(f"a tree of {old_size} leaves does not grow to {new_size}")
    if old_size == 0:
        return ()
    proof: list[bytes] = []
    begin, end = 0, new_size
    while end != old_size:
        middle = begin + _split(end - begin)
        if old_size <= middle:
            proof.append(_range_root(node, middle, end))
            end = middle
        else:
            proof.append(_range_root(node, begin, middle))
            begin = middle
    if begin != 0:  # the old tree's last subtree; where it is the whole old tree the verifier has it already
        proof.append(_range_root(node, begin, end))
    return tuple(reversed(proof))


def _check_hashes(hashes: Sequence[bytes]) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise MerkleError(f"a tree hash has {HASH_BYTES} bytes, not {len(value)}")


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that leaf hash ``leaf`` stands at ``index`` in the tree of ``size`` leaves and head ``root``.

    RFC 9162, section 2.1.3.2. The path follows from ``index`` and ``size``; the proof only supplies hashes.

    Raises:
        MerkleError: it does not, or the proof is too long or too short.
    """
    _check_hashes((leaf, root, *proof))
    if not 0 <= index < size:
        raise MerkleError(f"there is no leaf {index} in a tree of {size}")
    position, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise MerkleError(f"the inclusion proof of leaf {index} of {size} is too long")
        if position & 1 or position == last:
            result = node_hash(sibling, result)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise MerkleError(f"the inclusion proof of leaf {index} of {size} is too short")
    if result != root:
        raise MerkleError(f"leaf {index} is not in the tree of size {size} with this root")


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``old_size`` leaves is the beginning of the one of ``new_size`` leaves.

    RFC 9162, section 2.1.4.2. The empty tree is the beginning of every tree.

    Raises:
        MerkleError: it is not, or the proof is too long or too short.
    """
    _check_hashes((old_root, new_root, *proof))
    if not 0 <= old_size <= new_size:
        raise MerkleError(f"a tree of {old_size} leaves does not grow to {new_size}")
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise MerkleError("the old tree is empty, its root is not")
    if new_size == 0 and new_root != EMPTY_ROOT:
        raise MerkleError("the new tree is empty, its root is not")
    if old_size in (0, new_size):
        if proof:
            raise MerkleError(f"the consistency proof from {old_size} to {new_size} is too long")
        if old_size == new_size and old_root != new_root:
            raise MerkleError(f"two roots for one size, {new_size}")
        return
    whole = old_size & (old_size - 1) == 0  # then the old root is a node of the new tree, and left out of the proof
    path = (old_root, *proof) if whole else tuple(proof)
    if _consistency_roots(old_size, new_size, path) != (old_root, new_root):
        raise MerkleError(f"the tree of size {old_size} is not the beginning of the one of size {new_size}")


def prefix_root(old_size: int, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> bytes:
    """The root of the first ``old_size`` leaves under ``new_root``, from the consistency proof between the two.

    Raises:
        MerkleError: the proof does not lead to ``new_root``, or is from a power of two and so leaves the
            old root out.
    """
    _check_hashes((new_root, *proof))
    if not 0 <= old_size <= new_size:
        raise MerkleError(f"a tree of {old_size} leaves does not grow to {new_size}")
    if old_size == new_size and not proof:
        return new_root
    if old_size & (old_size - 1) == 0:
        raise MerkleError(f"a consistency proof from {old_size} does not hold the old root")
    old_root, result = _consistency_roots(old_size, new_size, proof)
    if result != new_root:
        raise MerkleError("the consistency proof does not lead to the new root")
    return old_root


def _consistency_roots(old_size: int, new_size: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of both trees that a path leads to; it begins with the old tree's last subtree."""
    if not path:
        raise MerkleError(f"the consistency proof from {old_size} to {new_size} is too short")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_result = new_result = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise MerkleError(f"the consistency proof from {old_size} to {new_size} is too long")
        if position & 1 or position == last:
            old_result = node_hash(sibling, old_result)
            new_result = node_hash(sibling, new_result)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new_result = node_hash(new_result, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise MerkleError(f"the consistency proof from {old_size} to {new_size} is too short")
    return old_result, new_result
