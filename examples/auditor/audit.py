"""What an auditor does, with no key of anybody's: ``python audit.py OUT``, where ``hospitals.py OUT`` was before.

It has pinned who takes part, by which rules, whose log it is and which witness counts (``trust.json``), and kept what
it saw at an earlier visit. Everything else it is given, and believes nothing of it. Prints what it finds as JSON.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from secure_agg import Auditor, Evidence, FaultProof, Receipt, SecureAggError, Trust
from secure_agg.ledger.audit import audit
from secure_agg.ledger.chain import read_record
from secure_agg.ledger.publish.fetch import open_prefix
from secure_agg.ledger.publish.published import PublishedSource
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.note import Note, VerifierKey


def main(out: Path) -> dict[str, Any]:
    """All checks, in the order in which they depend on each other."""
    trust = Trust.load(out / "trust.json")
    found: dict[str, Any] = {"members": list(trust.task("risk").roster)}

    # 1. The whole log, from a web server's files: every leaf, subtree, signature and sum, once more. It goes
    #    on from what was seen at the earlier visit, and the pinned witness has cosigned its newest head.
    log = VerifierKey(str(trust.origin), trust.log or b"")
    kept = SignedHead.from_note(Note.from_bytes((out / "earlier.checkpoint").read_bytes()), log)
    source = PublishedSource(open_prefix((out / "public").resolve().as_uri()))
    report = audit(source, trust, known_head=kept)
    found["rounds"], found["seen_before"] = report.verified, kept.checkpoint.size
    found["witnessed"] = {
        name: datetime.fromtimestamp(when, UTC).isoformat() for name, when in report.witnesses.items()
    }

    # 2. One round by itself, offline: its evidence, and the receipt that it is in the log.
    rounds = [Evidence.from_bytes(evidence_of(source, index)) for index in range(report.size)]
    receipts = [Receipt.from_bytes((out / f"round-{index}.tlog-proof").read_bytes()) for index in range(report.size)]
    auditor = Auditor(trust)
    for evidence, receipt in zip(rounds, receipts, strict=True):
        trust.verify_receipt(auditor.verify(evidence).record, receipt)
    found["participants"] = [len(evidence.participants) for evidence in rounds]

    # 3. A hospital says that its update was accepted and left out: the coordinator's own signature shows it.
    accepted = (out / "west.receipt").read_bytes()
    found["left_out_though_accepted"] = auditor.show_exclusion(accepted, rounds[2])
    found["of_another_round"] = refused(lambda: auditor.show_exclusion(accepted, rounds[1]))

    # 4. A hospital is accused of having hidden another update than it committed to: the proof says it to anybody.
    proof = (out / "0.fault").read_bytes()
    found["convicted"] = auditor.verify_fault(FaultProof.from_bytes(proof))
    found["with_a_byte_changed"] = refused(lambda: auditor.verify_fault(FaultProof.from_bytes(changed(proof))))

    # 5. What was tampered with is refused, whoever has done it.
    found["tampered_evidence"] = refused(lambda: auditor.verify(Evidence.from_bytes(changed(rounds[0].to_bytes()))))
    found["a_receipt_of_another_round"] = refused(
        lambda: trust.verify_receipt(auditor.verify(rounds[0]).record, receipts[1])
    )
    return found


def evidence_of(source: PublishedSource, index: int) -> bytes:
    """A round's evidence as it is published."""
    return source.evidence(read_record(source.leaf(index)).evidence)


def changed(data: bytes) -> bytes:
    """With one bit turned, near the end."""
    return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


def refused(check: Any) -> str:
    """The name of the error that a check ends with."""
    try:
        check()
    except SecureAggError as error:
        return type(error).__name__
    raise SystemExit("what is wrong was believed")


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1])), indent=1))
