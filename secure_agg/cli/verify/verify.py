"""``secure-agg verify``: check one round's evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from secure_agg.cli.ledger.anchor import ContractOption, chain_fields, check_chain, require_both
from secure_agg.cli.ledger.receipts import check_receipt, receipt_fields
from secure_agg.cli.terminal.documents import (
    bases_document,
    bases_text,
    finding_document,
    finding_fields,
    in_order,
    norm_document,
    round_document,
    round_fields,
)
from secure_agg.cli.terminal.options import (
    AcceptAttestedOption,
    BeaconOption,
    PolicyOption,
    TrustOption,
    WithoutTrustOption,
    accepted,
    randomness,
)
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.cli.verify.fault import verify_fault
from secure_agg.cli.verify.model import BaseOption, ExportOption, ModelOption, compare_model, export_mean, model_fields
from secure_agg.cli.verify.tree import refuse_for_trees, tree_document, tree_finding, verify_a_tree
from secure_agg.errors import ConfigError
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.protocol.claims import ATTESTED, CONSISTENT, VERIFIED, Finding, finding_of
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.fault import MAX_FAULT, FaultProof
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.auditor import Verified, verify
from secure_agg.roles.tree.auditor import VerifiedTree
from secure_agg.roles.trust import Trust

UNPINNED: Final = (
    "the evidence is consistent in itself and compared with nothing of yours, so anybody could have made it up: pass "
    "--trust FILE with what you have pinned, or --without-trust if this is all that you want to know"
)
_STYLES: Final = {VERIFIED: "bold green", ATTESTED: "bold yellow", CONSISTENT: "bold yellow"}


def verify_evidence(
    evidence: Annotated[
        Path, typer.Argument(metavar="EVIDENCE", help="File that holds one round's evidence, or a proof of fault.")
    ],
    trust: TrustOption = None,
    without_trust: WithoutTrustOption = False,
    accept_attested: AcceptAttestedOption = False,
    beacon: BeaconOption = None,
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
    model: ModelOption = None,
    base: BaseOption = None,
    export: ExportOption = None,
    proofs: Annotated[
        Path | None,
        typer.Option(
            "--proofs",
            metavar="DIR",
            help="Where norm proofs, or a tree's edges, are, as in a ledger's folder of evidence: by default the one "
            "that EVIDENCE is in.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a round's result is the sum of what its participants committed to; or a proof of fault.

    Without --trust, and without a log's key or a contract of your own to compare with, the evidence is checked in
    itself only: whoever made it up could have made up its participants too. That ends with code 2 unless you say
    --without-trust. A result that is no sum, like a median, is refused unless your trust file pins the claim
    «attested» for its task or you say --accept-attested. With --receipt the log is the one of --key, of --trust or of
    --policy.

    With --model it is checked that a file holds a model of this round: the mean itself, also in the file's own types;
    the model that the updates are relative to; or, with --base, the one that follows from that and the mean.
    """
    if receipt is None and (key is not None or policy is not None):
        raise ConfigError("--key and --policy are for a receipt: pass --receipt FILE")
    if trust is not None and without_trust:
        raise ConfigError("--trust and --without-trust exclude each other")
    if base is not None and model is None and export is None:
        raise ConfigError("--base is what a model is compared with or made from: pass --model or --export, too")
    require_both(chain, contract)
    try:
        if evidence.stat().st_size > MAX_FAULT:
            raise ConfigError(f"{evidence} is above {MAX_FAULT} bytes, which neither evidence nor a proof of fault has")
        data = evidence.read_bytes()
    except OSError as error:
        raise ConfigError(f"evidence file {evidence} can't be read: {error.strerror}") from error
    pins = Trust.load(trust) if trust else None
    drawn = randomness(beacon)
    if FaultProof.is_one(data):
        if receipt is not None or chain is not None or model is not None or export is not None:
            raise ConfigError("a proof of fault has no receipt and no model, and is on no chain")
        verify_fault(data, pins, drawn, as_json)
        if pins is None and not without_trust:
            raise ConfigError(UNPINNED)
        return
    verified: Verified
    if TreeEvidence.is_one(data):
        refuse_for_trees(chain)
        bundle, verified = verify_a_tree(data, evidence, proofs, pins, drawn)
    else:
        bundle = _with_proofs(Evidence.from_bytes(data), proofs, evidence)
        verified = verify(bundle, pins, beacon=drawn, claims=accepted(accept_attested))
    found = check_receipt(verified.record, receipt, key, policy, pins) if receipt else None
    on_chain = check_chain(bundle, verified, pins, chain, contract) if chain and contract else None
    same = compare_model(bundle, verified, model, base) if model else None
    recorded = found is not None or on_chain is not None
    finding = tree_finding(finding_of(verified.record.claim, pinned=pins is not None, recorded=recorded), verified)
    document = round_document(verified.record, bundle) | finding_document(finding)
    document["norm"] = norm_document(verified)
    document["tree"] = tree_document(verified)
    document["bases"] = bases_document(verified)
    document |= {"pinned": in_order(verified.pinned), "receipt": found, "chain": on_chain, "model": same}
    # A log's key and a contract's address are the verifier's own, too: what they hold was not made up just now.
    enough = pins is not None or recorded or without_trust
    document["exported"] = str(export_mean(bundle, verified, base, export)) if export and enough else None

    def show(console: Console) -> None:
        more = (receipt_fields(found) if found else {}) | (chain_fields(on_chain) if on_chain else {})
        more |= model_fields(same) if same else {}
        more |= {"norms": verified.norm_text} if verified.norm else {}
        more |= {"bases": bases_text(verified)} if verified.bases else {}
        more |= {"edges": verified.tree_text} if isinstance(verified, VerifiedTree) else {}
        _show(console, finding, document, round_fields(verified.record, bundle), more)
        if found is None and pins is not None and pins.quorum is not None:
            console.print(
                f"[bold yellow]not witnessed[/]: the trust asks for {pins.quorum} witnesses. Pass --receipt FILE."
            )

    emit(document, as_json, show)
    if not enough:
        raise ConfigError(UNPINNED)


def _with_proofs(evidence: Evidence, folder: Path | None, path: Path) -> Evidence:
    """With the norm proofs that are there: in a folder that was named, or where the evidence lies in a ledger's."""
    if not evidence.proof_hashes:
        if folder is not None:
            raise ConfigError("--proofs is for a round with a norm bound, which this is not")
        return evidence
    store = EvidenceStore(path.absolute().parent.parent if folder is None else folder)
    return evidence.with_proofs(store.get(hashed) for hashed in evidence.proof_hashes if store.locate(hashed).exists())


def _show(
    console: Console, finding: Finding, document: dict[str, Any], fields: dict[str, str], more: dict[str, str]
) -> None:
    said = f"[{_STYLES[finding.word]}]{finding.word}[/]"
    if finding.word == CONSISTENT:
        console.print(f"{said} in itself; it pins nothing, so who took part is its own claim")
    else:
        console.print(f"{said}: {finding.proved}", soft_wrap=True)
    show_fields(
        console,
        fields
        | {"pinned": ", ".join(document["pinned"]) or "nothing"}
        | more
        | ({"exported": document["exported"]} if document["exported"] else {})
        | finding_fields(finding),
    )
