"""Buffered rounds in one process: what is summed, what is refused, and what stays bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.buffered import Buffered
from support.federation import assert_is_mean, identity

import secure_agg
from secure_agg import AttemptStore, BufferedTask, Ledger, backends
from secure_agg.errors import AlreadyReleased, ConfigError, LocalProtocolError, TaskSpent, TooFewClients, UpdateError
from secure_agg.local.aggregate import Result
from secure_agg.plugins.homes.server import check_apart
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST, Option
from secure_agg.protocol.config.presets import buffered_policy
from secure_agg.roles.epochs.change import Change

OLDER = Option("buffer_staleness", 2)
NAMES = [f"c{i}" for i in range(6)]
POLICY = buffered_policy(len(NAMES), honest=2, staleness=1, clip=1.0, bits=12)  # K = 3, f = 1
MODELS = [model_digest([np.full(4, float(i))]) for i in range(9)]


def updates(*names: str, seed: int = 0) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    return {name: [rng.uniform(-1, 1, 4), rng.uniform(-1, 1, (2, 3))] for name in names}


def play(task: BufferedTask, based: Mapping[str, int], **changes: Any) -> Result:
    return task.aggregate(updates(*based), based, weights=dict.fromkeys(based, 1024), **changes)


@pytest.fixture
def task() -> BufferedTask:
    return BufferedTask(NAMES, MODELS[0], POLICY)


def test_a_round_is_the_exact_weighted_sum_of_updates_from_several_bases_and_says_which(task: BufferedTask) -> None:
    play(task, {"c0": 0, "c1": 0, "c2": 0})
    task.advance(MODELS[1])
    based = {"c0": 1, "c1": 1, "c3": 0, "c4": 0}
    given, weights = updates(*based, seed=1), {"c0": 1024, "c1": 7, "c3": 724, "c4": 1}
    found = task.aggregate(given, based, weights=weights)
    assert_is_mean(found.average, given, weights, found.participants, found.evidence.config)
    assert found.record.weight_sum == sum(weights.values())
    verified = secure_agg.verify(found.evidence)
    assert verified.based == based
    assert [base.model for base in verified.bases] == MODELS[:2]


def test_a_base_is_used_once_and_in_order_and_the_refusal_says_which_would_do(task: BufferedTask) -> None:
    play(task, {"c0": 0, "c1": 0, "c2": 0})
    task.advance(MODELS[1])
    play(task, {"c0": 1, "c1": 1, "c3": 1})
    task.advance(MODELS[2])
    with pytest.raises(TaskSpent, match=r"'c0' has given its update from base 1 in another round.*base 2 would do"):
        play(task, {"c0": 1, "c4": 1, "c5": 1})
    play(task, {"c0": 2, "c4": 1, "c2": 2})
    task.advance(MODELS[3])
    with pytest.raises(TaskSpent, match="from base 2 in another round"):
        play(task, {"c0": 2, "c4": 3, "c5": 3})
    found = play(task, {"c0": 3, "c4": 3, "c5": 2})  # nobody has lost anything by the refusals
    assert found.record.round == 3


def test_a_base_before_one_that_was_used_is_refused() -> None:
    task = BufferedTask(NAMES, MODELS[0], msgspec.structs.replace(POLICY, options=(*POLICY.options[:1], OLDER)))
    play(task, {"c0": 0, "c1": 0, "c2": 0})
    task.advance(MODELS[1])
    play(task, {"c3": 1, "c1": 1, "c2": 1})
    task.advance(MODELS[2])
    assert [base.number for base in task.bases] == [0, 1, 2]
    with pytest.raises(TaskSpent, match=r"from base 1, and this one is from base 0: .* increasing order, base 2 would"):
        play(task, {"c3": 0, "c4": 2, "c5": 2})
    with pytest.raises(ConfigError, match="from base 3, and there are 0, 1, 2: base 0 or a later one would do"):
        play(task, {"c3": 3, "c4": 2, "c5": 2})


def test_what_would_spend_an_update_for_nothing_is_refused_before_anybody_joins(task: BufferedTask) -> None:
    with pytest.raises(TooFewClients, match="2 updates, and a sum has 3 or more"):
        play(task, {"c0": 0, "c1": 0})
    given = updates("c0", "c1", "c2")
    with pytest.raises(UpdateError, match="1025"):
        task.aggregate(given, dict.fromkeys(given, 0), weights={"c2": 1025})
    spoiled = given | {"c2": [np.full(4, np.nan), given["c2"][1]]}
    with pytest.raises(UpdateError, match="c2"):
        task.aggregate(spoiled, dict.fromkeys(given, 0))
    with pytest.raises(ConfigError, match="no member"):
        play(task, {"c0": 0, "c1": 0, "zz": 0})
    assert play(task, {"c0": 0, "c1": 0, "c2": 0}).record.participants == 3


def test_a_result_has_to_be_gone_on_from_once(task: BufferedTask) -> None:
    with pytest.raises(LocalProtocolError):
        task.advance(MODELS[1])
    play(task, {"c0": 0, "c1": 0, "c2": 0})
    with pytest.raises(LocalProtocolError):
        play(task, {"c3": 0, "c4": 0, "c5": 0})


def test_a_model_that_a_result_does_not_move_is_used_once_all_the_same(task: BufferedTask) -> None:
    play(task, {"c0": 0, "c1": 0, "c2": 0})
    task.advance(MODELS[0])
    with pytest.raises(TaskSpent, match="over differences from this very model"):
        play(task, {"c0": 1, "c3": 1, "c4": 1})
    play(task, {"c3": 1, "c4": 1, "c5": 1})


def test_bonds_and_bases_hold_over_processes_and_a_ledger_is_audited(tmp_path: Path) -> None:
    path = tmp_path / "rounds.db"
    stores = {name: AttemptStore(tmp_path / f"{name}.db") for name in NAMES}
    with BufferedTask(NAMES, MODELS[0], POLICY, ledger=path, stores=stores) as task:
        for number in range(3):
            play(task, {"c0": number, "c1": number, f"c{number + 2}": 0 if number < 2 else 1})
            if number < 2:
                task.advance(MODELS[number + 1])
    for store in stores.values():
        store.close()
    stores = {name: AttemptStore(tmp_path / f"{name}.db") for name in NAMES}
    with BufferedTask(NAMES, MODELS[3], POLICY, ledger=path, stores=stores) as task:
        assert [base.model for base in task.bases] == MODELS[2:4]
        with pytest.raises(TaskSpent, match="from base 2 in another round"):
            play(task, {"c0": 2, "c2": 3, "c3": 3})
        play(task, {"c0": 3, "c2": 2, "c3": 3})
    with pytest.raises(AlreadyReleased, match="another base"):
        BufferedTask(NAMES, MODELS[3], POLICY, stores=stores)
    with Ledger(path, read_only=True) as ledger:
        report = ledger.audit(ledger.trust)
        assert (report.verified, report.size) == (4, 4)
    for store in stores.values():
        store.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"size": 2},
            "min_clients is 2, below max_corrupt . buffer_honest = 1 . 2.*min_clients = 3 or max_corrupt = 0",
        ),
        ({"max_corrupt": 5}, "above the 6 members: max_corrupt = 4 would do"),
        ({"staleness": 256}, r"buffer_staleness is 256, outside \[0, 255\]: 255 would do"),
        ({"honest": 1}, "buffer_honest is 1, below 2: 2 would do"),
        ({"honest": 0}, "min_clients is 1|buffer_staleness goes with buffer_honest"),
    ],
)
def test_thresholds_that_leave_too_few_honest_updates_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        buffered_policy(len(NAMES), **({"honest": 2} | changes))


@pytest.mark.parametrize("backend", ["masking", "plain", "paillier", "bfv", "ckks", "crypten"])
def test_other_backends_are_refused_and_the_refusal_says_what_would_do(backend: str) -> None:
    policy = buffered_policy(len(NAMES), honest=2, backend=backend, max_weight=1)
    with pytest.raises(ConfigError, match=rf"{backend!r} can't have buffered rounds.*would do"):
        BufferedTask(NAMES, MODELS[0], policy)


def test_a_buffered_task_draws_nobody_and_is_no_epoch_or_tree() -> None:
    with pytest.raises(ConfigError, match="cohort_size = 0 would do"):
        msgspec.structs.replace(POLICY, cohort_size=4)
    config = Buffered().config()
    for change in ({"epoch": 1}, {"base_model": NO_DIGEST}):
        with pytest.raises(ConfigError, match="buffered round"):
            msgspec.structs.replace(config, **change)
    pinned = dataclasses.replace(Buffered().trust, log=identity("log").public)
    with pytest.raises(ConfigError, match="a buffered task is pinned once"):
        Change(rotate={"c000": identity("another").public}).body(pinned, "task")
    level = Option("level", 2)
    tree = msgspec.structs.replace(POLICY, options=(*POLICY.options, level))
    with pytest.raises(ConfigError, match="no rounds of a tree are buffered"):
        BufferedTask(NAMES, MODELS[0], tree)
    with pytest.raises(ConfigError, match="under a framework"):
        check_apart(backends.load(POLICY.backend), POLICY)
    with pytest.raises(ConfigError, match="which BufferedTask makes"):
        secure_agg.aggregate(updates(*NAMES), backend="additive", options={"buffer_honest": 2})
    with pytest.raises(ConfigError, match="not of buffered rounds"):
        BufferedTask(NAMES, MODELS[0], secure_agg.Policy.default(6))
