"""``secure-agg federation floor``, and how a floor is named where homes are made.

Below it an epoch waits for the node's owner.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from secure_agg import backends
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.roles.epochs.floor import Floor

_WHOLE: Final = ("min_clients", "bits")
_SHARES: Final = ("corrupt", "new_keys")
_FORM: Final = (
    "backends=NAME,… min_clients=N corrupt=SHARE clip=LEAST:MOST bits=B new_keys=SHARE: one for each, what is not "
    "named stays as it is"
)

FloorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--floor",
        metavar="NAME=VALUE",
        help=f"The least that an epoch is followed under without asking this node's owner. {_FORM}.",
    ),
]
AgeOption = Annotated[
    float | None,
    typer.Option(
        "--witness-age",
        metavar="S",
        help="An epoch is followed only where a witness has cosigned it in the last so many seconds; by default ever.",
    ),
]


def floor_of(given: list[str] | None, base: Floor) -> Floor | None:
    """The floor that ``--floor`` names; None where it names nothing.

    Args:
        base: what is not named.

    Raises:
        ConfigError: not of the form, or no such floor.
    """
    if not given:
        return None
    changes: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        try:
            found = _read(name, text) if equals else {}
        except ValueError:
            found = {}
        if not found or set(found) & set(changes):
            raise ConfigError(f"--floor {pair!r} is not of the form {_FORM}")
        changes |= found
    return dataclasses.replace(base, **changes)


def _read(name: str, text: str) -> dict[str, Any]:
    if name == "backends":
        return {"backends": tuple(backends.load(each).name for each in text.split(","))}
    if name == "clip":
        least, colon, most = text.partition(":")
        return {"least_clip": float(least), "most_clip": float(most)} if colon else {}
    if name in _WHOLE:
        return {name: int(text)}
    return {name: float(text)} if name in _SHARES else {}


def floor(
    home: Annotated[Path, typer.Argument(metavar="HOME", help="A node's home.")],
    given: FloorOption = None,
    witness_age: AgeOption = None,
    usual: Annotated[
        bool, typer.Option("--usual", help="Go back to the usual floor, and cosignatures of any age.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the least that a node follows an epoch under without asking its owner, or pin another.

    A node takes it over when it opens its home next: a job or run that has begun ends with the one that it knows.
    """
    if usual and (given or witness_age is not None):
        raise ConfigError("--usual goes back to the usual floor: it takes no --floor and no --witness-age")
    with ClientHome.open(home) as mine:
        found, age = mine.epochs.floor, mine.witness_age_s
        if given or usual or witness_age is not None:
            pinned = None if usual else floor_of(given, found) or mine.floor
            age = None if usual else age if witness_age is None else witness_age
            with mine.locked():
                mine.pin_floor(pinned, age)
            first = mine.epochs.first.task(mine.task)
            found = pinned or Floor.of(first.policy, len(first.roster))
        document = {"name": mine.name, "task": mine.task, **dataclasses.asdict(found), "witness_age_s": age}

    def show(console: Console) -> None:
        show_fields(console, floor_rows(found, age))

    emit(document, as_json, show)


def floor_rows(floor: Floor, age: float | None) -> dict[str, str]:
    """A floor, for people."""
    return {
        "backends": ", ".join(floor.backends),
        "min_clients": f"{floor.min_clients} or more",
        "corrupt": f"{floor.corrupt:.3g} of the members may be, or more",
        "clip": f"{floor.least_clip:g} to {floor.most_clip:g}",
        "bits": f"{floor.bits} or more",
        "new_keys": f"{floor.new_keys:.3g} of the members may be new, or have gone, since the owner has looked",
        "witnesses": "cosigned at any time" if age is None else f"cosigned in the last {age:g} s",
    }
