"""The script of the Flower example, whose whole run is a scene of the documents: what it does where something ends."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest
from support.source_tree import ROOT

SCRIPT: Final = ROOT / "examples" / "flower-quickstart" / "run.sh"
HANG_S: Final = 60.0
STANDS: Final = "exec sleep 600"
COMMANDS: Final = {
    "python": "echo 00",
    "secure-agg": "true",
    "flower-superlink": STANDS,
    "flower-supernode": STANDS,
    "flwr": 'case "$1" in ls) ;; supernode) echo "\\"status\\": \\"offline\\"" ;; *) exit 9 ;; esac',
}
"""What the script calls, as far as it goes where no node has reached the SuperLink."""


@pytest.mark.parametrize(
    ("command", "ends"),
    [
        ("flower-superlink", "echo 'port 9292 is taken' >&2; exit 1"),
        ("flower-supernode", f"case $* in *ward-c*) echo 'port 9295 is taken' >&2; exit 1 ;; *) {STANDS} ;; esac"),
    ],
)
def test_it_ends_with_the_logs_when_a_process_of_flowers_has_ended(command: str, ends: str, tmp_path: Path) -> None:
    """It would wait for a node that never comes."""
    found = tmp_path / "bin"
    found.mkdir()
    for name, script in (COMMANDS | {command: ends}).items():
        (found / name).write_text(f"#!/bin/sh\n{script}\n")
        (found / name).chmod(0o700)
    done = subprocess.run(
        ["/bin/sh", SCRIPT, tmp_path / "work"], cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S,
        env={**os.environ, "PATH": f"{found}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "is taken" in done.stderr
