"""What ``demo --poison`` prints of proved norm bounds: as tables for people, and as one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console

from secure_agg.cli.demo import poison
from secure_agg.cli.demo.influence import ATTACKER, ATTACKS, BOOST, CLIP, FLIPPED, FUNCTIONS, Influence, Outcome
from secure_agg.cli.terminal.output import plain, show_fields, table


def document_of(found: Influence, backend: str) -> dict[str, Any]:
    """The findings as JSON types."""
    return {
        "dataset": found.federation.name,
        "backend": backend,
        "seed": found.training.seed,
        "rounds": found.training.rounds,
        "clients": found.federation.sizes,
        "parameters": found.parameters,
        "clip": CLIP,
        "attacker": ATTACKER,
        "boost": BOOST,
        "norm_bound": found.proposal.bound,
        "norm_bound_from": asdict(found.proposal) | {"reasons": list(found.proposal.reasons)},
        "norm_factor": found.factor,
        "honest": asdict(found.honest),
        "plain_mean": {name: asdict(item) for name, item in found.plain.items()},
        "bounded": {name: asdict(item) for name, item in found.bounded.items()},
        "functions": {name: asdict(item) for name, item in found.functions.items()},
        "bounded_rounds": {name: [asdict(item) for item in rounds] for name, rounds in found.rounds.items()},
        "heaviest": found.heaviest,
        "ledger_rounds": found.audited.size,
        "ledger_verified": found.audited.verified,
        "ledger_norm_proofs": found.audited.norm_proofs,
        "ledger_tasks": dict(found.audited.tasks),
        "ledger_valid": True,  # the audit raises otherwise
    }


def show_influence(console: Console, found: Influence, backend: str, files: Mapping[str, str]) -> None:
    """Print what one light site can do, what a norm bound leaves of it, and what that rests on."""
    sizes = found.federation.sizes
    share = sizes[ATTACKER] / sum(sizes.values())
    console.print(
        f"[bold]{found.federation.name}[/]: {len(sizes)} clients, {found.parameters:,} parameters, "
        f"{found.training.rounds} rounds, backend {backend}"
    )
    console.print(
        f"{ATTACKER} has {sizes[ATTACKER]} of {sum(sizes.values())} samples, {100 * share:.1f} %, and as much weight. "
        f"What it sends is clipped to ±{CLIP:g}: every single value is one that an honest client may send."
    )
    _show_bound(console, found)
    _show_outcomes(console, found)
    _show_heaviest(console, found)
    _show_rest(console, found)
    show_fields(console, {"ledger": files["ledger"], "audit": files["audit"]})


def _heading(console: Console, title: str) -> None:
    console.print(f"\n[bold]{title}[/]")


def _show_bound(console: Console, found: Influence) -> None:
    _heading(console, f"The norm bound: {found.proposal.bound:.4g}")
    console.print(
        f"Proposed from {found.proposal.rounds} verified rounds without poison, whose vectors carried squared norms:"
    )
    for reason in found.proposal.reasons:
        console.print(plain(f"  {reason}"))


def _show_outcomes(console: Console, found: Influence) -> None:
    _heading(console, "What poison does")
    columns = ("accuracy", "backdoor", "seconds a round")
    rows = table("sent", "average", *columns, right=columns)
    rows.add_row("nobody poisons", "plain mean", *_figures(found.honest))
    for attack, title in ATTACKS.items():
        rows.add_row(title, "plain mean", *_figures(found.plain[attack]))
        rows.add_row("", "norm bound, proved", *_figures(found.bounded[attack]))
    for name in FUNCTIONS:
        if name in found.functions:
            title = f"its update, backwards, {poison.BOOST} times" if name == FUNCTIONS[0] else ""
            rows.add_row(title, f"{name}, on shares", *_figures(found.functions[name]))
    console.print(rows)
    console.print(
        "In per cent, after the last round, on held-out samples: those that are right, and of those with another label "
        "how many are given the one that the attacker wants when they bear its mark. Seconds are of averaging with all "
        "roles in this process."
    )
    if found.functions:
        console.print(
            f"{poison.BACKEND} computes its functions without weights, so there {ATTACKER} counts as much as anybody."
        )
    else:
        console.print("What CrypTen's parties compute on shares is left out: CrypTen is not installed.")


def _figures(outcome: Outcome) -> tuple[str, str, str]:
    return f"{100 * outcome.accuracy[-1]:.1f}", f"{100 * outcome.backdoor:.1f}", f"{outcome.seconds:.3g}"


def _show_heaviest(console: Console, found: Influence) -> None:
    rounds = found.rounds[FLIPPED]
    scaled = sum(len(item.scaled) for each in found.rounds.values() for item in each)
    sizes = found.federation.sizes
    _heading(console, "Whom the bound squeezes")
    columns = ("round", f"{found.heaviest}, the heaviest", ATTACKER)
    norms = table(*columns, right=columns)
    for number, item in enumerate(rounds):
        norms.add_row(str(number), f"{item.heaviest:.3f}", f"{item.poison:.3f}")
    console.print(norms)
    console.print(
        f"Norms of updates, which nobody sees. The bound is of the update and not of what it weighs: {found.heaviest} "
        f"has {sizes[found.heaviest] / sizes[ATTACKER]:.0f} times the weight of {ATTACKER} and the same bound. "
        f"Honest updates that were scaled down, in all rounds: {scaled}."
    )


def _show_rest(console: Console, found: Influence) -> None:
    _heading(console, "What that rests on")
    console.print(
        f"An audit from scratch accepts all {found.audited.size} records and {found.audited.norm_proofs} norm proofs. "
        f"The software scales what is longer; a client that cheats has no proof, and is refused by name. Corrupt "
        f"clients together have at most {found.factor:.2f} times the bound each, whatever they do. A weight is what a "
        "client says, within the policy's largest: one that lies has the influence of the heaviest.\n"
        "A norm bound stops what is large, not what is wrong: poison within the bound is accepted, with the weight "
        "that its sender has.\n"
    )
