"""``secure-agg keyholder``: an encryption key for a task, and one who holds it as a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from secure_agg import files
from secure_agg.cli.operators import operating
from secure_agg.cli.terminal.epilog import epilog
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.local import keystore
from secure_agg.local.dealing import check_holders, deal
from secure_agg.protocol.certificate import setup_digest
from secure_agg.protocol.identity import Identity
from secure_agg.roles.trust import Trust
from secure_agg.transport.key_holders import build_key_holder

CERTIFICATE_FILE: Final = "certificate"
MAX_BROUGHT_BYTES: Final = 1 << 27
"""A TenSEAL context with Galois keys has tens of megabytes; what each kind of key may have is checked once more."""

app = typer.Typer(
    no_args_is_help=True,
    help="Set up and run the key holders of a homomorphic backend.",
    epilog=epilog("secure-agg keyholder keys keyholder-1 --out keyholder-1"),
)


@app.command(
    "init",
    epilog=epilog(
        "secure-agg keyholder init --trust trust.json --task default --parameters 1000 "
        "--holder keyholder-1=keyholder-1.key --out key"
    ),
)
def init(
    trust: Annotated[Path, typer.Option("--trust", metavar="FILE", help="What is pinned: the task and its operators.")],
    task: Annotated[str, typer.Option(metavar="TASK", help="The task that the key is for.")],
    parameters: Annotated[int, typer.Option(min=1, help="Parameters of the task's model.")],
    holders: Annotated[
        list[str],
        typer.Option("--holder", metavar="ID=FILE", help="A key holder and its identity's file; one for each."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the certificate and the keys.")],
    passphrases: Annotated[
        list[Path] | None,
        typer.Option(
            "--passphrase-file",
            metavar="FILE",
            help="File with a holder's passphrase, mode 0600; one for each, in the order of --holder. By default asked "
            "for at the terminal.",
        ),
    ] = None,
    brought: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A private key that was made elsewhere, mode 0600, instead of a fresh one: for paillier as pheutil "
            "genpkey writes it, for ckks and bfv what serialize(save_secret_key=True) makes of a TenSEAL context.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an encryption key for a pinned task: a certificate for everybody, an encrypted file for each holder.

    Where the policy splits the key, whoever runs this is the dealer: all holders meet on one machine that everybody
    trusts to forget what it dealt. Each takes its own file away. A key is never changed: to rotate it, make a new one
    in a new folder.

    With --from the one key holder brings a key. The task's policy has to have the options that this key needs; where it
    does not, the error names them.
    """
    pins = Trust.load(trust)
    identities = _identities(pins, holders)
    check_holders(pins, task, list(identities))
    words = _passphrases(list(identities), passphrases or [])
    if out.exists():
        raise ConfigError(f"{out} exists already: a key is never overwritten, choose a new folder")

    key = None if brought is None else keystore.read_private(brought, MAX_BROUGHT_BYTES)
    staff = deal(pins, task, parameters, identities, key=key)
    backend = pins.task(task).policy.backend
    keys = {name: out / f"holder-{number}.key" for number, name in enumerate(identities, 1)}
    with files.new_folder(out):
        for name, path in keys.items():
            keystore.save(path, staff.openers[name], backend=backend, task=task, holder=name, passphrase=words[name])
        files.create(out / CERTIFICATE_FILE, staff.setup, mode=0o644)
    _report(backend, task, parameters, keys, out / CERTIFICATE_FILE, staff.setup, as_json)


@app.command("keys", epilog=epilog("secure-agg keyholder keys keyholder-1 --out keyholder-1"))
def keys(
    name: operating.NameArgument,
    out: operating.OutOption,
    identity: operating.IdentityOption = None,
    passphrase: operating.PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the keys that a key holder is reached under: its identity and its TLS key.

    They go to an encrypted file, their public halves to a card for whoever connects. The encryption key is apart from
    them: 'init' makes it, for an identity that is pinned.
    """
    operating.make_keys(name, out, identity, passphrase, share_holder=False, as_json=as_json)


@app.command(
    "serve",
    epilog=epilog(
        "secure-agg keyholder serve keyholder-1 --key key/holder-1.key --certificate key/certificate "
        "--trust trust.json --coordinator aggregator.card --listen 127.0.0.1:0"
    ),
)
def serve(
    folder: operating.FolderArgument,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Its file of the encryption key, from 'init'.")],
    certificate: Annotated[Path, typer.Option("--certificate", metavar="FILE", help="Of that key, from 'init'.")],
    trust: operating.TrustOption,
    coordinator: operating.CoordinatorOption,
    listen: operating.ListenOption,
    store: operating.StoreOption = None,
    epochs: operating.EpochsOption = None,
    joining: operating.JoiningOption = False,
    passphrase: operating.PassphraseOption = None,
    limit: operating.LimitOption = None,
    until_eof: operating.UntilEofOption = False,
) -> None:
    """Open one checked sum for each round that the coordinator asks for, until SIGTERM.

    One passphrase opens both the keys in DIR and the encryption key. Prints one line of JSON with the address when it
    takes messages; what it does goes to stderr, one line a message. Epochs of its task it follows by itself, and keeps
    them in DIR; it reads its files anew then.
    """
    operating.serve(
        lambda own, pins, attempts, words: build_key_holder(
            own, pins, attempts, key_file=key, certificate=certificate, passphrase=words
        ),
        folder,
        trust,
        coordinator,
        listen,
        store=store,
        epochs=epochs,
        joining=joining,
        passphrase=passphrase,
        limit=limit,
        until_eof=until_eof,
    )


def _identities(pins: Trust, holders: Sequence[str]) -> dict[str, Identity]:
    """The holders in the order given; each is pinned as an operator under this very key."""
    identities: dict[str, Identity] = {}
    for holder in holders:
        name, given, file = holder.partition("=")
        if not given:
            raise ConfigError(f"--holder {holder!r} is not of the form ID=FILE")
        if name in identities:
            raise ConfigError(f"key holder {name!r} is named twice")
        identity = Identity.load(name, Path(file))
        if pins.operators.get(name) != identity.public:
            raise ConfigError(f"the identity of {name!r} in {file} is not the pinned operator of that name")
        identities[name] = identity
    return identities


def _passphrases(names: Sequence[str], files: Sequence[Path]) -> dict[str, str]:
    """A passphrase for each holder, from files or from the terminal; never from the command line, which all see."""
    if files:
        if len(files) != len(names):
            raise ConfigError(f"{len(files)} passphrase files for {len(names)} key holders")
        return dict(zip(names, map(keystore.read_passphrase, files), strict=True))
    return {name: operating.ask_twice(f"Passphrase for the key of {name!r}: ") for name in names}


def _report(
    backend: str, task: str, parameters: int, files: Mapping[str, Path], certificate: Path, setup: bytes, as_json: bool
) -> None:
    document = {
        "backend": backend,
        "task": task,
        "parameters": parameters,
        "setup": setup_digest(setup).hex(),
        "certificate": str(certificate),
        "keys": {name: str(path) for name, path in files.items()},
    }

    def show(console: Console) -> None:
        rows = {
            "task": f"{task}, {parameters:,} parameters, backend {backend}",
            "certificate": f"{certificate}, for everybody",
            "setup": f"{document['setup']}, its digest",
        }
        keys = {f"key {name}": f"{path}, encrypted" for name, path in files.items()}
        show_fields(console, rows | keys)

    emit(document, as_json, show)
