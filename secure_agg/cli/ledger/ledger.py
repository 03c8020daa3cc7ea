"""``secure-agg ledger``: the commands on ledgers, and those that only look into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure_agg.cli.ledger.anchor import anchor_ledger
from secure_agg.cli.ledger.audit import audit_ledger
from secure_agg.cli.ledger.dispute import dispute_round
from secure_agg.cli.ledger.exclusion import show_exclusion
from secure_agg.cli.ledger.fsck import fsck_ledger
from secure_agg.cli.ledger.publish import export_ledger
from secure_agg.cli.ledger.receipts import show_checkpoint, write_receipt
from secure_agg.cli.ledger.rounds import RoundArgument, TaskOption, find_round
from secure_agg.cli.ledger.timeline import Timeline, timeline
from secure_agg.cli.ledger.timeline_chart import draw
from secure_agg.cli.ledger.witnesses import cosign_ledger, run_witness, verify_fork
from secure_agg.cli.terminal.documents import record_document, round_document, round_fields, time_document, time_fields
from secure_agg.cli.terminal.epilog import epilog
from secure_agg.cli.terminal.options import LedgerArgument
from secure_agg.cli.terminal.output import JsonOption, emit, plain, show_fields, table, utc
from secure_agg.ledger.log import Ledger
from secure_agg.pictures import check as check_picture
from secure_agg.protocol.epoch import EpochRecord
from secure_agg.protocol.evidence import RoundRecord

app = typer.Typer(
    no_args_is_help=True,
    help="Look into a ledger, audit, publish and witness it.",
    epilog=epilog("secure-agg ledger list rounds.db", "secure-agg ledger audit rounds.db --trust mine.json"),
)

app.command(
    "receipt",
    epilog=epilog(
        "secure-agg ledger receipt rounds.db --out round.tlog-proof",
        "secure-agg ledger receipt rounds.db 3 --task tumours --policy witnesses.policy",
    ),
)(write_receipt)
app.command(
    "exclusion",
    epilog=epilog("secure-agg ledger exclusion round.evidence home/receipts/round-000003-… --trust mine.json"),
)(show_exclusion)
app.command("checkpoint", epilog=epilog("secure-agg ledger checkpoint rounds.db"))(show_checkpoint)
app.command(
    "audit",
    epilog=epilog(
        "secure-agg ledger audit rounds.db --trust mine.json",
        "secure-agg ledger audit --from https://example.org/log --trust mine.json --known kept.checkpoint",
    ),
)(audit_ledger)
app.command("fsck", epilog=epilog("secure-agg ledger fsck rounds.db", "secure-agg ledger fsck rounds.db --repair"))(
    fsck_ledger
)
app.command(
    "export",
    epilog=epilog("secure-agg ledger export rounds.db public/", "secure-agg ledger export rounds.db --site public/"),
)(export_ledger)
app.command(
    "cosign", epilog=epilog("secure-agg ledger cosign rounds.db --witness 'http://127.0.0.1:8080=VKEY' --least 1")
)(cosign_ledger)
app.command("witness", epilog=epilog("secure-agg ledger witness --identity witness.key --log VKEY --state witness.db"))(
    run_witness
)
app.command("fork", epilog=epilog("secure-agg ledger fork proof.fork --key VKEY"))(verify_fork)
app.command(
    "anchor",
    epilog=epilog("secure-agg ledger anchor rounds.db --rpc http://127.0.0.1:8545 --deploy --key-file chain.key"),
)(anchor_ledger)

app.command(
    "dispute",
    epilog=epilog(
        "secure-agg ledger dispute round.evidence --rpc http://127.0.0.1:8545 --contract 0x…",
        "secure-agg ledger dispute round.evidence --rpc URL --contract 0x… --act answer --key-file chain.key",
    ),
)(dispute_round)


@app.command("list", epilog=epilog("secure-agg ledger list rounds.db"))
def list_records(ledger: LedgerArgument, as_json: JsonOption = False) -> None:
    """List the rounds and epochs in a ledger, oldest first. Does not verify them: see audit."""
    with Ledger(ledger, read_only=True) as log:
        head, entries = log.head(), [log.entry(index) for index in range(len(log))]
        origin, key = log.origin, log.verifier_key
        times = [log.signed_at(index + 1) for index in range(len(entries))]
    records = [(index, record) for index, record in enumerate(entries) if isinstance(record, RoundRecord)]
    epochs = [(index, record) for index, record in enumerate(entries) if isinstance(record, EpochRecord)]
    document = {
        "origin": origin,
        "key": str(key),
        "size": head.size,
        "root": head.root.hex(),
        "records": [{"index": index} | record_document(record) | {"signed": times[index]} for index, record in records],
        "epochs": [
            {
                "index": index,
                "task": record.task,
                "epoch": record.epoch,
                "digest": record.body.hex(),
                "rounds": record.rounds,
                "signed": times[index],
            }
            for index, record in epochs
        ],
    }

    def show(console: Console) -> None:
        console.print(f"[bold]{len(records)} rounds[/] in {origin}, root {head.root.hex()}", soft_wrap=True)
        console.print("key", plain(str(key)), soft_wrap=True)
        rows = table(
            "index",
            "task",
            "round",
            "participants",
            "weight_sum",
            "claim",
            "result_model",
            "signed",
            right=("index", "round", "participants", "weight_sum"),
        )
        for index, record in records:
            signed = times[index]
            rows.add_row(
                str(index),
                plain(record.task),
                str(record.round),
                f"{record.participants}/{record.cohort_size}",
                str(record.weight_sum),
                record.claim,
                record.result_model.hex()[:16],
                "–" if signed is None else utc(signed),
            )
        console.print(rows)
        for index, epoch in epochs:
            said = f"record {index} is epoch {epoch.epoch} of {epoch.task}, before its round {epoch.rounds}"
            console.print(plain(said), soft_wrap=True)
        console.print("signed: when the checkpoint was, by the ledger's own clock, unsigned")

    emit(document, as_json, show)


@app.command(
    "show",
    epilog=epilog(
        "secure-agg ledger show rounds.db",
        "secure-agg ledger show rounds.db 3 --task tumours",
        "secure-agg ledger show rounds.db 3 --plot round.svg --log serve.log",
    ),
)
def show_record(
    ledger: LedgerArgument,
    place: RoundArgument = None,
    task: TaskOption = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw who was there in which phase: PNG, SVG or PDF by its name."),
    ] = None,
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="What whoever led the round has logged (serve, Flower, NVFlare): seconds, bytes, who was lost when.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one round: who took part, what it started from, what came out, and where its evidence lies.

    With --plot or --log also its timeline: in which phase members fell silent.
    """
    if plot:
        check_picture(plot)
    with Ledger(ledger, read_only=True) as log:
        *_, index = find_round(log, place, task)
        record = log.record(index)
        evidence = log.evidence(record)
        path, key, time = log.evidence_path(record), log.verifier_key, log.time_of(index)
    document = round_document(record, evidence) | {"index": index, "key": str(key), "evidence_file": str(path)}
    document |= {"checkpoint": time_document(time)}
    found = timeline(evidence, log_file) if plot or log_file else None
    if found:
        document |= {"timeline": found.document()}
    if found and plot:
        draw(found, f"Round {record.round} of {record.task}, backend {evidence.config.policy.backend}", plot)
        document |= {"plot": str(plot)}

    def show(console: Console) -> None:
        show_fields(
            console,
            {"index": str(index)}
            | round_fields(record, evidence)
            | {"previous_record": record.previous_record.hex(), "evidence_file": str(path), "key": str(key)}
            | time_fields(time)
            | _timeline_fields(found)
            | ({"plot": str(plot)} if plot else {}),
        )
        command = f"secure-agg verify {path} --trust {ledger}.trust.json"
        console.print("check it with", plain(command), soft_wrap=True)

    emit(document, as_json, show)


def _timeline_fields(found: Timeline | None) -> dict[str, str]:
    """Who fell silent when, and what each phase took, as far as it is known."""
    if found is None:
        return {}
    silent = found.document()["silent"]
    fields = {"silent": ", ".join(f"{name} in {phase}" for name, phase in silent.items()) or "nobody that is known"}
    for phase in found.phases:
        said = [] if phase.answered is None else [f"{phase.answered} answered"]
        if phase.seconds is not None and phase.received is not None:
            said.append(f"{phase.seconds:.2f} s, {phase.received:,} bytes")
        fields[f"phase {phase.name}"] = ", ".join(said) or "not recorded"
    return fields
