"""What ``demo`` prints: its findings as tables for people, and as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from secure_agg.cli.demo.costs import Costs, milliseconds
from secure_agg.cli.demo.experiment import CLIP, Experiment
from secure_agg.cli.demo.tamper import TamperedRound
from secure_agg.cli.terminal.output import plain, show_fields, table
from secure_agg.ledger.audit import AuditReport

_NAMES = {"secure": "secure FedAvg", "plain": "plain FedAvg", "centralised": "centralised"}


def _heading(console: Console, title: str) -> None:
    console.print(f"\n[bold]{title}[/]")


def _ratio(secure: float, bare: float) -> str:
    return f"{secure / bare:.1f}×" if bare else "–"


def _kilobytes(value: float) -> str:
    return f"{value / 1e3:.1f} kB" if value else "–"


def _milliseconds(seconds: float) -> str:
    return f"{milliseconds(seconds)} ms" if seconds else "–"


def document_of(found: Experiment, price: Costs, backend: str) -> dict[str, Any]:
    """The findings as JSON types."""
    return {
        "dataset": found.federation.name,
        "backend": backend,
        "seed": found.training.seed,
        "rounds": found.training.rounds,
        "clients": found.federation.sizes,
        "test_samples": len(found.federation.test),
        "parameters": found.parameters,
        "clip": CLIP,
        "largest_update": max(item.largest for item in found.rounds),
        "losses": [
            {"round": number, "client": loss.client, "phase": loss.phase, "in_average": found.in_average(number)}
            for number, loss in sorted(found.losses.items())
        ],
        "accuracy": {name: list(getattr(found, name).accuracy) for name in _NAMES},
        "differences": [
            {"round": number, "max_difference": item.difference, "error_bound": item.bound}
            for number, item in enumerate(found.rounds)
        ],
        "costs": asdict(price),
    }


def show_training(console: Console, found: Experiment, price: Costs, backend: str, files: Mapping[str, str]) -> None:
    """Print accuracy, exactness, costs, and what can be done next."""
    sizes = found.federation.sizes
    console.print(
        f"[bold]{found.federation.name}[/]: {len(sizes)} clients with {min(sizes.values())} to {max(sizes.values())} "
        f"samples, {found.parameters:,} parameters, {found.training.rounds} rounds, backend {backend}"
    )
    _heading(console, "Accuracy on held-out samples after the last round")
    rounds = table("training", "accuracy", right=("accuracy",))
    for name, title in _NAMES.items():
        rounds.add_row(title, f"{100 * getattr(found, name).accuracy[-1]:.2f} %")
    console.print(rounds)

    worst = max(found.rounds, key=lambda item: item.difference / item.bound)
    _heading(console, "Secure average against plain average of the same updates")
    if scaled := sum(int(item.stats.get("scaled_clients", 0)) for item in found.rounds):
        console.print(
            f"{scaled} of the updates were longer than the norm bound and were scaled to it, which is most of what "
            "follows"
        )
    console.print(
        f"largest difference {worst.difference:.3g}, documented bound {worst.bound:.3g}: "
        f"{'within' if worst.difference <= worst.bound else 'ABOVE'} the bound in the worst of "
        f"{len(found.rounds)} rounds"
    )
    _heading(console, "Clients lost on the way (rounds count from 0, as in the ledger)")
    lost = table("round", "client", "silent from", "its update", right=("round",))
    for number, loss in sorted(found.losses.items()):
        outcome = "is in the average" if found.in_average(number) else "is left out"
        lost.add_row(str(number), loss.client, found.label(loss.phase), outcome)
    console.print(lost)
    _heading(console, "Costs by phase, median over rounds")
    console.print(_steps(price))
    _heading(console, "One round against plain averaging")
    console.print(_overhead(price))
    console.print()
    show_fields(console, {"chart": files["chart"], "ledger": files["ledger"], "audit": files["audit"]})


def _steps(price: Costs) -> Table:
    opened = any(step.holder_s for step in price.steps)
    columns = ("one client", "aggregator", *(["key holder"] if opened else []), "client sends", "client receives")
    rows = table("phase", *columns, right=columns)
    for step in price.steps:
        seconds = (step.client_s, step.aggregator_s, *([step.holder_s] if opened else []))
        amounts = (step.upload_bytes, step.download_bytes)
        rows.add_row(step.name, *map(_milliseconds, seconds), *map(_kilobytes, amounts))
    return rows


def _overhead(price: Costs) -> Table:
    columns = ("plain", "secure", "ratio")
    rows = table("", *columns, right=columns)
    for kind, title in (
        ("upload", "sent per client"),
        ("download", "received per client during the round"),
        ("result", "received per client with the result"),
    ):
        bare, secure = price.plain_bytes[kind], price.secure_bytes[kind]
        rows.add_row(title, _kilobytes(bare), _kilobytes(secure), _ratio(secure, bare))
    rows.add_row(
        "averaging, all parties in one process",
        _milliseconds(price.plain_s),
        _milliseconds(price.secure_s),
        _ratio(price.secure_s, price.plain_s),
    )
    training = price.training_s
    rows.add_row(
        "the same with local training",
        _milliseconds(training + price.plain_s),
        _milliseconds(training + price.secure_s),
        _ratio(training + price.secure_s, training + price.plain_s),
    )
    return rows


def tampering_document(found: TamperedRound, audited: AuditReport, dataset: str, backend: str) -> dict[str, Any]:
    """Who noticed, as JSON types."""
    return {
        "dataset": dataset,
        "backend": backend,
        "round": found.evidence.config.round,
        "coordinate": found.coordinate,
        "caught": found.caught,
        "verdicts": [
            {
                "party": verdict.party,
                "refused": verdict.refusal is not None,
                "type": type(verdict.refusal).__name__ if verdict.refusal else None,
                "error": str(verdict.refusal) if verdict.refusal else None,
            }
            for verdict in found.verdicts
        ],
        "ledger_rounds": audited.size,
        "ledger_verified": audited.verified,
        "ledger_attested": audited.attested,
        "ledger_valid": True,  # the audit raises otherwise
    }


def show_tampering(console: Console, found: TamperedRound, audited: AuditReport, files: Mapping[str, str]) -> None:
    """Print who noticed."""
    config = found.evidence.config
    console.print(
        f"In round {config.round} the aggregator added [bold]1[/] to coordinate {found.coordinate} of the sum "
        f"(of {config.layout.committed}) and made the result's digest fit.\n"
    )
    verdicts = table("party", "verdict", "error")
    said: dict[str, None] = {}
    for verdict in found.verdicts:
        if verdict.refusal is None:
            verdicts.add_row(plain(verdict.party), "[bold red]ACCEPTED[/]", "")
        else:
            verdicts.add_row(plain(verdict.party), "[green]refused[/]", type(verdict.refusal).__name__)
            said[str(verdict.refusal)] = None
    console.print(verdicts)
    for message in said:
        console.print(plain(message))
    outcome = "[bold green]caught by everybody[/]" if found.caught else "[bold red]NOT caught by everybody[/]"
    console.print(
        f"\n{outcome}; the ledger holds the {audited.size} honest rounds before it and its audit passes: the model "
        "stays as it was.\n"
    )
    show_fields(
        console,
        {
            "ledger": files["ledger"],
            "audit": files["audit"],
            "see it refused": f"secure-agg verify {files['evidence']} --trust {files['ledger']}.trust.json",
        },
    )
