"""The registry on an in-process chain under the Prague rules: a good round, every way to alter it, and challenges."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support.chains.py_evm as py_evm
from eth.vm.forks.cancun import CancunVM
from support.chains.anchoring import (
    BOND,
    LOG_KEY,
    PUBLISHER,
    STRANGER,
    TAMPERINGS,
    WATCHER,
    WINDOW,
    Call,
    Chain,
    Log,
    anchored,
    refuses,
    round_of,
    synthetic,
    transact,
)
from support.chains.kzg_checks import holds, unpack
from support.federation import Federation, Tape, replace
from web3 import Web3

import secure_agg
from benchmarks.ledger import gas as ledger_gas
from secure_agg.errors import ConfigError, LedgerError, VerificationError
from secure_agg.ledger.evm import reader as client
from secure_agg.ledger.evm.node import connect
from secure_agg.ledger.evm.registration import AnchoredRound
from secure_agg.ledger.evm.registry import Registry
from secure_agg.ledger.evm.statement import Domain, Entry, SumStatement, add_packed, decode_commitment
from secure_agg.ledger.log import Ledger
from zk import merkle

# Registration


def test_a_registered_round_is_what_its_evidence_says(chain: Chain, registry: Registry) -> None:
    item = round_of()
    found = registry.verify_chain(item)
    assert (found.final, found.round.model, found.round.participants) == (False, item.record.result_model, 3)
    assert registry.get_entries("task", 0) == item.entries
    assert registry.find_fault(item) is None
    with pytest.raises(VerificationError, match="not final yet"):
        registry.get_model("task", 0)
    chain.advance(WINDOW)
    assert registry.verify_chain(item).final
    assert registry.get_model("task", 0) == item.record.result_model


@pytest.mark.parametrize("altered", TAMPERINGS)
def test_a_registration_with_one_thing_altered_is_refused(log_of_three: tuple[Registry, Log], altered: str) -> None:
    registry, log = log_of_three
    call = Call.of(registry, round_of(), 1, log.path(1))
    TAMPERINGS[altered](call)
    with refuses("the contract refuses"):
        call.send(registry)


@pytest.fixture(scope="module")
def log_of_three(chain: Chain) -> tuple[Registry, Log]:
    """A contract that knows a log of three records, the second a good round's, and has registered none."""
    log = Log([b"first", round_of().record.to_bytes(), b"third"])
    registry = chain.deploy()
    log.store(registry)
    return registry, log


def test_none_of_these_registrations_is_refused_unaltered(chain: Chain) -> None:
    log, registry = Log([b"first", round_of().record.to_bytes(), b"third"]), chain.deploy()
    log.store(registry)
    Call.of(registry, round_of(), 1, log.path(1)).send(registry)


@pytest.mark.parametrize("altered", ["K_0", "M with p more in a slot"])
def test_a_new_opening_does_not_make_an_altered_registration_good(
    log_of_three: tuple[Registry, Log], altered: str
) -> None:
    """The point of evaluation is hashed from what was altered, and the value there is the contract's own."""
    registry, log = log_of_three
    call = Call.of(registry, round_of(), 1, log.path(1))
    TAMPERINGS[altered](call)
    entries = tuple(Entry.from_words(words) for words in call.entries)
    statement = SumStatement(round_of().leaf, 3, entries, tuple(call.sums))
    call.opening = statement.open(registry.domain)
    with refuses("wrong opening"):
        call.send(registry)
    assert not holds(statement, registry.domain, call.opening)


def test_nobody_is_counted_twice(chain: Chain) -> None:
    """A record that counts one of three twice, with entries and opening to match."""
    item = round_of()
    first, second, _ = item.participants
    twice = (first, second, second)
    sums = add_packed([decode_commitment(who.commitment) for who in twice])
    lie = AnchoredRound(replace(item.record, commitment_sum=unpack(sums)), item.members, twice)
    with refuses("places"):
        anchored(chain, [lie])


