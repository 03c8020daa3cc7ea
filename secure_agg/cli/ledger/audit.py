"""``secure-agg ledger audit``: everything that a ledger claims, checked from its file or from what it publishes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from secure_agg import files
from secure_agg.cli.terminal.documents import in_order
from secure_agg.cli.terminal.options import AcceptAttestedOption, PolicyOption, TrustOption, accepted
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.cli.terminal.progress import progress
from secure_agg.errors import ConfigError, LedgerDamaged, LedgerError, VerificationError
from secure_agg.ledger.audit import AuditReport, audit
from secure_agg.ledger.log import Ledger
from secure_agg.ledger.publish.fetch import open_prefix
from secure_agg.ledger.publish.published import MAX_EVIDENCE, PublishedSource
from secure_agg.ledger.witness.fork import prove_fork
from secure_agg.privacy.accounting import DELTA_UNIT, EPSILON_UNIT
from secure_agg.protocol.claims import ATTESTED, DP_SUM, SUM, finding_of
from secure_agg.roles.trust import Trust
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import MAX_NOTE, Note, VerifierKey
from secure_agg.tlog.policy import WitnessPolicy


def audit_ledger(
    ledger: Annotated[
        Path | None, typer.Argument(metavar="LEDGER", show_default=False, help="The ledger's database file.")
    ] = None,
    published: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="Instead of LEDGER: where it is published, http:, https: or file:."),
    ] = None,
    trust: TrustOption = None,
    accept_attested: AcceptAttestedOption = False,
    key: Annotated[
        str | None, typer.Option("--key", metavar="VKEY", help="With --from: the log's key, as «ledger list» shows it.")
    ] = None,
    policy: PolicyOption = None,
    known: Annotated[
        Path | None,
        typer.Option("--known", metavar="FILE", help="A checkpoint that you kept: the ledger must still continue it."),
    ] = None,
    without_evidence: Annotated[
        bool, typer.Option("--without-evidence", help="With --from: check what the log has signed, but no round.")
    ] = False,
    fork_proof: Annotated[
        Path | None,
        typer.Option(
            "--fork-proof", metavar="FILE", help="With --from and --known: if they contradict, prove it there."
        ),
    ] = None,
    max_evidence: Annotated[
        int, typer.Option("--max-evidence", metavar="MIB", min=1, help="With --from: refuse larger evidence.")
    ] = MAX_EVIDENCE >> 20,
    as_json: JsonOption = False,
) -> None:
    """Verify a whole ledger from scratch: every record, every signed head, every round's evidence.

    Without --trust a LEDGER is checked against the trust file beside it, which proves nothing to those who doubt
    whoever can write that file; and a published one, with --key alone, round by round in itself, which does not show
    who took part.

    Rounds whose results are no sums, like medians, are counted apart: nothing but the operators' signatures vouches for
    them. They are refused unless the trust file pins the claim «attested» for their task, or you say --accept-attested.
    """
    pins = Trust.load(trust) if trust else None
    with progress() as bar:
        line = bar.add_task("auditing", total=None, note="")

        def show_progress(done: int, total: int) -> None:
            bar.update(line, completed=done, total=total)

        if ledger is not None and published is None:
            if key is not None or policy is not None or fork_proof is not None or without_evidence:
                raise ConfigError("--key, --policy, --fork-proof and --without-evidence need --from URL")
            document = _audit_own(ledger, pins, known, accepted(accept_attested), show_progress)
        elif published is not None and ledger is None:
            log = VerifierKey.parse(key) if key is not None else None
            policies = [WitnessPolicy.load(policy)] if policy else []
            with contextlib.closing(open_prefix(published)) as files:
                source = PublishedSource(files, max_evidence=max_evidence << 20)
                document = {"from": published} | _audit_published(
                    source,
                    pins,
                    log,
                    policies,
                    known,
                    fork_proof,
                    accepted(accept_attested),
                    not without_evidence,
                    show_progress,
                )
        else:
            raise ConfigError("an audit is of one ledger: pass its file, or --from URL")
    document["trust"] = str(trust or f"{ledger}.trust.json") if trust or ledger else None
    document["trust_is_the_auditors"] = trust is not None
    emit(document, as_json, lambda console: _show(console, document, own=ledger is not None))


def _audit_own(
    ledger: Path,
    pins: Trust | None,
    known: Path | None,
    claims: Sequence[str] | None,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    with Ledger(ledger, read_only=True) as log:
        head = SignedHead.from_note(_known(known), log.verifier_key) if known else None
        return _document(log.audit(pins, known_head=head, claims=claims, progress=progress), pinned=True)


def _audit_published(
    source: PublishedSource,
    pins: Trust | None,
    log: VerifierKey | None,
    policies: Sequence[WitnessPolicy],
    known: Path | None,
    fork_proof: Path | None,
    claims: Sequence[str] | None,
    with_evidence: bool,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    public = log.public if log is not None else pins.log if pins is not None else None
    if public is None:
        raise ConfigError("an audit needs the log's key: pass --key, or --trust with a file that names it")
    key = VerifierKey(source.origin, public)
    kept = _known(known) if known else None
    head = SignedHead.from_note(kept, key) if kept else None
    try:
        found = audit(
            source,
            pins,
            log=log,
            policies=policies,
            known_head=head,
            claims=claims,
            with_evidence=with_evidence,
            progress=progress,
        )
    except LedgerDamaged as error:
        if fork_proof is None or kept is None or not _prove(source, kept, key, fork_proof):
            raise
        raise LedgerDamaged(f"{error}; the log has forked, the proof is in {fork_proof}") from error
    return _document(found, pinned=pins is not None) | {
        "origin": source.origin,
        "checkpoint": source.checkpoint().to_bytes().decode(),
    }


def _prove(source: PublishedSource, kept: Note, log: VerifierKey, out: Path) -> bool:
    """Write the proof of a fork, if what failed the audit is one."""
    try:
        proof = prove_fork(source, kept, log)
    except (VerificationError, LedgerError):
        return False
    files.replace(out, proof.to_bytes())
    return True


def _known(path: Path) -> Note:
    """A checkpoint that the auditor kept."""
    return Note.from_bytes(files.read(path, MAX_NOTE, "checkpoint file"))


def _document(found: AuditReport, *, pinned: bool) -> dict[str, Any]:
    """``pinned``: rounds were compared with a trust file."""
    document = {
        "valid": True,
        "size": found.size,
        "root": found.root.hex(),
        "tasks": dict(found.tasks),
        "claims": dict(found.claims),
        "verified": found.verified,
        "attested": found.attested,
        "pinned": in_order(found.pinned),
        "evidence_bytes": found.evidence_bytes,
        "norm_proofs": found.norm_proofs,
        "epochs": found.epochs,
        "edges": found.edges,
        "witnesses": dict(found.witnesses),
        **({"privacy": _spent(found)} if found.privacy else {}),
    }
    return document | _findings(found, pinned)


def _spent(found: AuditReport) -> dict[str, Any]:
    """What was spent of each task's privacy budget, added up again."""
    return {
        task: {
            "rounds": spending.rounds,
            "epsilon_spent": spending.spent / EPSILON_UNIT,
            "epsilon": spending.epsilon / EPSILON_UNIT,
            "delta": spending.delta / DELTA_UNIT,
            "text": spending.text,
        }
        for task, spending in found.privacy.items()
    }


