"""A strategy that asks a part of the nodes: the pinned beacon draws which, and the strategy has to say as many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flwr.serverapp.strategy import FedAvg
from support.beacons import rehearsal
from support.frameworks.flower_nodes import Fleet, Seen, app_of, model_of

from secure_agg.errors import ConfigError
from secure_agg.ledger.log import Ledger

NAMES = tuple(f"site-{i}" for i in range(8))
CHAIN = rehearsal(range(1, 65))
POLICY: dict[str, Any] = {"cohort_size": 4, "corruption_rate": 0.0}


def fleet(folder: Path, seen: Seen | None = None, **policy: Any) -> Fleet:
    apps = {name: app_of(seen=seen) for name in NAMES}
    rules = {"beacon": CHAIN} if policy else {}
    return Fleet.make(folder, apps, rules=rules, **policy)


def test_the_beacon_draws_whom_the_strategy_would_have_sampled(tmp_path: Path) -> None:
    seen = Seen()
    made = fleet(tmp_path, seen, **POLICY)
    strategy = FedAvg(fraction_train=0.5, fraction_evaluate=0.5)
    result = made.run(strategy, rounds=2)
    with Ledger(made.folder / "server" / "rounds.db") as ledger:
        trained = [ledger.evidence(ledger.record(i)) for i in ledger.indexes("flower")]
        drawn = [
            set(ledger.trust.cohort("flower", CHAIN.pulses[1 + 16 * number].signature))
            for number in range(len(trained))
        ]
        assert [set(evidence.participants) for evidence in trained] == drawn
        assert ledger.audit().verified == 4  # two rounds, and their evaluations
    assert [{NAMES[i] for i in seen.trained[4 * n : 4 * n + 4]} for n in range(2)] == drawn
    assert [{NAMES[i] for i in seen.evaluated[4 * n : 4 * n + 4]} for n in range(2)] == drawn
    assert set(model_of(result.arrays)) == {"layer", "bias", "batches"}


def test_a_few_nodes_are_enough_by_the_strategys_minimum(tmp_path: Path) -> None:
    result = fleet(tmp_path, **POLICY).run(FedAvg(fraction_train=0.01, min_train_nodes=4, fraction_evaluate=0.0))
    assert len(result.train_metrics_clientapp) == 1


@pytest.mark.parametrize(
    ("strategy", "drawn", "match"),
    [
        (FedAvg(fraction_evaluate=0.0), True, "draws 4: set them to 0.5"),
        (FedAvg(fraction_train=0.25, fraction_evaluate=0.0), True, "fraction_train=0.25 is 2 of 8"),
        (FedAvg(fraction_train=0.5, fraction_evaluate=1.0), True, "fraction_evaluate=1 is 8"),
        (FedAvg(fraction_train=0.5, fraction_evaluate=0.0), False, "--sample"),
    ],
)
def test_a_strategy_that_says_another_number_is_refused(
    tmp_path: Path, strategy: FedAvg, drawn: bool, match: str
) -> None:
    made = fleet(tmp_path, **(POLICY if drawn else {}))
    with pytest.raises(ConfigError, match=match):
        made.secure(strategy)
