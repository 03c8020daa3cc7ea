"""The command line: each command says the same to people and to machines, and exits with the documented code."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.commands import Run

import secure_agg
from secure_agg import Identity, errors, extras
from secure_agg.cli.demo import experiment, tamper
from secure_agg.cli.terminal import exits

VECTORS = Path(__file__).parents[2] / "docs" / "vectors"
CLIENTS = ("ann", "bob", "cyd", "dan")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of two rounds; dan is lost in the second."""
    path = tmp_path_factory.mktemp("cli") / "rounds.db"
    for lost in ({}, {"dan": "masked-input"}):
        updates = {name: [np.full((2, 3), i / 10, dtype=np.float32)] for i, name in enumerate(CLIENTS)}
        secure_agg.aggregate(updates, ledger=path, dropouts=lost, task="cli")
    return path


@pytest.fixture
def evidence(ledger: Path, tmp_path: Path) -> Path:
    """The second round's evidence, in a file that a test may change."""
    with secure_agg.Ledger(ledger, read_only=True) as log:
        data = log.evidence(log.record(1)).to_bytes()
    path = tmp_path / "round-1.evidence"
    path.write_bytes(data)
    return path


def trust_of(ledger: Path) -> Path:
    return Path(f"{ledger}.trust.json")


# --- verify ---------------------------------------------------------------------------------------------------


def test_verify_without_trust_says_that_nothing_is_pinned(run: Run, evidence: Path) -> None:
    command = ("verify", evidence, "--without-trust")
    text, machine = run(*command), run(*command, "--json")
    assert (text.code, machine.code) == (0, 0)
    assert text.out.startswith("consistent in itself; it pins nothing")
    assert "nothing is pinned" in text.out
    assert (machine.document["outcome"], machine.document["verified"]) == ("consistent", False)
    assert machine.document["pinned"] == []
    assert machine.document["participants"] == ["ann", "bob", "cyd"]
    assert machine.document["left_out"] == ["dan"]


def test_verify_says_of_which_generation_a_round_is_and_who_has_renounced_the_one_before(run: Run) -> None:
    command = ("verify", VECTORS / "renounced.evidence", "--trust", VECTORS / "round.trust.json")
    text, machine = run(*command), run(*command, "--json")
    assert (text.code, machine.code) == (0, 0)
    assert "1: 2 have renounced the one before" in text.out
    assert (machine.document["generation"], machine.document["renounced_by"]) == (1, ["Zoë", "bob"])


def test_verify_without_trust_ends_with_0_only_if_told_so(run: Run, ledger: Path, evidence: Path) -> None:
    text, machine = run("verify", evidence), run("verify", evidence, "--json")
    assert (text.code, machine.code) == (exits.USAGE, exits.USAGE)
    assert text.out == run("verify", evidence, "--without-trust").out
    assert machine.document == run("verify", evidence, "--without-trust", "--json").document
    assert "--without-trust" in text.err
    assert machine.error["type"] == "ConfigError"
    both = run("verify", evidence, "--without-trust", "--trust", trust_of(ledger))
    assert (both.code, both.out) == (exits.USAGE, "")


def test_a_proof_of_fault_is_held_to_the_same_rules(run: Run) -> None:
    proof, pins = VECTORS / "additive.fault", VECTORS / "additive.trust.json"
    text, found = run("verify", proof, "--trust", pins), run("verify", proof, "--trust", pins, "--json")
    assert (text.code, found.document["outcome"], found.document["verified"]) == (0, "verified", True)
    assert text.out.startswith(f"verified: a party broke the protocol: {found.document['culprit']}")
    bare = run("verify", proof, "--json")
    assert (bare.code, bare.error["type"]) == (exits.USAGE, "ConfigError")
    assert (bare.document["outcome"], bare.document["verified"], bare.document["pinned"]) == (
        "consistent",
        False,
        False,
    )
    assert run("verify", proof, "--without-trust", "--json") == bare._replace(code=exits.OK, err="")
    for arguments in (("--model", proof), ("--export", "x.npz"), ("--model", proof, "--base", proof)):
        outcome = run("verify", proof, "--trust", pins, *arguments)
        assert (outcome.code, outcome.out) == (exits.USAGE, "")


