"""How far a command is: a line now and then where there is no terminal, and a line for each phase in the log."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest

import secure_agg
from secure_agg.cli import exits, main
from secure_agg.cli.progress import PAUSE_S, Lines

CLIENTS: Final = ("ann", "bob", "cyd")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("progress") / "rounds.db"
    for _ in range(2):
        secure_agg.aggregate({name: [np.ones(3)] for name in CLIENTS}, ledger=path)
    return path


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


def test_the_library_logs_a_line_for_each_phase(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "secure_agg")
    result = secure_agg.aggregate({name: [np.ones(3)] for name in CLIENTS}, task="lungs")
    phases = [name.removeprefix("aggregator.").removesuffix("_s") for name in result.stats if "aggregator." in name]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    found = [line for line in said if re.search(r"phase [a-z-]+ is over, 3 of 3 have answered", line)]
    for phase in ("advertise", "share-keys", "masked-input", "unmask"):
        assert phase in phases
        assert sum(f"phase {phase} is over" in line for line in found) == 1
    assert all("'lungs'" in line for line in found)


def test_an_aborted_round_is_logged_with_its_phase_and_nothing_of_its_data(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(secure_agg.SecureAggError):
        secure_agg.aggregate({name: [np.ones(3)] for name in CLIENTS}, dropouts={"ann": "masked-input"})
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line for line in said if "aborted in phase masked-input: TooFewClients" in line]


def test_the_library_installs_no_handlers_but_the_one_that_does_nothing() -> None:
    program = """
import logging, numpy, secure_agg
log = logging.getLogger("secure_agg")
assert [type(each) for each in log.handlers] == [logging.NullHandler], log.handlers
assert (log.level, log.propagate, logging.getLogger().handlers) == (logging.NOTSET, True, [])
try:
    secure_agg.aggregate({name: [numpy.ones(3)] for name in "abc"}, dropouts={"a": "masked-input"})
except secure_agg.SecureAggError:
    pass
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_verbose_shows_the_log_and_takes_its_handler_away_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger("secure_agg").handlers[:]
    for _ in range(2):
        with pytest.raises(SystemExit):
            main(["-v", "keygen", "ann", "--out", str(tmp_path / "none" / "ann.key")])
        assert capsys.readouterr().err.count("\n") == 1
        assert logging.getLogger("secure_agg").handlers == before
