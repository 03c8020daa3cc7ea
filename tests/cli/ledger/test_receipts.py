"""Receipts and checkpoints on the command line: what one party writes, another verifies with nothing else."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.commands import Outcome, Run

import secure_agg
from secure_agg.cli.terminal import exits
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import WitnessKey, cosign
from secure_agg.tlog.note import Note, VerifierKey
from secure_agg.tlog.receipt import Receipt

CLIENTS = ("ann", "bob", "cyd")
TIME = 1_700_000_000
WITNESSES = [Identity(f"witness.example/{i}", bytes([i + 1]) * 32) for i in range(2)]
KEYS = [WitnessKey(identity.name, identity.public) for identity in WITNESSES]


class Rounds(NamedTuple):
    """A ledger of two rounds; both witnesses have cosigned its first head, one of them the second."""

    ledger: Path
    evidence: tuple[Path, Path]
    key: str
    trust: Path


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Rounds:
    path = tmp_path_factory.mktemp("receipts") / "rounds.db"
    for cosigning in (2, 1):
        updates = {name: [np.full(3, i / 10)] for i, name in enumerate(CLIENTS)}
        secure_agg.aggregate(updates, ledger=path, backend="plain", task="cli")
        with Ledger(path) as ledger:
            checkpoint = ledger.head().checkpoint
            lines = tuple(cosign(who, who.name, checkpoint, TIME) for who in WITNESSES[:cosigning])
            ledger.add_cosignatures(Note(checkpoint.text, lines).to_bytes(), KEYS)
    with Ledger(path, read_only=True) as ledger:
        first, second = (ledger.evidence_path(record) for record in ledger.records())
        return Rounds(path, (first, second), str(ledger.verifier_key), ledger.trust_path)


@pytest.fixture
def policy(tmp_path: Path, rounds: Rounds) -> Path:
    """Both witnesses, of the one log."""
    lines = [
        f"log {rounds.key}",
        *(f"witness w{i} {key}" for i, key in enumerate(KEYS)),
        "group g all w0 w1",
        "quorum g",
    ]
    path = tmp_path / "witnesses.policy"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def document(outcome: Outcome) -> Any:
    assert outcome.code == exits.OK, outcome.err
    return json.loads(outcome.out)


def test_the_newest_checkpoint_is_a_note(run: Run, rounds: Rounds) -> None:
    text, machine = (
        run("ledger", "checkpoint", rounds.ledger),
        document(run("ledger", "checkpoint", rounds.ledger, "--json")),
    )
    assert (text.code, text.out) == (0, machine["checkpoint"])
    note = Note.from_bytes(text.out.encode())
    assert len(note.verify([VerifierKey.parse(rounds.key), *KEYS])) == 2
    assert (machine["size"], machine["key"]) == (Checkpoint.parse(note.text).size, rounds.key) == (2, rounds.key)
    assert machine["cosignatures"] == [{"name": KEYS[0].name, "key_id": KEYS[0].key_id.hex(), "time": TIME}]


def test_list_and_show_name_the_logs_key(run: Run, rounds: Rounds) -> None:
    for command in (("list", rounds.ledger), ("show", rounds.ledger, "cli", 1)):
        assert rounds.key in run("ledger", *command).out
        assert document(run("ledger", *command, "--json"))["key"] == rounds.key


def test_list_and_show_say_when_a_record_came_under_a_checkpoint_and_by_whose_clock(run: Run, rounds: Rounds) -> None:
    listed = document(run("ledger", "list", rounds.ledger, "--json"))["records"]
    shown = document(run("ledger", "show", rounds.ledger, "cli", 0, "--json"))["checkpoint"]
    assert abs(shown["signed"] - time.time()) < 3600
    assert (shown["signed"], shown["size"]) == (listed[0]["signed"], 1)
    assert (shown["witnessed_size"], shown["witnessed"]) == (1, {key.name: TIME for key in KEYS})
    text = run("ledger", "show", rounds.ledger, "cli", 0).out
    assert "by the ledger's own clock, unsigned" in text
    assert f"{KEYS[0].name} at 2023-11-14 22:13:20 UTC" in text
    assert "by the ledger's own clock, unsigned" in run("ledger", "list", rounds.ledger).out


def test_a_time_that_is_lost_or_nonsense_is_none_and_nothing_depends_on_it(
    run: Run, rounds: Rounds, tmp_path: Path
) -> None:
    shutil.copytree(rounds.ledger.parent, tmp_path / "copy")
    path = tmp_path / "copy" / rounds.ledger.name
    for statement in ("UPDATE times SET seconds = 'noon' WHERE size = 1", "DELETE FROM times"):
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute(statement)
        assert document(run("ledger", "list", path, "--json"))["records"][0]["signed"] is None
        assert document(run("ledger", "show", path, "cli", 0, "--json"))["checkpoint"]["signed"] is None
        assert "at a time that is lost" in run("ledger", "show", path, "cli", 0).out
        assert run("ledger", "audit", path).code == exits.OK


def test_a_receipt_goes_to_a_file_or_to_stdout(run: Run, rounds: Rounds, tmp_path: Path) -> None:
    out = tmp_path / "round-1.tlog-proof"
    text = run("ledger", "receipt", rounds.ledger, 1, "--task", "cli", "--out", out)
    assert text.code == exits.OK
    assert str(out) in text.out
    assert KEYS[0].name in text.out
    machine = document(run("ledger", "receipt", rounds.ledger, 1, "--task", "cli", "--json"))
    assert run("ledger", "receipt", rounds.ledger, 1, "--task", "cli").out == machine["receipt"] == out.read_text()
    assert (machine["index"], machine["size"], machine["file"]) == (1, 2, None)
    assert Receipt.from_bytes(out.read_bytes()).index == 1


def test_a_receipt_with_the_witnesses_that_a_policy_asks_for(run: Run, rounds: Rounds, policy: Path) -> None:
    command = ("ledger", "receipt", rounds.ledger, 0, "--task", "cli", "--json")
    assert document(run(*command))["size"] == 2
    witnessed = document(run(*command, "--policy", policy))
    assert (witnessed["size"], len(witnessed["cosignatures"])) == (1, 2)
    refused = run("ledger", "receipt", rounds.ledger, 1, "--task", "cli", "--policy", policy)
    assert refused.code == exits.USAGE
    assert "no signed head" in refused.err


def test_show_and_receipt_take_the_same_arguments(run: Run, rounds: Rounds, tmp_path: Path) -> None:
    two = tmp_path / "two.db"
    for task in ("lungs", "7"):
        secure_agg.aggregate({name: [np.ones(2)] for name in CLIENTS}, ledger=two, backend="plain", task=task)
    for command in ("show", "receipt"):
        for place, index in (
            ((rounds.ledger,), 1),  # the only task's newest round
            ((rounds.ledger, 0), 0),
            ((rounds.ledger, "cli", 1), 1),
            ((rounds.ledger, "--task", "cli"), 1),
            ((rounds.ledger, 0, "--task", "cli"), 0),
            ((rounds.ledger, "cli", 0, "--task", "cli"), 0),
            ((two, "--task", "lungs"), 0),
            ((two, "lungs", 0), 0),
            ((two, "7", 0), 1),  # a task's name may be a number
            ((two, "--task", "7"), 1),
        ):
            assert document(run("ledger", command, *place, "--json"))["index"] == index, place
        for place, said in (
            ((two,), "name one: 'lungs', '7'"),
            ((two, 0), "name one: 'lungs', '7'"),
            ((two, "lungs", "0", "--task", "7"), "two tasks"),
            ((two, "lungs", "x"), "no number of a round"),
            ((two, "lungs", "-1"), "-1"),
            ((two, "lungs", "٣"), "no number of a round"),
            ((two, "lungs", "9" * 5000), "no round"),
            ((two, "--task", "other"), "no round of task 'other'"),
        ):
            outcome = run("ledger", command, *place)
            assert (outcome.code, outcome.out) == (exits.USAGE, ""), place
            assert said in outcome.err


@pytest.fixture
def receipts(run: Run, rounds: Rounds, tmp_path: Path) -> tuple[Path, Path]:
    """Of both rounds, each under the newest head that both rounds' witnesses gave."""
    files = (tmp_path / "round-0.tlog-proof", tmp_path / "round-1.tlog-proof")
    with Ledger(rounds.ledger, read_only=True) as ledger:
        for index, file in enumerate(files):
            file.write_bytes(ledger.receipt(index, index + 1).to_bytes())
    return files


