# pragma version 0.4.3
"""
@title Merkle trees of RFC 9162
@license Apache-2.0
"""


@internal
@pure
def node(left: bytes32, right: bytes32) -> bytes32:
    return sha256(concat(x"01", left, right))


@internal
@pure
def check_inclusion(leaf: bytes32, index: uint256, size: uint256, path: DynArray[bytes32, 63], root: bytes32):
    # RFC 9162, section 2.1.3.2.
    assert index < size, "index"
    position: uint256 = index
    last: uint256 = size - 1
    result: bytes32 = leaf
    for sibling: bytes32 in path:
        assert last != 0, "path"
        if position & 1 == 1 or position == last:
            result = self.node(sibling, result)
            for i: uint256 in range(63):
                if position == 0 or position & 1 == 1:
                    break
                position >>= 1
                last >>= 1
        else:
            result = self.node(result, sibling)
        position >>= 1
        last >>= 1
    assert last == 0, "path"
    assert result == root, "not included"


@internal
@pure
def check_consistency(
    old_size: uint256, old_root: bytes32, new_size: uint256, new_root: bytes32, proof: DynArray[bytes32, 64]
):
    # RFC 9162, section 2.1.4.2, for 0 < old_size < new_size.
    position: uint256 = old_size - 1
    last: uint256 = new_size - 1
    for i: uint256 in range(63):
        if position & 1 == 0:
            break
        position >>= 1
        last >>= 1
    first: uint256 = 0
    seed: bytes32 = old_root
    if old_size & (old_size - 1) != 0:  # else the old root is a node of the new tree, and not in the proof
        assert len(proof) != 0, "proof"
        seed = proof[0]
        first = 1
    old_result: bytes32 = seed
    new_result: bytes32 = seed
    for i: uint256 in range(first, len(proof), bound=64):
        assert last != 0, "proof"
        if position & 1 == 1 or position == last:
            old_result = self.node(proof[i], old_result)
            new_result = self.node(proof[i], new_result)
            for j: uint256 in range(63):
                if position == 0 or position & 1 == 1:
                    break
                position >>= 1
                last >>= 1
        else:
            new_result = self.node(new_result, proof[i])
        position >>= 1
        last >>= 1
    assert last == 0, "proof"
    assert old_result == old_root and new_result == new_root, "not consistent"
