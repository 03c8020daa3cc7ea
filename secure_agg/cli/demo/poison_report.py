"""What ``demo --poison`` prints: its findings as tables for people, and as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console

from secure_agg.cli.demo.experiment import CLIP
from secure_agg.cli.demo.poison import BACKEND, BOOST, HIDDEN, MARGIN, NORM, SECURE, TITLES, PoisonedRound, Poisoning
from secure_agg.cli.terminal.output import plain, show_fields, table
from secure_agg.protocol.claims import ATTESTED, SUM


def document_of(found: Poisoning) -> dict[str, Any]:
    """The findings as JSON types."""
    return {
        "dataset": found.federation.name,
        "backend": BACKEND,
        "seed": found.training.seed,
        "rounds": found.training.rounds,
        "clients": list(found.federation.clients),
        "parameters": found.parameters,
        "clip": CLIP,
        "attacker": found.attacker,
        "boost": BOOST,
        "norm_bound": found.bound,
        "norm_bound_from": {"largest_norm": found.pilot, "rounds": found.pilot_rounds, "factor": MARGIN},
        "trim": found.trim,
        "accuracy": {name: list(history.accuracy) for name, history in found.histories.items()},
        "secure": {name: [asdict(item) for item in rounds] for name, rounds in found.rounds.items()},
        "ledger_rounds": found.audited.size,
        "ledger_verified": found.audited.verified,
        "ledger_attested": found.audited.attested,
        "ledger_tasks": dict(found.audited.tasks),
        "ledger_valid": True,  # the audit raises otherwise
    }


def show_poisoning(console: Console, found: Poisoning, files: Mapping[str, str]) -> None:
    """Print what poison does, what keeps it out, and what that rests on."""
    federation = found.federation
    console.print(
        f"[bold]{federation.name}[/]: {len(federation.clients)} clients of equal weight, {found.parameters:,} "
        f"parameters, {found.training.rounds} rounds, backend {BACKEND}"
    )
    console.print(
        f"{found.attacker} sends its update backwards and {BOOST} times as large, clipped to ±{CLIP:g}: every single "
        "value is one that an honest client may send."
    )
    _heading(console, "Accuracy on held-out samples, by rounds finished")
    numbers = [str(number) for number in range(found.training.rounds + 1)]
    curves = table("training", *numbers, right=tuple(numbers))
    for name, title in TITLES.items():
        curves.add_row(title, *(f"{100 * value:.1f}" for value in found.histories[name].accuracy))
    console.print(curves)
    console.print("In per cent. The plain mean stands for every backend that only sums: they differ by rounding alone.")
    _show_norms(console, found)
    _show_rejected(console, found)
    _show_trust(console, found)
    show_fields(console, {"chart": files["chart"], "ledger": files["ledger"], "audit": files["audit"]})


def _heading(console: Console, title: str) -> None:
    console.print(f"\n[bold]{title}[/]")


def _show_norms(console: Console, found: Poisoning) -> None:
    _heading(console, f"The norm bound: {found.bound:g}")
    console.print(
        f"{MARGIN:g} times the largest norm, {found.pilot:.3g}, of round 0 to {found.pilot_rounds - 1} without poison. "
        "The demo reads that from a training in clear; a federation would take it from a pilot on public data, or from "
        "norms that its clients state. It is part of the pinned policy and stays the same."
    )
    columns = ("round", "largest honest norm", "poison", "poison within it")
    norms = table(*columns, right=columns)
    for number, (seen, hidden) in enumerate(zip(found.rounds[NORM], found.rounds[HIDDEN], strict=True)):
        norms.add_row(str(number), f"{seen.largest:.3f}", f"{seen.poison:.3f}", f"{hidden.poison:.3f}")
    console.print(norms)
    scaled = sum(len(item.scaled) for name in (NORM, HIDDEN) for item in found.rounds[name])
    console.print(
        "An honest client above the bound would be refused as a whole, for everybody to see, and a round in which too "
        "many are refused is aborted. So honest clients scale such an update down to the bound before they send it: in "
        f"this run {_times(scaled)}."
    )


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def _show_rejected(console: Console, found: Poisoning) -> None:
    _heading(console, "Who was refused (rounds count from 0, as in the ledger)")
    rows = table("round", *(TITLES[name] for name in SECURE), right=("round",))
    for number in range(found.training.rounds):
        rows.add_row(str(number), *(_refused(found.rounds[name][number]) for name in SECURE))
    console.print(rows)
    console.print(
        f"The trimmed mean drops {found.trim} of the values of each coordinate at either end, and the median all but "
        "the middle: they refuse nobody whose values are in range, and outvote the poison. A norm bound stops what is "
        "large, not what is wrong: an attacker who keeps within it, as in the last column, is accepted."
    )


def _refused(item: PoisonedRound) -> str:
    return ", ".join(item.rejected) or "nobody"


def _show_trust(console: Console, found: Poisoning) -> None:
    _heading(console, "What the ledger's records claim")
    claims = table("training", "claim", "difference", "bound", right=("difference", "bound"))
    for name in SECURE:
        rounds = found.rounds[name]
        claim, worst = rounds[-1].claim, max(rounds, key=lambda item: item.difference / item.error_bound)
        claims.add_row(TITLES[name], plain(claim), f"{worst.difference:.3g}", f"{worst.error_bound:.3g}")
    console.print(claims)
    console.print(
        f"{SUM}: the result is the exact sum of what the participants committed to, proved to anyone. {ATTESTED}: it "
        "is no sum, so nothing proves it; all parties have signed it. Differences are from the same function in clear, "
        "the largest of all rounds, beside what the documentation promises."
    )
    console.print(
        f"An audit from scratch accepts all {found.audited.size} records: {found.audited.verified} are verified as "
        f"sums, {found.audited.attested} are attested and no more, which the ledger's trust file allows. That a client "
        "was refused rightly is in none of them: it rests on the parties.\n"
        "Nobody saw an update: three parties hold a share each, and open who is accepted and the result, nothing else. "
        "They are trusted to follow the protocol, and not to collude, all of them or one with the provider of their "
        "random numbers. In this demo all of them are processes of one machine, which protects nobody from its owner.\n"
    )
