# pragma version 0.4.3
"""
@title Points of BLS12-381 and openings of KZG commitments
@license Apache-2.0
@dev A point is four words: x and y, each 64 bytes big endian, as in EIP-2537.
"""

G1ADD: constant(address) = 0x000000000000000000000000000000000000000b  # EIP-2537
POINT_EVALUATION: constant(address) = 0x000000000000000000000000000000000000000A  # EIP-4844

# Order of BLS12-381's groups, and (q - 1) / 2 with q that of its base field, in two words. Vyper takes decimals here.
R: constant(uint256) = 52435875175126190479447740508185965837690552500527637822603658699938581184513
HALF_Q_HIGH: constant(uint256) = 17282741772707453034394598013407712875
HALF_Q_LOW: constant(uint256) = 80617075055843030690312053732876818007934237714091801549733396136033114903893


@internal
@view
def add(a: uint256[4], b: uint256[4]) -> uint256[4]:
    # Reverts unless both are points of the curve; whether their sum is in the group its opening tells.
    success: bool = False
    point: Bytes[128] = b""
    success, point = raw_call(
        G1ADD, concat(abi_encode(a), abi_encode(b)), max_outsize=128, is_static_call=True, revert_on_failure=False
    )
    assert success, "not a point"
    assert len(point) == 128, "the chain has no G1ADD"
    return [
        extract32(point, 0, output_type=uint256), extract32(point, 32, output_type=uint256),
        extract32(point, 64, output_type=uint256), extract32(point, 96, output_type=uint256),
    ]


@internal
@view
def check_opening(point: uint256[4], z: uint256, y: uint256, opening: Bytes[48]):
    # Reverts unless the polynomial that the point commits to has the value y at z.
    assert len(opening) == 48, "opening"
    commitment: Bytes[48] = self.compressed(point)
    versioned_hash: uint256 = convert(sha256(commitment), uint256) & (2**248 - 1) | 2**248
    success: bool = False
    answer: Bytes[64] = b""
    success, answer = raw_call(
        POINT_EVALUATION,
        concat(convert(versioned_hash, bytes32), convert(z, bytes32), convert(y, bytes32), commitment, opening),
        max_outsize=64,
        is_static_call=True,
        revert_on_failure=False,
    )
    assert success, "wrong opening"
    assert len(answer) == 64, "the chain has no point evaluation"


@internal
@pure
def compressed(point: uint256[4]) -> Bytes[48]:
    # Three flags above the 381 bits of x: compressed, infinity, y above (q - 1) / 2.
    x: uint256 = point[0] | 2**127
    if point[0] | point[1] | point[2] | point[3] == 0:
        x |= 2**126
    elif point[2] > HALF_Q_HIGH or (point[2] == HALF_Q_HIGH and point[3] > HALF_Q_LOW):
        x |= 2**125
    return concat(slice(convert(x, bytes32), 16, 16), convert(point[1], bytes32))
