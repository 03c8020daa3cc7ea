"""``secure-agg beacon``: the public beacon that draws cohorts: pinned, looked at, and rehearsed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from secure_agg.beacon.pulse import SCHEME
from secure_agg.beacon.recorded import BeaconFile, find, record
from secure_agg.beacon.source import BeaconSource, quicknet
from secure_agg.cli.terminal.epilog import epilog
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields, utc
from secure_agg.errors import ConfigError
from secure_agg.local.pulses import places

app = typer.Typer(
    no_args_is_help=True,
    help="Pin, look at or rehearse the public beacon that draws cohorts.",
    epilog=epilog("secure-agg beacon pin --out beacon --in 86400 --step 20"),
)

OutOption = Annotated[Path, typer.Option("--out", metavar="FILE", help="New beacon file.")]
StepOption = Annotated[
    int,
    typer.Option(
        "--step", metavar="K", help="Pulses from one draw to the next; a round has 16 draws, so 16 K pulses to itself."
    ),
]


@app.command("pin", epilog=epilog("secure-agg beacon pin --out beacon --in 86400 --step 20"))
def pin(
    out: OutOption,
    ahead: Annotated[
        float,
        typer.Option(
            "--in", metavar="S", help="Seconds until the first pulse that draws: all have to have pinned it by then."
        ),
    ] = 86400.0,
    step: StepOption = 1,
    first: Annotated[
        int | None, typer.Option("--first", metavar="N", help="Number of that pulse, in place of --in.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="HEX", help=f"Public key of a beacon of scheme {SCHEME}; else drand's quicknet."),
    ] = None,
    genesis: Annotated[
        int,
        typer.Option("--genesis", metavar="S", help="With --key, POSIX time of its pulse 1; 0 if it keeps no time."),
    ] = 0,
    period: Annotated[int, typer.Option("--period", metavar="S", help="With --key, seconds between its pulses.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write the file that everybody pins: drand's quicknet, or another beacon of its scheme, and which pulses draw."""
    if key is None:
        if genesis or period:
            raise ConfigError("--genesis and --period go with --key: those of quicknet are known")
        source = quicknet(1, step)
    else:
        source = BeaconSource(scheme=SCHEME, key=_hex(key), first=1, step=step, genesis=genesis, period=period)
    number = source.pulse_after(time.time() + ahead) if first is None else first
    chosen = BeaconSource.from_document(source.to_document() | {"first": number})
    chosen.check_ahead(time.time())
    BeaconFile(chosen).save(out)
    _show(BeaconFile(chosen), out, as_json)


@app.command("rehearse", epilog=epilog("secure-agg beacon rehearse --out chain --pulses 1600"))
def rehearse(
    out: OutOption,
    pulses: Annotated[int, typer.Option("--pulses", min=1, max=1 << 20, metavar="N", help="How many.")] = 1600,
    step: StepOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Write a chain of one's own, for rehearsals: its key is forgotten, and its pulses are all there beforehand.

    Whoever has the file knows every cohort. It protects nobody from whoever made it.
    """
    chain = record(range(1, pulses + 1), step=step)
    chain.save(out)
    _show(chain, out, as_json)


@app.command("show", epilog=epilog("secure-agg beacon show beacon", "secure-agg beacon show chain --round 3"))
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A beacon file.")],
    round_: Annotated[
        int | None, typer.Option("--round", metavar="N", help="Look for the pulse of this round, and verify it.")
    ] = None,
    draw: Annotated[int, typer.Option("--draw", metavar="K", help="With --round, which draw.")] = 0,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--pulses", metavar="PLACE", help="Where pulses are: a URL, a folder, a file; else the file itself."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a beacon file pins; with --round the pulse that draws its cohort, verified."""
    found = BeaconFile.load(file)
    if round_ is None:
        for pulse in found.pulses.values():
            pulse.verify(found.source.key)
        _show(found, file, as_json)
        return
    number = found.source.number(round_, draw)
    pulse = find(found.source, number, (found, *places(where or [])))
    document = {
        "round": round_,
        "draw": draw,
        "pulse": number,
        "published": found.source.time(number),
        "signature": pulse.signature.hex(),
        "randomness": pulse.randomness.hex(),
    }

    def write(console: Console) -> None:
        due = document["published"]
        rows = {key: str(value) for key, value in document.items()}
        show_fields(console, rows | {"published": utc(due) if isinstance(due, int) else "the beacon keeps no time"})

    emit(document, as_json, write)


def _hex(key: str) -> bytes:
    try:
        return bytes.fromhex(key)
    except ValueError:
        raise ConfigError(f"--key {key!r} is not hexadecimal") from None


def _show(file: BeaconFile, path: Path, as_json: bool) -> None:
    source = file.source
    due = source.time(source.first)
    document: dict[str, Any] = source.to_document() | {"due": due, "pulses": len(file.pulses), "file": str(path)}

    def write(console: Console) -> None:
        rows = {
            "key": source.key.hex(),
            "first": f"{source.first}, of round 0",
            "step": f"{source.step}, {16 * source.step} from one round to the next",
            "due": utc(due) if due is not None else "the beacon keeps no time: nobody can tell what came first",
            "pulses": f"{len(file.pulses)} in the file" if file.pulses else "none in the file",
            "file": str(path),
        }
        show_fields(console, rows)

    emit(document, as_json, write)
