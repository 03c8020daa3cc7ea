"""``secure-agg ledger``: look into a ledger and audit it. Nothing here writes to one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure_agg.cli.documents import in_order, record_document, round_document
from secure_agg.cli.output import JsonOption, emit, plain, progress, show_fields, table
from secure_agg.cli.verify import TrustOption
from secure_agg.errors import LedgerError
from secure_agg.ledger.log import Ledger
from secure_agg.trust import Trust

app = typer.Typer(no_args_is_help=True, help="Look into a ledger, and audit it. Nothing is written.")

LedgerArgument = Annotated[Path, typer.Argument(metavar="LEDGER", help="The ledger's database file.")]


@app.command("list")
def list_records(ledger: LedgerArgument, as_json: JsonOption = False) -> None:
    """List the rounds in a ledger, oldest first. Does not verify them: see audit."""
    with Ledger(ledger, read_only=True) as log:
        head, records = log.head(), list(log.records())
        origin = log.origin
    document = {
        "origin": origin,
        "size": head.size,
        "root": head.root.hex(),
        "records": [{"index": index} | record_document(record) for index, record in enumerate(records)],
    }

    def show(console: Console) -> None:
        console.print(f"[bold]{len(records)} rounds[/] in {origin}, root {head.root.hex()}", soft_wrap=True)
        rows = table(
            "index",
            "task",
            "round",
            "clients",
            "weight",
            "result",
            right=("index", "round", "clients", "weight"),
        )
        for index, record in enumerate(records):
            rows.add_row(
                str(index),
                plain(record.task),
                str(record.round),
                f"{record.participants}/{record.cohort_size}",
                str(record.weight_sum),
                record.result_model.hex()[:16],
            )
        console.print(rows)

    emit(document, as_json, show)


@app.command("show")
def show_record(
    ledger: LedgerArgument,
    task: Annotated[str, typer.Argument(metavar="TASK", help="Id of the training task.")],
    number: Annotated[int, typer.Argument(metavar="ROUND", help="Number of the round within the task, from 0.")],
    as_json: JsonOption = False,
) -> None:
    """Show one round: who took part, what it started from, what came out, and where its evidence lies."""
    with Ledger(ledger, read_only=True) as log:
        index = log.find(task, number)
        if index is None:
            raise LedgerError(f"ledger {ledger} holds no round {number} of task {task!r}")
        record = log.record(index)
        evidence = log.evidence(record)
        path = log.evidence_path(record)
    document = {"index": index} | round_document(record, evidence) | {"evidence_file": str(path)}

    def show(console: Console) -> None:
        show_fields(
            console,
            {
                "index": str(index),
                "task": record.task,
                "round": f"{record.round} (attempt {record.attempt})",
                "backend": evidence.config.policy.backend,
                "participants": f"{record.participants} of {record.cohort_size}: {', '.join(evidence.participants)}",
                "left out": ", ".join(document["left_out"]) or "nobody",
                "sum of weights": str(record.weight_sum),
                "parameters": str(document["parameters"]),
                "start model": record.start_model.hex(),
                "result": record.result_model.hex(),
                "record": record.digest().hex(),
                "previous record": record.previous_record.hex(),
                "evidence": str(path),
            },
        )
        command = f"secure-agg verify {path} --trust {ledger}.trust.json"
        console.print("check it with", plain(command), soft_wrap=True)

    emit(document, as_json, show)


@app.command("audit")
def audit_ledger(ledger: LedgerArgument, trust: TrustOption = None, as_json: JsonOption = False) -> None:
    """Verify a whole ledger from scratch: every record, every signed head, every round's evidence.

    Without --trust it is checked against the trust file beside it, which proves nothing to those who doubt
    whoever can write that file.
    """
    pins = Trust.load(trust) if trust else None
    with Ledger(ledger, read_only=True) as log, progress() as bar:
        line = bar.add_task("auditing", total=len(log), note="")
        found = log.audit(pins, progress=lambda done, total: bar.update(line, completed=done, total=total))
    pinned = in_order(found.pinned)
    document = {
        "valid": True,
        "size": found.size,
        "root": found.root.hex(),
        "tasks": dict(found.tasks),
        "pinned": pinned,
        "trust": str(trust) if trust else f"{ledger}.trust.json",
        "trust_is_the_auditors": trust is not None,
        "evidence_bytes": found.evidence_bytes,
    }

    def show(console: Console) -> None:
        console.print(f"[bold green]valid[/]: {found.size} rounds verified from scratch")
        show_fields(
            console,
            {
                "tasks": ", ".join(f"{name} ({count})" for name, count in found.tasks.items()) or "none",
                "evidence": f"{found.evidence_bytes:,} bytes read",
                "root": found.root.hex(),
                "pinned": ", ".join(pinned) or "nothing",
            },
        )
        if trust is None:
            console.print(
                "[bold yellow]checked against the trust file beside the ledger[/], which whoever runs the ledger can "
                "write: pass --trust FILE with what you hold yourself."
            )

    emit(document, as_json, show)