def _findings(found: AuditReport, pinned: bool) -> dict[str, str]:
    """What the audit has proved of the rounds, and what it has not: each kind of claim for itself."""
    # of rounds with privacy the evidence is looked at like any other's
    private = min(found.verified, sum(spending.rounds for spending in found.privacy.values()))
    looked_at = ((SUM, found.verified - private), (DP_SUM, private), (ATTESTED, found.attested))
    counts = {claim: count for claim, count in looked_at if count}
    findings = {claim: finding_of(claim, pinned=pinned, recorded=True) for claim in counts}
    proved = [f"of {counts[claim]} rounds, {finding.proved}" for claim, finding in findings.items()]
    missing = [f"of {counts[claim]} rounds, {finding.not_proved}" for claim, finding in findings.items()]
    signed = f"the log has signed these {found.size} records in this order, each beginning where its task's last ended"
    return {
        "proved": "; ".join([signed, *proved]),
        "not_proved": "; ".join(missing) or "that any record is right: no round was looked at",
    }


def _show(console: Console, document: dict[str, Any], *, own: bool) -> None:
    verified, attested, size = document["verified"], document["attested"], document["size"]
    looked_at = verified + attested + document["epochs"] == size
    if not looked_at:
        said = f"{size} records are signed, in order and chained"
    elif attested:
        said = f"{verified} rounds verified from scratch; {attested} attested by their operators, which proves no sum"
    else:
        said = f"{verified} rounds verified from scratch"
    console.print(f"[bold {'yellow' if attested else 'green'}]valid[/]: {said}", soft_wrap=True)
    rows = {
        "tasks": ", ".join(f"{name} ({count})" for name, count in document["tasks"].items()) or "none",
        "claims": ", ".join(f"{name} ({count})" for name, count in document["claims"].items()) or "none",
        "evidence_bytes": f"{document['evidence_bytes']:,} read",
        **({"norm_proofs": f"{document['norm_proofs']:,} verified"} if document["norm_proofs"] else {}),
        **({"epochs": f"{document['epochs']}, each checked under the one before"} if document["epochs"] else {}),
        **({"edges": f"{document['edges']:,} walked"} if document["edges"] else {}),
        **{f"privacy of {task}": said["text"] for task, said in document.get("privacy", {}).items()},
        "root": document["root"],
        "pinned": ", ".join(document["pinned"]) or "nothing",
    }
    if document["witnesses"] or not own:
        rows["witnesses"] = ", ".join(document["witnesses"]) or "nobody that is known here"
    rows |= {"proved": document["proved"], "not_proved": document["not_proved"]}
    show_fields(console, rows)
    if not looked_at:
        console.print("[bold yellow]no round was verified[/]: the evidence was left out.")
    elif own and not document["trust_is_the_auditors"]:
        console.print(
            "[bold yellow]checked against the trust file beside the ledger[/], which whoever runs the ledger can "
            "write: pass --trust FILE with what you hold yourself."
        )
    elif not document["trust_is_the_auditors"]:
        console.print(
            "[bold yellow]nothing but the log's key is pinned[/]: who took part is the evidence's own claim. Pass "
            "--trust FILE with rosters and policies that you hold."
        )
