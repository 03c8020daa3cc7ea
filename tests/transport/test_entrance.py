"""Strangers at an operator's port: however many come, and whatever they do, a pinned peer gets in."""

from __future__ import annotations

import asyncio
import functools
import resource
import select
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.operating.operators import ANYWHERE, COORDINATOR, OPERATOR, ROSTER, operators, running

from secure_agg.admission import Admission, neighbourhood
from secure_agg.errors import ConfigError
from secure_agg.roles.trust import Trust
from secure_agg.transport import entrance, keyfile, server
from secure_agg.transport.channel import Endpoint
from secure_agg.transport.entrance import HANDSHAKE_S, OF_ONE_PEER, Entrance
from secure_agg.transport.server import OperatorServer

FILES = 1024
"""What a process may open where nobody has said otherwise."""
STRANGERS = 1400


class Echo:
    def receive(self, request: bytes, /) -> bytes:
        return request


# --- places -----------------------------------------------------------------------------------------------------------


def test_who_holds_most_places_loses_its_oldest() -> None:
    places: Admission[int] = Admission(4)
    assert [places.admit(i, "192.0.2.1") for i in range(3)] == [None] * 3
    assert places.admit(3, "192.0.2.2") is None
    assert places.admit(4, "192.0.2.3") == 0
    assert places.admit(5, "192.0.2.1") == 1  # it pushes out its own, and nobody else
    places.refresh(2)
    assert places.admit(6, "192.0.2.1") == 5
    places.leave(3)
    places.leave(3)
    assert places.admit(7, "192.0.2.2") is None
    assert len(places) == 4


def test_a_newcomer_is_never_the_one_who_goes() -> None:
    places: Admission[int] = Admission(8)
    for i in range(100):
        places.admit(i, f"2001:db8::{i:x}")
    assert places.admit(1000, "192.0.2.1") == 92
    for i in range(100, 200):
        assert places.admit(i, f"2001:db8::{i:x}") != 1000


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
    ],
)
def test_an_owner_of_many_addresses_counts_as_one(one: str, other: str, same: bool) -> None:
    assert (neighbourhood(one) == neighbourhood(other)) is same


