"""A document's blocks, run one after the other in one shell, in a folder that is made for it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil
from documents.blocks import RUNNABLE, Block, Command, blocks, commands
from documents.scenes import Scene
from support.chance.ports import free_port
from support.source_tree import ROOT

from secure_agg.errors import SecureAggWarning

SECONDS: Final = 1800
_PORT: Final = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=--port )\d+|(?<=http\.server )\d+")
_PORTS: Final = 4
_PATIENT: Final = {"federation init federation ": "federation init federation --phase-seconds 600 "}
"""Under Flower every message starts a process, which takes a busy machine a minute or more."""
_SHOWN: Final = ("text", "diff", "ini", "toml", "json", "yaml")


@dataclass(frozen=True)
class _Step:
    """A command, the line that it stands in, and how it should end."""

    command: Command
    line: int
    code: int


def run(document: Path, folder: Path) -> None:
    """Run all that a document shows, and compare how each command ends and what it prints.

    Ports are replaced by free ones, and a few more are named by ``PORTS``; ``examples`` is a copy of ours. Whatever
    still runs at the end is killed.

    Args:
        document: Markdown, see ``blocks``.
        folder: empty.

    Raises:
        AssertionError: a command ended otherwise, printed something else, or did not end in time: names it.
        ValueError: a block that is neither run, nor a file, nor shown as text, nor marked.
    """
    _run(document, _Script(folder, blocks(document), Scene(document.name), {}), folder)


def play(scene: Scene, folder: Path) -> None:
    """Run the blocks of a scene as ``run`` does those of a document.

    Raises:
        AssertionError, ValueError: as ``run`` does.
    """
    shown = [each for each in scene.blocks() if not each.skipped]
    with scene.world(folder) if scene.world else contextlib.nullcontext({}) as up:
        if {each.language for each in shown if each.language in RUNNABLE and not each.title} == {"python"}:
            return _here(scene, shown, {**scene.names, **up}, folder)
        return _run(scene.path, _Script(folder, shown, scene, up), folder)


def _here(scene: Scene, shown: list[Block], names: Mapping[str, str], folder: Path) -> None:
    """Blocks of Python, in this process."""
    space: dict[str, object] = {"__name__": "snippet"}
    before = scene.given.get("", "")
    with contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", SecureAggWarning)
        for block in shown:
            if block.title:
                Path(block.title).write_text(_named(block.text, names))
            elif block.language == "python":
                given = before + "\n" + scene.given.get(block.first, "")
                exec(compile(_named(given, names), f"before line {block.line} of {scene.document}", "exec"), space)  # noqa: S102
                lines = "\n" * block.line  # errors tell the document's line
                exec(compile(lines + _named(block.text, names), scene.document, "exec"), space)  # noqa: S102
                before = ""
        exec(compile(_named(scene.after, names), f"after {scene.document}", "exec"), space)  # noqa: S102


def _named(text: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text


class _Script:
    """The shell's input, and what is expected of each step.

    Attributes:
        steps: all that is run, in order.
        lines: what the shell reads.
    """

    def __init__(self, folder: Path, shown: list[Block], scene: Scene, up: Mapping[str, str]) -> None:
        """``up``: names of what runs already, whose ports are left as they are."""
        self.steps: list[_Step] = []
        self.lines: list[str] = []
        self._folder, self._names = folder, {**_PATIENT, **scene.names, **up}
        self._ports = {port: port for name in up.values() for port in _PORT.findall(name)}
        if any("examples/" in each.text for each in shown) and not (folder / "examples").exists():
            shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        self._console(self._here(scene.before), 0, 0)
        for block in shown:
            if block.skipped or (block.language in _SHOWN and not block.title):
                continue
            self._console(self._here(scene.steps.get(block.first, "")), block.line, 0)
            self._block(scene, replace(block, text=self._here(block.text)), block.first)
        self._console(self._here(scene.after), 0, 0)
        self.lines.append("kill $(jobs -p) 2> /dev/null; wait")  # servers end their own children first

    def _block(self, scene: Scene, block: Block, first: str) -> None:
        if block.title:
            self._file(block.title, block.text)
        elif block.language == "console":
            self._console(block.text, block.line, block.code)
        elif block.language == "python":
            path = f".line-{block.line}.py"
            before = self._here("\n".join([scene.given.get("", ""), scene.given.get(first, "")]))
            self._file(path, f"{before}\n{block.text}")
            self._step(f"python -W ignore {path}", Command(block.text, ()), block.line, block.code)
        elif block.language in RUNNABLE:
            self._step(block.text, Command(block.text, ()), block.line, block.code)
        else:
            raise ValueError(f"{scene.document}, line {block.line}: this is neither run nor a file")

    def _console(self, text: str, line: int, code: int) -> None:
        shown = commands(text, line)
        for command in shown:
            self._step(command.text, command, line, code if command is shown[-1] else 0)

    def _step(self, typed: str, command: Command, line: int, code: int) -> None:
        place = len(self.steps)
        self.lines += [f"echo; echo '@@ {place}'", typed, f'ended=$?; echo; echo "@@ {place} $ended"']
        self.steps.append(_Step(command, line, code))

    def _file(self, path: str, text: str) -> None:
        place = shlex.quote(str(self._folder / path))
        self.lines.append(f"mkdir -p $(dirname {place}); cat > {place} <<'END OF FILE'\n{text}END OF FILE")

    def _here(self, text: str) -> str:
        """As it is called on this machine."""
        text = _named(text, self._names)
        self._ports |= {port: str(free_port()) for port in set(_PORT.findall(text)) - self._ports.keys()}
        return _PORT.sub(lambda at: self._ports[at[0]], text)


def _run(document: Path, script: _Script, folder: Path) -> None:
    log = folder.parent / f"{folder.name}.log"
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder.parent),
        "NO_COLOR": "1",
        "PORTS": " ".join(str(free_port()) for _ in range(_PORTS)),
    }
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["/bin/bash"], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, cwd=folder, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            shell.communicate(("\n".join(script.lines) + "\n").encode(), timeout=SECONDS)
        except subprocess.TimeoutExpired:
            pass  # what was not printed is missed below
        finally:
            _end(shell)
    _compare(document, script.steps, log.read_text("utf-8", errors="replace"))


def _end(shell: subprocess.Popen[bytes]) -> None:
    """Kill what a shell has left, and itself if it still runs; those too that have begun a session of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in psutil.Process(shell.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()


def _compare(document: Path, steps: list[_Step], log: str) -> None:
    for place, step in enumerate(steps):
        where = f"{document.name}, line {step.line}: {step.command.text}"
        found = re.search(rf"^@@ {place}\n(.*?)^@@ {place} (\d+)$", log, re.DOTALL | re.MULTILINE)
        assert found, f"{where}\nhas not ended\n{log[-3000:]}"
        assert int(found[2]) == step.code, f"{where}\nended with {found[2]}\n{found[1]}"
        printed = iter(found[1].splitlines())
        for expected in step.command.output:
            pattern = re.compile(".*".join(re.escape(part) for part in expected.rstrip().split("…")))
            assert any(pattern.fullmatch(each.rstrip()) for each in printed), f"{where}\n{expected}\nin\n{found[1]}"
