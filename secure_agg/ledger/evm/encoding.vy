# pragma version 0.4.3
"""
@title Encodings of docs/specification.md: MessagePack, frames and the leaves of trees
@license Apache-2.0
"""

from . import curve
from . import residues

# Beginnings of frames: the protocol's name and the label, each with its length; every part follows with its own.
SUM: constant(Bytes[38]) = x"0c000000000000007365637572652d6167672f320a00000000000000616e63686f722d73756d"
PARTICIPANT: constant(Bytes[46]) = x"0c000000000000007365637572652d6167672f321200000000000000616e63686f722d7061727469636970616e74"
COMMITMENT: constant(Bytes[38]) = x"0c000000000000007365637572652d6167672f320a00000000000000636f6d6d69746d656e74"
COMMITMENT_HASH: constant(Bytes[43]) = x"0c000000000000007365637572652d6167672f320f00000000000000636f6d6d69746d656e742d68617368"
SURVIVOR: constant(Bytes[36]) = x"0c000000000000007365637572652d6167672f3208000000000000007375727669766f72"
LENGTH_8: constant(Bytes[8]) = x"0800000000000000"
LENGTH_32: constant(Bytes[8]) = x"2000000000000000"

BIN_32: constant(Bytes[2]) = x"c420"  # MessagePack: 32 bytes follow


struct Record:
    # A RoundRecord but for its version and claim, which are 2 and "sum" or nothing is registered, and commitment_sum.
    # What it says of weights and precision, from weight_limit to next_weight_limit, comes as it is encoded: all before it
    # says where it ends, and all behind it has one length, so there is one way to tell it from the rest.
    task: Bytes[128]
    round: uint64
    attempt: uint64
    context: bytes32
    session: bytes32
    cohort_size: uint64
    participants: uint64
    participants_root: bytes32
    weights: Bytes[64]
    start_model: bytes32
    result_model: bytes32
    previous_record: bytes32
    evidence: bytes32


@internal
@view
def sum_point(
    leaf: bytes32, entries: bytes32, members: uint256, sums: DynArray[uint256, residues.RANK_4]
) -> uint256:
    # Where a round's sums are evaluated. The leaf is of one task and round.
    digest: bytes32 = sha256(abi_encode(sums, ensure_tuple=False))  # their number, and each of them, in 32 bytes
    return self.point(concat(SUM, self.context(leaf, entries), LENGTH_32, convert(members, bytes32), LENGTH_32, digest))


@internal
@view
def participant_point(leaf: bytes32, entries: bytes32, index: uint256, commitment: Bytes[8192]) -> uint256:
    # Where one participant's commitment is evaluated.
    digest: bytes32 = sha256(commitment)
    return self.point(
        concat(PARTICIPANT, self.context(leaf, entries), LENGTH_32, convert(index, bytes32), LENGTH_32, digest)
    )


@internal
@view
def context(leaf: bytes32, entries: bytes32) -> Bytes[160]:
    # This contract on this chain, and the round with its entries.
    return concat(
        LENGTH_32, convert(chain.id, bytes32), LENGTH_32, convert(self, bytes32), LENGTH_32, leaf, LENGTH_32, entries
    )


@internal
@pure
def point(statement: Bytes[286]) -> uint256:
    return convert(sha256(statement), uint256) % curve.R


@internal
@pure
def leaf(record: Record, commitment_sum: Bytes[8192], scalars: uint256) -> bytes32:
    # The leaf hash of the record's encoding: an array of 21 fields, version 2, claim "sum" (a3 73 75 6d).
    size: Bytes[3] = x"c51800"
    if scalars == residues.RANK_4:
        size = x"c52000"
    return sha256(
        concat(
            x"00dc001502a373756d",
            self.text(record.task), self.uint(record.round), self.uint(record.attempt),
            BIN_32, record.context, BIN_32, record.session,
            self.uint(record.cohort_size), self.uint(record.participants),
            BIN_32, record.participants_root, size, commitment_sum, record.weights,
            BIN_32, record.start_model, BIN_32, record.result_model,
            BIN_32, record.previous_record, BIN_32, record.evidence,
        )
    )


@internal
@pure
def statement_value(
    task: Bytes[128], round: uint64, attempt: uint64, name: Bytes[128], commitment: Bytes[8192], nonce: Bytes[32]
) -> bytes32:
    # What a statement holds of a participant: a digest of its commitment, or, with a nonce, its commitment hash.
    size: bytes8 = self.length(convert(len(commitment), uint64))
    if len(nonce) == 0:
        return sha256(concat(COMMITMENT, size, commitment))
    assert len(nonce) == 32, "nonce"
    return sha256(
        concat(
            COMMITMENT_HASH, self.length(convert(len(task), uint64)), task, LENGTH_8, self.length(round),
            LENGTH_8, self.length(attempt), self.length(convert(len(name), uint64)), name,
            size, commitment, LENGTH_32, nonce,
        )
    )


@internal
@pure
def member(name: Bytes[128], held: bytes32) -> bytes32:
    # The leaf hash of a participant in the statement.
    return sha256(
        concat(x"00", SURVIVOR, self.length(convert(len(name), uint64)), name, LENGTH_32, held)
    )


@internal
@pure
def entry_hash(entry: uint256[5]) -> bytes32:
    return sha256(concat(x"00", abi_encode(entry)))


@internal
@pure
def text(text: Bytes[128]) -> Bytes[130]:
    # MessagePack, shortest form.
    if len(text) < 32:
        return concat(slice(convert(160 + len(text), bytes32), 31, 1), text)
    return concat(x"d9", slice(convert(len(text), bytes32), 31, 1), text)


@internal
@pure
def uint(number: uint64) -> Bytes[9]:
    # MessagePack, shortest form.
    word: bytes32 = convert(number, bytes32)
    if number < 2**7:
        return slice(word, 31, 1)
    if number < 2**8:
        return concat(x"cc", slice(word, 31, 1))
    if number < 2**16:
        return concat(x"cd", slice(word, 30, 2))
    if number < 2**32:
        return concat(x"ce", slice(word, 28, 4))
    return concat(x"cf", slice(word, 24, 8))


@internal
@pure
def length(number: uint64) -> bytes8:
    # 8 bytes, little endian.
    word: uint256 = residues.swap(convert(number, uint256))
    return convert(convert((word >> 32) | (word & residues.RESIDUE) << 32, uint64), bytes8)
