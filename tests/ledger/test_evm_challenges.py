"""Challenges on an in-process chain: honest and dishonest publishers, watchers, bonds and deadlines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from py_arkworks_bls12381 import G1Point
from support.chains.anchoring import (
    BOND,
    PUBLISHER,
    RESPONSE,
    STRANGER,
    WATCHER,
    WINDOW,
    Chain,
    anchored,
    forged,
    made_up_commitment,
    refuses,
    round_of,
    transact,
)
from support.chains.kzg_checks import small, unpack
from support.federation import replace
from vyper.compiler import compile_code
from web3 import Web3
from web3.exceptions import ContractLogicError

from secure_agg.errors import VerificationError
from secure_agg.ledger.evm.registration import AnchoredRound, Participant
from secure_agg.ledger.evm.registry import Registry
from secure_agg.ledger.evm.statement import (
    Entry,
    add_packed,
    decode_commitment,
    leaf_at,
    member_leaf,
    statement_value,
)
from secure_agg.tlog.proof import check_inclusion
from zk import merkle

# Challenges


def test_a_right_answer_costs_the_challenger_its_bond(chain: Chain, registry: Registry, watcher: Registry) -> None:
    watcher.challenge("task", 0, 1)
    assert registry.get_round("task", 0).open == 1
    chain.as_(STRANGER, registry).answer(round_of(), 1)  # anybody who has the evidence
    assert (registry.get_round("task", 0).open, registry.credit(PUBLISHER.address)) == (0, BOND)
    with refuses("challenged already"):
        watcher.challenge("task", 0, 1)
    with refuses("closed"):
        watcher.settle("task", 0, 1)
    with refuses("closed"):
        registry.answer(round_of(), 1)
    chain.advance(WINDOW)
    assert registry.get_model("task", 0) == round_of().record.result_model
    registry.release("task", 0)
    with refuses("released already"):
        registry.release("task", 0)
    assert registry.credit(PUBLISHER.address) == 2 * BOND
    before = chain.balance(PUBLISHER)
    registry.withdraw()
    assert registry.credit(PUBLISHER.address) == 0
    assert chain.balance(PUBLISHER) > before + 2 * BOND - 10**15 * 9 // 10  # but for the gas
    assert chain.web3.eth.get_balance(Web3.to_checksum_address(registry.address)) == 0


def test_a_challenge_without_answer_strikes_the_round(chain: Chain, registry: Registry, watcher: Registry) -> None:
    watcher.challenge("task", 0, 2)
    with refuses("too early"):
        watcher.settle("task", 0, 2)
    chain.advance(RESPONSE + 1)
    with refuses("too late"):
        registry.answer(round_of(), 2)
    chain.advance(WINDOW)
    with pytest.raises(VerificationError, match="challenged"):
        registry.get_model("task", 0)
    with refuses("challenged"):
        registry.release("task", 0)
    chain.as_(STRANGER, registry).settle("task", 0, 2)
    assert registry.credit(WATCHER.address) == 2 * BOND
    with pytest.raises(VerificationError, match="struck"):
        registry.get_model("task", 0)
    with pytest.raises(VerificationError, match="struck"):
        registry.verify_chain(round_of())
    for attempt in (lambda: registry.release("task", 0), lambda: watcher.challenge("task", 0, 0)):
        with refuses("struck"):
            attempt()
    with refuses("registered already"):
        registry.register(round_of(), 0, ())
    watcher.withdraw()
    assert chain.web3.eth.get_balance(Web3.to_checksum_address(registry.address)) == 0


def test_challenges_do_not_stand_in_each_others_way(chain: Chain, registry: Registry, watcher: Registry) -> None:
    """One is answered, one is not, and the third gets its bond back."""
    stranger = chain.as_(STRANGER, registry)
    watcher.challenge("task", 0, 0)
    watcher.challenge("task", 0, 1)
    stranger.challenge("task", 0, 2)
    with refuses("challenged already"):
        stranger.challenge("task", 0, 1)
    assert registry.open_challenges("task", 0) == (0, 1, 2)
    registry.answer(round_of(), 0)
    assert registry.open_challenges("task", 0) == (1, 2)
    chain.advance(RESPONSE + 1)
    watcher.settle("task", 0, 1)
    with refuses("struck"):
        registry.answer(round_of(), 2)
    stranger.settle("task", 0, 2)
    for again in (0, 1, 2):
        with refuses("not challenged"):
            stranger.settle("task", 0, again)
    credits = [registry.credit(account.address) for account in (PUBLISHER, WATCHER, STRANGER)]
    assert credits == [BOND, 2 * BOND, BOND]
    for account in (PUBLISHER, WATCHER, STRANGER):
        chain.as_(account, registry).withdraw()
    assert chain.web3.eth.get_balance(Web3.to_checksum_address(registry.address)) == 0


def test_a_challenge_at_the_end_of_the_window_keeps_the_round_open(
    chain: Chain, registry: Registry, watcher: Registry
) -> None:
    chain.advance(WINDOW - 30)
    watcher.challenge("task", 0, 0)
    chain.advance(60)
    with pytest.raises(VerificationError, match="challenged"):
        registry.get_model("task", 0)
    with refuses("too late"):
        watcher.challenge("task", 0, 1)
    registry.answer(round_of(), 0)
    assert registry.get_model("task", 0) == round_of().record.result_model


def test_there_is_nothing_to_challenge_but_entries(registry: Registry, watcher: Registry) -> None:
    with refuses("index"):
        watcher.challenge("task", 0, 3)
    with refuses("not registered"):
        watcher.challenge("task", 1, 0)
    for attempt in (lambda: watcher.settle("task", 0, 0), lambda: registry.answer(round_of(), 0)):
        with refuses("not challenged"):
            attempt()


ANSWERS = {
    "entry": (3, lambda old: [old[0], *old[3:], *old[1:3]]),
    "entry path": (4, lambda old: [bytes(32), *old[1:]]),
    "name": (5, lambda old: old + b"x"),
    "commitment": (6, lambda old: bytes(4) + old[4:]),
    "commitment cut off": (6, lambda old: old[:-4]),
    "nonce": (8, lambda old: bytes(32)),
    "member path": (9, lambda old: [bytes(32), *old[1:]]),
    "opening": (10, lambda old: small(5)),
    "no opening": (10, lambda old: b""),
}


@pytest.fixture(scope="module")
def challenged(chain: Chain) -> Iterator[Registry]:
    registry = anchored(chain, [round_of()], response=10**6, window=10**6)
    registry.challenge("task", 0, 1)
    yield registry
    registry.answer(round_of(), 1)  # a right one is taken after all


@pytest.mark.parametrize("altered", ANSWERS)
def test_an_answer_with_one_thing_altered_is_refused(challenged: Registry, altered: str) -> None:
    arguments = answer_arguments(challenged, round_of(), 1)
    at, change = ANSWERS[altered]
    arguments[at] = change(arguments[at])
    with refuses("the contract refuses"):
        transact(challenged, "answer", *arguments)


def test_an_answer_is_for_one_participant(challenged: Registry) -> None:
    arguments = answer_arguments(challenged, round_of(), 0)
    arguments[2] = 1
    with refuses("not included"):
        transact(challenged, "answer", *arguments)


def answer_arguments(registry: Registry, item: AnchoredRound, index: int) -> list[Any]:
    shown = item.answer(index, registry.domain)
    return [
        item.record.task.encode(),
        item.record.round,
        index,
        shown.entry.words(),
        list(shown.entry_path),
        shown.participant.name.encode(),
        shown.participant.commitment,
        item.record.attempt,
        shown.participant.nonce,
        list(shown.member_path),
        shown.opening,
    ]


# Dishonest publishers


def with_entries(item: AnchoredRound, entries: list[Entry]) -> AnchoredRound:
    """The round with entries that are not its participants'."""
    made = AnchoredRound(item.record, item.members, item.participants)
    made.__dict__["entries"] = tuple(entries)
    return made


