"""``secure-agg ledger fsck``: what a crash or a bad disk has done to a ledger's files, and what can be put right."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.console import Console

from secure_agg.cli.terminal import exits
from secure_agg.cli.terminal.options import LedgerArgument
from secure_agg.cli.terminal.output import JsonOption, emit, plain
from secure_agg.cli.terminal.progress import progress
from secure_agg.ledger.fsck.fsck import fsck
from secure_agg.ledger.fsck.report import FsckReport, Kind

_STYLES: Final = {Kind.NOTE: "dim", Kind.REPAIRED: "green", Kind.REPAIRABLE: "yellow", Kind.DAMAGE: "bold red"}


def fsck_ledger(
    ledger: LedgerArgument,
    repair: Annotated[
        bool, typer.Option("--repair", help="Put right what the rest of the ledger proves; otherwise only look.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Examine a ledger's files after a crash: database, evidence, keys, and what was left over.

    Says what is wrong and what to do. Rounds are not verified: see audit. Exit code 0 if the ledger is sound or was
    repaired, 4 if it is damaged.
    """
    with progress() as bar:
        line = bar.add_task("examining", total=None, note="")
        report = fsck(ledger, repair=repair, progress=lambda done, total: bar.update(line, completed=done, total=total))
    document = {
        "sound": report.sound,
        "size": report.size,
        "root": report.root.hex() if report.root is not None else None,
        "findings": [
            {"kind": finding.kind.value, "where": finding.where, "what": finding.what, "remedy": finding.remedy}
            for finding in report.findings
        ],
    }
    emit(document, as_json, lambda console: _show(console, report))
    if not report.sound:
        raise typer.Exit(exits.LEDGER_DAMAGED)


def _show(console: Console, report: FsckReport) -> None:
    for finding in report.findings:
        console.print(f"[{_STYLES[finding.kind]}]{finding.kind.value}[/]", plain(finding.where), soft_wrap=True)
        console.print("   ", plain(finding.what), soft_wrap=True)
        if finding.remedy:
            console.print("    to do:", plain(finding.remedy), soft_wrap=True)
    if report.sound:
        console.print(f"[bold green]sound[/]: {report.size} records")
    else:
        console.print("[bold red]damaged[/]")
