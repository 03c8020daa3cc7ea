"""A server that asks its nodes for statistics, and wants more of them than the task's privacy budget is for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from support.frameworks.flower_nodes import TASK, Fleet

from secure_agg import Policy, Privacy, stats
from secure_agg.errors import TooFewClients
from secure_agg.plugins.flower import GridFederation, answer_question, secure_mod
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.messages import CONSISTENCY
from secure_agg.roles.memory import spending
from secure_agg.stats.answers.forms import form_of
from secure_agg.stats.question import Question

AGES = {f"m{place}": np.random.default_rng(place).integers(20, 100, 40) for place in range(3)}
BUDGET = Privacy(epsilon=24.0, delta=1e-5, norm=1.0, rounds=2)


class Watched:
    """A fleet whose tables count how often they are looked at."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.looked: list[str] = []
        settings = {"bits": 24, "max_weight": 1, "min_clients": 3} | policy
        apps = {name: self._app(name) for name in AGES}
        self.fleet = Fleet.make(folder, apps, rules={"checks_model": False}, **settings)
        self.server = self.fleet.folder / "server"
        for name in AGES:
            self.rules(name, "min_count = 5\n")

    def _app(self, name: str) -> ClientApp:
        app = ClientApp()

        @app.train(mods=[secure_mod])
        def train(message: Message, context: Context) -> Message:
            self.looked.append(name)
            return answer_question(message, context, {"age": AGES[name]})

        return app

    def rules(self, name: str, text: str) -> None:
        (self.fleet.folder / "clients" / name / "statistics.toml").write_text(text)

    def count(self) -> float:
        nodes = GridFederation(self.fleet.grid, self.server, phase_s=30.0, timeout=60.0)
        return stats.count(nodes, records=64).value

    def spent(self, name: str) -> int:
        with ClientHome.open(self.fleet.folder / "clients" / name) as home:
            return spending.signed(home.store, name, TASK).total()


def test_a_question_that_was_asked_again_under_another_id_counts_again_and_none_is_answered_beyond_the_budget(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server says that a round failed whose set all have signed, and asks the same in another attempt. Naively rounds
    of the ledger count, or questions: then it is answered for ever, and the mean of its answers has as little noise as
    it likes.
    """
    world = Watched(tmp_path, privacy=BUDGET)
    world.count()
    with ServerHome.open(world.server) as home:
        record = home.ledger.last(TASK)
        assert record is not None
        config = home.ledger.evidence(record).config
    for name in AGES:
        with ClientHome.open(world.fleet.folder / "clients" / name) as home:
            for _ in range(2):  # the same bytes again cost nothing
                spending.spend(home.store, name, msgspec.structs.replace(config, attempt=7), phase=CONSISTENCY)
    assert record.round + 1 < BUDGET.rounds, "the ledger alone would allow one more"
    looked = len(world.looked)
    with pytest.raises(TooFewClients):
        world.count()
    assert "BudgetSpent" in caplog.text
    assert len(world.looked) == looked, "no data is looked at"
    assert [world.spent(name) for name in AGES] == [BUDGET.rounds] * 3


def test_a_server_that_asks_without_noise_is_answered_by_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naively a node writes its answer as the server's policy says: as exact integers."""
    world = Watched(tmp_path, privacy=BUDGET)
    with ServerHome.open(world.server) as home:
        pins = home.trust.task(TASK)
        plain = Policy.default(3, bits=24, max_weight=1, min_clients=3, clip=1.0)
        trust = dataclasses.replace(home.trust, tasks={TASK: dataclasses.replace(pins, policy=plain)})
    asked = Question(function="count", records=64)
    naive = form_of(asked, plain, 3, shared=True)
    site = stats.Site(stats.Table.of({"age": AGES["m0"]}))
    sums = naive.total_of(naive.answer(site), 1)  # type: ignore[attr-defined]
    assert sums[1] == AGES["m0"].size
    monkeypatch.setattr(ServerHome, "trust", property(lambda _: trust))
    with pytest.raises(TooFewClients):
        world.count()
    assert world.looked == []
    assert "PolicyViolation" in caplog.text or "TrustError" in caplog.text


def test_an_owner_who_wants_noise_answers_nothing_in_homes_that_have_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = Watched(tmp_path, clip=1.0)
    for name in AGES:
        world.rules(name, "[privacy]\nepsilon = 8\n")
    with pytest.raises(TooFewClients):
        world.count()
    assert "QueryRefused: this site's owner allows answers with differential privacy only" in caplog.text
    for name in AGES:
        assert not (world.fleet.folder / "clients" / name / "statistics.log").exists()
