"""Which round of a ledger a command is about: the same arguments for all of them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from secure_agg.errors import ConfigError, LedgerError
from secure_agg.ledger.log import Ledger

RoundArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TASK] [ROUND]",
        show_default=False,
        help="The round's number within its task, from 0; by default the newest. TASK is needed where there are "
        "several, here or as --task.",
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="TASK", help="Id of the training task; by default the ledger's only one."),
]

_LARGEST: Final = 2**63 - 1
"""That a ledger's database can be asked for; no round has it."""


def find_round(log: Ledger, place: list[str] | None, task: str | None) -> tuple[str, int, int]:
    """The round that a command line names.

    Args:
        log: to look in.
        place: what was given of ``TASK ROUND``.
        task: what was given as ``--task``.

    Returns:
        Its task, its number, and the index of its record.

    Raises:
        ConfigError: the arguments name no round, or several tasks could be meant: all are named.
        LedgerError: the ledger does not hold it.
    """
    words = list(place or [])
    if len(words) > 2:
        raise ConfigError(f"{' '.join(map(repr, words))} is more than TASK and ROUND")
    if len(words) == 2:
        named = words.pop(0)
        if task is not None and task != named:
            raise ConfigError(f"two tasks are named, {named!r} and {task!r}")
        task = named
    name = only_task(log) if task is None else task
    if words and not (words[0].isascii() and words[0].isdigit()):
        raise ConfigError(f"{words[0]!r} is no number of a round: the arguments are LEDGER [TASK] ROUND")
    if words:
        number = min(int(words[0][:20]), _LARGEST)  # more digits than any number of a round has
    else:
        last = log.last(name)
        if last is None:
            raise LedgerError(f"ledger {log.path} holds no round of task {name!r}")
        number = last.round
    return name, number, index_of(log, name, number)


def only_task(log: Ledger) -> str:
    """The one task of a ledger.

    Raises:
        LedgerError: it holds no rounds.
        ConfigError: it has several; all are named.
    """
    tasks = log.tasks()
    if not tasks:
        raise LedgerError(f"ledger {log.path} holds no rounds yet")
    if len(tasks) > 1:
        raise ConfigError(f"ledger {log.path} has {len(tasks)} tasks, name one: {', '.join(map(repr, tasks))}")
    return tasks[0]


def index_of(log: Ledger, task: str, number: int) -> int:
    """The index of a round's record.

    Raises:
        LedgerError: the ledger does not hold it.
    """
    index = log.find(task, number)
    if index is None:
        raise LedgerError(f"ledger {log.path} holds no round {number} of task {task!r}")
    return index
