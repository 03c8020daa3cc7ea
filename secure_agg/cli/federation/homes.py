"""``secure-agg federation init``: the homes that services, and Flower's and NVFlare's nodes and servers, work from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from secure_agg.beacon.recorded import BeaconFile
from secure_agg.cli.epochs import floors
from secure_agg.cli.federation.groups import GROUP_HELP, groups_of
from secure_agg.cli.federation.models import (
    AnyOption,
    Models,
    MomentumOption,
    OptimizerOption,
    RateOption,
    SecondOption,
    StartOption,
    TaskOption,
    TauOption,
    WeightOption,
)
from secure_agg.cli.terminal.documents import privacy_document
from secure_agg.cli.terminal.options import (
    PrivacyDelta,
    PrivacyEpsilon,
    PrivacyHonest,
    PrivacyNorm,
    PrivacyRounds,
    asked_privacy,
)
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.fl.model_files import read_model
from secure_agg.fl.server_optimizers import PLAIN
from secure_agg.local.asked import sample_size
from secure_agg.plugins.core.metrics import metrics_group
from secure_agg.plugins.core.training import OUTSIDE
from secure_agg.plugins.homes import federation, kept
from secure_agg.plugins.homes.server import PHASE_S, ServerHome
from secure_agg.preflight.words import norm_claim, price
from secure_agg.protocol.config import Option, Policy
from secure_agg.protocol.config.norm import SCALE
from secure_agg.protocol.config.presets import PRESETS, preset
from secure_agg.protocol.habits import USUAL
from secure_agg.roles.epochs.floor import Floor


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for all homes.")],
    clients: Annotated[
        list[str] | None,
        typer.Option("--client", metavar="ID", help="A client whose key and home are made; one for each."),
    ] = None,
    client_keys: Annotated[
        list[str] | None,
        typer.Option(
            "--client-key",
            metavar="ID=HEX",
            help="A client that has made its own key with 'secure-agg keygen', and makes its home with 'join'.",
        ),
    ] = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="See 'secure-agg backends'.")] = USUAL,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            help="A setting of the backend's own, as 'secure-agg backends' shows them; one for each.",
        ),
    ] = None,
    parameters: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Parameters of the model that are averaged; for a backend with key holders."
        ),
    ] = None,
    clip: Annotated[float, typer.Option(metavar="C", help="An update's values are clipped to [-C, C].")] = 1.0,
    bits: Annotated[
        int | None,
        typer.Option(metavar="B", help="Per value, 2 to 24; by default as many as cost the backend nothing."),
    ] = None,
    group: Annotated[list[str] | None, typer.Option("--group", metavar="NAME:…", help=GROUP_HELP)] = None,
    max_error: Annotated[
        float | None,
        typer.Option(metavar="E", help="Refuse settings under which rounding could move a value of the mean further."),
    ] = None,
    norm_bound: Annotated[
        float | None,
        typer.Option(
            "--norm-bound",
            metavar="B",
            help="Every update's L2 norm is at most B, or its weight's share of that, and its node proves it; see "
            "'secure-agg backends'. Turns screening on with masking; --option screening=0 turns it off.",
        ),
    ] = None,
    norm_excess: Annotated[
        str,
        typer.Option("--norm-excess", metavar="scale|refuse", help="With --norm-bound, what becomes of a longer one."),
    ] = SCALE,
    privacy_epsilon: PrivacyEpsilon = None,
    privacy_delta: PrivacyDelta = None,
    privacy_norm: PrivacyNorm = None,
    privacy_rounds: PrivacyRounds = None,
    privacy_honest: PrivacyHonest = None,
    max_weight: Annotated[
        int | None,
        typer.Option(
            metavar="W",
            help="Most examples that a client may count; public. The closer the more precise: 1000, with privacy 1.",
        ),
    ] = None,
    weight_scale: Annotated[
        int,
        typer.Option(
            metavar="K", help="Count no client for more than K times the mean of the last round; 0 keeps all weights."
        ),
    ] = 0,
    weight_span: Annotated[
        int | None,
        typer.Option(metavar="L", help="With --weight-scale, count nobody for less than the L-th part of that: 64."),
    ] = None,
    first_weight: Annotated[
        int | None,
        typer.Option(metavar="W", help="With --weight-scale, the most that counts in the first round: --max-weight."),
    ] = None,
    min_clients: Annotated[
        int | None, typer.Option(metavar="N", help="Fewest clients whose sum is ever opened; by default 3.")
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Of a round's clients, without which it still ends: 0.1 by default, at most 0.5. The more may be "
            "missing the fewer may be corrupt: see 'secure-agg plan'.",
        ),
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option(
            metavar="N|SHARE",
            help="Draw so many clients for each round, or this share of them, by a public beacon; takes --beacon and "
            "--corruption-rate.",
        ),
    ] = None,
    corruption_rate: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="With --sample, of all clients that may be corrupt: unsafe sizes are refused."
        ),
    ] = None,
    beacon: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --sample, the beacon file that everybody pins, from 'secure-agg beacon'."
        ),
    ] = None,
    pulses: Annotated[
        list[str] | None,
        typer.Option(
            "--pulses",
            metavar="PLACE",
            help="Where the server finds its pulses: URL of drand's HTTP API with the chain's hash, folder or beacon "
            "file; one for each.",
        ),
    ] = None,
    preset_name: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help=f"Settings for a usual federation, where nothing else is said: {', '.join(PRESETS)}.",
        ),
    ] = None,
    task: TaskOption = "default",
    start_model: StartOption = None,
    server_optimizer: OptimizerOption = PLAIN.name,
    server_learning_rate: RateOption = None,
    server_momentum: MomentumOption = None,
    server_second_momentum: SecondOption = None,
    server_tau: TauOption = None,
    any_model: AnyOption = False,
    weight_key: WeightOption = None,
    phase_seconds: Annotated[
        float,
        typer.Option(
            "--phase-seconds",
            metavar="S",
            help="How long nodes have to answer in each phase after training, at least: it is three times as long as "
            "the slowest message of a run so far.",
        ),
    ] = PHASE_S,
    floor: floors.FloorOption = None,
    witness_age: floors.AgeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the homes of a federation: the server's, the clients', and those of the backend's operators.

    For demonstrations and tests: all keys are made on this machine, and whoever owns it could read every update. For
    a real federation each client makes its own key and sends only the public half, which --client-key takes; it gets
    DIR/trust.json, compares it with what was agreed, and makes its home with 'join'.
    """
    keys = _keys(client_keys or [])
    models = Models.asked(
        start_model,
        server_optimizer,
        server_learning_rate,
        server_momentum,
        server_second_momentum,
        server_tau,
        any_model,
        weight_key,
    )
    private = asked_privacy(privacy_epsilon, privacy_delta, privacy_norm, privacy_rounds, privacy_honest)
    if private is not None and max_weight not in (None, 1):
        raise ConfigError(f"privacy counts every client alike: --max-weight {max_weight} and weights exclude it")
    named = {
        "min_clients": min_clients,
        "dropout": dropout,
        "corruption_rate": corruption_rate,
        "cohort_size": None if sample is None else sample_size(sample, len(clients or []) + len(keys)),
    }
    groups = groups_of(group or [])
    usual = dict(preset(preset_name).settings) if preset_name is not None else {}
    policy = Policy.default(
        len(clients or []) + len(keys),
        backend=backend,
        options=_options(options or []),
        clip=clip,
        bits=bits,
        groups=groups,
        max_error=max_error,
        max_weight=max_weight or (1000 if private is None else 1),
        weight_scale=weight_scale,
        weight_span=weight_span,
        first_weight=first_weight,
        **(usual | {name: value for name, value in named.items() if value is not None}),
        norm_bound=norm_bound,
        norm_excess=norm_excess,
        norm_outside=OUTSIDE if norm_bound is not None and not groups else 0,
        privacy=private,
    )
    metrics_group(policy)
    policy.check_error(policy.first_weight or policy.max_weight)
    trust = federation.make(
        folder,
        clients or [],
        policy,
        task=task,
        client_keys=keys,
        parameters=parameters,
        phase_s=phase_seconds,
        beacon=BeaconFile.load(beacon) if beacon is not None else None,
        pulses=pulses or (),
        floor=floors.floor_of(floor, Floor.of(policy, len(keys) + len(clients or ()))),
        witness_age_s=witness_age,
        **models.pinned,
    )
    with ServerHome.open(folder / "server") as home:
        places = home.places()
        if models.file is not None:
            kept.keep_first(home, read_model(models.file))  # the first round finds it there
    commands = {
        name: ["secure-agg", *federation.serve_command(folder / "operators" / name), "--listen", place.address]
        for name, place in places.items()
    }
    document: dict[str, Any] = {
        "task": task,
        "backend": backend,
        "tasks": sorted(trust.tasks),
        "trust": str(folder / "trust.json"),
        "server": str(folder / "server"),
        "clients": {name: str(folder / "clients" / name) for name in clients or []},
        "joining": list(keys),
        "operators": commands,
        "cohort_size": policy.cohort_size,
        "max_corrupt": policy.max_corrupt,
        "min_advertised": policy.min_advertised,
        "bearable": float(policy.bearable(len(trust.task(task).roster))),
    } | models.document
    if policy.privacy is not None:
        document["privacy"] = privacy_document(policy.privacy, policy.clip)

    def show(console: Console) -> None:
        rows = {
            "task": f"{task}, backend {backend}, {len(trust.task(task).roster)} clients",
            "bearable": price(policy, len(trust.task(task).roster)),
            **({"norm_bound": claim.text} if (claim := norm_claim(policy)) else {}),
            **({"privacy": document["privacy"]["text"]} if "privacy" in document else {}),
            "trust": f"{document['trust']}, the pins for everybody",
            "server": f"{document['server']}, for 'secure-agg serve --home', or the server's configuration",
        }
        rows |= models.shown
        where = "for 'secure-agg client --home', or its node's configuration"
        rows |= {f"client {name}": f"{path}, {where}" for name, path in document["clients"].items()}
        if keys:
            rows["joining"] = f"{', '.join(keys)}: each makes its home with 'secure-agg federation join'"
        rows |= {f"operator {name}": shlex.join(command) for name, command in commands.items()}
        show_fields(console, rows)

    emit(document, as_json, show)


def _options(given: list[str]) -> tuple[Option, ...]:
    """Settings of a backend, in order of their names."""
    settings: dict[str, int] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name or not text.isdecimal():
            raise ConfigError(f"--option {pair!r} is not of the form NAME=VALUE, with a whole number")
        if name in settings:
            raise ConfigError(f"option {name!r} is given twice")
        settings[name] = int(text)
    return Option.list(settings)


def _keys(given: list[str]) -> dict[str, bytes]:
    """Public keys by id."""
    keys: dict[str, bytes] = {}
    for pair in given:
        name, equals, text = pair.rpartition("=")
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raw = b""
        if not equals or not raw:
            raise ConfigError(f"--client-key {pair!r} is not of the form ID=HEX")
        if name in keys:
            raise ConfigError(f"client {name!r} is named twice")
        keys[name] = raw
    return keys
