"""Share holders as processes of their own verify the draw of each round that they add up."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.beacons import rehearsal
from support.frameworks.plugin_rounds import Nodes

from secure_agg.errors import SecureAggError, TooFewClients
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.messages import write
from secure_agg.roles.task import Task

pytestmark = pytest.mark.usefixtures("quick_operators")

NAMES = tuple(f"site-{i}" for i in range(6))
CHAIN = rehearsal(range(1, 65))
POLICY = Policy.default(6, backend="additive", cohort_size=4, corruption_rate=0.0, clip=1.0, bits=16, max_weight=4)


@pytest.mark.slow
def test_processes_add_up_what_the_beacon_draws_and_nothing_else(tmp_path: Path) -> None:
    federation.make(tmp_path / "homes", NAMES, POLICY, task="task", beacon=CHAIN)
    homes = {name: tmp_path / "homes" / "clients" / name for name in NAMES}
    model = [np.zeros(5)]
    updates = {name: [np.full(5, (i + 1) / 16)] for i, name in enumerate(NAMES)}
    with federation.operators(tmp_path / "homes"), ServerHome.open(tmp_path / "homes" / "server") as home:
        for number in range(2):
            outcome = Coordinator(home).round(model, Nodes(homes, updates, model))
            drawn = home.trust.cohort("task", CHAIN.pulses[1 + 16 * number].signature)
            assert set(outcome.participants) == set(drawn)
            model = outcome.model
        assert home.ledger.audit().verified == 2
        gone = dict.fromkeys(NAMES, ("join", 0))
        with pytest.raises(TooFewClients):
            Coordinator(home).round(model, Nodes(homes, updates, model, silent=gone))
        with contextlib.suppress(TooFewClients):  # the first draw is tried to its end, then given up
            Coordinator(home).round(model, Nodes(homes, updates, model, silent=gone))
        outcome = Coordinator(home).round(model, Nodes(homes, updates, model))
        assert set(outcome.participants) in [
            set(home.trust.cohort("task", CHAIN.pulses[33 + draw].signature)) for draw in range(3)
        ]
        last = home.ledger.last("task")
        due = CHAIN.pulses[49].signature
        assert last is not None
        honest = Task("task", home.trust, last).next_round(((5,), (1024,), (1,)), beacon=due)
        wrong: RoundConfig = msgspec.structs.replace(honest, beacon=CHAIN.pulses[50].signature)
        with home.staff(honest) as (staffed, setup, holders):
            holder = holders["aggregator-1"]
            begin = "begin"
            for config, said in (
                (staffed, None),
                (msgspec.structs.replace(wrong, setup=staffed.setup), "not pulse 49"),
            ):
                asked = write(home.identity, config.context, begin, "aggregator-1", config.to_bytes(), setup)
                if said is None:
                    holder.receive(asked)
                    continue
                with pytest.raises(SecureAggError, match=said):
                    holder.receive(asked)