def test_a_round_is_verified_offline_with_its_receipt_and_the_logs_key(
    run: Run, rounds: Rounds, receipts: tuple[Path, Path], policy: Path
) -> None:
    command = ("verify", rounds.evidence[0], "--receipt", receipts[0])
    for pins in (("--key", rounds.key), ("--key", rounds.key, "--policy", policy), ("--policy", policy)):
        found = document(run(*command, *pins, "--json"))["receipt"]
        witnesses = {f"w{i}": TIME for i in range(2)} if "--policy" in pins else {}
        assert (found["index"], found["size"], found["witnesses"]) == (0, 1, witnesses)
        assert "record 0 of 1" in run(*command, *pins).out
    text = run(*command, "--policy", policy)
    assert "w0 at 2023-11-14 22:13:20 UTC" in text.out
    assert "nobody that is known" in run(*command, "--key", rounds.key).out
    assert document(run("verify", rounds.evidence[0], "--without-trust", "--json"))["receipt"] is None


def test_a_logs_key_is_ones_own_and_says_nothing_of_who_took_part(
    run: Run, rounds: Rounds, receipts: tuple[Path, Path]
) -> None:
    found = document(run("verify", rounds.evidence[0], "--receipt", receipts[0], "--key", rounds.key, "--json"))
    assert (found["outcome"], found["verified"], found["pinned"]) == ("consistent", False, [])
    assert "recorded where you have looked" in found["proved"]
    assert "no roster is pinned" in found["not_proved"]


