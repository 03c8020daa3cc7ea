"""A witness cosigns one history of each log: every answer of the protocol, what survives a crash, and who races.

Most of it talks to the witness without sockets; real processes are at the end, gathering in test_ledger_gather.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import select
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import support.records.logs as logs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.records.logs import ORIGIN, Log, seed, sign_text

from secure_agg.errors import ConfigError, LedgerDamaged, LedgerError, VerificationError
from secure_agg.ledger.witness import server as witness_server
from secure_agg.ledger.witness.server import WitnessServer
from secure_agg.ledger.witness.state import WitnessState
from secure_agg.ledger.witness.witness import MAX_REQUEST, AddCheckpoint, Answer, Witness
from secure_agg.protocol.identity import Identity
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import WitnessKey, timestamp
from secure_agg.tlog.note import Note, SignatureLine, VerifierKey, encode_base64
from zk import merkle

NAME = "witness.example"
NOW = 1_700_000_000
IDENTITY = Identity("witness", seed("witness"))
KEY = WitnessKey(NAME, IDENTITY.public)
LOG = Log()
ORIGIN_HASH = hashlib.sha256(ORIGIN.encode()).hexdigest()


class Clock:
    """POSIX seconds, set by the test."""

    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def state(tmp_path: Path) -> Iterator[WitnessState]:
    opened = WitnessState(tmp_path / "state", KEY)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def witness(state: WitnessState, clock: Clock) -> Witness:
    return Witness(IDENTITY, [LOG.key], state, clock=clock)


def cosigned(answer: Answer, checkpoint: Checkpoint) -> int:
    """The time of the cosignature that an answer must be, checked."""
    assert (answer.status, answer.content_type) == (200, "text/plain; charset=utf-8")
    line = SignatureLine.parse(answer.body.decode().removesuffix("\n"))
    assert KEY.made(line)
    KEY.verify(checkpoint.text, line.signature)
    return timestamp(line.signature)


def status(answer: Answer) -> int:
    return int(answer.status)


# What is cosigned


def test_every_growth_is_cosigned_from_the_empty_tree_on(witness: Witness, clock: Clock) -> None:
    last = 0
    for size in (0, 0, 1, 2, 3, 5, 8, 8, 13, 64, 65):
        clock.now += 0.75
        seconds = cosigned(witness.add_checkpoint(LOG.request(last, size)), LOG.checkpoint(size))
        assert seconds == int(clock.now)
        last = size


def test_the_first_checkpoint_may_be_of_any_size(witness: Witness) -> None:
    cosigned(witness.add_checkpoint(LOG.request(0, 1000)), LOG.checkpoint(1000))


def test_extension_lines_are_cosigned_with_the_rest(witness: Witness) -> None:
    checkpoint = Checkpoint(ORIGIN, 3, LOG.root(3), ("an extension",))
    body = AddCheckpoint(0, (), LOG.sign(checkpoint.text).to_bytes()).to_bytes()
    cosigned(witness.add_checkpoint(body), checkpoint)


def test_a_clock_that_is_set_back_does_not_contradict_earlier_cosignatures(witness: Witness, clock: Clock) -> None:
    witness.add_checkpoint(LOG.request(0, 3))
    clock.now -= 1000
    assert cosigned(witness.add_checkpoint(LOG.request(3, 4)), LOG.checkpoint(4)) == NOW


def test_the_specification_example_request_is_read() -> None:
    """The request body of C2SP tlog-witness, section add-checkpoint."""
    body = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMc\
TOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++q\
bSzm9Q=
""".encode()
    request = AddCheckpoint.from_bytes(body)
    assert request.to_bytes() == body
    assert (request.old_size, len(request.proof)) == (20852014, 4)
    assert Checkpoint.parse(Note.from_bytes(request.note).text).size == 20852163


# What is refused, each with its status


def with_lines(*lines: str, note: bytes | None = None) -> bytes:
    """A request for the third leaf after two, with other lines before the note."""
    head = "".join(f"{line}\n" for line in lines)
    return head.encode() + b"\n" + (LOG.note(3).to_bytes() if note is None else note)


