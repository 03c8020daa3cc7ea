"""Records of trees whose members are drawn into edges: a ledger and its audits know the beacon, or refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trees import BEACON, Forestry

from secure_agg.errors import TrustError, VerificationError
from secure_agg.ledger.log import Ledger
from secure_agg.roles.tree.auditor import VerifiedTree
from secure_agg.roles.tree.pins import TreeTrust


def test_a_drawn_tree_is_appended_and_audited_by_the_beacon_that_drew_it(tmp_path: Path) -> None:
    forestry = Forestry(drawn=True, backend="plain", top_backend="plain")
    with Ledger(tmp_path / "rounds.db") as ledger:
        for task, pins in forestry.trust.tasks.items():
            ledger.pin(task, pins, forestry.trust.operators)
        forestry.trust = ledger.trust
        forestry.tree = TreeTrust(ledger.trust, forestry.task)
        played = forestry.round()
        tree = played.run()
        with pytest.raises(TrustError, match="beacon"):
            ledger.append_tree(tree, played.evidence())
        whole = [item for edge in played.edges.values() if (item := edge.aggregator.evidence) is not None]
        with pytest.raises(VerificationError, match="not their sums"):
            ledger.append_tree(tree, whole, beacon=BEACON)
        appended = ledger.append_tree(tree, played.evidence(), beacon=BEACON)
        assert isinstance(appended.verified, VerifiedTree)
        ledger.trust.verify_receipt(appended.verified.record, appended.receipt)
        assert ledger.audit(beacon=lambda record: BEACON).edges == 3
        with pytest.raises(TrustError, match="beacon"):
            ledger.audit()
        for client in played.deliver(tree).values():
            assert client.record == appended.verified.record
