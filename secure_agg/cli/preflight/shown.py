"""A report of ``secure-agg check`` for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from secure_agg.cli.terminal.output import label, plain, show_fields, table
from secure_agg.planning import words
from secure_agg.preflight.figures import ROLES, said
from secure_agg.preflight.report import Report


def show(console: Console, report: Report, document: Mapping[str, Any]) -> None:
    """Print a report: what it is of, its figures, what each role has to do, what is left open, and what is broken."""
    show_fields(console, _head(report, document))
    console.print()
    shown = table("figures", "value", "limit", "text", right=("value", "limit"))
    for name, figure in report.figures.items():
        if name.partition(".")[0] in ROLES and report.limits.get(name) is None:
            continue
        limit = report.limits.get(name)
        asked = "" if limit is None else f"at {figure.kind.bound} {said(figure.kind, limit)}"
        text = figure.kind.text if figure.value is not None else figure.absent
        shown.add_row(label(name), figure.text, asked, plain(text))
    console.print(shown)
    found = report.measured.prediction
    if found is not None:
        costs = table("role", "seconds", "sent", "received", "memory", right=("seconds", "sent", "received", "memory"))
        for role in found.roles:
            held = found.memory.get(role)
            costs.add_row(
                role,
                words.seconds(found.processor(role)),
                words.size(found.sent(role)),
                words.size(found.received(role)),
                words.size(held) if held is not None else "–",
            )
        console.print("\n[bold]one round, of one party each[/]")
        console.print(costs)
    console.print(f"\n[bold]{label('not_protected')}[/]")
    for gap in report.unprotected:
        console.print(plain(f"  {gap.name}: {gap.text}"), soft_wrap=True)
    for remark in report.measured.remarks:
        console.print(plain(remark), soft_wrap=True)
    console.print()
    for one in report.broken:
        console.print(f"[bold red]{one.reason}[/]", plain(one.text), soft_wrap=True)
    console.print("[bold green]fits[/]" if report.fits else f"[bold red]broken[/]: {len(report.broken)}")


def _head(report: Report, document: Mapping[str, Any]) -> dict[str, str]:
    """What it is of, in a few lines."""
    subject, policy = report.subject, report.subject.policy
    drawn = f", {subject.cohort} drawn for a round" if policy.cohort_size else ""
    rows = {}
    if "preset" in document:
        rows["preset"] = f"{document['preset']}: {document['for']}"
    if subject.task is not None:
        rows["task"] = subject.task
    if subject.party is not None:
        rows["party"] = f"{subject.party.kind} {subject.party.name}"
    rows["backend"] = f"{policy.backend}, {policy.bits} bits, clip {policy.clip:g}, weights up to {policy.max_weight:,}"
    rows["clients"] = f"{subject.clients:,}{drawn}"
    rows["price"] = report.price
    if document["operators"]:
        rows["operators"] = f"{document['operators']}, of whom a round begins with {document['operators_needed']}"
    if subject.parameters is not None:
        rows["parameters"] = f"{subject.parameters:,}"
    if "privacy" in document:
        rows["privacy"] = document["privacy"]["text"]
        rows["epsilon_now"] = f"{document['epsilon_now']:.4g}" if document["epsilon_now"] is not None else "beyond"
        if subject.spent_by:
            rows["epsilon_now"] += f", by {subject.spent_by}"
    if document["machine"]:
        rows["machine"] = document["machine"]
    return rows