def test_the_statement_is_checked_off_chain_as_on_it() -> None:
    domain, statement = Domain(1, bytes(range(20))), round_of().statement
    opening = statement.open(domain)
    assert holds(statement, domain, opening)
    first, second, third = statement.entries
    for wrong in (
        dataclasses.replace(statement, members=2),
        dataclasses.replace(statement, members=4),
        dataclasses.replace(statement, entries=(first, second)),
        dataclasses.replace(statement, entries=(second, first, third)),
        dataclasses.replace(statement, entries=(first, second, third._replace(place=3))),
        dataclasses.replace(statement, sums=statement.sums[:-1]),
        dataclasses.replace(statement, leaf=bytes(32)),
    ):
        assert not holds(wrong, domain, opening)
    for other in (domain._replace(chain=2), domain._replace(contract=bytes(20))):
        assert not holds(statement, other, opening)


def test_an_opening_is_for_one_contract_and_one_chain(chain: Chain) -> None:
    item, log = round_of(), Log([round_of().record.to_bytes()])
    first, second = chain.deploy(), chain.deploy()
    for registry in (first, second):
        log.store(registry)
    call = Call.of(first, item, 0, ())
    with refuses("wrong opening"):
        call.send(second)
    call.opening = item.statement.open(first.domain._replace(chain=first.domain.chain + 1))
    with refuses("wrong opening"):
        call.send(first)


def test_an_opening_is_for_one_round(chain: Chain) -> None:
    rounds, registry = [round_of(number=0), round_of(number=1)], chain.deploy()
    log = Log([item.record.to_bytes() for item in rounds])
    log.store(registry)
    call = Call.of(registry, rounds[0], 0, log.path(0))
    call.opening = rounds[1].statement.open(registry.domain)
    with refuses("wrong opening"):
        call.send(registry)


def test_a_proof_under_an_older_checkpoint_is_stale(chain: Chain) -> None:
    log, registry = Log([round_of().record.to_bytes()]), chain.deploy()
    log.store(registry)
    call = Call.of(registry, round_of(), 0, log.path(0))
    log.add(b"next")
    log.store(registry)
    with refuses("path"):
        call.send(registry)
    call.path = list(log.path(0))
    call.send(registry)


def test_a_round_is_registered_once(registry: Registry) -> None:
    with refuses("registered already"):
        registry.register(round_of(), 0, ())


def test_only_the_publisher_registers_and_stores(chain: Chain, registry: Registry) -> None:
    stranger = chain.as_(STRANGER, registry)
    with refuses("not the publisher"):
        stranger.register(round_of(), 0, ())
    with refuses("not the publisher"):
        transact(stranger, "store_checkpoint", 1, registry.checkpoint()[1], 2, bytes(32), [])


@pytest.mark.parametrize("bond", [0, BOND - 1, BOND + 1])
def test_a_bond_is_posted_exactly(chain: Chain, registry: Registry, bond: int) -> None:
    fresh, log = chain.deploy(), Log([round_of().record.to_bytes()])
    log.store(fresh)
    with refuses("bond"):
        Call.of(fresh, round_of(), 0, ()).send(fresh, bond)
    with refuses("bond"):
        transact(chain.as_(WATCHER, registry), "challenge", b"task", 0, 0, value=bond)


@pytest.mark.parametrize("n", [2, 7, pytest.param(8, marks=pytest.mark.long)])
def test_rounds_of_any_size_are_registered(chain: Chain, n: int) -> None:
    item = synthetic(n, rank=4 if n == 7 else 3)
    registry = anchored(chain, [item])
    assert registry.find_fault(item) is None
    registry.verify_chain(item)
    registry.challenge("task", 0, n - 1)
    registry.answer(item, n - 1)


# Checkpoints


