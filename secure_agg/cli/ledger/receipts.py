"""``secure-agg ledger receipt`` and ``checkpoint``: what a ledger hands to those who verify offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from secure_agg import files
from secure_agg.cli.ledger.rounds import RoundArgument, TaskOption, find_round
from secure_agg.cli.terminal.options import LedgerArgument, PolicyOption
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields, utc
from secure_agg.cli.terminal.streams import write_bytes
from secure_agg.errors import ConfigError
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.roles.trust import Trust
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import timestamp
from secure_agg.tlog.note import Note, VerifierKey
from secure_agg.tlog.policy import Witnessed, WitnessPolicy
from secure_agg.tlog.receipt import MAX_RECEIPT, Receipt


def write_receipt(
    ledger: LedgerArgument,
    place: RoundArgument = None,
    task: TaskOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there, usually FILE.tlog-proof.")
    ] = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that a round is in the ledger: a C2SP tlog-proof with the log's signature and all cosignatures.

    Without --policy it leads to the newest head; with it, to the newest one that has the witnesses asked for.
    """
    wanted = WitnessPolicy.load(policy) if policy else None
    with Ledger(ledger, read_only=True) as log:
        task, number, index = find_round(log, place, task)
        receipt, claim = log.receipt(index, policy=wanted), log.record(index).claim
        key = log.verifier_key
    data = receipt.to_bytes()
    if out is not None:
        files.replace(out, data)
    document = _checkpoint_document(receipt.note, key) | {
        "task": task,
        "round": number,
        "index": index,
        "claim": claim,
        "receipt": data.decode(),
        "file": str(out) if out else None,
    }

    def show(console: Console) -> None:
        if out is None:
            write_bytes(data)
            return
        show_fields(
            console,
            {
                "file": str(out),
                "index": f"{index} of {document['size']}",
                "claim": claim,
                "cosignatures": ", ".join(item["name"] for item in document["cosignatures"]) or "nobody",
                "key": str(key),
            },
        )

    emit(document, as_json, show)


def show_checkpoint(ledger: LedgerArgument, as_json: JsonOption = False) -> None:
    """Print the newest checkpoint: a C2SP signed note with the log's signature and all cosignatures."""
    with Ledger(ledger, read_only=True) as log:
        data, key = log.checkpoint(), log.verifier_key
    document = _checkpoint_document(Note.from_bytes(data), key) | {"checkpoint": data.decode()}
    emit(document, as_json, lambda _: write_bytes(data))


def check_receipt(
    record: RoundRecord, receipt: Path, key: str | None, policy: Path | None, trust: Trust | None
) -> dict[str, Any]:
    """Check a round's receipt file for ``secure-agg verify``, against all that the verifier passes.

    Returns:
        Where the record stands, and which known witnesses cosigned.

    Raises:
        ConfigError: nothing says which log is meant, or a file can't be read.
        VerificationError: the receipt does not verify.
    """
    parsed = Receipt.from_bytes(files.read(receipt, MAX_RECEIPT, "receipt file"))
    log = VerifierKey.parse(key) if key is not None else None
    witnesses = WitnessPolicy.load(policy) if policy else None
    checks: list[Witnessed] = []
    if trust is not None and trust.log is not None:
        checks.append(trust.verify_receipt(record, parsed))
    if log is not None or witnesses is not None:
        checks.append(parsed.verify(record.to_bytes(), log, witnesses))
    if not checks:
        raise ConfigError("a receipt is checked with the log's key: pass --key, or --trust or --policy that names it")
    checkpoint = parsed.checkpoint
    return {
        "origin": checkpoint.origin,
        "index": parsed.index,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "witnesses": {_text(name): seconds for check in checks for name, seconds in sorted(check.witnesses.items())},
    }


def receipt_fields(document: dict[str, Any]) -> dict[str, str]:
    """What ``check_receipt`` found, for people."""
    witnesses = [f"{name} at {utc(seconds)}" for name, seconds in document["witnesses"].items()]
    return {
        "receipt": f"record {document['index']} of {document['size']} in {document['origin']}",
        "witnesses": ", ".join(witnesses) or "nobody that is known here",
    }


def _checkpoint_document(note: Note, key: VerifierKey) -> dict[str, Any]:
    checkpoint = Checkpoint.parse(note.text)
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "key": str(key),
        "cosignatures": [
            {"name": line.name, "key_id": line.key_id.hex(), "time": timestamp(line.signature)}
            for line in note.signatures
            if not key.made(line)
        ],
    }


def _text(name: str) -> str:
    """A name of a policy, which may hold octets that are no text, as text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
