"""``secure-agg ledger exclusion``: what a kept receipt of an input shows against the round that came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure_agg import files
from secure_agg.cli.terminal.documents import finding_document, finding_fields
from secure_agg.cli.terminal.options import AcceptAttestedOption, BeaconOption, TrustOption, accepted, randomness
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.ledger.evidence_store import MAX_EVIDENCE
from secure_agg.protocol.claims import VERIFIED, Finding
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import MAX_ADVERTISEMENT, peek
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.trust import Trust


def show_exclusion(
    evidence: Annotated[
        Path, typer.Argument(metavar="EVIDENCE", help="The round's evidence; «ledger show» says where it lies.")
    ],
    receipt: Annotated[
        Path, typer.Argument(metavar="RECEIPT", help="The receipt of an input: a node keeps its own in HOME/receipts.")
    ],
    trust: TrustOption = None,
    accept_attested: AcceptAttestedOption = False,
    beacon: BeaconOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show that a client's input was accepted and is not in the sum, by the signature of whoever accepted it.

    The evidence is verified first, against --trust, which also says whose receipts count: those of pinned operators.
    Code 1 if nothing is shown: the receipt is of another round or attempt, or the client took part.
    """
    if trust is None:
        raise ConfigError("a receipt is held against operators that you have pinned: pass --trust FILE")
    bundle = Evidence.from_bytes(files.read(evidence, MAX_EVIDENCE, "evidence file"))
    signed = files.read(receipt, MAX_ADVERTISEMENT, "receipt file")
    auditor = Auditor(Trust.load(trust), accepted(accept_attested))
    client = auditor.show_exclusion(signed, bundle, beacon=randomness(beacon))
    operator = peek(signed, MAX_ADVERTISEMENT).sender
    finding = Finding(
        VERIFIED,
        f"{operator} accepted the input of {client}, and the round's sum is without it",
        "why: of two clients that disagree about the mask between them, one has to stay out",
    )
    config = bundle.config
    document = finding_document(finding) | {
        "client": client,
        "operator": operator,
        "backend": config.policy.backend,
        "task": config.task,
        "round": config.round,
        "attempt": config.attempt,
    }

    def show(console: Console) -> None:
        console.print(f"[bold green]{finding.word}[/]: {finding.proved}", soft_wrap=True)
        names = ("client", "operator", "task", "round", "attempt", "backend")
        show_fields(console, {name: str(document[name]) for name in names} | finding_fields(finding))

    emit(document, as_json, show)
