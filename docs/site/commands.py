"""The page with every command and every option, as the commands themselves know them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click
import typer

from secure_agg.cli.app import app


def listed() -> str:
    """All commands, in Markdown."""
    return "\n".join(_lines(_whole(typer.main.get_command(app)), ("secure-agg",)))


def _whole(command: Any) -> Any:
    """A command with all below it imported."""
    found = getattr(command, "real", command)
    if hasattr(found, "commands"):
        found.commands = {name: _whole(below) for name, below in found.commands.items()}
    return found


def _lines(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
    """A command's part of the page, and those of the commands below it."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            if not below.hidden:
                yield from _lines(below, (*path, name))
        return
    yield f"## {' '.join(path)}\n"
    yield f"{_text(command.help)}\n"
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    yield f"```text\n{' '.join([*path, *(_usage(each) for each in arguments), '[OPTIONS]'])}\n```\n"
    rows = [(f"`{_usage(each)}`", _text(getattr(each, "help", None))) for each in arguments]
    rows += [(_names(each), _text(each.help) + _usual(each)) for each in options]
    if rows:
        yield "| what is given | |\n|---|---|"
        yield from (f"| {left} | {right} |" for left, right in rows)
        yield ""
    examples = re.findall(r"^- `(secure-agg .*)`$", command.epilog or "", re.MULTILINE)
    if examples:
        yield "\n".join(["```console", *(f"$ {line}" for line in examples), "```\n"])


def _usage(argument: click.Argument) -> str:
    shown = argument.metavar or (argument.name or "").upper()
    return shown if argument.required or shown.startswith("[") else f"[{shown}]"


def _names(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} `{(option.metavar or option.type.name.upper()).replace('|', '∣')}`"


def _usual(option: click.Option) -> str:
    """What an option is where nobody says it; nothing of flags and of those that are then absent."""
    usual = option.default
    if option.is_flag or usual is None or callable(usual) or usual in ((), [], "") or "unset" in repr(usual).lower():
        return ""
    return f" Default: `{getattr(usual, 'value', usual)}`."


def _text(said: str | None) -> str:
    plain = " ".join((said or "").split()).replace("|", "\\|").replace("<", "&lt;")
    return plain if "`" in plain else re.sub(r"(?<![\w-])--[a-z][a-z-]*", r"`\g<0>`", plain)