HASHES = [encode_base64(value) for value in LOG.proof(2, 3)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 400),
        (b"\n\n", 400),
        (LOG.note(3).to_bytes(), 400),
        (with_lines("old 2", *HASHES)[:-1], 400),
        (with_lines("old 2", *HASHES, note=b""), 400),
        (with_lines("old 2", *HASHES, note=LOG.note(3).text.encode()), 400),
        (with_lines("old  2", *HASHES), 400),
        (with_lines("old 02", *HASHES), 400),
        (with_lines("old +2", *HASHES), 400),
        (with_lines("old ٢", *HASHES), 400),
        (with_lines("old 2 ", *HASHES), 400),
        (with_lines("Old 2", *HASHES), 400),
        (with_lines("old", *HASHES), 400),
        (with_lines("old 9223372036854775808", *HASHES), 400),
        (with_lines(*HASHES), 400),
        (with_lines("old 2", *HASHES, "AA=="), 400),
        (with_lines("old 2", HASHES[0].rstrip("=")), 400),
        (with_lines("old 2", HASHES[0] + " "), 400),
        (with_lines("old 2", HASHES[0] + "\r"), 400),
        (with_lines("old 2", *(HASHES[:1] * 64)), 400),
        (with_lines("old 2", *HASHES) + b"x" * MAX_REQUEST, 400),
        (with_lines("old 4", *HASHES), 400),  # above the checkpoint's size
        (with_lines("old 2", *HASHES, note=LOG.sign(f"{ORIGIN}\n03\n{encode_base64(LOG.root(3))}\n").to_bytes()), 400),
        (with_lines("old 2", *HASHES, note=LOG.sign(f"{ORIGIN}\n3\n").to_bytes()), 400),
        (with_lines("old 2", *HASHES, note=Log("example.org/other").note(3).to_bytes()), 404),
        (with_lines("old 0"), 409),
        (with_lines("old 1", *HASHES), 409),
        (with_lines("old 3"), 409),
        (with_lines("old 2"), 422),
        (with_lines("old 2", *HASHES, *HASHES), 422),
        (with_lines("old 2", encode_base64(bytes(32))), 422),
    ],
)
def test_a_bad_request_gets_its_status_and_changes_nothing(witness: Witness, body: bytes, expected: int) -> None:
    witness.add_checkpoint(LOG.request(0, 2))
    before = witness.checkpoint(ORIGIN_HASH)
    answer = witness.add_checkpoint(body)
    assert status(answer) == expected
    assert answer.body.endswith(b"\n")
    assert witness.checkpoint(ORIGIN_HASH) == before
    cosigned(witness.add_checkpoint(LOG.request(2, 3)), LOG.checkpoint(3))


def test_another_size_is_answered_with_the_last_one_and_its_type(witness: Witness) -> None:
    conflict = witness.add_checkpoint(LOG.request(2, 3))
    assert (conflict.status, conflict.body, conflict.content_type) == (409, b"0\n", "text/x.tlog.size")
    witness.add_checkpoint(LOG.request(0, 20))
    for old, new in ((0, 30), (19, 30), (5, 9)):
        conflict = witness.add_checkpoint(LOG.request(old, new))
        assert (conflict.status, conflict.body, conflict.content_type) == (409, b"20\n", "text/x.tlog.size")


def test_signatures_are_the_logs_or_the_request_is_forbidden(witness: Witness) -> None:
    text = LOG.checkpoint(3).text
    own = sign_text(LOG.identity, ORIGIN, text)
    stranger = sign_text(Identity.generate("x"), ORIGIN, text)
    elsewhere = sign_text(LOG.identity, "example.org/other", text)
    broken = SignatureLine(own.name, own.key_id, bytes(64))
    cosigner = WitnessKey(ORIGIN, LOG.identity.public).line(bytes(72))

    def ask(*lines: SignatureLine) -> int:
        return status(witness.add_checkpoint(AddCheckpoint(0, (), Note(text, lines).to_bytes()).to_bytes()))

    for lines in ((stranger,), (elsewhere,), (broken,), (broken, own), (own, broken), (cosigner,)):
        assert ask(*lines) == 403
    assert status(witness.checkpoint(ORIGIN_HASH)) == 404
    assert ask(stranger, elsewhere, own, cosigner) == 200
    # What is kept and shown has the log's line and the witness's, and none that nobody has verified.
    kept = Note.from_bytes(witness.checkpoint(ORIGIN_HASH).body)
    assert kept.signatures[0] == own
    assert [line.name for line in kept.signatures] == [ORIGIN, NAME]


def test_an_empty_tree_with_a_root_of_its_own_is_unprocessable(witness: Witness) -> None:
    false = LOG.sign(f"{ORIGIN}\n0\n{encode_base64(bytes(32))}\n").to_bytes()
    assert status(witness.add_checkpoint(AddCheckpoint(0, (), false).to_bytes())) == 422
    assert status(witness.add_checkpoint(LOG.request(0, 0))) == 200