def shifted(item: AnchoredRound, shift: G1Point) -> AnchoredRound:
    """What is added to the first entry's point is taken from the second's: the sum stays as it is."""
    points = [G1Point.from_xy_bytes_unchecked_be(e.point[16:64] + e.point[80:]) for e in item.entries[:2]]
    moved = []
    for entry, point in zip(item.entries, (points[0] + shift, points[1] - shift), strict=False):
        xy = point.to_xy_bytes_be()
        moved.append(Entry(entry.place, bytes(16) + xy[:48] + bytes(16) + xy[48:]))
    return with_entries(item, [*moved, *item.entries[2:]])


def outside_the_group() -> G1Point:
    q, x = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB, 4
    while pow(x**3 + 4, (q - 1) // 2, q) != 1:
        x += 1
    y = pow(x**3 + 4, (q + 1) // 4, q)
    return G1Point.from_xy_bytes_unchecked_be(x.to_bytes(48, "big") + y.to_bytes(48, "big"))


@pytest.mark.parametrize(
    "shift", [None, G1Point(), outside_the_group()], ids=["change places", "in the group", "outside"]
)
def test_entries_that_only_add_up_rightly_are_struck(chain: Chain, shift: G1Point | None) -> None:
    """The chain alone can't tell; whoever recomputes the K_i can, and no answer saves the round."""
    item = round_of()
    first, second, third = item.entries
    swapped = [first._replace(point=second.point), second._replace(point=first.point), third]
    lie = shifted(item, shift) if shift else with_entries(item, swapped)
    registry = anchored(chain, [lie])
    with pytest.raises(VerificationError, match="another entries"):
        registry.verify_chain(item)
    index = registry.find_fault(item)
    assert index == 0
    watcher = chain.as_(WATCHER, registry)
    watcher.challenge("task", 0, index)
    for answered in (lie, item):
        with refuses("the contract refuses"):
            registry.answer(answered, index)
    chain.advance(RESPONSE + 1)
    watcher.settle("task", 0, index)
    with pytest.raises(VerificationError, match="struck"):
        registry.get_model("task", 0)


@pytest.mark.parametrize("members", [2, 3])
def test_a_wrong_number_of_participants_is_struck(chain: Chain, members: int) -> None:
    """A log that holds a record with a participant left out, of a statement that three have signed."""
    item = round_of()
    two = item.participants[:2]
    sums = add_packed([decode_commitment(who.commitment) for who in two])
    record = replace(item.record, participants=2, commitment_sum=unpack(sums))
    lie = AnchoredRound(record, item.members[:members], two)
    registry = anchored(chain, [lie])
    index = registry.find_fault(item)
    assert index is not None
    registry.challenge("task", 0, index)
    for answered in (lie, item, AnchoredRound(record, item.members, two)):
        with refuses("the contract refuses"):
            registry.answer(answered, index)


def test_a_member_that_was_not_summed_is_named_last(chain: Chain) -> None:
    """Where the statement holds D_i, a record may count a member more: whoever can open that one's D_i answers."""
    record, rng = round_of().record, np.random.default_rng(2)
    four = [Participant(f"p{i}", i, made_up_commitment(rng, 3), bytes([i]) * 32) for i in range(4)]
    members = tuple(
        member_leaf(
            who.name, statement_value(record.task, record.round, record.attempt, who.name, who.commitment, who.nonce)
        )
        for who in four
    )

    def of(*participants: Participant) -> AnchoredRound:
        sums = unpack(add_packed([decode_commitment(who.commitment) for who in participants]))
        root = merkle.root(members)
        made = replace(record, participants=len(participants), participants_root=root, commitment_sum=sums)
        return AnchoredRound(made, members, participants)

    true, lie = of(four[0], four[2], four[3]), of(*four)
    registry = anchored(chain, [lie])
    with pytest.raises(VerificationError, match="another record"):
        registry.verify_chain(true)
    assert registry.find_fault(true) == 1
    registry.challenge("task", 0, 1)
    registry.answer(lie, 1)

    first, second, third, fourth = lie.entries
    swapped = [first, second, third._replace(point=fourth.point), fourth._replace(point=third.point)]
    assert anchored(chain, [with_entries(lie, swapped)]).find_fault(true) == 2


@pytest.mark.parametrize("size", range(1, 10))
def test_a_wrong_number_of_members_has_a_place_that_no_proof_reaches(size: int) -> None:
    """A leaf is found as number ``place`` of ``claimed`` exactly where its own inclusion proof passes for that."""
    leaves = [bytes([i]) for i in range(size)]
    root = merkle.root(leaves)

    def passes(leaf: int, place: int, claimed: int) -> bool:
        path = merkle.inclusion_proof(
            leaf, size, lambda level, at: merkle.root(leaves[at << level : (at + 1) << level])
        )
        try:
            check_inclusion(leaves[leaf], place, claimed, path, root)
        except VerificationError:
            return False
        return True

    for claimed in range(1, 12):
        found = [leaf_at(place, claimed, size) for place in range(claimed)]
        assert found == [next((j for j in range(size) if passes(j, i, claimed)), None) for i in range(claimed)]
        assert (None in found) == (claimed != size)
        assert leaf_at(claimed, claimed, size) is None


def test_a_sum_that_is_not_of_the_participants_is_struck(chain: Chain) -> None:
    """A record whose commitment_sum is not the sum: the publisher makes the entries add up to it."""
    item = round_of()
    rank = len(item.participants[0].commitment) // (512 * 4)
    other = [made_up_commitment(np.random.default_rng(1), rank), *(who.commitment for who in item.participants[1:])]
    lie = forged(item, other)
    lie = AnchoredRound(
        replace(lie.record, participants_root=item.record.participants_root), item.members, lie.participants
    )
    registry = anchored(chain, [lie])
    assert registry.find_fault(item) == 0
    registry.challenge("task", 0, 0)
    for answered in (lie, item):
        with refuses("the contract refuses"):
            registry.answer(answered, 0)


def test_a_receiver_that_calls_back_is_not_paid_twice(chain: Chain, registry: Registry) -> None:
    source = """
# pragma version 0.4.3
interface Registry:
    def challenge(task: Bytes[128], round: uint64, index: uint256): payable
    def withdraw(): nonpayable

registry: address

@external
@payable
def attack(registry: address):
    self.registry = registry
    extcall Registry(registry).challenge(b"task", 0, 0, value=msg.value)

@external
def take():
    extcall Registry(self.registry).withdraw()

@external
@payable
def __default__():
    extcall Registry(self.registry).withdraw()
"""
    compiled = compile_code(source, output_formats=("abi", "bytecode"))
    eth = chain.web3.eth
    made: Any = eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
    sender = {"from": STRANGER.address}
    address = eth.wait_for_transaction_receipt(made.constructor().transact(sender))["contractAddress"]
    attacker: Any = eth.contract(address=address, abi=compiled["abi"])
    attacker.functions.attack(registry.address).transact(sender | {"value": BOND})
    chain.advance(RESPONSE + 1)
    registry.settle("task", 0, 0)
    assert registry.credit(address) == 2 * BOND == eth.get_balance(registry.address)
    with pytest.raises(ContractLogicError):
        attacker.functions.take().call(sender)
    assert registry.credit(address) == 2 * BOND == eth.get_balance(registry.address)
