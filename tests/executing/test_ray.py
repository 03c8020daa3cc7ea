"""Workers on a real Ray cluster of this machine: the same bits, and a worker that is killed loses nothing."""

from __future__ import annotations

import gc
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.workers import work
from support.workers.killing import Killing, exact_round
from support.workers.work import Counter

from mpc import masks
from mpc.masks import Mask
from mpc.ring import P
from secure_agg import extras
from secure_agg.errors import ExecutorError, VerificationError, WorkerLost
from secure_agg.executing import Ray, Shard, vectors
from zk import commitment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not extras.is_there("ray"), reason="ray is not installed"),
    # Ray leaves files of its own open, and warns of what it will change.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CONTEXT = b"r" * 32
WORKERS = 3


@pytest.fixture(scope="module")
def pool() -> Iterator[Ray]:
    with Ray(WORKERS, least=1, handing=0) as workers:
        import ray

        folder = own_folder()
        yield workers
    assert not ray.is_initialized()
    assert not folder.exists()
    # What Ray leaves to the garbage collector is collected here, where its warnings are expected.
    gc.collect()


def own_folder() -> Path:
    """In which the cluster has its own, with sockets and files."""
    from ray._private.worker import global_worker

    return Path(global_worker.node.get_session_dir_path()).parent.parent


def test_nobody_else_may_enter_where_the_clusters_sockets_are(pool: Ray) -> None:
    """Ray lets everybody write into its folders: another one's socket there would be handed what workers are."""
    assert stat.S_IMODE(own_folder().stat().st_mode) == 0o700


def test_the_cluster_is_of_this_machine_and_wants_a_token(pool: Ray) -> None:
    import ray

    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    assert host == "127.0.0.1"
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with socket.socket() as outside, pytest.raises(OSError):
            outside.connect((own, int(port)))
    code = f"import ray; ray.init(address='127.0.0.1:{port}', logging_level='ERROR')"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment["RAY_NUM_REDIS_GET_RETRIES"] = "1"  # or it tries for twenty seconds
    stranger = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert stranger.returncode != 0
    assert "InvalidAuthToken" in stranger.stderr


@pytest.mark.long
@pytest.mark.parametrize("named", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_that_something_else_names_is_not_joined(named: str) -> None:
    """Without an address it is one's own: another one's owner would be handed all secrets."""
    code = "from secure_agg.executing import Ray\nwith Ray(1) as pool: print(pool.host(dict).call('__len__'))"
    own = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"RAY_ADDRESS": named},
        check=False,
    )
    assert own.stdout.strip() == "0", own.stderr


def test_vectors_are_the_same_as_here(pool: Ray) -> None:
    rng = np.random.default_rng(58)
    vector = rng.integers(0, P, 200_001).astype(np.uint32)
    terms = [Mask(rng.bytes(32), (-1) ** i) for i in range(5)]
    whole, cut = vector.copy(), vector.copy()
    masks.apply(whole, terms)
    vectors.add_masks(pool, CONTEXT, cut, terms)
    assert np.array_equal(whole, cut)
    s = rng.integers(0, P, commitment.randomness_length(3)).astype(np.uint32)
    assert vectors.commit(pool, CONTEXT, vector, s, 3) == commitment.commit(vector, s, 3)
    total = vectors.Sum(np.zeros(vector.size, np.uint32))
    for _ in range(7):
        total.add(pool, CONTEXT, vector)
    assert np.array_equal(total.total, vector.astype(np.uint64) * 7 % P)
    assert len(pool.pids()) == WORKERS
    assert os.getpid() not in pool.pids()


def test_a_shard_whose_worker_is_killed_is_done_again(pool: Ray, tmp_path: Path) -> None:
    shards = [Shard(CONTEXT, 10 * i, 10 * i + 10, (str(tmp_path / "died"),)) for i in range(5)]
    before = pool.map(work.where, [Shard(CONTEXT, i, i) for i in range(WORKERS)]) and pool.pids()
    assert pool.map(work.die_once, shards) == [10] * 5
    assert (tmp_path / "died").exists()
    assert set(pool.pids()) != set(before)


def test_a_round_in_which_workers_are_killed_has_numpys_sum(pool: Ray) -> None:
    killing = Killing(pool, before=(3, 14))
    exact_round(killing, dropouts={"c001": "masked-input"})
    assert len(killing.killed) == 2


def test_more_workers_than_the_cluster_has_cores_are_refused(pool: Ray) -> None:
    """They would be waited for, for ever; the cluster that is there stays."""
    with pytest.raises(ExecutorError, match=f"{WORKERS + 1} workers .* has {WORKERS}"):
        Ray(WORKERS + 1)
    assert pool.map(work.squares, [Shard(CONTEXT, 3, 4)])[0][0] == 9


def test_errors_and_guests_are_those_of_every_executor(pool: Ray) -> None:
    with pytest.raises(VerificationError) as caught:
        pool.map(work.fail, [Shard(CONTEXT, 0, 1)])
    assert caught.value.culprit == "c001"
    guest = pool.host(Counter, 1)
    assert [guest.call("add", 1), guest.call("add", 1)] == [2, 3]
    for pid in pool.pids():
        os.kill(pid, 9)
    with pytest.raises(WorkerLost):
        guest.call("add", 1)
    assert pool.map(work.squares, [Shard(CONTEXT, 3, 4)])[0][0] == 9
