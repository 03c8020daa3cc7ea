"""``secure-agg federation model``: the model that a server's task has come to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.fl.model_files import start_digest, write_model
from secure_agg.plugins.core.server.history import last_model
from secure_agg.plugins.homes.server import ServerHome


def model(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The server's home, or the folder of all homes.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write it there, under a new name: .npz; .npy if it is one array; .pt for PyTorch's state dict.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last verified model of a server's task, and write it to a file: what the next run has to start from."""
    server = folder / "server"
    with ServerHome.open(server if server.is_dir() and (folder / "clients").is_dir() else folder) as home:
        task, found = home.task, last_model(home)
    if found is None:
        raise ConfigError(f"task {task!r} has no verified round yet: it begins with its first model")
    record, named = found
    if out is not None:
        write_model(out, named)
    document: dict[str, Any] = {
        "task": task,
        "round": record.round,
        "digest": start_digest(named).hex(),
        "arrays": len(named),
        "file": str(out) if out is not None else None,
    }

    def show(console: Console) -> None:
        rows = {
            "task": task,
            "round": f"{record.round}, the last verified one",
            "digest": document["digest"],
            "arrays": str(len(named)),
            "file": str(out) if out is not None else "not written: --out FILE writes it",
        }
        show_fields(console, rows)

    emit(document, as_json, show)