def test_the_empty_tree_needs_no_proof_and_takes_none(witness: Witness) -> None:
    body = AddCheckpoint(0, (bytes(32),), LOG.note(3).to_bytes()).to_bytes()
    assert status(witness.add_checkpoint(body)) == 422
    witness.add_checkpoint(LOG.request(0, 3))
    same = AddCheckpoint(3, (bytes(32),), LOG.note(3).to_bytes()).to_bytes()
    assert status(witness.add_checkpoint(same)) == 422


@pytest.mark.parametrize("size", [3, 4, 5, 9])
def test_another_history_is_unprocessable_at_every_size(witness: Witness, size: int) -> None:
    witness.add_checkpoint(LOG.request(0, 3))
    fork = Log(fork_at=1)
    assert status(witness.add_checkpoint(fork.request(3, size))) == 422
    honest_proof = AddCheckpoint(3, LOG.proof(3, size), fork.note(size).to_bytes()).to_bytes()
    assert status(witness.add_checkpoint(honest_proof)) == 422
    cosigned(witness.add_checkpoint(LOG.request(3, size)), LOG.checkpoint(size))


def test_a_log_may_have_several_keys(state: WitnessState) -> None:
    second = Identity.generate("second")
    witness = Witness(IDENTITY, [LOG.key, VerifierKey(ORIGIN, second.public)], state)
    text = LOG.checkpoint(3).text
    note = Note(text, (sign_text(second, ORIGIN, text),))
    assert status(witness.add_checkpoint(AddCheckpoint(0, (), note.to_bytes()).to_bytes())) == 200
    assert status(witness.add_checkpoint(LOG.request(3, 4))) == 200


def test_logs_are_witnessed_apart(state: WitnessState) -> None:
    other = Log("example.org/other")
    witness = Witness(IDENTITY, [LOG.key, other.key], state)
    assert [status(witness.add_checkpoint(log.request(0, 5))) for log in (LOG, other)] == [200, 200]
    assert [status(witness.add_checkpoint(log.request(5, 6))) for log in (LOG, other)] == [200, 200]


def test_a_witness_is_of_its_own_key_and_of_some_log(state: WitnessState) -> None:
    with pytest.raises(ConfigError, match="own key"):
        Witness(IDENTITY, [VerifierKey(ORIGIN, IDENTITY.public)], state)
    with pytest.raises(ConfigError, match="at least one log"):
        Witness(IDENTITY, [], state)
    with pytest.raises(ConfigError, match="is not the one"):
        Witness(Identity.generate("witness"), [LOG.key], state)


# Anything at all


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(body=st.binary(max_size=400) | st.text(alphabet="old 0123\n=A—").map(str.encode))
def test_no_bytes_bring_a_witness_down(witness: Witness, body: bytes) -> None:
    assert status(witness.add_checkpoint(body)) in (400, 403, 404)


