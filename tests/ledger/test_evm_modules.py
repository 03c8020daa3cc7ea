"""The contract's modules, one by one on an in-process chain, against the same functions in Python."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest
import support.chains.py_evm as py_evm
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chains.anchoring import PUBLISHER
from support.chains.kzg_checks import evaluate, scalars_for, small, unpack
from support.pace.effort import examples
from vyper.compiler import compile_code
from vyper.compiler.input_bundle import FilesystemInputBundle
from web3.exceptions import ContractLogicError

from mpc.ntt import N
from mpc.ring import P
from secure_agg.ledger.evm import compile as compiling
from secure_agg.ledger.evm import statement
from secure_agg.ledger.evm.reader import artifact
from secure_agg.ledger.evm.registry import record_fields
from secure_agg.protocol.evidence import RoundRecord
from zk import kzg, merkle

EXPOSED = """
# pragma version 0.4.3
import curve
import encoding
import merkle
import residues

@external
@view
def add(a: uint256[4], b: uint256[4]) -> uint256[4]:
    return curve.add(a, b)

@external
@view
def check_opening(point: uint256[4], z: uint256, y: uint256, opening: Bytes[48]):
    curve.check_opening(point, z, y, opening)

@external
@view
def compressed(point: uint256[4]) -> Bytes[48]:
    return curve.compressed(point)

@external
@view
def leaf(record: encoding.Record, commitment_sum: Bytes[8192], scalars: uint256) -> bytes32:
    return encoding.leaf(record, commitment_sum, scalars)

@external
@view
def member(
    task: Bytes[128], round: uint64, attempt: uint64, name: Bytes[128], c: Bytes[8192], nonce: Bytes[32]
) -> bytes32:
    return encoding.member(name, encoding.statement_value(task, round, attempt, name, c, nonce))

@external
@view
def participant_point(leaf: bytes32, entries: bytes32, index: uint256, commitment: Bytes[8192]) -> uint256:
    return encoding.participant_point(leaf, entries, index, commitment)

@external
@view
def reduced(sums: DynArray[uint256, residues.RANK_4]) -> Bytes[8192]:
    return residues.reduced(sums)

@external
@view
def evaluate(commitment: Bytes[8192], z: uint256) -> uint256:
    return residues.evaluate(commitment, z)

@external
@view
def check_inclusion(leaf: bytes32, index: uint256, size: uint256, path: DynArray[bytes32, 63], root: bytes32):
    merkle.check_inclusion(leaf, index, size, path, root)

@external
@view
def check_consistency(old: uint256, old_root: bytes32, new: uint256, new_root: bytes32, proof: DynArray[bytes32, 64]):
    merkle.check_consistency(old, old_root, new, new_root, proof)
"""
floats = st.floats(allow_nan=False)
bytes32 = st.binary(min_size=32, max_size=32)
unsigned = st.one_of(
    st.sampled_from([b + d for b in (2**7, 2**8, 2**16, 2**32) for d in (-1, 0)] + [0, 2**64 - 1]),
    st.integers(0, 2**64 - 1),
)
names = st.text(min_size=1, max_size=40).filter(lambda text: len(text.encode()) <= 128)


@functools.cache
def contract() -> Any:
    """The modules' functions, made callable from outside."""
    compiled = compile_code(
        EXPOSED, input_bundle=FilesystemInputBundle([compiling.FOLDER]), output_formats=("abi", "bytecode")
    )
    web3 = py_evm.chain().web3
    made: Any = web3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
    mined = web3.eth.wait_for_transaction_receipt(made.constructor().transact({"from": PUBLISHER.address}))
    return web3.eth.contract(address=mined["contractAddress"], abi=compiled["abi"])


@pytest.fixture(autouse=True, scope="module")
def deployed() -> None:
    """Before hypothesis looks at Python's recursion limit, which py-evm raises when it is imported."""
    contract()


def call(function: str, *arguments: Any) -> Any:
    return contract().functions[function](*arguments).call()