def test_every_verification_says_in_two_lines_what_was_proved_and_what_was_not(
    run: Run, ledger: Path, evidence: Path
) -> None:
    for command in (
        ("verify", evidence, "--trust", trust_of(ledger)),
        ("verify", evidence, "--without-trust"),
        ("ledger", "audit", ledger),
    ):
        lines, found = run(*command).out.splitlines(), run(*command, "--json").document
        assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("proved ")] == [found["proved"]]
        assert [line.split(maxsplit=2)[2] for line in lines if line.startswith("not proved ")] == [found["not_proved"]]
        assert "data or training was honest" in found["not_proved"]


def test_verify_with_trust_names_what_was_compared(run: Run, ledger: Path, evidence: Path) -> None:
    text = run("verify", evidence, "--trust", trust_of(ledger))
    machine = run("verify", evidence, "--trust", trust_of(ledger), "--json")
    assert (text.code, machine.code) == (0, 0)
    assert "nothing is pinned" not in text.out
    assert machine.document["pinned"] == ["policy", "roster", "operators", "log"]
    assert machine.document["record"]["round"] == 1


def test_an_altered_sum_fails_verification(run: Run, evidence: Path) -> None:
    bundle = secure_agg.Evidence.from_bytes(evidence.read_bytes())
    evidence.write_bytes(tamper.alter(bundle, 3).to_bytes())
    text, machine = run("verify", evidence), run("verify", evidence, "--json")
    assert (text.code, machine.code) == (exits.VERIFICATION_FAILED, exits.VERIFICATION_FAILED)
    assert text.err.startswith("error: ")
    assert text.err.count("\n") == 1
    assert (text.out, machine.out) == ("", "")
    assert machine.error["type"] == "VerificationError"


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_flipped_byte_fails_verification(run: Run, ledger: Path, evidence: Path, place: int) -> None:
    data = bytearray(evidence.read_bytes())
    data[place] ^= 1
    evidence.write_bytes(data)
    assert run("verify", evidence, "--trust", trust_of(ledger)).code == exits.VERIFICATION_FAILED


def test_somebody_elses_round_fails_against_ones_own_trust(run: Run, ledger: Path, tmp_path: Path) -> None:
    other = secure_agg.aggregate({name: [np.ones(2)] for name in CLIENTS}, task="cli").evidence
    (tmp_path / "other").write_bytes(other.to_bytes())
    assert run("verify", tmp_path / "other", "--without-trust").code == exits.OK
    outcome = run("verify", tmp_path / "other", "--trust", trust_of(ledger), "--json")
    assert (outcome.code, outcome.error["type"]) == (exits.VERIFICATION_FAILED, "TrustError")


def test_an_unreadable_trust_file_is_a_usage_error(run: Run, evidence: Path, tmp_path: Path) -> None:
    (tmp_path / "trust.json").write_text("{}")
    assert run("verify", evidence, "--trust", tmp_path / "trust.json").code == exits.USAGE
    assert run("verify", evidence, "--trust", tmp_path / "missing").code == exits.USAGE
    assert run("verify", evidence, "--beacon", "not hexadecimal").code == exits.USAGE


# --- ledger ---------------------------------------------------------------------------------------------------


def test_ledger_list_names_every_round(run: Run, ledger: Path) -> None:
    text, machine = run("ledger", "list", ledger), run("ledger", "list", ledger, "--json")
    assert (text.code, machine.code) == (0, 0)
    assert "3/4" in text.out
    records = machine.document["records"]
    assert [(r["index"], r["task"], r["round"], r["participants"]) for r in records] == [
        (0, "cli", 0, 4),
        (1, "cli", 1, 3),
    ]
    assert records[1]["previous_record"] == records[0]["digest"]


