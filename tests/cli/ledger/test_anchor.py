"""``secure-agg ledger anchor`` and ``secure-agg verify --chain``, on an in-process chain."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import support.chains.py_evm as py_evm
from support.chains.anchoring import PUBLISHER, WATCHER, Chain
from support.commands import Run

import secure_agg
from secure_agg import extras
from secure_agg.cli.ledger import anchor
from secure_agg.cli.terminal import exits
from secure_agg.ledger.evm import node, registry

URL = "http://127.0.0.1:8545"


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Chain:
    """What answers at any URL."""
    made = py_evm.chain()
    monkeypatch.setattr(node, "connect", lambda url: made.web3)
    return made


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds, and the publisher's key beside them."""
    path = tmp_path_factory.mktemp("anchor") / "rounds.db"
    for _ in range(2):
        updates = {name: [np.full(3, i / 10)] for i, name in enumerate(("ann", "bob", "cyd"))}
        secure_agg.aggregate(updates, ledger=path, backend="plain")
    return path


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "chain.key"
    path.write_text(PUBLISHER.key.hex() + "\n")
    path.chmod(0o600)
    return path


def evidence_of(ledger: Path, index: int) -> Path:
    with secure_agg.Ledger(ledger, read_only=True) as log:
        return log.evidence_path(log.record(index))


def test_a_round_is_anchored_and_verified_against_the_chain(
    run: Run, chain: Chain, ledger: Path, key_file: Path
) -> None:
    made = run("ledger", "anchor", ledger, "--rpc", URL, "--deploy", "--key-file", key_file, "--bond", 5, "--json")
    assert made.code == exits.OK, made.err
    contract = made.document["contract"]
    assert (made.document["size"], made.document["round"], made.document["deployed"]) == (2, None, True)
    assert contract in made.err
    on_contract = ("--rpc", URL, "--contract", contract, "--key-file", key_file)
    found = run("ledger", "anchor", ledger, *on_contract, "--round", 1, "--json")
    assert found.code == exits.OK, found.err
    assert found.document["round"]["final"] is False

    evidence = evidence_of(ledger, 1)
    checked = run("verify", evidence, "--chain", URL, "--contract", contract, "--json")
    assert checked.code == exits.OK, checked.err
    assert (checked.document["chain"]["contract"], checked.document["chain"]["final"]) == (contract, False)
    assert "not final" in run("verify", evidence, "--chain", URL, "--contract", contract).out
    chain.advance(8 * 86400)
    assert "final" in (shown := run("verify", evidence, "--chain", URL, "--contract", contract).out)
    assert "not final" not in shown

    pinned = run("verify", evidence, "--chain", URL, "--contract", contract, "--trust", f"{ledger}.trust.json")
    assert pinned.code == exits.OK, pinned.err
    absent = run("verify", evidence_of(ledger, 0), "--chain", URL, "--contract", contract)
    assert (absent.code, "is not registered" in absent.err) == (exits.VERIFICATION_FAILED, True)
    again = run("ledger", "anchor", ledger, *on_contract, "--round", 1)
    assert (again.code, "registered already" in again.err) == (exits.PROTOCOL_ABORT, True)
    missing = run("ledger", "anchor", ledger, *on_contract, "--round", 7)
    assert (missing.code, "no round 7" in missing.err) == (exits.USAGE, True)


def test_a_struck_round_fails_verification(run: Run, chain: Chain, ledger: Path, key_file: Path) -> None:
    options = ("--deploy", "--key-file", key_file, "--bond", 5, "--window", 100, "--response", 10, "--round", 0)
    contract = run("ledger", "anchor", ledger, "--rpc", URL, *options, "--json").document["contract"]
    watcher = registry.Registry(chain.web3, contract, WATCHER)
    watcher.challenge("default", 0, 1)
    shown = run("verify", evidence_of(ledger, 0), "--chain", URL, "--contract", contract)
    assert "open challenges: 1" in shown.out
    chain.advance(20)
    watcher.settle("default", 0, 1)
    failed = run("verify", evidence_of(ledger, 0), "--chain", URL, "--contract", contract)
    assert (failed.code, "struck" in failed.err) == (exits.VERIFICATION_FAILED, True)


def test_challenges_are_answered_and_bonds_paid_out(run: Run, chain: Chain, ledger: Path, key_file: Path) -> None:
    options = ("--deploy", "--key-file", key_file, "--bond", 5, "--window", 1000, "--response", 100, "--round", 0)
    contract = run("ledger", "anchor", ledger, "--rpc", URL, *options, "--json").document["contract"]
    dispute = ("ledger", "dispute", evidence_of(ledger, 0), "--rpc", URL, "--contract", contract, "--json")
    trusted = run(*dispute, "--trust", f"{ledger}.trust.json")
    assert trusted.code == exits.OK, trusted.err
    assert (trusted.document["fault"], trusted.document["open"], trusted.document["owed"]) == (None, [], None)
    paid = (*dispute, "--key-file", key_file, "--act")
    nothing = run(*paid, "challenge")
    assert (nothing.code, "stands a challenge" in nothing.err) == (exits.PROTOCOL_ABORT, True)
    early = run(*paid, "release")
    assert (early.code, early.out) == (exits.PROTOCOL_ABORT, "")

    assert run(*paid, "challenge", "--participant", 1).document["sent"] == ["challenge 1"]
    assert run(*dispute).document["open"] == [1]
    answered = run(*paid, "answer").document
    assert (answered["sent"], answered["open"], answered["owed"]) == (["answer 1"], [], 5)
    chain.advance(2000)
    released = run(*paid, "release").document
    assert (released["released"], released["owed"]) == (True, 10)
    with secure_agg.Ledger(ledger, read_only=True) as log:
        assert (answered["model"], released["model"]) == (None, log.record(0).result_model.hex())
    assert run(*paid, "withdraw").document["owed"] == 0