GOOD = LOG.request(5, 9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(place=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_changed_request_is_refused_or_still_says_the_same(tmp_path: Path, place: int, byte: int, cut: bool) -> None:
    (tmp_path / "fuzz").unlink(missing_ok=True)
    state = WitnessState(tmp_path / "fuzz", KEY)
    try:
        witness = Witness(IDENTITY, [LOG.key], state)
        witness.add_checkpoint(LOG.request(0, 5))
        body = GOOD[:place] if cut else GOOD[:place] + bytes([byte]) + GOOD[place + 1 :]
        answer = witness.add_checkpoint(body)
        if answer.status == 200:
            assert body == GOOD
        latest = state.latest(ORIGIN)
        assert latest is not None
        assert latest.checkpoint == LOG.checkpoint(9 if answer.status == 200 else 5)
    finally:
        state.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.tuples(st.sampled_from([None, 1, 2, 4]), st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_all_that_is_ever_cosigned_is_one_history(tmp_path: Path, requests: list[tuple[int | None, int, int]]) -> None:
    """A log with four histories tries any of them in any order: the cosigned heads are all of one."""
    for file in tmp_path.glob("history*"):
        file.unlink()
    state = WitnessState(tmp_path / "history", KEY)
    try:
        witness = Witness(IDENTITY, [LOG.key], state)
        heads: list[tuple[int, Log]] = []
        for fork_at, first, second in requests:
            log, (old, new) = Log(fork_at=fork_at), sorted((first, second))
            if witness.add_checkpoint(log.request(old, new)).status == 200:
                heads.append((new, log))
        for (small, log), (large, later) in itertools.pairwise(heads):
            assert small <= large
            merkle.verify_consistency(small, large, log.root(small), later.root(large), later.proof(small, large))
    finally:
        state.close()


# What a witness remembers


def test_a_restarted_witness_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for size in range(4):
        state = WitnessState(tmp_path / "state", KEY)
        assert state.is_new == (size == 0)
        witness = Witness(IDENTITY, [LOG.key], state)
        if size:
            assert status(witness.add_checkpoint(Log(fork_at=0).request(size, 9))) == 422
        assert status(witness.add_checkpoint(LOG.request(size, size + 1))) == 200
        state.close()


def test_a_state_is_of_one_witness(tmp_path: Path) -> None:
    WitnessState(tmp_path / "state", KEY).close()
    for other in (WitnessKey("other.example", IDENTITY.public), WitnessKey(NAME, Identity.generate("x").public)):
        with pytest.raises(ConfigError, match="is of the witness"):
            WitnessState(tmp_path / "state", other)


def test_a_state_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"not a database, but long enough to be read as the header of one" * 20)
    with pytest.raises(LedgerDamaged):
        WitnessState(tmp_path / "state", KEY)
    with pytest.raises(LedgerError):
        WitnessState(tmp_path / "missing" / "state", KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace(b"\n3\n", b"\n2\n"),
        lambda note: b"",
        lambda note: LOG.note(3).to_bytes(),
        lambda note: note[:-9] + b"A" * 8 + b"\n",
    ],
)
def test_a_changed_state_is_noticed_and_nothing_is_cosigned(
    tmp_path: Path, witness: Witness, change: Callable[[bytes], bytes]
) -> None:
    witness.add_checkpoint(LOG.request(0, 3))
    db = sqlite3.connect(tmp_path / "state")
    with db:
        (note,) = db.execute("SELECT note FROM checkpoints").fetchone()
        db.execute("UPDATE checkpoints SET note = ?", (change(note),))
    db.close()
    for old in (0, 2, 3):
        with pytest.raises(LedgerDamaged, match=r"the checkpoint of 'example\.org/log'"):
            witness.add_checkpoint(LOG.request(old, 4))


def test_a_write_that_fails_leaves_no_cosignature(
    witness: Witness, state: WitnessState, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness.add_checkpoint(LOG.request(0, 3))

    def full(*_: object) -> None:
        raise LedgerError("the disk is full")

    monkeypatch.setattr(state, "keep", full)
    with pytest.raises(LedgerError, match="full"):
        witness.add_checkpoint(LOG.request(3, 4))
    monkeypatch.undo()
    assert status(witness.add_checkpoint(LOG.request(3, 5))) == 200


def test_of_racing_forks_one_is_cosigned(tmp_path: Path) -> None:
    """Eight threads on four connections to one state ask for four histories of one size at the same moment."""
    histories = [Log(fork_at=at) for at in (0, 1, 2, 3)]
    for race in range(5):
        with ExitStack() as stack:
            states = [WitnessState(tmp_path / f"state-{race}", KEY) for _ in range(4)]
            for state in states:
                stack.callback(state.close)
            barrier = threading.Barrier(8)

            def ask(number: int, states: list[WitnessState] = states, barrier: threading.Barrier = barrier) -> Answer:
                witness = Witness(IDENTITY, [LOG.key], states[number % 4])
                barrier.wait()
                return witness.add_checkpoint(histories[number // 2].request(0, 7))

            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(ask, range(8)))
            assert sorted(map(status, answers)) == [200] + [409] * 7


# Over HTTP


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WitnessServer]:
    """In this process; its log is at three records."""
    state = WitnessState(tmp_path_factory.mktemp("server") / "state", KEY)
    witness = Witness(IDENTITY, [LOG.key], state, clock=lambda: NOW)
    witness.add_checkpoint(LOG.request(0, 3))
    with WitnessServer(witness, "127.0.0.1", 0, seconds=300.0) as running:
        yield running
    state.close()


def connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str | None, bytes]:
    connection.request(method, path, body=body, headers=headers)
    with connection.getresponse() as response:
        return response.status, response.getheader("Content-Type"), response.read()


def post(url: str, body: bytes) -> tuple[int, str | None, bytes]:
    connection = connect(url)
    try:
        return ask(connection, "POST", "/add-checkpoint", body)
    finally:
        connection.close()


def get(url: str, path: str) -> tuple[int, str | None, bytes]:
    connection = connect(url)
    try:
        return ask(connection, "GET", path)
    finally:
        connection.close()


def test_one_connection_serves_many_requests(server: WitnessServer) -> None:
    connection = connect(server.url)
    assert ask(connection, "POST", "/add-checkpoint", LOG.request(0, 1)) == (409, "text/x.tlog.size", b"3\n")
    assert ask(connection, "GET", f"/{ORIGIN_HASH}/checkpoint")[0] == 200
    status, kind, body = ask(connection, "POST", "/add-checkpoint", LOG.request(3, 3))
    assert (status, kind) == (200, "text/plain; charset=utf-8")
    assert body.startswith(f"— {NAME} ".encode())
    connection.close()


def test_what_is_not_the_protocol_is_refused(server: WitnessServer) -> None:
    for method, path, body, headers, expected in (
        ("POST", "/", b"", {}, 404),
        ("POST", "/add-checkpoint/", b"", {}, 404),
        ("GET", "/", None, {}, 404),
        ("GET", "/add-checkpoint", None, {}, 404),
        ("GET", f"/{ORIGIN_HASH.upper()}/checkpoint", None, {}, 404),
        ("GET", f"/{'0' * 64}/checkpoint", None, {}, 404),
        ("GET", f"/{ORIGIN_HASH}/fork", None, {}, 404),
        ("PUT", "/add-checkpoint", b"", {}, 501),
        ("POST", "/add-checkpoint", b"", {"Content-Length": "none"}, 411),
        ("POST", "/add-checkpoint", b"", {"Content-Length": "-1"}, 411),
        ("POST", "/add-checkpoint", b"", {"Transfer-Encoding": "chunked"}, 411),
        ("POST", "/add-checkpoint", b"", {"Content-Length": str(MAX_REQUEST + 1)}, 413),
        ("POST", "/add-checkpoint", b"", {"Content-Length": "9999999999"}, 413),
        ("POST", "/add-checkpoint", b"", {"Content-Length": "0"}, 400),
    ):
        connection = connect(server.url)
        assert ask(connection, method, path, body, **headers)[0] == expected, (method, path, headers)
        connection.close()


@pytest.mark.parametrize(
    ("line", "framing"),
    [
        ("GET /{}/checkpoint", "Content-Length: {}"),
        ("GET /{}/checkpoint", "Transfer-Encoding: chunked"),
        ("GET /{}/checkpoint", "malformed\r\nContent-Length: {}"),
        ("POST /add-checkpoint", "Content-Length: 0\r\nContent-Length: {}"),
        ("POST /add-checkpoint", "Content-Length: 0\r\nmalformed\r\nTransfer-Encoding: chunked"),
    ],
)
def test_a_body_is_not_taken_for_another_request(server: WitnessServer, line: str, framing: str) -> None:
    """A reverse proxy that sees a body where the witness sees none would give the second answer to somebody else."""
    parts = urlsplit(server.url)
    hidden = b"GET /hidden HTTP/1.1\r\n\r\n"
    head = f"{line.format(ORIGIN_HASH)} HTTP/1.1\r\n{framing.format(len(hidden))}\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=120) as connection:
        connection.sendall(head.encode() + hidden)
        with connection.makefile("rb") as answers:
            assert answers.read().count(b"HTTP/1.1 ") == 1


UNFINISHED = [b"", b"POST /add-", b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 9\r\n\r\nold"]


def test_a_request_that_does_not_come_is_not_waited_for(server: WitnessServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "seconds", 0.5)
    parts = urlsplit(server.url)
    with ExitStack() as stack:
        waiting = [
            stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 0), timeout=120))
            for _ in UNFINISHED
        ]
        for connection, sent in zip(waiting, UNFINISHED, strict=True):
            connection.sendall(sent)
        for connection in waiting:
            assert connection.recv(100) == b""  # closed by the witness, after half a second


