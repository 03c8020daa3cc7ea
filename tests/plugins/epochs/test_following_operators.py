"""An operator that goes from epoch to epoch: what it follows, what it refuses, and what it serves then."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support.epochs import TASK, Changing
from support.federation import identity
from support.operating.operators import ANYWHERE, COORDINATOR, OPERATOR, OTHER, ROSTER, fails, operators, running

from secure_agg.errors import ConfigError, MalformedMessage, StoreError, TrustError, VerificationError
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import decode, encode
from secure_agg.roles.epochs.following import Steps, Where
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust
from secure_agg.transport.blocking import connected
from secure_agg.transport.channel import Endpoint, Following
from secure_agg.transport.client import Operators
from secure_agg.transport.credentials import OperatorKeys
from secure_agg.transport.epochs import bring
from secure_agg.transport.following import FollowingOperator
from secure_agg.transport.server import OperatorServer

HOLDER = identity("holder")


class Role:
    """Says which epoch it was made for, where its operator is pinned."""

    def __init__(self, trust: Trust) -> None:
        if trust.operators.get(HOLDER.name) != HOLDER.public:
            raise ConfigError(f"{HOLDER.name!r} is no operator")
        self.epoch = trust.task(TASK).epoch

    def receive(self, request: bytes, /) -> bytes:
        return bytes([self.epoch])


@pytest.fixture
def task(tmp_path: Path) -> Iterator[Changing]:
    """A task of five members whose first epochs bring an operator, another clip, and take the operator away again."""
    made = Changing(tmp_path, 5, min_clients=2)
    own = {made.operator.name: made.operator.public}
    made.round()
    made.change(operators=Roster(own | {HOLDER.name: HOLDER.public}), new={HOLDER.name: HOLDER})
    made.change(policy=msgspec.structs.replace(made.trust.task(TASK).policy, clip=0.5))
    made.change(operators=Roster(own))
    yield made
    made.ledger.close()


def shown(holder: FollowingOperator, steps: Steps | None, task: str = TASK) -> Where:
    asked = Following(task, b"" if steps is None else steps.to_bytes())
    return decode(Where, holder.follow(encode(asked)), 1 << 10)


def some(task: Changing, first: int, last: int, seen: int | None = None) -> Steps:
    """Epochs ``first`` to ``last``."""
    steps = task.ledger.steps(TASK, first - 1, seen)
    return Steps(steps.steps[: last - first + 1])


def made(folder: Path, task: Changing, store: AttemptStore, steps: Steps | None = None) -> FollowingOperator:
    return FollowingOperator(folder, HOLDER.name, task.genesis, store, Role, steps=steps)


def test_who_becomes_an_operator_serves_until_it_is_none_any_more(task: Changing, tmp_path: Path) -> None:
    folder, store = tmp_path / "holder", AttemptStore()
    with pytest.raises(ConfigError, match="is no operator"):
        made(folder, task, store)
    holder = made(folder, task, store, some(task, 1, 1))
    assert holder.receive(b"") == b"\1"
    where = shown(holder, None)
    assert (where.epoch, where.digest) == (1, holder.trust.task(TASK).epoch_digest)
    assert shown(holder, some(task, 2, 2, where.seen)).epoch == 2
    assert holder.receive(b"") == b"\2"
    again = made(folder, task, store)
    assert again.receive(b"") == b"\2"
    assert shown(again, task.ledger.steps(TASK, 2, shown(again, None).seen)).epoch == 3
    with pytest.raises(TrustError, match="serves nothing in the epoch in force: 'holder' is no operator"):
        again.receive(b"")
    with pytest.raises(ConfigError):
        made(folder, task, store)


def test_who_is_still_to_become_an_operator_waits_for_its_epoch(task: Changing, tmp_path: Path) -> None:
    holder = FollowingOperator(tmp_path / "holder", HOLDER.name, task.genesis, AttemptStore(), Role, joining=True)
    with pytest.raises(TrustError, match="serves nothing in the epoch in force"):
        holder.receive(b"")
    assert shown(holder, None).epoch == 0
    assert shown(holder, some(task, 1, 1)).epoch == 1
    assert holder.receive(b"") == b"\1"


def test_what_does_not_follow_changes_nothing(task: Changing, tmp_path: Path) -> None:
    folder, store = tmp_path / "holder", AttemptStore()
    holder = made(folder, task, store, some(task, 1, 1))
    seen = shown(holder, None).seen
    (step,) = some(task, 2, 2, seen).steps
    (skipped,) = some(task, 3, 3, seen).steps
    for wrong, match in (
        (skipped, "does not follow"),
        (msgspec.structs.replace(step, receipt=skipped.receipt), "is not in the tree"),
        (msgspec.structs.replace(step, record=skipped.record), "differs from its evidence"),
    ):
        with pytest.raises(VerificationError, match=match):
            shown(holder, Steps((wrong,)))
        assert (holder.receive(b""), shown(holder, None).epoch) == (b"\1", 1)
    with pytest.raises(TrustError, match="'other', whose epochs are shown, is not pinned"):
        shown(holder, None, "other")
    with pytest.raises(MalformedMessage):
        holder.follow(b"\0")
    assert shown(holder, Steps((step,))).epoch == 2


def test_it_is_not_started_with_files_or_a_store_of_another_past(task: Changing, tmp_path: Path) -> None:
    folder, store = tmp_path / "holder", AttemptStore()
    made(folder, task, store, some(task, 1, 2))
    (path,) = (folder / "epochs").glob("*/000001.epoch")
    path.write_bytes(path.with_name("000002.epoch").read_bytes())
    with pytest.raises(StoreError, match="another than its name says"):
        made(folder, task, store)
    with pytest.raises(StoreError, match="not the epoch"):
        made(folder, task, AttemptStore())


def test_a_new_folder_with_the_old_store_leads_nobody_back(task: Changing, tmp_path: Path) -> None:
    """As after a key was made anew: the folder has no epochs, and what is pinned first is an epoch that is over."""
    store = AttemptStore()
    first = made(tmp_path / "before", task, store, some(task, 1, 1)).trust
    made(tmp_path / "before", task, store, some(task, 2, 2))
    again = FollowingOperator(tmp_path / "new", HOLDER.name, first, store, Role)
    with pytest.raises(TrustError, match="epoch 2 of task 'task' was followed here before"):
        again.receive(b"")
    assert shown(again, None).epoch == 1
    assert shown(again, some(task, 2, 2)).epoch == 2
    assert again.receive(b"") == b"\2"


def test_tasks_whose_operators_become_others_are_for_processes_of_their_own(task: Changing, tmp_path: Path) -> None:
    pins = replace(task.genesis, tasks={**task.genesis.tasks, "other": task.genesis.tasks[TASK]})
    with pytest.raises(TrustError, match="serves each in a process of its own"):
        FollowingOperator(tmp_path / "holder", HOLDER.name, pins, AttemptStore(), Role, steps=some(task, 1, 1))


def test_a_role_that_follows_nothing_says_so_over_the_wire() -> None:
    class Fixed:
        def receive(self, request: bytes, /) -> bytes:
            return request

    async def test() -> None:
        server = OperatorServer(Fixed(), OPERATOR, [COORDINATOR.card()], ROSTER)
        try:
            async with operators(Endpoint(await server.start(ANYWHERE), OPERATOR.card())) as asked:
                await fails(asked.follow("aggregator-1", TASK), ConfigError, "follows no epochs")
                assert await asked.call("aggregator-1", b"x") == b"x"
        finally:
            await server.stop(0)

    running(test)


@contextlib.contextmanager
def served(role: Any, keys: OperatorKeys) -> Iterator[Endpoint]:
    """A role behind a port, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> tuple[OperatorServer, Endpoint]:
        server = OperatorServer(role, keys, [COORDINATOR.card()], ROSTER)
        return server, Endpoint(await server.start(ANYWHERE), keys.card())

    try:
        server, endpoint = asyncio.run_coroutine_threadsafe(begin(), loop).result()
        try:
            yield endpoint
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(0), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_all_are_brought_to_the_epoch_in_force_and_who_does_not_follow_is_said(task: Changing, tmp_path: Path) -> None:
    class Fixed:
        def receive(self, request: bytes, /) -> bytes:
            return request

    class Knows(Fixed):
        def __init__(self, trust: Trust) -> None:
            self.epoch = trust.task(TASK).epoch

    following = FollowingOperator(tmp_path / "holder", OPERATOR.name, task.genesis, AttemptStore(), Knows)
    with (
        served(following, OPERATOR) as first,
        served(Fixed(), OTHER) as second,
        connected(Operators(COORDINATOR, [first, second], ROSTER)) as holders,
        Ledger(tmp_path / "another.db") as empty,
    ):
        assert bring(holders, empty, TASK) == {}  # no epoch, so nobody is asked
        for _ in range(2):
            refused = bring(holders, task.ledger, f"{TASK}-evaluation")
            assert {name: type(error) for name, error in refused.items()} == {"aggregator-2": ConfigError}
            assert following.trust.task(TASK).epoch == 3
