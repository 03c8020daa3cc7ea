"""The same over a service: whose requests they are, and what they show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from secure_agg.cli.epochs.sources import followed, is_client
from secure_agg.errors import ConfigError
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.epoch import root_task
from secure_agg.protocol.identity import Identity
from secure_agg.roles.trust import Trust
from secure_agg.service.epochs.changes import Changes, Outsider, Proposed
from secure_agg.service.link import Link, Party
from zk.transcript import DIGEST_BYTES

UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Of the service that the task is coordinated by.")
]
_PATIENCE_S = 30.0


@contextmanager
def asking(url: str, party: Party) -> Iterator[Changes]:
    """What a party sees and signs at a service.

    Raises:
        ConfigError, OperatorLost, RemoteProtocolError, VerificationError: see ``Link`` and ``Changes``.
    """
    link = Link(url, party, patience_s=_PATIENCE_S)
    try:
        yield Changes(link, party)
    finally:
        link.close()


def outsider(name: str, identity: Path, trust: Path, task: str | None, epochs: Path | None) -> Outsider:
    """A party without a home.

    Raises:
        ConfigError: the trust file has several tasks, and none is named; or a file can't be read.
        VerificationError: the epochs do not follow from what is pinned.
    """
    pins = Trust.load(trust)
    known = [one for one in pins.tasks if root_task(one) == one and task in (None, one)]
    if len(known) != 1:
        raise ConfigError(f"--task names one of the pinned tasks: {', '.join(map(repr, pins.tasks)) or 'none'}")
    return Outsider(Identity.load(name, identity), known[0], followed(pins, known[0], epochs))


@contextmanager
def party_of(place: Path, name: str | None, identity: Path | None, task: str | None) -> Iterator[Party]:
    """A member's home, or with name and key a party that has a trust file.

    Raises:
        ConfigError: it is neither.
    """
    if is_client(place):
        if name is not None or identity is not None:
            raise ConfigError("a home has its own name and key: leave out --name and --identity")
        with ClientHome.open(place) as home:
            yield home
    elif name is None or identity is None:
        raise ConfigError(f"{place} is no member's home: of a trust file it takes --name and --identity")
    else:
        yield outsider(name, identity, place, task, None)


def digest_of(text: str) -> bytes:
    """A proposal's digest as people copy it: all of it, since a part could be another's too.

    Raises:
        ConfigError: it is none.
    """
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != DIGEST_BYTES:
        raise ConfigError(f"with --url a proposal is named by its digest, {2 * DIGEST_BYTES} digits, not by {text!r}")
    return found


def document_of(proposed: Proposed) -> dict[str, Any]:
    """What lies open at a service, for a program."""
    return {
        "by": proposed.by,
        "epoch": proposed.epoch,
        "digest": proposed.digest.hex(),
        "changes": dict(proposed.changes),
        "authorised_by": list(proposed.authorised),
        "needed": proposed.needed,
        "to_authorise": list(proposed.to_authorise),
        "to_accept": list(proposed.to_accept),
        "ready": proposed.is_ready,
    }


def rows_of(document: dict[str, Any]) -> dict[str, str]:
    """The same for people."""
    have, needed = len(document["authorised_by"]), document["needed"]
    return {
        "proposal": document["digest"],
        "by": document["by"],
        **(document["changes"] or {"changes": "none"}),
        "authorised": f"by {', '.join(document['authorised_by']) or 'nobody'}: {have}, {needed} needed",
        **({"to_accept": ", ".join(document["to_accept"])} if document["to_accept"] else {}),
        "ready": "yes: the next round begins with it" if document["ready"] else "no",
    }