def test_idle_connections_make_room_for_others(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness_server, "MAX_CONNECTIONS", 2)
    with WitnessServer(witness, "127.0.0.1", 0, seconds=3600) as server, ExitStack() as stack:
        first, second = connect(server.url), connect(server.url)
        for connection in (first, second, first):
            stack.callback(connection.close)
            assert ask(connection, "GET", f"/{ORIGIN_HASH}/checkpoint")[0] == 404  # answered, and kept open
        third = connect(server.url)
        stack.callback(third.close)
        assert ask(third, "GET", f"/{ORIGIN_HASH}/checkpoint")[0] == 404
        ended, _, _ = select.select([first.sock, second.sock], [], [], 120)
        assert ended[0].recv(1) == b""  # one that was idle


@pytest.mark.parametrize("sent", UNFINISHED)
def test_hundreds_of_silent_connections_do_not_close_a_witness(witness: Witness, sent: bytes) -> None:
    with WitnessServer(witness, "127.0.0.1", 0, seconds=3600) as server, ExitStack() as stack:
        parts = urlsplit(server.url)
        for _ in range(5 * witness_server.MAX_CONNECTIONS):
            stranger = stack.enter_context(
                socket.create_connection((parts.hostname or "", parts.port or 0), timeout=120)
            )
            with contextlib.suppress(OSError):
                stranger.sendall(sent)
        assert post(server.url, LOG.request(0, 3))[0] == 200