def test_what_is_not_answered_in_time_is_struck(run: Run, chain: Chain, ledger: Path, key_file: Path) -> None:
    options = ("--deploy", "--key-file", key_file, "--bond", 5, "--window", 1000, "--response", 100, "--round", 0)
    contract = run("ledger", "anchor", ledger, "--rpc", URL, *options, "--json").document["contract"]
    dispute = ("ledger", "dispute", evidence_of(ledger, 0), "--rpc", URL, "--contract", contract)
    assert run(*dispute).out.startswith("stands: ")
    paid = (*dispute, "--key-file", key_file, "--act")
    assert run(*paid, "challenge", "--participant", 2).code == exits.OK
    assert run(*paid, "settle").code == exits.PROTOCOL_ABORT
    chain.advance(200)
    settled = run(*paid, "settle")
    assert settled.code == exits.OK, settled.err
    assert settled.out.startswith("struck: ")
    assert "settle 2" in settled.out


def test_a_dispute_is_about_a_registered_round(run: Run, chain: Chain, ledger: Path, key_file: Path) -> None:
    contract = run("ledger", "anchor", ledger, "--rpc", URL, "--deploy", "--key-file", key_file, "--json").document[
        "contract"
    ]
    absent = run("ledger", "dispute", evidence_of(ledger, 0), "--rpc", URL, "--contract", contract)
    assert (absent.code, "is not registered" in absent.err) == (exits.VERIFICATION_FAILED, True)
    named = run("ledger", "dispute", evidence_of(ledger, 0), "--rpc", URL, "--contract", contract, "--participant", 1)
    assert (named.code, "--act challenge" in named.err) == (exits.USAGE, True)


def test_a_time_that_no_clock_shows_is_shown_as_a_number() -> None:
    """A node, or a contract whose storage was written by somebody's own constructor, may hold anything."""
    found = {"contract": "0x12", "closes": 2**200, "final": False, "open": 0, "chain": 1, "publisher": "0x34"}
    found |= {"window": 1, "response": 1, "bond": 1}
    assert str(2**200) in anchor.chain_fields(found)["chain"]


def test_the_key_comes_from_a_private_file_or_the_environment(
    run: Run, chain: Chain, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy = ("ledger", "anchor", ledger, "--rpc", URL, "--deploy")
    bad, secret = tmp_path / "bad.key", PUBLISHER.key.hex()
    for content, mode, message in (
        (secret, 0o644, "open to others"),
        ("", 0o600, "64 hexadecimal digits"),
        (secret[:-1], 0o600, "64 hexadecimal digits"),
        ("00" * 32, 0o600, "64 hexadecimal digits"),
        ("ff" * 32, 0o600, "secp256k1"),
    ):
        bad.write_text(content)
        bad.chmod(mode)
        refused = run(*deploy, "--key-file", bad)
        assert (refused.code, message in refused.err) == (exits.USAGE, True), refused.err
        assert secret[2:20] not in refused.err
    bad.write_bytes(bytes.fromhex("c3ff" * 16))
    refused = run(*deploy, "--key-file", bad)
    assert (refused.code, "no text" in refused.err) == (exits.USAGE, True), refused.err
    assert not {"c3", "ff"} & set(re.findall(r"[0-9a-f]{2}", refused.err.replace(str(bad), "")))
    assert "can't be read" in run(*deploy, "--key-file", tmp_path / "none").err
    assert anchor.KEY_VARIABLE in run(*deploy).err
    monkeypatch.setenv(anchor.KEY_VARIABLE, "0x" + secret.removeprefix("0x"))
    assert run(*deploy).code == exits.OK


def test_a_contract_of_another_log_than_the_pinned_one_is_refused(run: Run, chain: Chain, ledger: Path) -> None:
    contract = chain.deploy().address
    options = ("--chain", URL, "--contract", contract, "--trust", f"{ledger}.trust.json")
    refused = run("verify", evidence_of(ledger, 0), *options)
    assert (refused.code, "another log" in refused.err) == (exits.VERIFICATION_FAILED, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ledger", "anchor", "LEDGER", "--rpc", URL], "--deploy"),
        (["ledger", "anchor", "LEDGER", "--rpc", URL, "--deploy", "--contract", "0x12"], "--deploy"),
        (["ledger", "anchor", "LEDGER", "--rpc", URL, "--contract", "0x12", "--key-file", "KEY"], "no address"),
        (["verify", "EVIDENCE", "--chain", URL], "go together"),
        (["verify", "EVIDENCE", "--contract", "0x12"], "go together"),
        (["verify", "EVIDENCE", "--chain", URL, "--contract", "0x12"], "no address"),
    ],
)
def test_wrong_usage_is_explained(
    run: Run, chain: Chain, ledger: Path, key_file: Path, arguments: list[str], message: str
) -> None:
    names = {"LEDGER": str(ledger), "KEY": str(key_file), "EVIDENCE": str(evidence_of(ledger, 0))}
    refused = run(*(names.get(argument, argument) for argument in arguments))
    assert (refused.code, message in refused.err) == (exits.USAGE, True), refused.err


def test_a_missing_extra_is_named(run: Run, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_there", lambda name: False)
    for arguments in (
        ("ledger", "anchor", ledger, "--rpc", URL, "--deploy"),
        ("verify", evidence_of(ledger, 0), "--chain", URL, "--contract", PUBLISHER.address),
    ):
        refused = run(*arguments)
        assert (refused.code, "pip install '.[evm]'" in refused.err) == (exits.USAGE, True)
