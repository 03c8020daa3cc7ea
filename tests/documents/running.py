"""A document's commands, run one after the other in one shell, in a folder that is made for it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil
from documents.blocks import Command, blocks
from support.source_tree import ROOT

SECONDS: Final = 900
_PORT: Final = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=--port )\d+|(?<=http\.server )\d+")


def run(document: Path, folder: Path) -> None:
    """Run all that a document shows, and compare how each command ends and what it prints.

    Ports are replaced by free ones; ``examples`` is a copy of ours. Whatever still runs at the end is killed.

    Args:
        document: Markdown, see ``blocks``.
        folder: empty.

    Raises:
        AssertionError: a command ended otherwise, printed something else, or did not end in time: names it.
        ValueError: a block that is neither console, nor a file, nor marked.
    """
    steps, script = _script(document, folder)
    log = folder.parent / f"{folder.name}.log"
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder.parent),
        "NO_COLOR": "1",
    }
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["/bin/bash"], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, cwd=folder, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            shell.communicate(script.encode(), timeout=SECONDS)
        except subprocess.TimeoutExpired:
            pass  # what was not printed is missed below
        finally:
            _end(shell)
    _compare(document, steps, log.read_text("utf-8", errors="replace"))


def _end(shell: subprocess.Popen[bytes]) -> None:
    """Kill what a shell has left, and itself if it still runs; those too that have begun a session of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in psutil.Process(shell.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()


def _script(document: Path, folder: Path) -> tuple[list[tuple[Command, int, int]], str]:
    """What is run, each with its line and how it should end; and the shell's input."""
    steps: list[tuple[Command, int, int]] = []
    lines = []
    ports: dict[str, str] = {}
    if "examples/" in document.read_text("utf-8"):
        shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks(document):
        text = _PORT.sub(lambda at: ports.setdefault(at[0], _free()), block.text)
        if block.skipped or (block.language in ("text", "diff") and not block.title):
            continue
        if block.title:
            path = folder / block.title
            lines.append(f"mkdir -p {path.parent}; cat > {path} <<'END OF FILE'\n{text}END OF FILE")
        elif block.language == "console":
            shown = block.commands()
            for place, command in enumerate(shown):
                last = place == len(shown) - 1
                typed = _PORT.sub(lambda at: ports[at[0]], command.text)
                lines += [f"echo; echo '@@ {len(steps)}'", typed, f'ended=$?; echo; echo "@@ {len(steps)} $ended"']
                steps.append((command, block.line, block.code if last else 0))
        else:
            raise ValueError(f"{document.name}, line {block.line}: this is neither console nor a file")
    lines.append("kill $(jobs -p) 2> /dev/null; wait")  # servers end their own children first
    return steps, "\n".join(lines) + "\n"


def _free() -> str:
    """A port that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def _compare(document: Path, steps: list[tuple[Command, int, int]], log: str) -> None:
    for place, (command, line, code) in enumerate(steps):
        where = f"{document.name}, line {line}: {command.text}"
        found = re.search(rf"^@@ {place}\n(.*?)^@@ {place} (\d+)$", log, re.DOTALL | re.MULTILINE)
        assert found, f"{where}\nhas not ended\n{log[-3000:]}"
        assert int(found[2]) == code, f"{where}\nended with {found[2]}\n{found[1]}"
        printed = iter(found[1].splitlines())
        for expected in command.output:
            pattern = re.compile(".*".join(re.escape(part) for part in expected.rstrip().split("…")))
            assert any(pattern.fullmatch(each.rstrip()) for each in printed), f"{where}\n{expected}\nin\n{found[1]}"
