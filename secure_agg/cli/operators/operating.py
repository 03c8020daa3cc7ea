"""What the commands of all operators have in common: passphrases, keys with their card, and a role behind a port."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from secure_agg import files
from secure_agg.cli.terminal.logs import log_to_stderr
from secure_agg.cli.terminal.output import emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.local import keystore
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.roles.epochs.following import Steps
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust
from secure_agg.transport import keyfile
from secure_agg.transport.credentials import OperatorCard, OperatorKeys
from secure_agg.transport.following import FollowingOperator
from secure_agg.transport.share_holders import share_holder_card

if TYPE_CHECKING:
    from secure_agg.transport.server import Role

KEY_FILE: Final = "operator.key"
CARD_FILE: Final = "operator.card"
STORE_FILE: Final = "attempts.db"

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Id of the operator, as everybody pins it.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the keys and the card.")]
IdentityOption = Annotated[
    Path | None,
    typer.Option("--identity", metavar="FILE", help="An identity that is pinned already; by default a new one."),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File with the passphrase of the keys, mode 0600. By default asked for at the terminal.",
    ),
]
FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the keys that were made for it.")]
TrustOption = Annotated[Path, typer.Option("--trust", metavar="FILE", help="What this operator has pinned.")]
CoordinatorOption = Annotated[
    Path, typer.Option("--coordinator", metavar="CARD", help="Card of the one operator who may connect.")
]
ListenOption = Annotated[
    str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen; port 0: a free one.")
]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="FILE", help="What it has signed, kept for good; by default in DIR."),
]
LimitOption = Annotated[
    int | None, typer.Option("--max-message", metavar="BYTES", help="Most bytes of a message; default 512 MiB.")
]
EpochsOption = Annotated[
    Path | None,
    typer.Option(
        "--epochs",
        metavar="FILE",
        help="Epochs since those pins, for who is an operator from one of them on: 'federation status --epochs'.",
    ),
]
JoiningOption = Annotated[
    bool,
    typer.Option(
        "--joining", help="Start although the pins don't name this operator yet: an epoch that is to come does."
    ),
]
UntilEofOption = Annotated[
    bool, typer.Option("--until-eof", help="End when standard input does: with the process that started this.")
]


def make_keys(
    name: str, out: Path, identity: Path | None, passphrase: Path | None, *, share_holder: bool, as_json: bool
) -> None:
    """Write an operator's keys and its card into a new folder, and say what to do with them.

    Raises:
        ConfigError: the folder is there, the identity or the passphrase is unfit.
    """
    seed = None if identity is None else _seed(name, identity)
    if out.exists():
        raise ConfigError(f"{out} exists already: a key is never overwritten, choose a new folder")
    words = (
        ask_twice(f"Passphrase for the keys of {name!r}: ")
        if passphrase is None
        else keystore.read_passphrase(passphrase)
    )
    keys = OperatorKeys.generate(name, seed=seed, share_holder=share_holder)
    card = share_holder_card(keys)
    with files.new_folder(out):
        keyfile.save(out / KEY_FILE, keys, words)
        files.create(out / CARD_FILE, card.to_bytes(), mode=0o644)
    public = keys.identity.public.hex()
    document = {"name": name, "public": public, "card": str(out / CARD_FILE), "keys": str(out / KEY_FILE)}

    def show(console: Console) -> None:
        rows = {
            "name": name,
            "public": f"{public}, to be pinned as an operator",
            "card": f"{out / CARD_FILE}, for everybody",
            "keys": f"{out / KEY_FILE}, encrypted",
        }
        show_fields(console, rows)

    emit(document, as_json, show)


def serve(
    build: Callable[[OperatorKeys, Trust, AttemptStore, str], Role],
    folder: Path,
    trust: Path,
    coordinator: Path,
    listen: str,
    *,
    store: Path | None,
    epochs: Path | None,
    joining: bool,
    passphrase: Path | None,
    limit: int | None,
    until_eof: bool,
) -> None:
    """Run a role behind a port, until SIGTERM; it follows the epochs of its tasks.

    Args:
        build: makes the role from its keys, what is in force, store and passphrase.
        folder: with the keys; what it follows is written there.
        epochs: file of those to follow at once.
        joining: see ``FollowingOperator``.

    Raises:
        ConfigError: keys, pins or cards do not belong together, or the address can't be listened on.
        VerificationError, StoreError: epochs do not follow, or are not as they were followed.
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
        raise ConfigError(f"{coordinator} is this operator's own card: the coordinator is another operator")
    attempts = AttemptStore(store if store is not None else folder / STORE_FILE)
    try:
        with log_to_stderr():
            following = FollowingOperator(
                folder,
                keys.name,
                pins,
                attempts,
                lambda in_force: build(keys, in_force, attempts, words),
                steps=None if epochs is None else Steps.load(epochs),
                joining=joining,
            )
            known = following.trust.operators
            if (
                joining and keys.name not in known
            ):  # who connects is known all the same, and is told that it serves nothing
                known = Roster({**known, keys.name: keys.identity.public})
            listening = server.OperatorServer(
                following,
                keys,
                [peer],
                known,
                limit=channel.DEFAULT_LIMIT if limit is None else limit,
            )
            asyncio.run(server.serve(listening, listen, lambda bound: _ready(keys.name, bound), until_eof=until_eof))
    finally:
        attempts.close()


def ask_twice(prompt: str) -> str:
    """A new passphrase from the terminal.

    Raises:
        ConfigError: there is no terminal, or what was typed is unfit, or differs.
    """
    words = _ask(prompt)
    keystore.check_passphrase(words)
    if _ask("Once more: ") != words:
        raise ConfigError("the passphrases differ")
    return words


def _ask(prompt: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask for a passphrase: use --passphrase-file")
    return getpass.getpass(prompt)


def _seed(name: str, path: Path) -> bytes:
    """The seed of an identity that ``keygen`` has made."""
    Identity.load(name, path)  # checks form and mode
    return bytes.fromhex(path.read_bytes().decode("ascii").strip())


def _ready(name: str, address: str) -> None:
    sys.stdout.write(json.dumps({"name": name, "address": address, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
