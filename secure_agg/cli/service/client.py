"""``secure-agg client``: a member that takes part in a task's rounds, from a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy.typing as npt
import typer
from rich.console import Console

from secure_agg import files
from secure_agg.cli.terminal.logs import log_to_stderr
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError, UpdateError
from secure_agg.fl.model_files import read_model, write_npz
from secure_agg.service.bounds import UNSAID
from secure_agg.service.link import PATIENCE_S
from secure_agg.service.session import RoundResult, Session, connect

Arrays = Sequence[npt.NDArray[Any]]


def client(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of the service: https://HOST:PORT.")],
    home: Annotated[Path, typer.Option("--home", metavar="DIR", help="This member's home, from 'federation join'.")],
    update: Annotated[
        Path | None,
        typer.Option("--update", metavar="FILE", help="What to contribute: differences from the model, npz or npy."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            "--command",
            metavar="COMMAND",
            help="What makes it in each round: reads the model from the file in $MODEL, writes the update to $UPDATE.",
        ),
    ] = None,
    weight: Annotated[int, typer.Option("--weight", min=1, metavar="W", help="How much it counts.")] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=1, metavar="N", help="Results to wait for.")] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="New folder for average, model, evidence and receipt.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=1, metavar="S", help="Seconds to wait for each result.")
    ] = None,
    patience: Annotated[
        float,
        typer.Option("--patience", min=0, metavar="S", help="Seconds that a service which is away is asked again."),
    ] = PATIENCE_S,
    max_parameters: Annotated[
        int,
        typer.Option(
            "--max-parameters",
            metavar="N",
            help="How many the model may have where the home does not say so, against a service that fills memory.",
        ),
    ] = UNSAID,
    as_json: JsonOption = False,
) -> None:
    """Take part in a task's rounds: contribute an update, and wait for the verified mean.

    Nothing of the update leaves this machine unhidden. A client that was killed goes on when it is started again.
    """
    if (update is None) == (command is None):
        raise ConfigError("say what to contribute: --update FILE or --command COMMAND")
    given: Arrays | Callable[[Arrays], Arrays]
    given = list(read_model(update).values()) if update is not None else lambda model: _run(command or "", model)
    results: list[RoundResult] = []
    with log_to_stderr(), connect(url, home, patience=patience, max_parameters=max_parameters) as session:
        for _ in range(rounds):
            results.append(session.contribute(given, weight, timeout=timeout))
        if out is not None:
            _save(out, results[-1])
        _show(session, results, out, as_json=as_json)


def _run(command: str, model: Arrays) -> Arrays:
    """What a command makes of the model.

    Raises:
        UpdateError: it fails, or writes no arrays.
    """
    with tempfile.TemporaryDirectory(prefix="secure-agg-") as folder:
        source, target = Path(folder) / "model.npz", Path(folder) / "update.npz"
        with source.open("xb") as file:
            write_npz(file, _named(model))
        done = subprocess.run(  # noqa: S603 - its owner's own command
            shlex.split(command), env=os.environ | {"MODEL": str(source), "UPDATE": str(target)}, check=False
        )
        if done.returncode:
            raise UpdateError(f"the command that trains has ended with {done.returncode}")
        try:
            return list(read_model(target).values())
        except ConfigError as error:
            raise UpdateError(f"the command that trains has written no update: {error.args[0]}") from None


def _named(arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    return {f"array_{index}": array for index, array in enumerate(arrays)}


def _save(out: Path, result: RoundResult) -> None:
    with files.new_folder(out):
        for name, arrays in (("average", result.average), ("model", result.model)):
            if arrays:
                files.write_new(out / f"{name}.npz", lambda file, found=arrays: write_npz(file, _named(found)))  # type: ignore[misc]
        files.create(out / "round.evidence", result.evidence.to_bytes(), mode=0o644)
        files.create(out / "round.tlog-proof", result.receipt.to_bytes(), mode=0o644)


def _show(session: Session, results: Sequence[RoundResult], out: Path | None, *, as_json: bool) -> None:
    last = results[-1]
    document: dict[str, Any] = {
        "name": session.name,
        "task": last.record.task,
        "rounds": [result.round for result in results],
        "participants": list(last.participants),
        "included": last.included,
        "weight_sum": last.weight,
        "digest": last.record.digest().hex(),
        "out": str(out) if out is not None else None,
    }

    def show(console: Console) -> None:
        show_fields(
            console,
            {
                "name": session.name,
                "task": last.record.task,
                "rounds": ", ".join(map(str, document["rounds"])) + ": verified, and in the ledger",
                "participants": ", ".join(last.participants),
                "included": "yes" if last.included else "no: the round went on without this member",
                "weight_sum": str(last.weight),
                "digest": document["digest"],
                "out": str(out) if out is not None else "not written: --out DIR writes average, evidence and receipt",
            },
        )

    emit(document, as_json, show)
