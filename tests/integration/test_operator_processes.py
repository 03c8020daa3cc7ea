"""Operators as processes: who is gone is noticed and named, and nobody is left behind."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chance.ports import held
from support.federation import Federation
from support.operating.operators import ANYWHERE, COORDINATOR, OPERATOR, ROSTER, fails, keys_of, operators, running

from secure_agg.errors import (
    AlreadyReleased,
    ConfigError,
    MalformedMessage,
    OperatorLost,
)
from secure_agg.local.rounds import LocalRound
from secure_agg.roles.trust import Trust
from secure_agg.transport import keyfile
from secure_agg.transport.blocking import connected
from secure_agg.transport.channel import Endpoint
from secure_agg.transport.client import Operators
from secure_agg.transport.credentials import OperatorKeys
from secure_agg.transport.processes import OperatorProcess, aggregator_processes
from secure_agg.transport.server import OperatorServer
from secure_agg.transport.share_holders import aggregator_set

# --- a role of the tests in a process of its own ----------------------------------------------------------------------


class Process:
    """``operator_process.py`` on a port of its own."""

    def __init__(self, folder: Path, address: str = ANYWHERE) -> None:
        program = Path(__file__).parents[1] / "support" / "operating" / "operator_process.py"
        files = (folder / "operator.key", folder / "peer.card", folder / "trust.json")
        self.process = subprocess.Popen(
            [sys.executable, str(program), *map(str, files), address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.endpoint = Endpoint(self.line(), OPERATOR.card())

    def line(self, timeout: float = 120.0) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], timeout)[0], "it says nothing"
        return self.process.stdout.readline().decode().rstrip("\n")

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operator")
    keyfile.save(folder / "operator.key", OPERATOR, "test")
    (folder / "peer.card").write_bytes(COORDINATOR.card().to_bytes())
    Trust(operators=ROSTER).save(folder / "trust.json")
    return folder


@pytest.fixture
def process(place: Path) -> Iterator[Process]:
    process = Process(place)
    yield process
    process.end()


async def said(process: Process, line: str) -> None:
    assert await asyncio.to_thread(process.line) == line


def test_a_process_killed_in_the_middle_of_a_call_is_noticed_at_once(process: Process) -> None:
    async def test() -> None:
        async with operators(process.endpoint, deadline=300.0) as asked:
            call = asyncio.create_task(asked.call("aggregator-1", b"hang", phase="collect"))
            await said(process, "received b'hang'")
            killed = time.monotonic()
            process.process.kill()
            lost = await fails(call, OperatorLost, "the process is gone")
            assert time.monotonic() - killed < 60, "long before the deadline"
            assert (lost.phase, lost.culprit) == ("collect", "aggregator-1")
            await fails(asked.call("aggregator-1", b"x"), OperatorLost)

    running(test)


def test_a_stopped_process_is_lost_at_the_deadline_and_found_again_when_it_goes_on(process: Process) -> None:
    async def test() -> None:
        async with operators(process.endpoint) as asked:
            await asked.connect()
            os.kill(process.process.pid, signal.SIGSTOP)
            started = time.monotonic()
            lost = await fails(asked.call("aggregator-1", b"x", deadline=1.0), OperatorLost, "within 1 s")
            assert 0.9 < time.monotonic() - started < 60, "at this call's deadline, and not at the usual one"
            assert lost.culprit == "aggregator-1"
            os.kill(process.process.pid, signal.SIGCONT)
            await asked.connect()

    running(test)


def test_a_restarted_process_is_found_again_on_the_same_port(place: Path, process: Process) -> None:
    async def test() -> None:
        async with operators(process.endpoint) as asked:
            assert await asked.call("aggregator-1", b"before") == b"before"
            process.end()
            with held(process.endpoint.address):
                await fails(asked.call("aggregator-1", b"between"), OperatorLost)
                again = await asyncio.to_thread(Process, place, process.endpoint.address)
            try:
                assert again.endpoint.address == process.endpoint.address
                await asked.connect()
                assert await asked.call("aggregator-1", b"after") == b"after"
            finally:
                again.end()

    running(test)


def test_errors_cross_processes_with_their_class(process: Process) -> None:
    async def test() -> None:
        async with operators(process.endpoint) as asked:
            error = await fails(asked.call("aggregator-1", b"again"), AlreadyReleased)
            assert (error.phase, "names 'aggregator'" in str(error)) == ("decrypt", True)

    running(test)


@pytest.mark.parametrize("how", ["SIGTERM", "the end of its input"])
def test_a_process_ends_in_good_order_by(process: Process, how: str) -> None:
    if how == "SIGTERM":
        process.process.terminate()
    else:
        assert process.process.stdin is not None
        process.process.stdin.close()
        process.process.stdin = None
    assert process.line() == "stopped"
    assert process.process.wait(120) == 0


def test_an_operator_that_never_comes_up_is_lost() -> None:
    with socket.socket() as taken:  # bound, and never listening: refused at once
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        async def test() -> None:
            async with operators(Endpoint(address, OPERATOR.card())) as asked:
                await fails(asked.connect(timeout=0.5), OperatorLost, "can't be reached")

        running(test)


# --- the roles --------------------------------------------------------------------------------------------------------


def test_a_key_holder_serves_a_round_from_behind_a_port() -> None:
    federation = Federation(4, backend="paillier", options={"modulus_bits": 2048})
    name = federation.holder_names[0]
    own, coordinator = keys_of(name), keys_of("aggregator")
    pinned = federation.trust.operators

    def run(endpoint: Endpoint) -> tuple[str, ...]:
        with connected(Operators(coordinator, [endpoint], pinned)) as remote:
            clients = {client: federation.client(client) for client in federation.names}
            local = LocalRound(federation.aggregator(), clients, federation.updates, holders=remote)
            participants = local.run().participants
            assert local.stats()["operator.decrypt_s"] > 0
            with pytest.raises(MalformedMessage):
                asyncio.run_coroutine_threadsafe(remote[name]._operators.call(name, b"x"), remote[name]._loop).result()
            return participants

    async def test() -> None:
        server = OperatorServer(federation.holder(name), own, [coordinator.card()], pinned)
        endpoint = Endpoint(await server.start(ANYWHERE), own.card())
        try:
            assert await asyncio.to_thread(run, endpoint) == tuple(federation.names)
        finally:
            await server.stop(0)

    running(test)


def test_a_round_over_three_real_aggregators_and_the_loss_of_one() -> None:
    federation = Federation(4, backend="additive")
    keys, coordinator = (
        [keys_of(name, share_holder=True) for name in federation.share_holder_names],
        keys_of("aggregator"),
    )
    pinned = federation.trust.operators
    with aggregator_processes(keys, coordinator.card(), federation.trust) as running_ones:
        endpoints = [process.endpoint for process in running_ones.values()]
        cards = [endpoint.card for endpoint in endpoints]
        assert aggregator_set(cards, pinned).to_bytes() == federation.setup
        with connected(Operators(coordinator, endpoints, pinned)) as remote:
            clients = {name: federation.client(name) for name in federation.names}
            local = LocalRound(federation.aggregator(), clients, federation.updates, holders=remote)
            evidence = local.run()
            assert evidence.participants == tuple(federation.names)
            assert {verified.record.round for verified in local.deliver().values()} == {0}

            first = running_ones["aggregator-1"]
            first.kill()
            with held(first.endpoint.address):
                begin = federation.aggregator().start()[0]
                with pytest.raises(OperatorLost) as caught:
                    remote["aggregator-1"].receive(begin.data)
                assert caught.value.culprit == "aggregator-1"

                first.restart()
            assert first.endpoint == endpoints[0]
            again = federation.aggregator(attempt=1).start()[0]
            assert again.recipient == "aggregator-1"
            with (
                connected(Operators(coordinator, [first.endpoint], pinned)) as restarted,
                pytest.raises(AlreadyReleased, match="has signed a set for this round"),
            ):
                restarted["aggregator-1"].receive(again.data)
        assert "consistency" in first.log
        assert first.stop() == 0
    assert not first.folder.exists()


PARENT = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from support.federation import Federation
from support.operating.operators import keys_of
from secure_agg.transport.processes import aggregator_processes
federation = Federation(4, backend="additive")
keys = [keys_of(name, share_holder=True) for name in federation.share_holder_names[:2]]
with aggregator_processes(keys, keys_of("aggregator").card(), federation.trust) as running:
    sys.stdout.write(" ".join(str(process.pid) for process in running.values()) + "\\n")
    sys.stdout.flush()
    threading.Event().wait()
"""


