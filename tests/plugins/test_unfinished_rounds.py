"""A plug-in's round that came to nothing late: another run finishes it, or goes on from the same model."""

from __future__ import annotations

import contextlib
import shutil

import numpy as np
import pytest
from support.frameworks.plugin_rounds import (
    METRICS,
    NAMES,
    WEIGHTS,
    Nodes,
    World,
    a_world,
    model,
    updates,
    weighted_mean,
)

from secure_agg.errors import RoundAborted, SecureAggError, TooFewClients
from secure_agg.plugins.core.coordinator import Coordinator, Outcome
from secure_agg.plugins.homes.server import ServerHome

STEPS = {"share-keys": 0, "masked-input": 1, "consistency": 2, "unmask": 3}
"""Places of payloads ``step`` in a round of backend masking."""


class Killed(BaseException):
    """The server's process ends here."""


class Dying(Nodes):
    """Nodes whose server is killed after some of them have answered in a phase."""

    kind: str = "step"
    place: int = 0
    after: int = 2

    def __call__(self, kind, requests, deadline_s):  # type: ignore[no-untyped-def]
        here = self._places.get(kind, -1) + 1
        for count, answer in enumerate(super().__call__(kind, requests, deadline_s)):
            if (kind, here) == (self.kind, self.place) and count == self.after:
                raise Killed
            yield answer


def dying(world: World, at: list[np.ndarray], place: int, after: int) -> Dying:
    nodes = Dying(world.homes, updates(0), at, WEIGHTS, METRICS)
    nodes.place, nodes.after = place, after
    return nodes


@contextlib.contextmanager
def restarted(world: World):  # type: ignore[no-untyped-def]
    """Another process of the server, over the same home."""
    world.server.close()
    world.server = ServerHome.open(world.folder / "server")
    yield Coordinator(world.server)


def is_mean(outcome: Outcome, of: dict[str, list[np.ndarray]], names: tuple[str, ...] = NAMES) -> bool:
    expected = weighted_mean(of, WEIGHTS, names)
    return all(np.allclose(found, wanted, atol=1e-4) for found, wanted in zip(outcome.average, expected, strict=True))


@pytest.mark.parametrize("phase", STEPS)
@pytest.mark.parametrize("after", [0, 2])
def test_a_server_that_is_killed_in_any_phase_comes_to_the_same_mean(phase: str, after: int) -> None:
    with a_world() as world:
        nodes = dying(world, model(), STEPS[phase], after)
        with pytest.raises(Killed):
            world.coordinator.round(model(), nodes)
        with restarted(world) as coordinator:
            again = world.nodes(model(), seed=1)  # they would train to something else
            outcome = coordinator.round(model(), again)
            late = phase in ("consistency", "unmask")
            assert outcome.record.attempt == (0 if late else 1)
            assert (again.trained == []) == late, "what was given is what counts, and nobody trains again"
            assert is_mean(outcome, updates(0 if late else 1))
            assert outcome.participants == tuple(sorted(NAMES))
            following = coordinator.round(outcome.model, world.nodes(outcome.model, seed=2))
            assert (following.record.round, following.record.attempt) == (1, 0)
            assert not list((world.folder / "server" / "rounds").glob("*.db"))


def test_a_round_that_too_few_released_is_finished_by_late_releases() -> None:
    with a_world() as world:
        silent = dict.fromkeys(NAMES[:2], ("step", STEPS["unmask"]))
        with pytest.raises(TooFewClients):
            world.coordinator.round(model(), world.nodes(model(), silent=silent))
        again = world.nodes(model(), seed=1)
        with pytest.raises(RoundAborted, match="is to be finished first"):
            world.coordinator.evaluate(model(), again.evaluating())
        outcome = world.coordinator.round(model(), again)
        assert (outcome.record.attempt, again.trained) == (0, [])
        assert is_mean(outcome, updates(0))


def test_a_round_that_cant_be_finished_is_renounced_and_the_task_goes_on_from_the_same_model() -> None:
    """3 of 4 have to release, and 2 to renounce. One has released when two lose their homes' attempts."""
    with a_world() as world:
        silent = dict.fromkeys(NAMES[:3], ("step", STEPS["unmask"]))
        with pytest.raises(TooFewClients):
            world.coordinator.round(model(), world.nodes(model(), silent=silent))
        for name in NAMES[:2]:
            shutil.rmtree(world.homes[name] / "journal")
        again = world.nodes(model(), seed=1)
        outcome = world.coordinator.round(model(), again)
        assert set(again.trained) == set(NAMES), "all take part, the one that has released too"
        assert is_mean(outcome, updates(1))
        evidence = world.server.ledger.evidence(outcome.record)
        assert evidence.config.generation == 1
        assert evidence.renounced
        following = world.coordinator.round(outcome.model, world.nodes(outcome.model, seed=2))
        assert following.record.round == 1
        assert world.server.ledger.evidence(following.record).config.generation == 0


def test_a_server_that_has_lost_its_log_has_the_round_renounced() -> None:
    with a_world() as world:
        nodes = dying(world, model(), STEPS["unmask"], 0)
        with pytest.raises(Killed):
            world.coordinator.round(model(), nodes)
        for path in (world.folder / "server" / "rounds").glob("*"):
            path.unlink()
        with restarted(world) as coordinator:
            with pytest.raises(SecureAggError):
                coordinator.round(model(), world.nodes(model(), seed=1))
            outcome = coordinator.round(model(), world.nodes(model(), seed=1))
            assert world.server.ledger.evidence(outcome.record).config.generation == 1
            assert is_mean(outcome, updates(1))
