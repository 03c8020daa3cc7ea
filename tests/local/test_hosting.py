"""Whole rounds whose clients live with workers: the same result as in one process, whoever is killed on the way."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.federation import identity
from support.workers import work
from support.workers.killing import Killing, exact_round, on_the_grid

import secure_agg
from secure_agg.errors import ConfigError, NormRefused, UpdateError
from secure_agg.executing import HERE, IN_PROCESS, Processes
from secure_agg.executing.pool import Pool
from secure_agg.local.hosting import hosted
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Processes(3, least=1, handing=0) as workers:
        yield workers


@pytest.mark.parametrize("backend", ["masking", "plain", "additive"])
def test_a_round_with_workers_has_numpys_sum(backend: str, pool: Pool) -> None:
    exact_round(pool, backend=backend)
    exact_round(IN_PROCESS, backend=backend)


@pytest.mark.parametrize("bits", [4, 16])
def test_clients_may_fall_silent_and_vectors_may_be_packed(bits: int, pool: Pool) -> None:
    """With 4 bits several values ride in a word of 64, which are added in another ring."""
    step = 8.0 / (2 ** (bits - 1) - 1)
    updates = {f"c{i:03d}": [np.full(70_001, (i - 2) * step)] for i in range(9)}
    result = secure_agg.aggregate(
        updates, bits=bits, clip=8.0, executor=pool, dropouts={"c000": "masked-input", "c008": "unmask"}
    )
    assert result.participants == tuple(f"c{i:03d}" for i in range(1, 9))
    np.testing.assert_allclose(result.average[0], np.full(70_001, 2.5 * step), rtol=1e-12)


@pytest.mark.slow
def test_screened_rounds_take_their_masks_off_by_workers(pool: Pool) -> None:
    exact_round(pool, options={"screening": 1}, dropouts={"c002": "masked-input"})


@pytest.mark.slow
@pytest.mark.parametrize("first", [4, pytest.param(1, marks=pytest.mark.long), pytest.param(9, marks=pytest.mark.long)])
def test_workers_that_are_killed_lose_no_client_and_no_shard(first: int, pool: Pool) -> None:
    """Before the join, between the phases, and in the work of the aggregator."""
    killing = Killing(pool, before=range(first, 40, 6))
    pool.map(work.where, [])
    exact_round(killing, dropouts={"c001": "masked-input"})
    assert len(killing.killed) >= 2


def test_a_killed_worker_loses_no_letter(pool: Pool) -> None:
    killing = Killing(pool, before=(2, 5, 8))
    exact_round(killing, backend="additive")
    assert killing.killed


def test_stats_are_those_of_a_round_in_one_process(pool: Pool) -> None:
    updates, _ = on_the_grid(4, 1000)
    here, there = (secure_agg.aggregate(updates, executor=where).stats for where in (HERE, pool))
    assert here.keys() == there.keys()
    assert there["client.commit_s"] > 0
    assert here["client.upload_bytes"] == there["client.upload_bytes"]


def test_what_a_client_refuses_comes_back_from_its_worker(pool: Pool) -> None:
    with pytest.raises(UpdateError, match="NaN") as caught:
        secure_agg.aggregate({f"c{i}": [np.full(3, np.nan if i == 1 else 0.5)] for i in range(3)}, executor=pool)
    assert caught.value.culprit == "c1"


@pytest.mark.slow
def test_a_client_whose_norm_is_refused_stays_out(pool: Pool) -> None:
    updates = {f"c{i}": [np.full(50, 1.0 if i else 5.0)] for i in range(5)}
    result = secure_agg.aggregate(updates, norm_bound=10.0, norm_excess="refuse", executor=pool)
    assert result.participants == ("c1", "c2", "c3", "c4")
    assert result.stats["refused_clients"] == 1
    assert issubclass(NormRefused, UpdateError)


@pytest.mark.slow
def test_executors_by_name_end_with_the_call() -> None:
    exact_round("processes:2")
    with pytest.raises(ConfigError, match="is no executor"):
        secure_agg.aggregate({f"c{i}": [np.zeros(2)] for i in range(3)}, executor="threads")


def test_secrets_of_a_hosted_client_are_not_shown() -> None:
    with hosted(IN_PROCESS, Trust(), {"c1": identity("c1")}) as clients:
        assert repr(clients) == "{'c1': HostedClient('c1')}"


def test_workers_keep_no_client_of_a_round_that_is_over(pool: Pool) -> None:
    exact_round(pool, dropouts={"c001": "masked-input"})
    with pytest.raises(UpdateError):
        secure_agg.aggregate({f"c{i}": [np.full(3, np.nan if i == 2 else 0.5)] for i in range(3)}, executor=pool)
    guests = [pool.host(work.Guests) for _ in range(pool.workers)]
    assert [guest.call("others") for guest in guests] == [0] * pool.workers


def test_a_store_is_the_same_in_another_process() -> None:
    store = AttemptStore()
    store.put(("task", 1), "secret", b"value")
    again = AttemptStore.of_bytes(store.to_bytes())
    assert again.get(("task", 1), "secret") == b"value"
    assert again.put(("task", 1), "secret", b"other") == b"value"