def test_ledger_show_leads_to_evidence_that_verifies(run: Run, ledger: Path) -> None:
    text, machine = run("ledger", "show", ledger, "cli", 1), run("ledger", "show", ledger, "cli", 1, "--json")
    assert (text.code, machine.code) == (0, 0)
    assert machine.document["left_out"] == ["dan"]
    path = machine.document["evidence_file"]
    assert f"secure-agg verify {path} --trust {trust_of(ledger)}" in text.out
    assert run("verify", path, "--trust", trust_of(ledger)).code == exits.OK


def test_ledger_audit_verifies_from_scratch(run: Run, ledger: Path) -> None:
    text, machine = run("ledger", "audit", ledger), run("ledger", "audit", ledger, "--json")
    assert (text.code, machine.code) == (0, 0)
    assert "which whoever runs the ledger can" in text.out
    assert machine.document["size"] == 2
    assert machine.document["trust_is_the_auditors"] is False
    own = run("ledger", "audit", ledger, "--trust", trust_of(ledger), "--json")
    assert own.document["trust_is_the_auditors"] is True
    assert own.document["pinned"] == ["policy", "roster", "operators", "log"]


def test_a_damaged_ledger_exits_with_4(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    secure_agg.aggregate({name: [np.ones(2)] for name in CLIENTS}, ledger=path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE leaves SET record = zeroblob(length(record))")
    database.close()
    for command in (("audit", path), ("list", path), ("show", path, "default", 0)):
        outcome = run("ledger", *command, "--json")
        assert (outcome.code, outcome.error["type"], outcome.out) == (exits.LEDGER_DAMAGED, "LedgerDamaged", "")


def test_a_ledger_or_round_that_is_not_there_is_a_usage_error(run: Run, ledger: Path, tmp_path: Path) -> None:
    assert run("ledger", "audit", tmp_path / "none.db").code == exits.USAGE
    assert list(tmp_path.iterdir()) == []
    assert run("ledger", "show", ledger, "cli", 2).code == exits.USAGE
    assert run("ledger", "show", ledger, "other", 0).code == exits.USAGE


# --- backends, keygen, bench ------------------------------------------------------------------------------------


def test_backends_shows_whom_to_trust(run: Run) -> None:
    text, machine = run("backends"), run("backends", "--json")
    assert (text.code, machine.code) == (0, 0)
    assert {"masking", "plain"} <= set(machine.document["backends"])
    for name, trust in machine.document["backends"].items():
        assert name in text.out
        assert set(trust) == {"summary", "trusted", "dropouts", "post_quantum", "limits", "operators", "options"} | {
            "hides",
            "lasting",
            "judges",
            "norm_bound",
        }
        bounded = trust["norm_bound"]
        assert bounded["supported"] == (name not in ("additive", "crypten"))
        assert bounded["factors"] == ({"10": 2.24, "100": 2.24, "500": 3.06} if bounded["supported"] else {})
        for option, rule in trust["options"].items():
            assert option in text.out
            assert rule["low"] <= (rule["low"] if rule["default"] is None else rule["default"]) <= rule["high"]


def test_keygen_keeps_the_private_key_private(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "ann.key"
    machine = run("keygen", "ann", "--out", path, "--json")
    assert machine.code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert machine.document["public"] == Identity.load("ann", path).public.hex()
    assert path.read_text().strip() not in machine.out

    before = path.read_bytes()
    assert run("keygen", "ann", "--out", path).code == exits.USAGE
    assert path.read_bytes() == before
    text = run("keygen", "bob", "--out", tmp_path / "bob.key")
    assert Identity.load("bob", tmp_path / "bob.key").public.hex() in text.out


def test_keygen_refuses_what_can_not_be_an_id(run: Run, tmp_path: Path) -> None:
    assert run("keygen", "a\nb", "--out", tmp_path / "key").code == exits.USAGE
    assert run("keygen", "ann", "--out", tmp_path / "missing" / "key").code == exits.USAGE
    assert list(tmp_path.iterdir()) == []


def test_bench_hands_its_arguments_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def suites(arguments: list[str]) -> int:
        seen.append(arguments)
        return 2 if "--wrong" in arguments else 0

    monkeypatch.setattr("benchmarks.__main__.main", suites)
    assert run("bench", "core", "--params", 1000, "--help").code == 0
    assert run("bench", "core", "--wrong").code == exits.USAGE
    assert seen == [["core", "--params", "1000", "--help"], ["core", "--wrong"]]


# --- the command as a whole -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.VerificationError("no"), 1),
        (errors.TrustError("no"), 1),
        (errors.ConfigError("no"), 2),
        (errors.UpdateError("no"), 2),
        (errors.LedgerError("no"), 2),
        (errors.StoreError("no"), 2),
        (FileNotFoundError("no"), 2),
        (errors.TooFewClients("no"), 3),
        (errors.Unattributed("no"), 3),
        (errors.BadSignature("no"), 3),
        (errors.LocalProtocolError("no"), 3),
        (errors.AlreadyReleased("no"), 3),
        (errors.LedgerRefused("no"), 3),
        (errors.LedgerDamaged("no"), 4),
        (ZeroDivisionError("no"), 70),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_every_exception_has_its_exit_code(error: Exception, code: int) -> None:
    assert exits.exit_code(error) == code


def test_an_error_that_quotes_a_stranger_leaves_the_terminal_alone(capsys: pytest.CaptureFixture[str]) -> None:
    exits.report(errors.LedgerError("a server says\x1b]0;title\x07 \x9b31m\nso"), as_json=False)
    assert capsys.readouterr().err == "error: a server says ]0;title 31m so\n"


def test_an_abort_names_phase_and_culprit(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torch")

    def abort(*_: object, **__: object) -> None:
        raise errors.DealerFault("a wrong secret", phase="unmask", culprit="hospital-a")

    monkeypatch.setattr(experiment, "run", abort)
    text, machine = run("demo", "--output", tmp_path), run("demo", "--output", tmp_path, "--json")
    assert (text.code, machine.code) == (exits.PROTOCOL_ABORT, exits.PROTOCOL_ABORT)
    assert "error: a wrong secret [phase 'unmask', culprit 'hospital-a']" in text.err
    assert machine.error == {
        "error": "a wrong secret",
        "type": "DealerFault",
        "phase": "unmask",
        "culprit": "hospital-a",
    }


def test_a_bug_shows_its_traceback_and_is_no_failed_check(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Identity, "save", lambda *_: 1 // 0)
    outcome = run("keygen", "ann", "--out", tmp_path / "key")
    assert outcome.code == exits.BUG
    assert "Traceback" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("verify",),
        ("verify", "missing.evidence"),
        ("verify", "--nonsense"),
        ("ledger", "show", "x.db", "task", "not-a-number"),
        ("demo", "--rounds", "0"),
        ("demo", "--rounds", "1", "--tamper"),
        ("demo", "--dataset", "nonsense"),
        ("demo", "--backend", "nonsense"),
        ("demo", "--executor", "nonsense"),
        ("demo", "--executor", "processes:2", "--tamper"),
    ],
    ids=" ".join,
)
def test_usage_errors_exit_with_2(
    run: Run, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, machine = run(*arguments), run(*arguments, "--json")
    assert (text.code, machine.code) == (exits.USAGE, exits.USAGE)
    assert text.err.startswith("error: ")
    assert text.err.count("\n") == 1
    assert machine.error["error"]
    assert machine.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("group", [(), ("ledger",)], ids=["secure-agg", "ledger"])
def test_without_a_command_the_help_is_shown(run: Run, group: tuple[str, ...]) -> None:
    outcome = run(*group)
    assert outcome.code == exits.USAGE
    assert "Usage: secure-agg" in outcome.out


def test_without_the_extra_the_demo_names_it(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(extras, "is_there", lambda _: False)
    outcome = run("demo", "--output", tmp_path)
    assert outcome.code == exits.USAGE
    assert "pip install '.[demo]'" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "secure_agg", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"secure-agg {secure_agg.__version__}\n"


def test_the_command_line_starts_without_the_demos_packages() -> None:
    program = "import sys, secure_agg.cli; print({'torch', 'sklearn', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
