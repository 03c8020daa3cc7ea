"""``secure-agg keygen``: a new identity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.protocol.identity import Identity


def keygen(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Id of the party, as it stands in the roster.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the private key; mode 0600.")],
    as_json: JsonOption = False,
) -> None:
    """Make an Ed25519 identity: the private key goes to a new file, the public key is printed.

    A file that exists is never overwritten.
    """
    identity = Identity.generate(name)
    try:
        identity.save(out)
    except FileExistsError:
        raise ConfigError(f"{out} exists already: a key is never overwritten, choose another file") from None

    def show(console: Console) -> None:
        show_fields(console, {"name": name, "public": identity.public.hex(), "file": f"{out}, the private key"})

    emit({"name": name, "public": identity.public.hex(), "file": str(out)}, as_json, show)