def test_a_witness_may_have_a_name_that_is_no_text(
    run: Run, rounds: Rounds, receipts: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "policy").write_bytes(
        b"witness \xff%s %s\nquorum \xff%s\n" % (b"\xc2\x9b", str(KEYS[0]).encode(), b"\xc2\x9b")
    )
    command = (
        "verify",
        rounds.evidence[0],
        "--receipt",
        receipts[0],
        "--key",
        rounds.key,
        "--policy",
        tmp_path / "policy",
    )
    assert document(run(*command, "--json"))["receipt"]["witnesses"] == {"\\xff\x9b": TIME}
    assert "\\xff\\x9b at 2023" in run(*command).out


def test_a_receipt_that_proves_something_else_fails_verification(
    run: Run, rounds: Rounds, receipts: tuple[Path, Path], policy: Path, tmp_path: Path
) -> None:
    first, second = rounds.evidence
    stranger = VerifierKey(VerifierKey.parse(rounds.key).name, KEYS[0].public)
    renamed = VerifierKey("example.org/other", VerifierKey.parse(rounds.key).public)
    (tmp_path / "cut").write_bytes(receipts[0].read_bytes()[:-1])
    for arguments in (
        (first, "--receipt", receipts[1], "--key", rounds.key),
        (second, "--receipt", receipts[0], "--key", rounds.key),
        (first, "--receipt", receipts[0], "--key", stranger),
        (first, "--receipt", receipts[0], "--key", renamed),
        (first, "--receipt", tmp_path / "cut", "--key", rounds.key),
        (first, "--receipt", first, "--key", rounds.key),
        (second, "--receipt", receipts[1], "--policy", policy),
        (first, "--receipt", receipts[0], "--key", stranger, "--policy", policy),
    ):
        outcome = run("verify", *arguments, "--json")
        assert (outcome.code, outcome.out) == (exits.VERIFICATION_FAILED, "")


