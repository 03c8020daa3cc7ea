"""Nothing is left open: with warnings as errors, in Python's development mode, nobody hears of a file."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pytest

import secure_agg

UPDATES: Final = "{name: [numpy.ones(3)] for name in ('ann', 'bob', 'cyd')}"
BEGIN: Final = f"import sys, gc, numpy, secure_agg; db = sys.argv[1]; updates = {UPDATES}; "
PROGRAMS: Final = {
    "no ledger": "secure_agg.aggregate(updates)",
    "a new ledger": "secure_agg.aggregate(updates, ledger=db + '.new')",
    "a ledger": "secure_agg.aggregate(updates, ledger=db)",
    "an open ledger": "with secure_agg.Ledger(db) as log: secure_agg.aggregate(updates, ledger=log)",
    "a ledger that is refused": "secure_agg.aggregate(updates, ledger=db + '/no/ledger')",
    "an update that is refused": "secure_agg.aggregate({**updates, 'ann': [numpy.ones(4)]}, ledger=db)",
    "a round that fails": "secure_agg.aggregate(updates, ledger=db, dropouts={'ann': 'masked-input'})",
    "no ledger to read": "secure_agg.Ledger(db + '.none', read_only=True)",
    "what is no ledger": "secure_agg.Ledger(sys.executable)",
    "verify": "with secure_agg.Ledger(db, read_only=True) as log: secure_agg.verify(log.evidence(log.record(0)))",
    "a client without a store": "key = secure_agg.Identity.generate('ann'); "
    "clients = [secure_agg.Client(key, secure_agg.Trust(tasks={})) for _ in range(3)]; del clients; gc.collect()",
    "a store": "secure_agg.AttemptStore(db + '.attempts').close()",
    "a store that is refused": "secure_agg.AttemptStore(db + '/no/attempts')",
}
COMMANDS: Final = (
    ("verify", "{evidence}", "--without-trust"),
    ("verify", "{evidence}", "--trust", "{db}.trust.json", "--json"),
    ("ledger", "list", "{db}"),
    ("ledger", "show", "{db}"),
    ("ledger", "receipt", "{db}"),
    ("ledger", "checkpoint", "{db}"),
    ("backends",),
)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "rounds.db"
    secure_agg.aggregate({name: [np.ones(3)] for name in ("ann", "bob", "cyd")}, ledger=path)
    return path


def strict(*arguments: object) -> str:
    """What a Python process that takes warnings for errors says on stderr, but for kernels that it compiles."""
    command = [sys.executable, "-X", "dev", "-W", "error", *map(str, arguments)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    return re.sub(r"^compiling \S+ for this machine: .*\n", "", said, flags=re.MULTILINE)


@pytest.mark.parametrize("which", PROGRAMS)
def test_the_library_leaves_nothing_open(which: str, ledger: Path) -> None:
    program = f"""{BEGIN}
try:
    {PROGRAMS[which]}
except secure_agg.SecureAggError:
    pass
"""
    assert strict("-c", program, ledger) == ""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_leave_nothing_open(command: Sequence[str], ledger: Path) -> None:
    with secure_agg.Ledger(ledger, read_only=True) as log:
        evidence = log.evidence_path(log.record(0))
    assert strict("-m", "secure_agg", *(word.format(db=ledger, evidence=evidence) for word in command)) == ""


def test_what_is_left_open_would_be_heard_of(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "ResourceWarning" in strict("-c", "import sys; open(sys.argv[1])", tmp_path / "file")
