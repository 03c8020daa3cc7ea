"""A document whose commands are run: what stands in it, for which machine, and where that lies on this one."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STATE: Final = "/var/lib/secure-agg"
PREFIX: Final = "/opt/secure-agg/bin/"
_BLOCK: Final = re.compile(r"^\*\*([^*\n]+)\*\*[^\n]*\n\n```(console|ini)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CARRIER: Final = """#!/bin/sh
# scp between folders: HOST:/var/lib/secure-agg/NAME is NAME in the folder of HOST.
for last; do :; done
host=${last%%%%.example:*}
path=${last#*:%s}
for file; do [ "$file" = "$last" ] || cp "$file" "%s/$host/$path"; done
"""


@dataclass(frozen=True)
class Block:
    """A piece of the document.

    Attributes:
        machine: whose it is, as the document says it.
        kind: ``console`` or ``ini``.
        text: as it stands there.
    """

    machine: str
    kind: str
    text: str

    @property
    def script(self) -> str:
        """The commands of a console."""
        return "".join(line[2:] if line.startswith("$ ") else line for line in self.text.splitlines(keepends=True))

    @property
    def setting(self) -> dict[str, str]:
        """The settings of a unit, of which each stands once."""
        joined = self.text.replace("\\\n", " ")
        return dict(line.split("=", 1) for line in joined.splitlines() if "=" in line)


def blocks(document: Path) -> list[Block]:
    """All pieces that are for a machine, in order."""
    return [Block(*found) for found in _BLOCK.findall(document.read_text("utf-8"))]


class Machines:
    """Folders in the place of machines.

    Attributes:
        root: of a folder for each.
    """

    def __init__(self, root: Path, names: tuple[str, ...], changes: Mapping[str, str]) -> None:
        """``changes``: what is called otherwise here, such as hosts and ports."""
        self.root, self._changes = root, changes
        tools = root / "tools"
        tools.mkdir(parents=True)
        for name in names:
            self.folder(name).mkdir(mode=0o700)
        carrier = tools / "scp"
        carrier.write_text(_CARRIER % (STATE + "/", root))
        carrier.chmod(stat.S_IRWXU)
        self.environment = os.environ | {
            "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        }

    def folder(self, name: str) -> Path:
        """What is ``/var/lib/secure-agg`` on a machine."""
        return self.root / name

    def here(self, name: str, text: str) -> str:
        """A text of the document, for this machine in this place."""
        text = re.sub(rf"(?<![:\w]){STATE}", str(self.folder(name)), text)
        text = text.replace(PREFIX, f"{Path(sys.executable).parent}/")
        for old, new in self._changes.items():
            text = text.replace(old, new)
        return text

    def settings(self, name: str) -> dict[str, str]:
        """The environment of a machine's processes."""
        return self.environment | {"FLWR_HOME": str(self.folder(name) / "flwr")}

    def run(self, name: str, script: str, timeout_s: float) -> str:
        """Run commands in a shell on a machine; what they print.

        Raises:
            AssertionError: one fails; with all that was printed.
        """
        done = subprocess.run(
            ["bash", "-euc", self.here(name, script)],  # noqa: S607 - in PATH
            cwd=self.folder(name), env=self.settings(name), capture_output=True, text=True, timeout=timeout_s,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def service(self, name: str, unit: Block) -> subprocess.Popen[bytes]:
        """Start what a unit starts."""
        words = shlex.split(self.here(name, unit.setting["ExecStart"]))
        with (self.root / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                words, cwd=self.folder(name), env=self.settings(name), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