def test_no_aggregator_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    """Killed without a chance to clean up; one of its aggregators is stopped at that moment."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(Path(__file__).parents[1])],
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    handles: list[int] = []
    try:
        pids = [int(word) for word in parent.stdout.readline().split()]
        handles = [os.pidfd_open(pid) for pid in pids]
        assert len(handles) == 2
        os.kill(pids[0], signal.SIGSTOP)
        # Stopped it is once every thread of it is; what the parent's end means for it is decided by that.
        while not all(" T " in stat.read_text() for stat in Path(f"/proc/{pids[0]}/task").glob("*/stat")):
            os.sched_yield()
        parent.kill()
        for handle in handles:
            assert select.select([handle], [], [], 120)[0], "it is still there"
    finally:
        parent.kill()
        parent.communicate()
        for handle in handles:
            os.close(handle)


def test_an_aggregator_that_can_not_start_says_why_and_leaves_nothing_behind() -> None:
    federation = Federation(4, backend="additive")
    unpinned = OperatorKeys.generate("aggregator-1", share_holder=True)
    with (
        pytest.raises(OperatorLost, match="not the pinned operator of that name") as caught,
        aggregator_processes([unpinned], keys_of("aggregator").card(), federation.trust),
    ):
        pytest.fail("it started")
    assert caught.value.culprit == "aggregator-1"


def test_a_running_aggregator_is_not_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alive:
        def poll(self) -> None:
            return None

    process = object.__new__(OperatorProcess)
    process.name, process._process = "aggregator-1", Alive()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="is running"):
        process.restart()
