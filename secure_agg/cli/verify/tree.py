"""``secure-agg verify`` of a tree's evidence: with as many of its edges as are at hand, and it says how many."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from secure_agg.errors import ConfigError
from secure_agg.ledger.evidence_store import EvidenceStore
from secure_agg.protocol.claims import Finding, require_claim
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.auditor import Verified
from secure_agg.roles.tree.auditor import VerifiedTree, verify_tree
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.trust import Trust


def verify_a_tree(
    data: bytes, path: Path, folder: Path | None, pins: Trust | None, beacon: bytes | None
) -> tuple[Evidence, VerifiedTree]:
    """Check a tree's evidence, with the edges' that are in a folder that was named, or where it lies in a ledger's.

    Returns:
        The evidence of the top round, and what was verified.

    Raises:
        VerificationError: it does not prove its result, or contradicts the pins.
        ConfigError: what is pinned is no tree.
    """
    tree = TreeEvidence.from_bytes(data)
    task = tree.top.config.task
    trust = TreeTrust(pins, task) if pins is not None else None
    store = EvidenceStore(path.absolute().parent.parent if folder is None else folder)
    named = (edge.record.evidence for edge in tree.edges.values())
    edges = [Evidence.from_bytes(store.get(digest)) for digest in named if store.locate(digest).exists()]
    found = verify_tree(tree, edges, trust, beacon=beacon)
    if pins is not None:
        require_claim(found.record.claim, pins.task(task).claims, task=task, round=found.record.round)
    return tree.top, found


def tree_document(verified: Verified) -> dict[str, Any] | None:
    """How much of a tree was seen; None of a round without edges."""
    if not isinstance(verified, VerifiedTree):
        return None
    return {
        "edges": {
            name: {
                "participants": record.participants,
                "cohort_size": record.cohort_size,
                "seen": name in verified.seen,
            }
            for name, record in verified.edges.items()
        },
        "saw_all": verified.saw_all,
        "text": verified.tree_text,
    }


def tree_finding(finding: Finding, verified: Verified) -> Finding:
    """What a verification means where not all of a tree was seen."""
    if not isinstance(verified, VerifiedTree) or verified.saw_all:
        return finding
    return dataclasses.replace(
        finding,
        proved="the result is the sum of what the edges' operators committed to, and of each edge that this is what a "
        "quorum of its members has verified and signed",
        not_proved=f"what no edge's members can know of an edge with more corrupt members than its policy says: pass "
        f"--proofs DIR with the evidence of all edges; nor {finding.not_proved}",
    )


def refuse_for_trees(chain: str | None) -> None:
    """What a tree can't be compared with.

    Raises:
        ConfigError: that was asked for.
    """
    if chain is not None:
        raise ConfigError("a tree is on no chain: contracts check rounds whose clients they know")
