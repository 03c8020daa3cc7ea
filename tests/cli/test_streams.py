"""Whatever stdout and stderr are: a command ends with its own exit code and in a sentence, never in a traceback."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pytest

import secure_agg
from secure_agg.cli import main
from secure_agg.cli.terminal import exits
from secure_agg.cli.terminal.progress import PAUSE_S, Lines

ENCODINGS: Final = ("ascii", "latin-1", "cp1252", "utf-8")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A round of a task whose name is not ASCII."""
    path = tmp_path_factory.mktemp("streams") / "rounds.db"
    secure_agg.aggregate({name: [np.ones(3)] for name in "abc"}, ledger=path, task="größe ∑")
    return path


def command(*arguments: object, after: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``secure-agg`` in a process of its own; ``after`` is what follows it on a command line."""
    words = [sys.executable, "-m", "secure_agg", *map(str, arguments)]
    line = f'set -o pipefail; "$@" {after}'
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    return subprocess.run(["/bin/bash", "-c", line, "bash", *words], capture_output=True, env=environment, check=False)


RESULTS: Final = (
    ("backends",),
    ("verify", "--help"),
    ("ledger", "list", "LEDGER"),
    ("ledger", "show", "LEDGER"),
    ("ledger", "audit", "LEDGER"),
    ("ledger", "checkpoint", "LEDGER"),
    ("ledger", "receipt", "LEDGER"),
    ("ledger", "list", "LEDGER", "--json"),
)
REFUSED: Final = ("ledger", "show", "LEDGER", "größe", "0")

# Starts a process for each command of ours by a fork: what its streams are was decided when this one started.
RUNNER: Final = """
import importlib, json, os, sys
from secure_agg.cli import main
for command in ("backends", "verify.verify", "ledger.ledger"):  # imported once, and not by every child
    importlib.import_module(f"secure_agg.cli.{command}")
for number, arguments in enumerate(json.load(sys.stdin)):
    if not (child := os.fork()):
        for descriptor in (1, 2):
            os.dup2(os.open(f"{number}.{descriptor}", os.O_WRONLY | os.O_CREAT), descriptor)
        main(arguments)
    sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\\n")
"""

Done = Mapping[Sequence[str], subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="module")
def by_encoding(ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Done]:
    """What every command comes to in every encoding."""
    lines = (*RESULTS, REFUSED)
    found: dict[str, Done] = {}
    for encoding in ENCODINGS:
        folder = tmp_path_factory.mktemp(encoding)
        runner = subprocess.run(
            [sys.executable, "-c", RUNNER],
            input=json.dumps([[str(ledger) if word == "LEDGER" else word for word in line] for line in lines]).encode(),
            cwd=folder,
            env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            check=True,
        )
        found[encoding] = {
            line: subprocess.CompletedProcess(
                line, int(code), (folder / f"{number}.1").read_bytes(), (folder / f"{number}.2").read_bytes()
            )
            for number, (line, code) in enumerate(zip(lines, runner.stdout.split(), strict=True))
        }
    return found


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_holds_every_result(by_encoding: Mapping[str, Done], encoding: str) -> None:
    for arguments in RESULTS:
        done = by_encoding[encoding][arguments]
        assert (done.returncode, b"Traceback" in done.stderr) == (exits.OK, False), (arguments, done.stderr)
        assert done.stdout


def test_json_and_signed_texts_are_the_same_bytes_in_every_encoding(by_encoding: Mapping[str, Done]) -> None:
    as_json, receipt, checkpoint = ("ledger", "list", "LEDGER", "--json"), RESULTS[6], RESULTS[5]
    for arguments in (as_json, receipt, checkpoint):
        assert len({done[arguments].stdout for done in by_encoding.values()}) == 1, arguments
    assert json.loads(by_encoding["utf-8"][as_json].stdout)["records"][0]["task"] == "größe ∑"
    written = by_encoding["ascii"][receipt].stdout
    assert secure_agg.Receipt.from_bytes(written).to_bytes() == written


def test_a_sign_that_an_encoding_lacks_is_written_in_those_that_it_has(by_encoding: Mapping[str, Done]) -> None:
    show = ("ledger", "show", "LEDGER")
    assert "größe \\u2211" in by_encoding["cp1252"][show].stdout.decode("cp1252")
    assert "gr\\xf6\\xdfe \\u2211" in by_encoding["ascii"][show].stdout.decode("ascii")
    refused = by_encoding["ascii"][REFUSED]
    assert (refused.returncode, refused.stderr.isascii(), refused.stderr.count(b"\n")) == (exits.USAGE, True, 1)


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        (">&-", exits.OK),
        (">/dev/full", exits.OUTPUT_LOST),
        ("2>&-", exits.OK),
        ("2>/dev/full", exits.OK),
        (">&- 2>&- <&-", exits.OK),
        ("| true", exits.READER_GONE),
    ],
)
@pytest.mark.parametrize("arguments", [["backends"], ["backends", "--json"], ["--help"], ["--version"]], ids=" ".join)
def test_a_place_that_takes_nothing_is_no_failed_verification(arguments: Sequence[str], shell: str, code: int) -> None:
    done = command(*arguments, after=shell)
    # A short result fits into the pipe before its reader is gone: then nothing was lost.
    assert done.returncode in ({code, exits.OK} if code == exits.READER_GONE else {code})
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_failed_verification_stays_one_wherever_its_words_go(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_bytes(b"none")
    for shell in (">&-", ">/dev/full", "2>&-", "2>/dev/full", "2>&1 >&-"):
        assert command("verify", tmp_path / "evidence", after=shell).returncode == exits.VERIFICATION_FAILED


def test_a_closed_stdout_is_not_taken_over_by_the_next_file(ledger: Path) -> None:
    before = ledger.read_bytes()
    done = command("ledger", "audit", ledger, after=">&- 2>&-")
    assert (done.returncode, ledger.read_bytes() == before) == (exits.OK, True)


# --- progress and log, on stderr ------------------------------------------------------------------------------


def test_of_each_task_come_the_first_the_last_and_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = Lines(lambda: now)
    task = lines.add_task("auditing", total=None, note="")
    for done in range(1, 101):
        now += PAUSE_S / 20
        lines.update(task, completed=done, total=100, note="second half" if done > 50 else None)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "auditing: 1/100"
    assert "auditing: 51/100, second half" in said
    assert said[-1] == "auditing: 100/100, second half"
    assert len(said) <= 100 / 20 + 3
    lines.say("deployed")
    assert capsys.readouterr().err == "deployed\n"


def test_a_task_without_a_total_and_steps_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(lambda: 0.0)
    task = lines.add_task("  anchoring ", total=None, note="connecting")
    lines.update(task, advance=1, note="checkpoint")
    lines.update(task, advance=1)  # nothing new, and at once
    lines.update(task, advance=1, note="registration")
    assert capsys.readouterr().err.splitlines() == ["anchoring: 1, checkpoint", "anchoring: 3, registration"]


def test_commands_say_how_far_they_are_on_stderr_alone(
    ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, word in (
        (("ledger", "audit", ledger), "auditing"),
        (("ledger", "fsck", ledger), "examining"),
        (("ledger", "export", ledger, tmp_path / "public"), "exporting"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main(list(map(str, command)))
        out, err = capsys.readouterr()
        assert exit_.value.code == exits.OK
        assert re.fullmatch(rf"({word}: \d+/\d+\n)+", err), err
        assert word not in out
        assert "\x1b" not in out + err


def test_verbose_shows_the_log_and_takes_its_handler_away_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger("secure_agg").handlers[:]
    for _ in range(2):
        with pytest.raises(SystemExit):
            main(["-v", "keygen", "ann", "--out", str(tmp_path / "none" / "ann.key")])
        assert capsys.readouterr().err.count("\n") == 1
        assert logging.getLogger("secure_agg").handlers == before
