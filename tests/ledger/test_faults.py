"""Proofs of fault beside a ledger: whom one convicts is out for the task, also in another process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.norms.cheats import flip

import secure_agg
from secure_agg import FaultProof, Ledger, Trust
from secure_agg.backends.masking.client import MaskingClient
from secure_agg.errors import TooFewClients
from secure_agg.roles.auditor import Auditor

NAMES = ("a", "b", "c", "d", "e")
UPDATES = {name: [np.full(4, i / 8)] for i, name in enumerate(NAMES)}


@pytest.fixture
def cheating(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From now on this client cheats, and from then on nobody else."""
    honest = MaskingClient.__init__

    def become(cheat: str) -> None:
        def init(self: MaskingClient, config: Any, name: str, derive: Any) -> None:
            honest(self, config, name, derive)
            if name == cheat:
                flip(self)

        monkeypatch.setattr(MaskingClient, "__init__", init)

    return become


def test_whoever_was_convicted_is_asked_for_nothing_in_the_tasks_later_rounds(
    tmp_path: Path, cheating: Callable[[str], None]
) -> None:
    path, options = tmp_path / "rounds.db", {"screening": 1}
    cheating("c")
    first = secure_agg.aggregate(UPDATES, ledger=path, options=options)
    assert first.participants == ("a", "b", "d", "e")
    (kept,) = Path(f"{path}.faults").iterdir()
    trust = Trust.load(Path(f"{path}.trust.json"))
    assert Auditor(trust).verify_fault(FaultProof.from_bytes(kept.read_bytes())) == "c"

    cheating("nobody")
    later = secure_agg.aggregate(UPDATES, ledger=path, options=options)
    assert (later.participants, later.faults) == (("a", "b", "d", "e"), ())
    assert "c" not in {item.name for item in later.evidence.advertisements}
    assert later.evidence.config.cohort_root == first.evidence.config.cohort_root
    elsewhere = secure_agg.aggregate(UPDATES, ledger=path, options=options, task="another")
    assert elsewhere.participants == NAMES, "another task is another matter"


def test_proofs_of_a_round_that_came_to_nothing_are_kept(tmp_path: Path, cheating: Callable[[str], None]) -> None:
    """Three clients, none of whom may be corrupt."""
    path = tmp_path / "rounds.db"
    cheating("b")
    three = {name: UPDATES[name] for name in "abc"}
    with pytest.raises(TooFewClients, match="1 clients are proved to cheat"):
        secure_agg.aggregate(three, ledger=path, options={"screening": 1})
    with Ledger(path) as ledger:
        assert list(ledger.faults.convicted(ledger.trust, "default")) == ["b"]


def test_a_file_that_proves_nothing_leaves_nobody_out(
    tmp_path: Path, cheating: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "rounds.db"
    cheating("c")
    made = secure_agg.aggregate(UPDATES, ledger=path, options={"screening": 1})
    (kept,) = Path(f"{path}.faults").iterdir()
    (proof,) = made.faults
    wrong = FaultProof(**{name: getattr(proof, name) for name in FaultProof.__struct_fields__} | {"culprit": "a"})
    kept.with_name("0.fault").write_bytes(wrong.to_bytes())
    kept.with_name("1.fault").write_bytes(b"nonsense")
    caplog.set_level(logging.WARNING)
    with Ledger(path) as ledger:
        assert dict(ledger.faults.convicted(ledger.trust, "default")) == {"c": kept}
        assert ledger.faults.keep([proof]) == (kept,)
    assert sum("proves nothing" in record.message for record in caplog.records) == 2
