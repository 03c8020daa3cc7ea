"""``secure-agg`` run in the tests' own process, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import typer

from secure_agg.cli import main
from secure_agg.cli.app import app


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The JSON on stderr: its last line."""
        return json.loads(self.err.splitlines()[-1])


Run = Callable[..., Outcome]


def running(capsys: pytest.CaptureFixture[str], *first: str) -> Run:
    """What runs ``secure-agg``, or one of its groups and commands, with the arguments that it is given."""

    def command(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as exit_:
            main([*first, *map(str, arguments)])
        code = exit_.value.code
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    return command


def every_command(command: Any = None) -> Any:
    """The command line as Click sees it, with every command imported, which users wait for one by one."""
    root = typer.main.get_command(app) if command is None else getattr(command, "real", command)
    if hasattr(root, "commands"):
        root.commands = {name: every_command(below) for name, below in root.commands.items()}
    return root
