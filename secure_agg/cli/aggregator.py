"""``secure-agg aggregator``: one of the k aggregators that hold a share each, as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from secure_agg import keystore
from secure_agg.cli import exits
from secure_agg.cli.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.identity import Identity
from secure_agg.store import AttemptStore
from secure_agg.transport import keyfile
from secure_agg.transport.credentials import OperatorCard, OperatorKeys
from secure_agg.transport.share_holders import build_share_holder, share_holder_card
from secure_agg.trust import Trust

KEY_FILE: Final = "operator.key"
CARD_FILE: Final = "operator.card"
STORE_FILE: Final = "attempts.db"

app = typer.Typer(no_args_is_help=True, help="Run one of the aggregators that hold a share of every update each.")

PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File with the passphrase of the keys, mode 0600. By default asked for at the terminal.",
    ),
]


@app.command("init", epilog=exits.HELP)
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Id of the operator, as everybody pins it.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the keys and the card.")],
    identity: Annotated[
        Path | None,
        typer.Option("--identity", metavar="FILE", help="An identity that is pinned already; by default a new one."),
    ] = None,
    coordinator: Annotated[
        bool, typer.Option("--coordinator", help="Of the aggregator that asks the others: it holds no shares.")
    ] = False,
    passphrase: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an operator's keys: identity, TLS, and the channel that clients seal shares to.

    The keys go to an encrypted file, their public halves to a card for everybody who talks to this operator. A file
    that exists is never overwritten: for new TLS and channel keys under the same identity, use a new folder and
    --identity.
    """
    seed = None if identity is None else _seed(name, identity)
    if out.exists():
        raise ConfigError(f"{out} exists already: a key is never overwritten, choose a new folder")
    words = _ask_twice(name) if passphrase is None else keystore.read_passphrase(passphrase)
    keys = OperatorKeys.generate(name, seed=seed, share_holder=not coordinator)
    card = share_holder_card(keys)
    out.mkdir(mode=0o700, parents=True)
    keyfile.save(out / KEY_FILE, keys, words)
    (out / CARD_FILE).write_bytes(card.to_bytes())
    public = keys.identity.public.hex()
    document = {"name": name, "public": public, "card": str(out / CARD_FILE), "keys": str(out / KEY_FILE)}

    def show(console: Console) -> None:
        rows = {
            "name": name,
            "public key": f"{public}, to be pinned as an operator",
            "card": f"{out / CARD_FILE}, for everybody",
            "keys": f"{out / KEY_FILE}, encrypted",
        }
        show_fields(console, rows)

    emit(document, as_json, show)


@app.command("serve", epilog=exits.HELP)
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that 'init' has made.")],
    trust: Annotated[Path, typer.Option("--trust", metavar="FILE", help="What this aggregator has pinned.")],
    coordinator: Annotated[
        Path, typer.Option("--coordinator", metavar="CARD", help="Card of the one operator who may connect.")
    ],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen; port 0: a free one.")],
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FILE", help="What it has signed, kept for good; by default in DIR."),
    ] = None,
    passphrase: PassphraseOption = None,
    limit: Annotated[
        int | None, typer.Option("--max-message", metavar="BYTES", help="Most bytes of a message; default 512 MiB.")
    ] = None,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", help="End when standard input does: with the process that started this.")
    ] = False,
) -> None:
    """Hold shares and answer the coordinator, until SIGTERM.

    Prints one line of JSON with the address when it takes messages; what it does goes to stderr, one line a message.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when gRPC starts; refused handshakes are no news
    from secure_agg.transport import channel, server

    pins = Trust.load(trust)
    words = (
        _ask(f"Passphrase for the keys in {folder}: ") if passphrase is None else keystore.read_passphrase(passphrase)
    )
    keys = keyfile.load(folder / KEY_FILE, words)
    peer = OperatorCard.load(coordinator)
    if peer.name == keys.name:
        raise ConfigError(f"{coordinator} is this aggregator's own card: the coordinator is another operator")
    attempts = AttemptStore(store if store is not None else folder / STORE_FILE)
    try:
        role = build_share_holder(keys, pins, attempts)
        listening = server.OperatorServer(
            role, keys, [peer], pins.operators, limit=channel.DEFAULT_LIMIT if limit is None else limit
        )
        with _log_to_stderr():
            asyncio.run(server.serve(listening, listen, lambda bound: _ready(keys.name, bound), until_eof=until_eof))
    finally:
        attempts.close()


def _ready(name: str, address: str) -> None:
    sys.stdout.write(json.dumps({"name": name, "address": address, "pid": os.getpid()}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _log_to_stderr() -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("secure_agg")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


def _seed(name: str, path: Path) -> bytes:
    """The seed of an identity that ``keygen`` has made."""
    Identity.load(name, path)  # checks form and mode
    return bytes.fromhex(path.read_text("ascii").strip())


def _ask_twice(name: str) -> str:
    words = _ask(f"Passphrase for the keys of {name!r}: ")
    keystore.check_passphrase(words)
    if _ask("Once more: ") != words:
        raise ConfigError("the passphrases differ")
    return words


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask for a passphrase: use --passphrase-file")
    return getpass.getpass(prompt)