def refused(function: str, *arguments: Any) -> None:
    with pytest.raises(ContractLogicError):
        call(function, *arguments)


def words(point: bytes) -> list[int]:
    return statement.Entry(0, point).words()[1:]


def test_what_is_shipped_is_what_the_sources_compile_to() -> None:
    assert compiling.compile_contract() == artifact()


def test_the_contract_fits_into_a_block() -> None:
    """EIP-170 and EIP-3860 limit the code, before and after it is deployed."""
    assert artifact()["runtime_bytes"] + 5 * 32 <= 24576
    assert len(artifact()["bytecode"]) // 2 <= 49152


# Points


@examples(5, 50)
def test_points_add_up_and_open_as_off_chain(examples: int) -> None:
    """Of either sign: the contract compresses what it has added."""

    @settings(max_examples=examples)
    @given(st.integers(1, kzg.MODULUS - 1), st.integers(1, kzg.MODULUS - 1))
    def check(f: int, g: int) -> None:
        a, b = kzg.commit([0, f]), kzg.commit([0, g])
        total = call("add", words(a), words(b))
        assert total == words(kzg.commit([0, (f + g) % kzg.MODULUS]))
        y, opening = kzg.open_at([0, f], g)
        call("check_opening", words(a), g, y, opening)
        refused("check_opening", words(a), g, (y + 1) % kzg.MODULUS, opening)
        negative = kzg.commit([0, kzg.MODULUS - f])
        refused("check_opening", words(negative), g, y, opening)
        call("check_opening", words(negative), g, *kzg.open_at([0, kzg.MODULUS - f], g))

    check()


Q = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB


