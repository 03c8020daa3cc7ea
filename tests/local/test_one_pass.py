"""Nothing of a round is done twice: how often messages are parsed, evidence encoded and results verified."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secure_agg
from secure_agg.local import rounds
from secure_agg.protocol import messages
from secure_agg.protocol.evidence import bundle
from secure_agg.protocol.messages import Header
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Auditor

CLIENTS = 3


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What has been done so far."""
    done: Counter[str] = Counter()
    decode, encode, verify = messages.decode, bundle.encode, Auditor.verify

    def decoding(kind: Any, *given: Any, **named: Any) -> Any:
        done["messages parsed"] += kind is Header
        return decode(kind, *given, **named)

    def encoding(value: Any) -> bytes:
        done["evidence encoded"] += type(value).__name__ == "_EvidenceHeader"
        return encode(value)

    def verifying(*given: Any, **named: Any) -> Any:
        done["verified"] += 1
        return verify(*given, **named)

    monkeypatch.setattr(messages, "decode", decoding)
    monkeypatch.setattr(bundle, "encode", encoding)
    monkeypatch.setattr(Auditor, "verify", verifying)
    return done


def sent(phases: int) -> int:
    """Messages of a round: requests and answers of each phase, receipts of inputs, results."""
    return CLIENTS * (2 * phases + 2)


@pytest.mark.parametrize("with_ledger", [True, False])
def test_a_round_parses_each_message_and_encodes_its_evidence_once(
    with_ledger: bool, counted: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaders: list[Aggregator] = []
    monkeypatch.setattr(rounds.LocalRound, "__init__", _noting(leaders, rounds.LocalRound.__init__))
    updates = {f"clinic-{i}": [np.full(5, 0.5, np.float32)] for i in range(CLIENTS)}
    secure_agg.aggregate(updates, ledger=tmp_path / "rounds.db" if with_ledger else None)
    (leader,) = leaders
    assert counted == {
        "messages parsed": sent(len(leader.phases)),
        "evidence encoded": 1,
        # Apart: the aggregator, the clients, whose owner is one, and the ledger or who asks without one.
        "verified": 3,
    }


def _noting(leaders: list[Aggregator], begin: Any) -> Any:
    def init(self: rounds.LocalRound, aggregator: Aggregator, *given: Any, **named: Any) -> None:
        leaders.append(aggregator)
        begin(self, aggregator, *given, **named)

    return init
