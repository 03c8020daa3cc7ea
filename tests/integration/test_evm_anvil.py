"""The registry on a real node: foundry's anvil under the Prague rules, a process of its own, spoken to over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.anchoring import (
    ACCOUNTS,
    BOND,
    PUBLISHER,
    RESPONSE,
    TAMPERINGS,
    WATCHER,
    WINDOW,
    Call,
    Chain,
    Log,
    anchored,
    round_of,
)
from support.chains.anvil import anvil

import secure_agg
from secure_agg.errors import LedgerRefused, VerificationError
from secure_agg.ledger.evm.node import connect
from secure_agg.ledger.evm.registry import Registry


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with anvil() as address:
        yield address


@pytest.fixture(scope="module")
def chain(url: str) -> Chain:
    web3 = connect(url)

    def advance(seconds: int) -> None:
        web3.provider.make_request("evm_increaseTime", [seconds])  # type: ignore[arg-type]
        web3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]

    for account in ACCOUNTS:
        web3.provider.make_request("anvil_setBalance", [account.address, hex(10**20)])  # type: ignore[arg-type]
    return Chain(web3, advance)


@pytest.fixture(scope="module")
def log_of_three(chain: Chain) -> tuple[Registry, Log]:
    log, registry = Log([b"first", round_of().record.to_bytes(), b"third"]), chain.deploy()
    log.store(registry)
    return registry, log


def test_a_round_stands_its_window(chain: Chain) -> None:
    registry, item = anchored(chain, [round_of()]), round_of()
    assert not registry.verify_chain(item).final
    assert registry.get_entries("task", 0) == item.entries
    watcher = chain.as_(WATCHER, registry)
    watcher.challenge("task", 0, 2)
    registry.answer(item, 2)
    with pytest.raises(VerificationError, match="not final yet"):
        registry.get_model("task", 0)
    chain.advance(WINDOW)
    assert registry.get_model("task", 0) == item.record.result_model
    registry.release("task", 0)
    registry.withdraw()
    assert chain.web3.eth.get_balance(registry.address) == 0
    with pytest.raises(LedgerRefused, match="registered already"):
        registry.register(item, 0, ())


def test_a_challenge_without_answer_strikes_the_round(chain: Chain) -> None:
    registry = anchored(chain, [round_of()])
    watcher = chain.as_(WATCHER, registry)
    watcher.challenge("task", 0, 0)
    chain.advance(RESPONSE + 1)
    with pytest.raises(LedgerRefused, match="too late"):
        registry.answer(round_of(), 0)
    watcher.settle("task", 0, 0)
    with pytest.raises(VerificationError, match="struck"):
        registry.get_model("task", 0)
    before = chain.balance(WATCHER)
    watcher.withdraw()
    assert chain.balance(WATCHER) - before > BOND  # two bonds, less the gas


@pytest.mark.parametrize("altered", TAMPERINGS)
def test_a_registration_with_one_thing_altered_is_refused(log_of_three: tuple[Registry, Log], altered: str) -> None:
    registry, log = log_of_three
    call = Call.of(registry, round_of(), 1, log.path(1))
    TAMPERINGS[altered](call)
    with pytest.raises(LedgerRefused, match="the contract refuses"):
        call.send(registry)


def test_a_registration_is_for_one_contract_chain_and_checkpoint(chain: Chain) -> None:
    log, first, second = Log([round_of().record.to_bytes()]), chain.deploy(), chain.deploy()
    for registry in (first, second):
        log.store(registry)
    call = Call.of(first, round_of(), 0, ())
    with pytest.raises(LedgerRefused, match="wrong opening"):
        call.send(second)
    opening = call.opening
    call.opening = round_of().statement.open(first.domain._replace(chain=1))
    with pytest.raises(LedgerRefused, match="wrong opening"):
        call.send(first)
    call.opening = opening
    log.add(b"next")
    log.store(first)
    with pytest.raises(LedgerRefused, match="path"):
        call.send(first)
    call.path = list(log.path(0))
    call.send(first)


def test_the_command_line_anchors_a_ledger_over_http(chain: Chain, url: str, tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    updates = {name: [np.full(3, i / 10)] for i, name in enumerate(("ann", "bob", "cyd"))}
    secure_agg.aggregate(updates, ledger=path, backend="plain")

    def run(*arguments: object) -> dict[str, object]:
        command = [sys.executable, "-m", "secure_agg", *map(str, arguments), "--json"]
        environment = {**os.environ, "SECURE_AGG_CHAIN_KEY": PUBLISHER.key.hex()}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        document: dict[str, object] = json.loads(done.stdout)
        return document

    contract = run("ledger", "anchor", path, "--rpc", url, "--deploy", "--bond", 1, "--round", 0)["contract"]
    with secure_agg.Ledger(path, read_only=True) as ledger:
        evidence = ledger.evidence_path(ledger.record(0))
    found = run("verify", evidence, "--chain", url, "--contract", contract)["chain"]
    assert isinstance(found, dict)
    assert (found["contract"], found["final"]) == (contract, False)
