"""``secure-agg plan``: what a round would cost, and which backend to choose."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from secure_agg import extras
from secure_agg.cli.terminal.options import (
    PrivacyDelta,
    PrivacyEpsilon,
    PrivacyHonest,
    PrivacyNorm,
    PrivacyRounds,
    asked_privacy,
)
from secure_agg.cli.terminal.output import JsonOption, emit, plain, table
from secure_agg.errors import ConfigError
from secure_agg.planning.advice import Advice, Needs, advise
from secure_agg.planning.coefficients import Coefficients, shipped
from secure_agg.planning.limits import remarks
from secure_agg.planning.norms import MARGIN, propose
from secure_agg.planning.prediction import Network, Prediction
from secure_agg.planning.privacy import PrivacyCost
from secure_agg.planning.words import seconds as _seconds
from secure_agg.planning.words import size as _size


def plan(
    parameters: Annotated[int, typer.Option(metavar="N", help="Parameters of the model.")],
    clients: Annotated[int, typer.Option(metavar="N", help="Clients of the federation.")],
    bits: Annotated[
        int | None, typer.Option(metavar="Q", help="Bits per value; chosen by the plan if left out.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(metavar="NAME", help="Plan for this backend, whatever is best.")
    ] = None,
    dropout: Annotated[float, typer.Option(metavar="SHARE", help="Of the clients that fall silent in a round.")] = 0.0,
    servers: Annotated[int, typer.Option(metavar="K", help="Independent servers, of whom one is honest.")] = 1,
    key_holder: Annotated[bool, typer.Option("--key-holder", help="Somebody else may hold a decryption key.")] = False,
    post_quantum: Annotated[
        bool, typer.Option("--post-quantum", help="Secrets must outlast quantum computers.")
    ] = False,
    robust: Annotated[
        bool, typer.Option("--robust", help="A trimmed mean, median or norm that operators check is needed.")
    ] = False,
    norm_bound: Annotated[
        float | None, typer.Option(metavar="B", help="Norm bound of every update, which clients prove.")
    ] = None,
    privacy_epsilon: PrivacyEpsilon = None,
    privacy_delta: PrivacyDelta = None,
    privacy_norm: PrivacyNorm = None,
    privacy_rounds: PrivacyRounds = None,
    privacy_honest: PrivacyHonest = None,
    privacy_done: Annotated[
        int, typer.Option("--privacy-done", metavar="N", help="With it, how many of its rounds are done.")
    ] = 0,
    min_clients: Annotated[
        int,
        typer.Option(metavar="N", help="Fewest clients whose sum is opened; the more the less noise privacy takes."),
    ] = 3,
    up_mbit: Annotated[float, typer.Option(metavar="MBIT", help="Upload of a client, Mbit/s.")] = 20.0,
    down_mbit: Annotated[float, typer.Option(metavar="MBIT", help="Download of a client, Mbit/s.")] = 100.0,
    server_gbit: Annotated[float, typer.Option(metavar="GBIT", help="A server's link, Gbit/s.")] = 1.0,
    rtt_ms: Annotated[float, typer.Option(metavar="MS", help="Round trip, milliseconds.")] = 50.0,
    calibrate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measure this machine's speed first, and write FILE.")
    ] = None,
    coefficients: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What --calibrate or `bench fit` has written; else the shipped.")
    ] = None,
    squared_norm: Annotated[
        list[float] | None,
        typer.Option(
            "--squared-norm",
            metavar="S",
            help="Propose a norm bound: of an earlier round, the verified mean, by weight, of its clients' squared "
            "norms. Once for each round.",
        ),
    ] = None,
    norm_margin: Annotated[float, typer.Option(metavar="M", help="What the root of that is multiplied with.")] = MARGIN,
    previous_bound: Annotated[
        float | None, typer.Option(metavar="B", help="Norm bound that was in force in those rounds.")
    ] = None,
    clip: Annotated[float, typer.Option(metavar="C", help="Of the values, for the norm bound.")] = 8.0,
    as_json: JsonOption = False,
) -> None:
    """Predict seconds, bytes and memory of each role in a round, and recommend a backend; and a norm bound.

    With privacy it says what the rounds spend of the budget, and how much noise that leaves in a mean.
    """
    if min(up_mbit, down_mbit, server_gbit) <= 0 or rtt_ms < 0:
        raise ConfigError("a link has a speed above 0, and a round trip takes no negative time")
    proposal = None
    if squared_norm:
        proposal = propose(squared_norm, margin=norm_margin, previous=previous_bound, clip=clip, parameters=parameters)
    elif previous_bound is not None:
        raise ConfigError("--previous-bound goes with --squared-norm: what is proposed follows from earlier rounds")
    private = asked_privacy(privacy_epsilon, privacy_delta, privacy_norm, privacy_rounds, privacy_honest)
    if private is None and privacy_done:
        raise ConfigError("--privacy-done goes with --privacy-epsilon: without it no budget is spent")
    machine = _coefficients(calibrate, coefficients)
    network = Network(up_mbit, down_mbit, server_gbit, rtt_ms)
    needs = Needs(
        parameters,
        clients,
        bits,
        dropout,
        servers,
        key_holder,
        post_quantum,
        robust,
        norm_bound,
        private,
        min_clients,
    )
    advice = advise(needs, machine, network)
    chosen = backend or advice.backend
    candidate = next((one for one in advice.candidates if one.backend == chosen), None)
    if backend is not None and (candidate is None or candidate.prediction is None):
        raise ConfigError(candidate.refused if candidate else f"no plan is made for backend {backend!r}")
    found = candidate.prediction if candidate else None
    cost = None
    if private is not None and found is not None:
        cost = PrivacyCost.of(
            found.setting.policy, parameters, found.setting.survivors, rounds=private.rounds, done=privacy_done
        )

    def show(console: Console) -> None:
        if found:
            _show_prediction(console, found, machine)
        _show_advice(console, advice, remarks(found) if found else [])
        if cost:
            console.print(f"\n[bold]privacy: {cost.use}[/]")
            for reason in cost.reasons:
                console.print(plain(f"  {reason}"))
        if proposal:
            console.print(f"\n[bold]proposed norm bound: {proposal.bound:.6g}[/]")
            for reason in proposal.reasons:
                console.print(plain(f"  {reason}"))

    document = _document(advice, found, machine)
    if cost:
        document["privacy"] = _privacy(cost)
    if proposal:
        document["norm_bound"] = asdict(proposal) | {"reasons": list(proposal.reasons)}
    emit(document, as_json, show)


def _privacy(cost: PrivacyCost) -> dict[str, Any]:
    epsilon, delta = cost.budget
    return {
        "epsilon": epsilon,
        "delta": delta,
        "norm": cost.norm,
        "rounds": cost.rounds,
        "done": cost.done,
        "honest": cost.made.honest,
        "epsilon_now": cost.epsilon(cost.done),
        "epsilon_next": cost.epsilon(min(cost.done + 1, cost.rounds)),
        "epsilon_end": cost.epsilon(cost.rounds),
        "noise_deviation": cost.deviation,
        "noise_length": cost.noise,
        "noise_length_of_one": cost.own,
        "bits": cost.bits,
        "fewest_bits": cost.fewest,
        "use": cost.use,
        "enough_clients": cost.enough_clients,
        "enough_parameters": cost.enough_values,
        "reasons": list(cost.reasons),
    }


def _coefficients(calibrate: Path | None, file: Path | None) -> Coefficients:
    known = Coefficients.load_file(file) if file else shipped()
    if calibrate is None:
        return known
    extras.require("fast")
    from secure_agg.planning import speed

    measured = speed.here(known)
    measured.save(calibrate)
    return measured


def _document(advice: Advice, found: Prediction | None, machine: Coefficients) -> dict[str, Any]:
    document: dict[str, Any] = {
        "machine": machine.machine,
        "date": machine.date,
        "load": machine.load,
        "recommended": {
            "backend": advice.backend,
            "cohort": advice.cohort,
            "bits": advice.bits,
            "reasons": list(advice.reasons),
        },
        "candidates": [
            {
                "backend": one.backend,
                "seconds": one.prediction.seconds if one.prediction else None,
                "sent": one.prediction.sent("client") if one.prediction else None,
                "received": one.prediction.received("client") if one.prediction else None,
                "refused": one.refused,
            }
            for one in advice.candidates
        ],
    }
    if found:
        document["prediction"] = {
            "backend": found.setting.backend,
            "parameters": found.setting.parameters,
            "clients": found.setting.clients,
            "bits": found.setting.bits,
            "lost": found.setting.lost,
            "seconds": found.seconds,
            "network": found.network,
            "shares": [asdict(share) for share in found.shares],
            "memory": found.memory,
            "bytes_per_parameter": found.bytes_per_parameter,
            "errors": found.fitted.errors,
            "remarks": remarks(found),
        }
    return document


def _show_prediction(console: Console, found: Prediction, machine: Coefficients) -> None:
    setting = found.setting
    console.print(
        f"[bold]{setting.backend}[/]: {setting.parameters:,} parameters, {setting.clients:,} clients, "
        f"{setting.bits} bits, {setting.lost:,} lost in the round; processor seconds on {machine.machine}"
    )
    shown = table("phase", "role", "seconds", "sent", "received", right=("seconds", "sent", "received"))
    for share in found.shares:
        shown.add_row(share.phase, share.role, _seconds(share.seconds), _size(share.sent), _size(share.received))
    for role in found.roles:
        shown.add_row(
            "[bold]round[/]",
            f"[bold]{role}[/]",
            _seconds(found.processor(role)),
            _size(found.sent(role)),
            _size(found.received(role)),
        )
    console.print(shown)
    console.print(f"a client sends {found.bytes_per_parameter:,.2f} bytes of each parameter, all messages of a round")
    held = ", ".join(f"{role} {_size(size)}" for role, size in found.memory.items())
    console.print(f"memory besides the process and the update: {held}")
    network = sum(found.network.values())
    console.print(f"[bold]a round takes {_seconds(found.seconds)}[/], {_seconds(network)} of it on the network")
    off = ", ".join(f"{name} {middle:.2f} ({most:.2f})" for name, (middle, most) in found.fitted.errors.items())
    console.print(
        plain(
            f"fitted to {found.fitted.cells} measured settings, {machine.date}, {machine.load}; those that were left "
            f"out were off by a factor of, median (90th percentile): {off}"
        ),
        end="\n\n",
    )


def _show_advice(console: Console, advice: Advice, said: list[str]) -> None:
    name = advice.backend or "none"
    console.print(f"[bold]recommended: {name}[/], cohorts of {advice.cohort:,}, {advice.bits} bits")
    for reason in advice.reasons:
        console.print(plain(f"  {reason}"))
    shown = table("backend", "seconds", "sent", "received", "refused", right=("seconds", "sent", "received"))
    for one in advice.candidates:
        cost = ["–", "–", "–"]
        if one.prediction:
            found = one.prediction
            cost = [_seconds(found.seconds), _size(found.sent("client")), _size(found.received("client"))]
        shown.add_row(one.backend, *cost, plain(one.refused))
    console.print(shown)
    console.print("sent and received: by one client in a round")
    for remark in said:
        console.print(plain(remark))
