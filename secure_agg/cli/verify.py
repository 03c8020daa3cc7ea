"""``secure-agg verify``: check one round's evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure_agg.auditor import verify
from secure_agg.cli.anchor import ContractOption, chain_fields, check_chain, require_both
from secure_agg.cli.documents import in_order, round_document, weights_text
from secure_agg.cli.fault import verify_fault
from secure_agg.cli.options import PolicyOption
from secure_agg.cli.output import JsonOption, emit, show_fields
from secure_agg.cli.receipts import check_receipt, receipt_fields
from secure_agg.errors import ConfigError
from secure_agg.evidence import Evidence
from secure_agg.fault import FaultProof
from secure_agg.trust import Trust

TrustOption = Annotated[
    Path | None,
    typer.Option("--trust", metavar="FILE", help="What you yourself have pinned; a ledger writes LEDGER.trust.json."),
]


def verify_evidence(
    evidence: Annotated[
        Path, typer.Argument(metavar="EVIDENCE", help="File that holds one round's evidence, or a proof of fault.")
    ],
    trust: TrustOption = None,
    beacon: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Where the policy draws cohorts: the public randomness, as you know it."),
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option("--receipt", metavar="FILE", help="Check this tlog-proof too: the round is in the ledger."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="VKEY", help="The log's key, as «ledger list» shows it.")
    ] = None,
    policy: PolicyOption = None,
    chain: Annotated[
        str | None,
        typer.Option("--chain", metavar="URL", help="Compare with what --contract on this chain holds: its JSON-RPC."),
    ] = None,
    contract: ContractOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a round's result is the sum of what its participants committed to; or a proof of fault.

    Without --trust the evidence is checked in itself only: whoever made it up could have made up its
    participants too. With --receipt the log is the one of --key, of --trust or of --policy.
    """
    if receipt is None and (key is not None or policy is not None):
        raise ConfigError("--key and --policy are for a receipt: pass --receipt FILE")
    require_both(chain, contract)
    try:
        data = evidence.read_bytes()
    except OSError as error:
        raise ConfigError(f"evidence file {evidence} can't be read: {error.strerror}") from error
    pins = Trust.load(trust) if trust else None
    try:
        randomness = bytes.fromhex(beacon) if beacon is not None else None
    except ValueError:
        raise ConfigError(f"beacon {beacon!r} is not hexadecimal") from None
    if FaultProof.is_one(data):
        if receipt is not None or chain is not None:
            raise ConfigError("a proof of fault has no receipt, and is on no chain")
        verify_fault(data, pins, randomness, as_json)
        return
    bundle = Evidence.from_bytes(data)
    verified = verify(bundle, pins, beacon=randomness)
    document = round_document(verified.record, bundle) | {"verified": True, "pinned": in_order(verified.pinned)}
    found = check_receipt(verified.record, receipt, key, policy, pins) if receipt else None
    document["receipt"] = found
    on_chain = check_chain(bundle, verified, pins, chain, contract) if chain and contract else None
    document["chain"] = on_chain

    def show(console: Console) -> None:
        record = verified.record
        console.print("[bold green]verified[/]: the result is the sum of what the participants committed to")
        show_fields(
            console,
            {
                "task": record.task,
                "round": f"{record.round} (attempt {record.attempt})",
                "backend": bundle.config.policy.backend,
                "participants": f"{record.participants} of {record.cohort_size}: {', '.join(bundle.participants)}",
                "left out": ", ".join(document["left_out"]) or "nobody",
                "sum of weights": weights_text(record),
                "rounding": f"moves no value by more than {record.error_bound:.3g}",
                "parameters": str(document["parameters"]),
                "start model": record.start_model.hex(),
                "result": record.result_model.hex(),
                "record": record.digest().hex(),
                "pinned": ", ".join(document["pinned"]) or "nothing",
            }
            | (receipt_fields(found) if found else {})
            | (chain_fields(on_chain) if on_chain else {}),
        )
        if found is None and pins is not None and pins.quorum is not None:
            console.print(
                f"[bold yellow]not witnessed[/]: the trust asks for {pins.quorum} witnesses. Pass --receipt FILE."
            )
        if not verified.pinned:
            console.print(
                "[bold yellow]nothing is pinned[/]: the evidence is consistent in itself, but who took part is its "
                "own claim. Pass --trust FILE with a roster and policy that you hold."
            )

    emit(document, as_json, show)
