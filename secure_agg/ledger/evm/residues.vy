# pragma version 0.4.3
"""
@title Commitments, which are residues modulo p, packed into scalars
@license Apache-2.0
@dev Residue 6 j + i lies in bits 42 i to 42 i + 41 of scalar j: a sum of 2048 packed commitments does not carry.
"""

from . import curve

P: constant(uint256) = 2147473409  # 2^31 - 10239, the ring of the commitments
SLOT: constant(uint256) = 42  # bits of a slot: a sum of 2048 residues does not carry
MASK: constant(uint256) = 2**42 - 1
RANK_3: constant(uint256) = 256  # scalars that hold a commitment of rank 3, 1536 residues
RANK_4: constant(uint256) = 342  # and one of rank 4, 2048 residues, the last with two of them

# For the eight residues of 32 bits in a word.
LANES: constant(uint256) = max_value(uint256) // (2**32 - 1)  # 1 in each
TOP_BITS: constant(uint256) = LANES * 2**31
GAPS: constant(uint256) = LANES * 10239  # 2^31 - p
ODD_PAIRS: constant(uint256) = LANES * (2**16 - 1)
ODD_BYTES: constant(uint256) = max_value(uint256) // (2**16 - 1) * 255
RESIDUE: constant(uint256) = 2**32 - 1


@internal
@pure
def reduced(sums: DynArray[uint256, RANK_4]) -> Bytes[8192]:
    # The sums' slots modulo p, 4 bytes each, little endian: the record's commitment_sum.
    count: uint256 = len(sums)
    assert count == RANK_3 or count == RANK_4, "sums"
    words: uint256[258] = empty(uint256[258])
    for g: uint256 in range(86):  # four scalars hold 24 residues, which are three words
        if 4 * g >= count:
            break
        a: uint256 = sums[4 * g]
        b: uint256 = sums[4 * g + 1]
        c: uint256 = 0
        d: uint256 = 0
        if 4 * g + 2 < count:
            c = sums[4 * g + 2]
            d = sums[4 * g + 3]
        assert (a | b | c | d) >> 252 == 0, "sums"
        words[3 * g] = self.swap(
            ((a & MASK) % P) << 224 | (((a >> 42) & MASK) % P) << 192 | (((a >> 84) & MASK) % P) << 160
            | (((a >> 126) & MASK) % P) << 128 | (((a >> 168) & MASK) % P) << 96 | ((a >> 210) % P) << 64
            | ((b & MASK) % P) << 32 | ((b >> 42) & MASK) % P
        )
        words[3 * g + 1] = self.swap(
            (((b >> 84) & MASK) % P) << 224 | (((b >> 126) & MASK) % P) << 192 | (((b >> 168) & MASK) % P) << 160
            | ((b >> 210) % P) << 128 | ((c & MASK) % P) << 96 | (((c >> 42) & MASK) % P) << 64
            | (((c >> 84) & MASK) % P) << 32 | ((c >> 126) & MASK) % P
        )
        words[3 * g + 2] = self.swap(
            (((c >> 168) & MASK) % P) << 224 | ((c >> 210) % P) << 192 | ((d & MASK) % P) << 160
            | (((d >> 42) & MASK) % P) << 128 | (((d >> 84) & MASK) % P) << 96 | (((d >> 126) & MASK) % P) << 64
            | (((d >> 168) & MASK) % P) << 32 | (d >> 210) % P
        )
    if count == RANK_3:
        return slice(abi_encode(words), 0, 6144)
    assert sums[RANK_4 - 1] >> 84 == 0, "sums"
    return slice(abi_encode(words), 0, 8192)


@internal
@pure
def evaluate(commitment: Bytes[8192], z: uint256) -> uint256:
    # The packed commitment's polynomial at z.
    size: uint256 = len(commitment)
    assert size == 6144 or size == 8192, "commitment"
    y: uint256 = 0
    for i: uint256 in range(86):
        g: uint256 = 85 - i
        if 96 * g >= size:
            continue
        u: uint256 = self.canonical(extract32(commitment, 96 * g, output_type=uint256))
        v: uint256 = 0
        w: uint256 = 0
        if 96 * g + 32 < size:
            v = self.canonical(extract32(commitment, 96 * g + 32, output_type=uint256))
            w = self.canonical(extract32(commitment, 96 * g + 64, output_type=uint256))
            y = uint256_addmod(
                uint256_mulmod(y, z, curve.R),
                (w & RESIDUE) << 210 | ((w >> 32) & RESIDUE) << 168 | ((w >> 64) & RESIDUE) << 126
                | ((w >> 96) & RESIDUE) << 84 | ((w >> 128) & RESIDUE) << 42 | (w >> 160) & RESIDUE,
                curve.R,
            )
            y = uint256_addmod(
                uint256_mulmod(y, z, curve.R),
                ((w >> 192) & RESIDUE) << 210 | (w >> 224) << 168 | (v & RESIDUE) << 126
                | ((v >> 32) & RESIDUE) << 84 | ((v >> 64) & RESIDUE) << 42 | (v >> 96) & RESIDUE,
                curve.R,
            )
        y = uint256_addmod(
            uint256_mulmod(y, z, curve.R),
            ((v >> 128) & RESIDUE) << 210 | ((v >> 160) & RESIDUE) << 168 | ((v >> 192) & RESIDUE) << 126
            | (v >> 224) << 84 | (u & RESIDUE) << 42 | (u >> 32) & RESIDUE,
            curve.R,
        )
        y = uint256_addmod(
            uint256_mulmod(y, z, curve.R),
            ((u >> 64) & RESIDUE) << 210 | ((u >> 96) & RESIDUE) << 168 | ((u >> 128) & RESIDUE) << 126
            | ((u >> 160) & RESIDUE) << 84 | ((u >> 192) & RESIDUE) << 42 | u >> 224,
            curve.R,
        )
    return y


@internal
@pure
def canonical(word: uint256) -> uint256:
    # Eight residues below p, from their bytes. Below 2^31 first: then the addition does not carry from one to the next.
    lanes: uint256 = self.swap(word)
    assert lanes & TOP_BITS == 0, "commitment"
    assert (lanes + GAPS) & TOP_BITS == 0, "commitment"
    return lanes


@internal
@pure
def swap(word: uint256) -> uint256:
    # Turns the bytes of each of the eight residues round.
    pairs: uint256 = (word >> 8) & ODD_BYTES | (word & ODD_BYTES) << 8
    return (pairs >> 16) & ODD_PAIRS | (pairs & ODD_PAIRS) << 16
