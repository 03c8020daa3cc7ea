"""``secure-agg model``: digests of models in files; and the models' part of ``verify``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy.typing as npt
import typer

from secure_agg.cli.terminal.epilog import epilog
from secure_agg.cli.terminal.output import JsonOption, emit, plain
from secure_agg.errors import ConfigError, UpdateError
from secure_agg.fl.layers import Layers
from secure_agg.fl.model_files import read_model, write_model
from secure_agg.fl.model_match import MEANINGS, check_base, match, moved
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.auditor import Verified

app = typer.Typer(
    no_args_is_help=True,
    help="Look at a model in a file: npz, npy, safetensors or a PyTorch state dict.",
    epilog=epilog("secure-agg model digest model.npz"),
)

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="npz, npy, safetensors, or a state dict that torch.save has written.")
]
ModelOption = Annotated[
    Path | None, typer.Option("--model", metavar="FILE", help="Is this a model of that round? Else code 1.")
]
BaseOption = Annotated[
    Path | None,
    typer.Option("--base", metavar="FILE", help="With --model or --export: the model that updates were relative to."),
]
ExportOption = Annotated[
    Path | None,
    typer.Option(
        "--export", metavar="FILE.npz", help="Write the mean there, float64; with --base the model that it leads to."
    ),
]


@app.command("digest", epilog=epilog("secure-agg model digest model.npz", codes=False))
def show_digest(file: FileArgument, as_json: JsonOption = False) -> None:
    """Print a model's digest: of the arrays that are averaged, in the file's order, as a round names its models.

    Names and floating-point types are no part of it. Nothing in the file is run.
    """
    model = read_model(file)
    layers, arrays = _read(file, model)
    digest = model_digest(arrays)
    document = {
        "file": str(file),
        "digest": digest.hex(),
        "parameters": sum(array.size for array in arrays),
        "arrays": [
            {"name": name, "type": str(layer.dtype), "shape": list(layer.shape), "averaged": layer.averaged}
            for name, layer in layers.all.items()
        ],
    }
    emit(document, as_json, lambda console: console.print(plain(digest.hex())))


def compare_model(evidence: Evidence, verified: Verified, file: Path, base: Path | None) -> dict[str, Any]:
    """Whether a file holds a model of this round, for ``secure-agg verify``.

    Raises:
        ConfigError: a file can't be read.
        VerificationError: it is none of the round's models.
    """
    try:
        found = match(evidence, verified, read_model(file), read_model(base) if base else None)
    except UpdateError as error:
        raise ConfigError(f"{file}: {error.args[0]}") from error
    return {
        "file": str(file),
        "digest": found.digest.hex(),
        "is": list(found.found),
        "base": str(base) if base else None,
        "base_is_bound": found.base_is_bound,
    }


def model_fields(document: dict[str, Any]) -> dict[str, str]:
    """What ``compare_model`` found, for people."""
    said = "; ".join(MEANINGS[name] for name in document["is"])
    if document["base_is_bound"] is False:
        said += " (the evidence names no base model: that it was this one is your word)"
    return {"model": f"{document['file']} is {said}"}


def export_mean(evidence: Evidence, verified: Verified, base: Path | None, file: Path) -> Path:
    """Write the mean, or the model that it leads to, as a new npz file.

    Raises:
        ConfigError: there is a file already, it can't be written, or the base model is of another shape.
        VerificationError: the evidence names another base model.
    """
    if base is None:
        named: Mapping[str, npt.NDArray[Any]] = {f"arr_{i}": array for i, array in enumerate(verified.average)}
    else:
        model = read_model(base)
        try:
            check_base(evidence, model)
            named = moved(evidence, verified, model)
        except UpdateError as error:
            raise ConfigError(f"{base}: {error.args[0]}") from error
    write_model(file, named)
    return file


def _read(file: Path, model: Mapping[str, npt.NDArray[Any]]) -> tuple[Layers, list[npt.NDArray[Any]]]:
    try:
        layers = Layers.of(model)
        return layers, layers.floats(model)
    except UpdateError as error:
        raise ConfigError(f"{file}: {error.args[0]}") from error
