"""What ``secure-agg verify`` says of a proof of fault."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from secure_agg.cli.terminal.documents import finding_document, finding_fields
from secure_agg.cli.terminal.output import emit, show_fields
from secure_agg.protocol.claims import CONSISTENT, VERIFIED, Finding
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.epoch import Authorised
from secure_agg.protocol.fault import TWO_EPOCHS, FaultProof
from secure_agg.protocol.messages import decode
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.trust import Trust

_MEANINGS = {
    "two-advertisements": "signed two different advertisements for one configuration",
    "bad-norm-proof": "signed an input whose norm proof proves nothing",
    "two-commitments": "sent shares of another commitment than it advertised",
    "bad-share": "sealed an aggregator another share than the one whose hash it signed",
    "bad-shares": "signed shares that don't fit together",
    "bad-reveal": "vouched for a share, and revealed another commitment than its client signed",
    "bad-partial-sum": "gave a partial sum that is not that of the shares it vouched for",
    "two-sets": "signed two sets of participants for one round",
    "bad-input": "sent an input that is not what it committed to under the masks that it reported",
    "bad-edge": "reported another mask with a peer than it had confirmed",
    "bad-self-mask": "reported another mask of its own than the seed makes whose hash it signed",
    "bad-lost-edge": "reported another mask with a lost peer than that peer's key makes",
    "bad-seed-shares": "dealt shares of another seed than it signed the hash of, or of none",
    "bad-key-shares": "dealt shares of another mask key than it advertised, or of none",
    "two-epochs": "authorised two different successors of one epoch",
    "two-screenings": "showed two different lists of accepted inputs, or two sums that have failed",
    "false-claim": "showed a sum as one that has failed, which has not, or is none of the accepted inputs",
    "false-charge": "charged a client with what it did not prove",
}


def verify_fault(data: bytes, trust: Trust | None, beacon: bytes | None, as_json: bool) -> None:
    """Check a proof of fault and say what it shows.

    Raises:
        VerificationError: it shows nothing, or not of a pinned party.
    """
    proof = FaultProof.from_bytes(data)
    culprit = Auditor(trust).verify_fault(proof, beacon=beacon)
    about = _about(proof)
    finding = _finding(culprit, pinned=trust is not None)
    document = finding_document(finding) | {
        "fault": proof.kind,
        "culprit": culprit,
        "meaning": _MEANINGS.get(proof.kind, proof.kind),
        **about,
        "pinned": trust is not None,
    }

    def show(console: Console) -> None:
        style = "bold green" if trust is not None else "bold yellow"
        console.print(f"[{style}]{finding.word}[/]: {finding.proved}", soft_wrap=True)
        names = ("culprit", "fault", "meaning", *about)
        show_fields(console, {name: str(document[name]) for name in names} | finding_fields(finding))

    emit(document, as_json, show)


def _about(proof: FaultProof) -> dict[str, Any]:
    """Which round, or epoch, it is in."""
    if proof.kind == TWO_EPOCHS:
        said = decode(Authorised, proof.exhibits[0], len(proof.exhibits[0]))
        return {"task": said.task, "previous_epoch": said.previous_epoch.hex()}
    config = RoundConfig.from_bytes(proof.config)
    return {
        "task": config.task,
        "round": config.round,
        "attempt": config.attempt,
        "backend": config.policy.backend,
    }


def _finding(culprit: str, *, pinned: bool) -> Finding:
    if pinned:
        return Finding(
            VERIFIED,
            f"a party broke the protocol: {culprit} signed what nobody who follows it signs",
            "why: a key that was stolen, or a store that was lost, looks the same",
        )
    return Finding(
        CONSISTENT,
        f"the proof is consistent in itself: whoever holds the key that it names as that of {culprit} broke the "
        "protocol",
        "whose key it is: nothing is pinned, so anybody could have made it up",
    )
