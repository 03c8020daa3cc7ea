"""A command that is imported when it runs, completes or shows its help.

A list of commands needs of each its name and one line. Everything else, the options too, is in the module, which may
import what takes a second.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class Later(TyperCommand):
    """Stands in its group for a command, or for a group of commands, that is imported when it is asked for.

    Args:
        name: as it is typed.
        home: ``module:attribute``, a function whose parameters are Typer's, or a ``typer.Typer``.
        line: what lists of commands say of it: the first paragraph of its own help.
        settings: for ``typer.Typer.command``, where it is a function.
    """

    def __init__(self, name: str, home: str, line: str, **settings: Any) -> None:
        super().__init__(name, help=line)
        self._home, self._settings = home, settings

    @functools.cached_property
    def real(self) -> Any:
        """The command itself, as Typer makes it. The first time its module is imported."""
        module, _, attribute = self._home.partition(":")
        found = getattr(import_module(module), attribute)
        # Typer makes a group of these settings, and of it the same commands as if they had been there from the start.
        around = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        around.callback()(lambda: None)
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=self.name)
        else:
            around.command(self.name, **self._settings)(found)
        made: Any = typer.main.get_command(around)
        return made.commands[self.name]

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """The real command's: whoever runs, completes or explains a command begins with its context."""
        return self.real.make_context(*args, **kwargs)


def group_of(*commands: Later) -> type[TyperGroup]:
    """The class of a group, for ``typer.Typer(cls=)``, that has these commands, before those of its own."""

    class Group(TyperGroup):
        """A group some of whose commands are imported when they run."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = {str(command.name): command for command in commands} | dict(self.commands)

    return Group