# --- at the door ------------------------------------------------------------------------------------------------------


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[Endpoint, int]]:
    """An operator's process that may open 1,024 files, and its number."""
    keyfile.save(tmp_path / "operator.key", OPERATOR, "test")
    (tmp_path / "peer.card").write_bytes(COORDINATOR.card().to_bytes())
    Trust(operators=ROSTER).save(tmp_path / "trust.json")
    program = Path(__file__).parents[1] / "support" / "operating" / "operator_process.py"
    files = (tmp_path / "operator.key", tmp_path / "peer.card", tmp_path / "trust.json")
    started = subprocess.Popen(
        [sys.executable, str(program), *map(str, files), ANYWHERE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        resource.prlimit(started.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        assert started.stdout is not None
        assert select.select([started.stdout], [], [], 120)[0], "it says nothing"
        yield Endpoint(started.stdout.readline().decode().strip(), OPERATOR.card()), started.pid
    finally:
        started.kill()
        started.communicate()


def at(endpoint: Endpoint) -> tuple[str, int]:
    host, _, port = endpoint.address.rpartition(":")
    return host, int(port)


@pytest.mark.parametrize("says", [b"", b"\x16", b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "a byte", "no TLS"])
def test_a_thousand_strangers_do_not_lock_a_peer_out(process: tuple[Endpoint, int], says: bytes) -> None:
    """They take all the descriptors of a server that gives each connection one, and keep them for two minutes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < STRANGERS + 200:
        pytest.skip("this process may not open so many sockets")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, STRANGERS + 200), hard))
    endpoint, number = process

    async def test() -> None:
        async with operators(endpoint) as asked:
            await asked.connect(120.0)
            assert await asked.call("aggregator-1", b"hello", deadline=120.0) == b"hello"

    with ExitStack() as stack:
        for _ in range(STRANGERS):
            stranger = stack.enter_context(socket.create_connection(at(endpoint), timeout=120))
            try:
                stranger.sendall(says)
            except OSError:
                assert says  # it was pushed out before it could speak
        running(test)
        assert len(list(Path(f"/proc/{number}/fd").iterdir())) < FILES // 2 + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_stranger_has_some_seconds_and_no_more() -> None:
    async def test() -> None:
        door = Entrance(1, patience=0.2)
        port = await door.open("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
        await door.close()

    running(test)


@pytest.mark.slow
def test_a_peer_stays_as_long_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "Entrance", functools.partial(Entrance, patience=3.0))

    async def test() -> None:
        operator = OperatorServer(Echo(), OPERATOR, [COORDINATOR.card()], ROSTER)
        endpoint = Endpoint(await operator.start(ANYWHERE), OPERATOR.card())
        async with operators(endpoint) as asked:
            await asked.connect()
            assert operator._entrance is not None
            (before,) = operator._entrance._known["aggregator"]
            reader, writer = await asyncio.open_connection(*at(endpoint))
            assert await reader.read() == b""  # a stranger who has come later is gone
            writer.close()
            assert await asked.call("aggregator-1", bytes(3 << 20)) == bytes(3 << 20)
            assert operator._entrance._known["aggregator"] == [before]
        await operator.stop(0)

    running(test)


def test_tls_without_a_pinned_certificate_is_no_way_to_a_peer_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "Entrance", functools.partial(Entrance, patience=1.0))

    async def test() -> None:
        operator = OperatorServer(Echo(), OPERATOR, [COORDINATOR.card()], ROSTER)
        host, port = at(Endpoint(await operator.start(ANYWHERE), OPERATOR.card()))
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        anybody.set_alpn_protocols(["h2"])
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=anybody)
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            await reader.read()
        except OSError:  # TLS has said no, or the door was shut
            pass
        assert operator._entrance is not None
        assert not operator._entrance._known
        await operator.stop(0)

    running(test)


def test_a_peer_has_some_connections_and_no_more() -> None:
    async def test() -> None:
        operator = OperatorServer(Echo(), OPERATOR, [COORDINATOR.card()], ROSTER)
        endpoint = Endpoint(await operator.start(ANYWHERE), OPERATOR.card())
        for _ in range(2 * OF_ONE_PEER):
            asked = operators(endpoint)
            await asked.__aenter__()
            await asked.ping("aggregator-1")
            assert operator._entrance is not None
            assert len(operator._entrance._known["aggregator"]) <= OF_ONE_PEER
        assert await asked.call("aggregator-1", b"hello") == b"hello"
        await operator.stop(0)

    running(test)


def test_a_process_that_may_open_next_to_no_files_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    with pytest.raises(ConfigError, match="64 open files"):
        Entrance(1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, 300))
    assert entrance._places(1)[0] < entrance.STRANGERS
    assert HANDSHAKE_S < 60


def test_thousands_of_peers_share_what_files_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of 2,000 members did not start where 20,000 files are the limit: that is not eight lines for each."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20_000, 20_000))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    strangers, known = entrance._places(2000, 4000)
    assert known >= 2 * 2000
    assert 128 + 3 * (strangers + known) <= 20_000

    class Line:
        is_over = False

        def abort(self) -> None:
            self.is_over = True

    async def test() -> None:
        door = Entrance(2000)
        door._peers.places = 4
        lines = []
        for number, peer in enumerate(["ann", "ann", "ann", "bob", "cyd", "dan"]):
            one = entrance._Outside(door)
            one.transport = lines.append(Line()) or lines[-1]  # type: ignore[assignment, func-returns-value]
            door._open[str(number)] = one
            door.recognise(f"x/{number}", peer)
            for line, other in zip(lines, list(door._open.values()), strict=True):
                if line.is_over and not other.gone:
                    other.connection_lost(None)
        assert [line.is_over for line in lines] == [True, True, False, False, False, False]
        door._timers.clear()
        door._known.clear()
        await door.close()

    asyncio.run(test())


def test_a_peer_that_opens_connections_without_end_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each beyond the eighth was a line."""

    async def test() -> None:
        door = Entrance(1)
        for number in range(3 * OF_ONE_PEER):
            one = entrance._Outside(door)
            one.transport = SimpleNamespace(abort=lambda: None)  # type: ignore[assignment]
            door._open[str(number)] = one
            door.recognise(f"x/{number}", "ann")
        door._timers.clear()
        door._known.clear()
        await door.close()

    asyncio.run(test())
    assert caplog.text.count("ann has more than 8 connections") == 1


def test_a_long_path_to_temporary_files_is_no_obstacle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A socket's name has about a hundred bytes, a folder's path may have thousands."""
    long = tmp_path / ("long-" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    async def test() -> None:
        door = Entrance(1)
        assert len(door.inner) < 104
        await door.close()
        assert list(long.iterdir()) == []

    asyncio.run(test())
    monkeypatch.setattr(entrance, "_SHORT", str(long))
    with pytest.raises(ConfigError, match="set TMPDIR to a shorter one"):
        Entrance(1)
    assert list(long.iterdir()) == []