def test_a_checkpoint_follows_the_one_before(chain: Chain) -> None:
    registry, log = chain.deploy(), Log([b"a", b"b", b"c"])
    assert registry.checkpoint() == (0, merkle.EMPTY_ROOT)
    with refuses("stale"):
        transact(registry, "store_checkpoint", 0, bytes(32), 3, log.root, [])
    log.store(registry)
    assert registry.checkpoint() == (3, log.root)
    old_root = log.root
    for leaf in (b"d", b"e"):
        log.add(leaf)
    proof = list(merkle.consistency_proof(3, 5, log.node))
    for arguments in (
        (0, merkle.EMPTY_ROOT, 5, log.root, []),
        (3, log.root, 5, log.root, proof),
        (2, old_root, 5, log.root, proof),
        (3, old_root, 5, bytes(32), proof),
        (3, old_root, 5, log.root, proof[:-1]),
        (3, old_root, 5, log.root, []),
        (3, old_root, 3, old_root, []),
        (3, old_root, 2**63, log.root, proof),
    ):
        with refuses("the contract refuses"):
            transact(registry, "store_checkpoint", *arguments)
    log.store(registry)
    assert registry.checkpoint() == (5, log.root)


def test_a_rewritten_log_is_not_taken_over(chain: Chain) -> None:
    registry, log = chain.deploy(), Log([b"a", b"b", b"c"])
    log.store(registry)
    rewritten = Log([b"a", b"x", b"c", b"d"])
    size, root = registry.checkpoint()
    proof = list(merkle.consistency_proof(3, 4, rewritten.node))
    with refuses("not consistent"):
        transact(registry, "store_checkpoint", size, root, 4, rewritten.root, proof)


# Rounds of other backends


def test_a_homomorphic_round_is_anchored_by_its_commitment_hashes(chain: Chain) -> None:
    """Its statement is of all who advertised; one of them was not summed, so the others' places are not 0, 1, 2, …"""
    federation = Federation(n=4, backend="bfv")
    evidence = Tape.start(federation, {"c001": "masked-input"}).finish()
    item = AnchoredRound.of(evidence, federation.trust)
    assert ([who.place for who in item.participants], len(item.members)) == ([0, 2, 3], 4)
    registry = anchored(chain, [item])
    assert registry.find_fault(item) is None
    registry.verify_chain(item)
    for index in range(3):
        registry.challenge("task", 0, index)
        registry.answer(item, index)


def test_a_masked_round_is_anchored(chain: Chain) -> None:
    item = round_of(n=4, backend="masking")
    registry = anchored(chain, [item])
    registry.challenge("task", 0, 3)
    registry.answer(item, 3)
    registry.verify_chain(item)


def test_a_round_whose_statement_the_contract_can_not_open_is_not_anchored() -> None:
    federation = Federation(n=3, backend="additive", options={"aggregators": 2})
    with pytest.raises(ConfigError, match="can't be anchored"):
        AnchoredRound.of(Tape.start(federation).finish())


# The client


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """Two rounds of a real ledger."""
    path = tmp_path_factory.mktemp("ledger") / "rounds.db"
    rng = np.random.default_rng(0)
    updates = {name: [rng.normal(size=5)] for name in ("a", "b", "c")}
    for _ in range(2):
        secure_agg.aggregate(updates, backend="plain", ledger=path)
    with Ledger(path, read_only=True) as opened:
        yield opened


def test_a_ledgers_round_is_anchored_from_its_evidence(chain: Chain, ledger: Ledger) -> None:
    registry = chain.deploy(log_key=ledger.log_public)
    for number in (0, 1):
        item = registry.anchor(ledger, "default", number)
        assert registry.checkpoint() == (2, ledger.head().root)
        registry.verify_chain(item)
    with refuses("registered already"):
        registry.anchor(ledger, "default", 1)
    with pytest.raises(LedgerError, match="no round 2"):
        registry.anchor(ledger, "default", 2)


def test_a_ledger_is_anchored_only_where_it_belongs(chain: Chain, ledger: Ledger) -> None:
    with pytest.raises(VerificationError, match="another log"):
        chain.deploy().store_checkpoint(ledger)
    registry = chain.deploy(log_key=ledger.log_public)
    Log([b"another", b"history"]).store(registry)
    with pytest.raises(VerificationError):
        registry.store_checkpoint(ledger)
    longer = chain.deploy(log_key=ledger.log_public)
    Log([b"a", b"longer", b"one"]).store(longer)
    with pytest.raises(VerificationError, match="knows 3 records"):
        longer.store_checkpoint(ledger)


