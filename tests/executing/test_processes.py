"""Workers in processes: the same bits as here, and a worker that is lost loses nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.workers import work
from support.workers.work import Counter

from mpc.optional import MissingPackage
from secure_agg import errors
from secure_agg.errors import ConfigError, ExecutorError, LocalProtocolError, VerificationError, WorkerLost
from secure_agg.executing import IN_PROCESS, InProcess, Processes, Ray, Shard, carrying, executor_of
from secure_agg.executing import pool as pools
from secure_agg.executing.pool import Pool

CONTEXT = b"c" * 32


def shards(count: int, *arguments: object) -> list[Shard]:
    return [Shard(CONTEXT, 10 * i, 10 * i + 10, arguments) for i in range(count)]


def failures() -> list[Exception]:
    """One of every class of errors, and the one for packages that are not there."""
    classes = [
        found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, errors.SecureAggError)
    ]
    return [*(each("it is not so") for each in classes), errors.MissingExtra("no", extra="fast"),
            MissingPackage("numba", "fast")]  # fmt: skip


@pytest.mark.parametrize("failure", failures(), ids=lambda failure: type(failure).__name__)
def test_every_error_comes_back_from_a_worker_as_what_it_was(failure: Exception) -> None:
    """Naively one that can't be made anew from its message is a TypeError about itself, where work was asked for."""
    found = pickle.loads(pickle.dumps(failure))  # noqa: S301  # as a worker and its process hand it over
    assert (type(found), found.args, vars(found)) == (type(failure), failure.args, vars(failure))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Processes(3, least=1, handing=0) as workers:
        yield workers


def test_shards_come_back_in_order_whoever_did_them(pool: Pool) -> None:
    here = IN_PROCESS.map(work.squares, shards(7))
    there = pool.map(work.squares, shards(7))
    assert np.array_equal(np.concatenate(there), np.arange(70) ** 2)
    assert all(np.array_equal(a, b) for a, b in zip(here, there, strict=True))
    assert os.getpid() not in pool.map(work.where, shards(7))


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_arrays_are_carried_in_memory_or_through_the_pipe(size: int, shares: bool, pool: Pool) -> None:
    values = np.arange(size, dtype=np.uint64)
    for seat in pool._seats:
        if seat._worker is not None:
            seat._worker._line.shares = shares and hasattr(os, "memfd_create")  # type: ignore[attr-defined]
    for found in pool.map(work.double, shards(4, values)):
        assert np.array_equal(found, 2 * values)
        found += 1  # it is the caller's own


def test_memory_that_was_shared_is_given_back(pool: Pool) -> None:
    values = np.zeros(1 << 18, dtype=np.uint64)
    pool.map(work.double, shards(3, values))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        pool.map(work.double, shards(3, values))
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_shard_whose_worker_is_killed_is_done_again(
    pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = pool.map(work.where, shards(3)) and pool.pids()
    with caplog.at_level(logging.WARNING, "secure_agg"):
        assert pool.map(work.die_once, shards(5, str(tmp_path / "died"))) == [10] * 5
    assert (tmp_path / "died").exists()
    assert set(pool.pids()) != set(before)
    assert "is done again" in caplog.text


@pytest.mark.slow
def test_a_shard_that_ends_every_worker_is_given_up(pool: Pool) -> None:
    with pytest.raises(WorkerLost, match=rf"{pools.TRIES} workers were lost with shard \[0, 10\) of 6363"):
        pool.map(work.die_elsewhere, [Shard(CONTEXT, 0, 10, (os.getpid(),))])
    assert pool.map(work.squares, shards(1))[0][3] == 9


def test_what_work_raises_comes_back_as_it_is(pool: Pool) -> None:
    for executor in (IN_PROCESS, pool):
        with pytest.raises(VerificationError, match="it is not so") as caught:
            executor.map(work.fail, shards(4))
        assert (caught.value.phase, caught.value.culprit) == ("unmask", "c001")
    with pytest.raises(TypeError, match="can't be handed back"):
        pool.map(work.unpicklable, shards(1))


def test_an_answer_about_something_else_is_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools._Seat, "call", lambda *_: (b"d" * 32, 0, 10, None))
    with pytest.raises(ExecutorError, match=r"an answer about \[0, 10\) of 6464"):
        pool.map(work.squares, shards(1))