@pytest.mark.parametrize("y", [1, (Q - 1) // 2 - 1, (Q - 1) // 2, (Q + 1) // 2, (Q + 1) // 2 + 2**256, Q - 1])
def test_the_sign_of_a_point_is_that_of_its_larger_half(y: int) -> None:
    x = Q - 5
    point = [x >> 256, x % 2**256, y >> 256, y % 2**256]
    flags = 0x80 | (0x20 if y > Q - y else 0)
    assert call("compressed", point) == (x | flags << 376).to_bytes(48, "big")


def test_the_point_at_infinity_is_the_zero_polynomial() -> None:
    nothing, infinity = [0, 0, 0, 0], small()
    point = words(kzg.commit([7]))
    assert call("add", nothing, point) == point
    assert call("add", nothing, nothing) == nothing
    call("check_opening", nothing, 5, 0, infinity)
    refused("check_opening", nothing, 5, 1, infinity)


def test_what_is_no_point_is_not_added() -> None:
    point = words(kzg.commit([7]))
    for at in range(4):
        wrong = list(point)
        wrong[at] ^= 1
        refused("add", wrong, [0, 0, 0, 0])
        refused("add", [0, 0, 0, 0], wrong)


# Commitments


@examples(4, 30)
def test_residues_are_packed_reduced_and_evaluated_as_off_chain(examples: int) -> None:
    @settings(max_examples=examples)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([3, 4]), st.integers(1, 2048))
    def check(seed: int, rank: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        elements = rng.integers(0, P, rank * N, dtype=np.uint32)
        elements[rng.integers(0, rank * N, 50)] = P - 1
        packed = statement.pack(elements)
        sums = tuple(n * scalar for scalar in packed)
        assert call("reduced", sums) == unpack(sums)
        z = random.Random(seed).randrange(kzg.MODULUS)
        assert call("evaluate", elements.tobytes(), z) == evaluate(packed, z)

    check()


@pytest.mark.parametrize("at", [0, 767, 1535])
@pytest.mark.parametrize("value", [P, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_residue_that_is_not_below_p_is_refused(at: int, value: int) -> None:
    elements = np.full(1536, P - 1, dtype=np.uint32)
    call("evaluate", elements.tobytes(), 5)
    elements[at] = value
    refused("evaluate", elements.tobytes(), 5)


def test_sums_and_commitments_of_another_size_are_refused() -> None:
    for bad in (b"", bytes(6140), bytes(6176), bytes(8191)):
        refused("evaluate", bad, 5)
    for count in (0, 255, 257, 341):
        refused("reduced", [0] * count)
    for rank, at in ((3, 255), (4, 341)):
        sums = [0] * scalars_for(rank)
        sums[at] = 1 << 252
        refused("reduced", sums)
    refused("reduced", [0] * 341 + [1 << 84])


# Encodings


@examples(15, 150)
def test_the_record_is_encoded_as_the_ledger_encodes_it(examples: int) -> None:
    @settings(max_examples=examples)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        rank = data.draw(st.sampled_from([3, 4]))
        fields = {
            name: data.draw({"str": names, "int": unsigned, "float": floats, "bytes": bytes32}[kind])
            for name, kind in RoundRecord.__annotations__.items()
            if name not in ("version", "claim", "commitment_sum")
        }
        record = RoundRecord(version=2, claim="sum", commitment_sum=bytes(range(256)) * 8 * rank, **fields)
        leaf = call("leaf", record_fields(record), record.commitment_sum, scalars_for(rank))
        assert leaf == merkle.leaf_hash(record.to_bytes())

    check()


@examples(10, 80)
def test_participants_are_hashed_as_their_statement_has_them(examples: int) -> None:
    @settings(max_examples=examples)
    @given(names, unsigned, unsigned, names, st.sampled_from([6144, 8192]), st.one_of(st.just(b""), bytes32), bytes32)
    def check(task: str, number: int, attempt: int, name: str, size: int, nonce: bytes, leaf: bytes) -> None:
        commitment = (leaf * 256)[:size]
        value = statement.statement_value(task, number, attempt, name, commitment, nonce)
        member = call("member", task.encode(), number, attempt, name.encode(), commitment, nonce)
        assert member == merkle.leaf_hash(statement.member_leaf(name, value))
        domain = statement.Domain(contract().w3.eth.chain_id, bytes.fromhex(contract().address[2:]))
        expected = statement.participant_point(domain, leaf, leaf[::-1], number, commitment)
        assert call("participant_point", leaf, leaf[::-1], number, commitment) == expected

    check()


def test_a_nonce_has_32_bytes() -> None:
    refused("member", b"task", 0, 0, b"name", bytes(6144), bytes(31))


# Trees


LEAVES = [bytes([i]) for i in range(20)]


def node(level: int, position: int) -> bytes:
    return merkle.root(LEAVES[position << level : (position + 1) << level])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 11, 20])
def test_inclusion_proofs_of_rfc_9162_are_checked(size: int) -> None:
    root = merkle.root(LEAVES[:size])
    for index in range(size):
        leaf, path = merkle.leaf_hash(LEAVES[index]), list(merkle.inclusion_proof(index, size, node))
        call("check_inclusion", leaf, index, size, path, root)
        wrong = [
            (leaf, index + 1, size, path, root),
            (leaf, size, size, path, root),
            (bytes(32), index, size, path, root),
            (leaf, index, size, [*path, bytes(32)], root),
            (leaf, index, size, path, bytes(32)),
        ]
        wrong += (
            [(leaf, index, size, path[:-1], root), (leaf, index, size, [bytes(32), *path[1:]], root)] if path else []
        )
        for arguments in wrong:
            refused("check_inclusion", *arguments)


@pytest.mark.parametrize("new", [2, 3, 6, 7, 8, 13])
def test_consistency_proofs_of_rfc_9162_are_checked(new: int) -> None:
    root = merkle.root(LEAVES[:new])
    for old in range(1, new):
        old_root, proof = merkle.root(LEAVES[:old]), list(merkle.consistency_proof(old, new, node))
        call("check_consistency", old, old_root, new, root, proof)
        for arguments in (
            (old, bytes(32), new, root, proof),
            (old, old_root, new, bytes(32), proof),
            (old, old_root, new, root, proof[:-1]),
            (old, old_root, new, root, [*proof, bytes(32)]),
            (old, old_root, new, root, [bytes(32), *proof[1:]]),
        ):
            refused("check_consistency", *arguments)