def test_evidence_of_another_result_does_not_fit_the_chain(registry: Registry) -> None:
    item = round_of()
    for what, change in (
        ("record", {"evidence": bytes(32)}),
        ("record", {"result_model": bytes(32)}),
        ("record", {"commitment_sum": bytes(6144)}),
    ):
        other = AnchoredRound(replace(item.record, **change), item.members, item.participants)
        with pytest.raises(VerificationError, match=f"another {what}"):
            registry.verify_chain(other)
    other = AnchoredRound(replace(item.record, round=7), item.members, item.participants)
    with pytest.raises(VerificationError, match="not registered"):
        registry.verify_chain(other)


def test_another_contract_is_not_taken_for_this_one(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VerificationError, match="no contract"):
        Registry(chain.web3, WATCHER.address)
    with pytest.raises(ConfigError, match="no address"):
        Registry(chain.web3, "0x12")
    registry = chain.deploy()
    changed = client.artifact() | {"runtime_sha256": "00" * 32}
    monkeypatch.setattr(client, "artifact", lambda: changed)
    with pytest.raises(VerificationError, match="another contract"):
        Registry(chain.web3, registry.address)


def test_a_reader_sends_nothing(chain: Chain, registry: Registry) -> None:
    reader = Registry(chain.web3, registry.address)
    assert reader.terms == dataclasses.replace(registry.terms)
    assert (reader.terms.log_key, reader.terms.publisher) == (LOG_KEY, PUBLISHER.address)
    with pytest.raises(ConfigError, match="account"):
        reader.challenge("task", 0, 0)


@pytest.mark.parametrize("terms", [{"window": 0}, {"response": 0}, {"window": 2**32}, {"bond": 2**128}])
def test_terms_that_make_no_sense_are_not_deployed(chain: Chain, terms: dict[str, int]) -> None:
    with refuses("the contract refuses"):
        chain.deploy(**terms)


def test_a_chain_without_the_precompiles_registers_nothing() -> None:
    """Before Prague there is no addition of points: a call of the empty address succeeds and returns nothing."""
    old = py_evm.chain(CancunVM)
    registry, log = old.deploy(), Log([round_of().record.to_bytes()])
    log.store(registry)
    with refuses("the chain has no G1ADD"):
        registry.register(round_of(), 0, ())


def test_gas_grows_by_a_little_for_every_client() -> None:
    found = {row.key: row.median for row in ledger_gas.rows((3, 5))}
    assert 0 < found["gas.register.5"] - found["gas.register.3"] < 2 * 10_000
    assert found["gas.register.5"] < 1_000_000
    assert found["gas.answer.3"] < 500_000


def test_a_chain_that_does_not_answer_is_no_bug(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="http"):
        connect("ftp://example.org")
    with pytest.raises(LedgerError):
        connect("http://127.0.0.1:9")


@pytest.mark.parametrize("method", ["eth_getCode", "eth_call", "eth_getBlockByNumber"])
@pytest.mark.parametrize("answer", [[], {}, 5, "zz", [{"x": 1}]], ids=str)
def test_a_node_that_answers_nonsense_is_no_bug(chain: Chain, registry: Registry, method: str, answer: Any) -> None:
    class Nonsense(type(chain.web3.provider)):  # type: ignore[misc]
        def make_request(self, asked: Any, params: Any) -> Any:
            if asked == method:
                return {"jsonrpc": "2.0", "id": 1, "result": answer}
            return super().make_request(asked, params)

    web3 = Web3(Nonsense(chain.web3.provider.ethereum_tester))  # type: ignore[attr-defined]
    with pytest.raises((LedgerError, VerificationError)):
        Registry(web3, registry.address).verify_chain(round_of())
