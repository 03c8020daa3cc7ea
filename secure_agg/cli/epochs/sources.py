"""What is in force of a task, as a node's home, a server's, or a ledger has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secure_agg.errors import ConfigError
from secure_agg.ledger.log import Ledger
from secure_agg.plugins.homes.client import TRUST_FILE, ClientHome
from secure_agg.plugins.homes.folder import SETTINGS_FILE
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.roles.epochs.following import Place, Steps, follow
from secure_agg.roles.trust import Trust


@dataclass(frozen=True)
class Source:
    """A task where it stands.

    Attributes:
        task: its id.
        trust: what is in force.
        ledger: that it is in; None of a node's home.
        server, client: the home, if it is one.
    """

    task: str
    trust: Trust
    ledger: Ledger | None = None
    server: ServerHome | None = None
    client: ClientHome | None = None


@contextmanager
def opened(place: Path, task: str | None) -> Iterator[Source]:
    """A home, the folder of a whole federation's homes, or a ledger's file.

    Raises:
        ConfigError: it is none of them, or a ledger with several tasks and none is named.
    """
    if (place / "server").is_dir() and (place / "clients").is_dir():
        place = place / "server"
    if is_client(place):
        with ClientHome.open(place) as client:
            yield Source(client.task, client.trust, client=client)
    elif (place / SETTINGS_FILE).exists():
        with ServerHome.open(place) as server:
            yield Source(server.task, server.trust, server.ledger, server)
    else:
        with Ledger(place, read_only=True) as ledger:
            tasks = ledger.trust.tasks
            name = task if task is not None else next(iter(tasks)) if len(tasks) == 1 else None
            if name is None or name not in tasks:
                raise ConfigError(f"--task names one of the ledger's tasks: {', '.join(map(repr, tasks)) or 'none'}")
            yield Source(name, ledger.in_force(name), ledger)


def is_client(place: Path) -> bool:
    """Whether a folder is a node's home."""
    return (place / SETTINGS_FILE).exists() and (place / TRUST_FILE).exists()


def followed(trust: Trust, task: str, path: Path | None) -> Trust:
    """What is in force after the epochs in a file.

    Raises:
        VerificationError: they do not follow from what is pinned.
    """
    place = Place(trust)
    for step in Steps.load(path).steps if path is not None else ():
        place, _ = follow(place, task, step)
    return place.trust
