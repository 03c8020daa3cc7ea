"""Every help: ``-h`` beside ``--help``, examples that parse, and no suggestion twice."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from support.commands import every_command

from secure_agg.cli import main
from secure_agg.cli.app import app
from secure_agg.cli.terminal import exits

ROOT: Any = every_command()


def commands(command: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group, with the words that lead to it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


ALL = [(path, command) for path, command in commands() if path != ("bench",)]  # whose help is the suites' own


def examples(command: Any) -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(r"^- `(.*)`$", command.epilog or "", re.MULTILINE)]


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "secure-agg" for path, _ in ALL])
def test_every_help_has_examples_that_parse(
    path: tuple[str, ...], command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for option in ("-h", "--help"):
        with pytest.raises(SystemExit) as exit_:
            main([*path, option])
        assert exit_.value.code == exits.OK
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "Example" in texts[0]
    found = examples(command)
    assert found
    for words in found:
        if words[0] == "eval":
            words = shlex.split(words[1].removeprefix("$(").removesuffix(")"))
        assert words[0] == "secure-agg"
        _parse(ROOT, words[1:])


def _parse(command: Any, words: list[str]) -> None:
    """Parse a command line as it would be, and run nothing."""
    context = command.make_context("secure-agg", list(words))
    while getattr(command, "commands", None):
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, list(words), parent=context)


@pytest.mark.parametrize("words", [["verfy"], ["ledger", "lst"], ["backends", "--jsn"]], ids=" ".join)
def test_a_suggestion_is_made_once(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert capsys.readouterr().err.count("Did you mean") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_is_a_script_that_names_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["completion", shell])
    assert (exit_.value.code, "secure-agg" in capsys.readouterr().out) == (exits.OK, True)


def test_the_shell_is_answered() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from secure_agg.cli import main; main()"],
        env={"_SECURE_AGG_COMPLETE": "complete_bash", "COMP_WORDS": "secure-agg ver", "COMP_CWORD": "1"}
        | {"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["verify"], done.stderr


def test_lists_say_of_each_command_what_its_own_help_begins_with() -> None:
    known: Any = typer.main.get_command(app)
    said = {name: command.help for name, command in known.commands.items()}
    assert said == {name: command.help.split("\n\n")[0] for name, command in ROOT.commands.items()}