def test_a_worker_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "__version__", "0.0.0")
    with Processes(1) as pool, pytest.raises(ExecutorError, match=r"and this is 0\.0\.0"):
        pool.map(work.squares, shards(1))


def test_guests_keep_their_state_and_are_lost_with_their_worker(pool: Pool) -> None:
    guests = [pool.host(Counter, i) for i in range(4)]
    assert [guest.call("add", 1) for guest in guests] == [1, 2, 3, 4]
    assert [guest.call("add", 10) for guest in guests] == [11, 12, 13, 14]
    gone = pool.pids()[0]
    os.kill(gone, 9)
    alive = []
    for guest in guests:
        try:
            alive.append(guest.call("add", 0))
        except WorkerLost:
            guest.leave()
    assert 0 < len(alive) < len(guests)
    assert gone not in pool.pids()
    assert IN_PROCESS.host(Counter, 1).call("add", 1) == 2


def test_a_closed_executor_takes_no_work_and_leaves_no_process() -> None:
    pool = Processes(2)
    pool.map(work.squares, shards(2))
    pids = pool.pids()
    pool.close()
    pool.close()
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(LocalProtocolError):
        pool.map(work.squares, shards(1))
    with pytest.raises(LocalProtocolError):
        pool.host(Counter, 1)


@pytest.mark.slow
def test_workers_end_with_whoever_started_them() -> None:
    """Also where that is killed: nothing is left to close them then."""
    code = (
        "import os\nfrom secure_agg.executing import Processes, Shard\nfrom support.workers import work\n"
        "pool = Processes(2)\npool.map(work.squares, [Shard(b'', i, i + 1) for i in range(2)])\n"
        "print(*pool.pids(), flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2, done.stderr
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            file = os.pidfd_open(pid)
            ended, _, _ = select.select([file], [], [], 120)
            os.close(file)
            assert ended


@pytest.mark.slow
def test_a_script_without_a_guard_can_use_processes(tmp_path: Path) -> None:
    """Nothing runs the main module again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, secure_agg\n"
        "updates = {f'c{i}': [np.full(9, 0.25, np.float32)] for i in range(3)}\n"
        "print(secure_agg.aggregate(updates, executor='processes:2').average[0][0].round(3))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "0.25\n", done.stderr


def test_secrets_of_shards_are_not_shown() -> None:
    shard = Shard(CONTEXT, 0, 5, (b"a secret key",))
    assert "secret" not in f"{shard!r} {shard}"
    assert str(shard) == "shard [0, 5) of 6363636363636363…"
    assert repr(Processes(2)) == "Processes(2)"


def test_executors_by_name() -> None:
    assert isinstance(executor_of("in-process"), InProcess)
    with executor_of("processes:3") as three, executor_of("processes") as usual:
        assert isinstance(three, Processes)
        assert three.workers == 3
        assert isinstance(usual, Processes)


@pytest.mark.parametrize("name", ["", "threads", "processes:0", "processes:-1", "processes:99999", "in-process:2"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is no executor|not an integer in"):
        executor_of(name)


@pytest.mark.parametrize("workers", [0, -1, 1025, True, 2.5])
def test_a_number_of_workers_out_of_range_is_refused(workers: int) -> None:
    with pytest.raises(ConfigError, match="not an integer in"):
        Processes(workers)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="ray is not installed"):
        Ray(2)


def test_a_line_says_when_the_other_side_is_gone() -> None:
    read, write = os.pipe()
    os.close(write)
    with open(read, "rb") as source, open(os.devnull, "wb") as sink:
        line = carrying.Line(source, sink, os.getpid())
        with pytest.raises(EOFError):
            line.receive()