def test_a_trust_file_says_which_log_and_how_many_witnesses(
    run: Run, rounds: Rounds, receipts: tuple[Path, Path], tmp_path: Path
) -> None:
    # The rounds bind the witnesses that were pinned when they ran: none. So only the log can be asked for here.
    command = ("verify", rounds.evidence[1], "--trust", rounds.trust)
    found = document(run(*command, "--receipt", receipts[1], "--json"))
    assert found["receipt"]["origin"] == VerifierKey.parse(rounds.key).name
    elsewhere = replace(secure_agg.Trust.load(rounds.trust), origin="example.org/other")
    elsewhere.save(tmp_path / "trust.json")
    outcome = run("verify", rounds.evidence[1], "--trust", tmp_path / "trust.json", "--receipt", receipts[1])
    assert outcome.code == exits.VERIFICATION_FAILED
    assert "example.org/other" in outcome.err


def test_a_pinned_quorum_is_asked_for_on_the_command_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    with Ledger(path) as ledger:
        witnesses = Roster({key.name: key.public for key in KEYS})
        replace(ledger.trust, witnesses=witnesses, quorum=2).save(ledger.trust_path)
        secure_agg.aggregate({name: [np.ones(2)] for name in CLIENTS}, ledger=ledger, backend="plain")
        evidence, checkpoint = ledger.evidence_path(ledger.record(0)), ledger.head().checkpoint
        command = ("verify", evidence, "--trust", ledger.trust_path)
        for cosigning, code in ((0, exits.VERIFICATION_FAILED), (1, exits.VERIFICATION_FAILED), (2, exits.OK)):
            for who in WITNESSES[:cosigning]:
                ledger.add_cosignatures(Note(checkpoint.text, (cosign(who, who.name, checkpoint, TIME),)).to_bytes())
            assert run("ledger", "receipt", path, 0, "--out", tmp_path / "proof").code == exits.OK
            assert run(*command, "--receipt", tmp_path / "proof").code == code
    without = run(*command)
    assert (without.code, "not witnessed" in without.out) == (exits.OK, True)
    assert "not witnessed" not in run(*command, "--receipt", tmp_path / "proof").out


def test_usage_errors(run: Run, rounds: Rounds, receipts: tuple[Path, Path], policy: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.policy").write_text("nonsense\n")
    evidence, receipt = rounds.evidence[0], receipts[0]
    for arguments, message in (
        (("verify", evidence, "--key", rounds.key), "pass --receipt"),
        (("verify", evidence, "--policy", policy), "pass --receipt"),
        (("verify", evidence, "--receipt", receipt), "log's key"),
        (("verify", evidence, "--receipt", tmp_path / "missing", "--key", rounds.key), "can't be read"),
        (("verify", evidence, "--receipt", receipt, "--key", "nonsense"), "verifier key"),
        (("verify", evidence, "--receipt", receipt, "--key", KEYS[0]), "signature type"),
        (("verify", evidence, "--receipt", receipt, "--policy", tmp_path / "bad.policy"), "line 1"),
        (("verify", evidence, "--receipt", receipt, "--policy", tmp_path / "missing"), "can't be read"),
        (("ledger", "receipt", rounds.ledger, 2, "--task", "cli"), "no round 2"),
        (("ledger", "receipt", rounds.ledger, "other", 0), "'other'"),
        (("ledger", "receipt", rounds.ledger, "other", 0, "--task", "cli"), "two tasks"),
        (("ledger", "receipt", rounds.ledger, "cli", 0, 0), "more than TASK and ROUND"),
        (("ledger", "receipt", rounds.ledger, "cli"), "no number of a round"),
        (("ledger", "receipt", rounds.ledger, 0, "--task", "cli", "--out", tmp_path / "no" / "dir"), "No such file"),
        (("ledger", "receipt", tmp_path / "none.db", 0), "no ledger"),
        (("ledger", "checkpoint", tmp_path / "none.db"), "no ledger"),
    ):
        outcome = run(*arguments)
        assert (outcome.code, outcome.out) == (exits.USAGE, ""), arguments
        assert message in outcome.err
