"""``secure-agg keyholder``: an encryption key for a task, for those who hold it."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console

from secure_agg import backends, keystore
from secure_agg.certificate import KeyCertificate, setup_digest
from secure_agg.cli import exits
from secure_agg.cli.output import JsonOption, emit, show_fields
from secure_agg.config import NO_DIGEST, RoundConfig
from secure_agg.errors import ConfigError
from secure_agg.identity import Identity
from secure_agg.trust import Trust

CERTIFICATE_FILE: Final = "certificate"

app = typer.Typer(no_args_is_help=True, help="Set up the key holders of a homomorphic backend.")


@app.callback()
def _group() -> None:
    """Room for more commands: a group of one would be that command itself."""


@app.command("init", epilog=exits.HELP)
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
    as_json: JsonOption = False,
) -> None:
    """Make an encryption key for a pinned task: a certificate for everybody, an encrypted file for each holder.

    Where the policy splits the key, whoever runs this is the dealer: all holders meet on one machine that everybody
    trusts to forget what it dealt. Each takes its own file away. A key is never changed: to rotate it, make a new one
    in a new folder.
    """
    pins = Trust.load(trust)
    config = _config(pins, task, parameters)
    identities = _identities(pins, holders)
    backend = backends.load(config.policy.backend)
    backend.check_policy(config.policy)
    wanted = backend.holders(config.policy)
    if len(identities) != wanted:
        raise ConfigError(f"key holders named: {len(identities)}; by its policy the task has {wanted} ({backend.name})")
    words = _passphrases(list(identities), passphrases or [])
    if out.exists():
        raise ConfigError(f"{out} exists already: a key is never overwritten, choose a new folder")

    openers = backend.generate(config, sorted(identities, key=str.encode))
    public = next(iter(openers.values())).public
    setup = KeyCertificate.issue(backend.name, task, public, list(identities.values())).to_bytes()
    config = msgspec.structs.replace(config, setup=setup_digest(setup))
    backend.check_setup(config, setup, pins.operators)  # as every client will
    out.mkdir(mode=0o700, parents=True)
    files = {name: out / f"holder-{number}.key" for number, name in enumerate(identities, 1)}
    for name, path in files.items():
        keystore.save(path, openers[name], backend=backend.name, task=task, holder=name, passphrase=words[name])
    (out / CERTIFICATE_FILE).write_bytes(setup)
    _report(backend.name, task, parameters, files, out / CERTIFICATE_FILE, setup, as_json)


def _config(pins: Trust, task: str, parameters: int) -> RoundConfig:
    """Any round of the task: a key depends on its policy and on the model's size only."""
    if task not in pins.tasks:
        raise ConfigError(f"task {task!r} is not pinned: {', '.join(map(repr, pins.tasks)) or 'no task is'}")
    policy = pins.task(task).policy
    beacon = NO_DIGEST if policy.cohort_size else b""
    return RoundConfig.create(
        task=task,
        round=0,
        policy=policy,
        cohort=pins.cohort(task, beacon),
        shapes=((parameters,),),
        beacon=beacon,
        operators=pins.operators,
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
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask for a passphrase: use --passphrase-file")
    return {name: _ask(name) for name in names}


def _ask(name: str) -> str:
    passphrase = getpass.getpass(f"Passphrase for the key of {name!r}: ")
    keystore.check_passphrase(passphrase)
    if getpass.getpass("Once more: ") != passphrase:
        raise ConfigError("the passphrases differ")
    return passphrase


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
            "its digest": f"{document['setup']}, the rounds' setup",
        }
        keys = {f"key of {name}": f"{path}, encrypted" for name, path in files.items()}
        show_fields(console, rows | keys)

    emit(document, as_json, show)