def test_closing_does_not_wait_for_idle_connections(witness: Witness) -> None:
    server = WitnessServer(witness, "127.0.0.1", 0, seconds=3600)
    server.start()
    idle = connect(server.url)
    assert ask(idle, "GET", f"/{ORIGIN_HASH}/checkpoint")[0] == 404
    stopping = threading.Thread(target=server.stop, daemon=True)
    stopping.start()
    stopping.join(120)
    assert not stopping.is_alive()
    idle.close()


def test_a_witness_listens_on_either_internet_protocol(witness: Witness) -> None:
    try:
        server = WitnessServer(witness, "::1", 0)
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    with server:
        assert server.url.startswith("http://[::1]:")
        assert post(server.url, LOG.request(0, 3))[0] == 200


def test_a_witness_listens_where_it_can(server: WitnessServer) -> None:
    port = urlsplit(server.url).port or 0
    with pytest.raises(ConfigError, match="can't listen"):
        WitnessServer(server.witness, "127.0.0.1", port)


# As processes


def test_a_killed_witness_has_kept_what_it_answered(tmp_path: Path) -> None:
    fork = Log(fork_at=4)
    with logs.witness(tmp_path, LOG.key) as (process, ready):
        assert ready["state_is_new"] is True
        assert post(ready["url"], LOG.request(0, 5))[0] == 200
        status, _, answer = post(ready["url"], LOG.request(5, 7))
        process.kill()  # right after the answer
        process.wait()
    assert status == 200
    with logs.witness(tmp_path, LOG.key) as (process, ready):
        assert ready["state_is_new"] is False
        assert post(ready["url"], fork.request(0, 7)) == (409, "text/x.tlog.size", b"7\n")
        assert post(ready["url"], fork.request(5, 8))[0] == 409
        assert post(ready["url"], fork.request(7, 8))[0] == 422
        status, _, kept = get(ready["url"], f"/{ORIGIN_HASH}/checkpoint")
        assert (status, kept) == (200, LOG.note(7).to_bytes() + answer)
        WitnessKey.parse(ready["key"]).verify(LOG.note(7).text, Note.from_bytes(kept).signatures[1].signature)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def test_of_two_histories_shown_at_once_to_a_process_one_is_cosigned(tmp_path: Path) -> None:
    histories = [LOG, Log(fork_at=2)] * 4
    with logs.witness(tmp_path, LOG.key) as (_, ready), ThreadPoolExecutor(len(histories)) as pool:
        for old, new in ((0, 3), (3, 5)):
            bodies = [log.request(old, new) for log in histories]
            answers = list(pool.map(lambda body: post(ready["url"], body), bodies))
            assert [answer[0] for answer in answers].count(200) == 1
        # Whichever it was, the two sizes are of the same history.
        status, _, kept = get(ready["url"], f"/{ORIGIN_HASH}/checkpoint")
        assert status == 200
        assert Checkpoint.parse(Note.from_bytes(kept).text) in [log.checkpoint(5) for log in histories]


def test_a_witness_that_can_not_start_says_why(tmp_path: Path) -> None:
    Identity.generate("witness").save(tmp_path / "key")
    for options, message in (
        (("--log", "no key"), "not of the form name+hex+base64"),
        (("--log", str(LOG.key), "--listen", "7380"), "HOST:PORT"),
        (("--log", str(KEY)), "signature type 0x04"),
    ):
        arguments = ("--identity", tmp_path / "key", "--state", tmp_path / "state", *options)
        with logs.process("ledger", "witness", *arguments) as process:
            _, err = process.communicate(timeout=300)
            assert process.returncode == 2
            assert message in err


def test_malformed_requests_are_verification_errors() -> None:
    with pytest.raises(VerificationError, match="malformed request"):
        AddCheckpoint.from_bytes(b"old 1\n")
