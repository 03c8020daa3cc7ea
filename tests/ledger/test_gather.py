"""Cosignatures gathered from witnesses, good and bad, and logs that sign two histories: refused, and shown."""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import support.records.logs as logs
from hypothesis import given
from hypothesis import strategies as st
from support.records.logs import ORIGIN, Log, seed, sign_text

from secure_agg.cli import main
from secure_agg.errors import ConfigError, LedgerDamaged, VerificationError
from secure_agg.ledger.log import Ledger
from secure_agg.ledger.publish.fetch import WebClient
from secure_agg.ledger.witness.fork import ForkProof, find_fork
from secure_agg.ledger.witness.gather import WitnessAddress, gather
from secure_agg.ledger.witness.server import WitnessServer
from secure_agg.ledger.witness.state import WitnessState
from secure_agg.ledger.witness.witness import AddCheckpoint, Answer, Witness
from secure_agg.protocol.identity import Identity
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.cosignature import WitnessKey, cosign, timestamp
from secure_agg.tlog.note import Note, SignatureLine
from secure_agg.tlog.policy import WitnessPolicy
from zk import merkle

NOW = 1_700_000_000


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "rounds.db") as opened:
        logs.fill(opened, 3)
        yield opened


@contextmanager
def running(folder: Path, ledger: Ledger, *names: str) -> Iterator[list[WitnessAddress]]:
    """Witnesses of a ledger, served from this process."""
    with ExitStack() as stack:
        addresses = []
        for name in names:
            identity = Identity(name, seed(name))
            state = WitnessState(folder / name, WitnessKey(name, identity.public))
            stack.callback(state.close)
            witness = Witness(identity, [ledger.verifier_key], state, clock=lambda: NOW)
            server = stack.enter_context(WitnessServer(witness, "127.0.0.1", 0))
            addresses.append(WitnessAddress(server.url, witness.key))
        yield addresses


@contextmanager
def answering(reply: Callable[[int, bytes], tuple[int, str, bytes]]) -> Iterator[str]:
    """A server that is no witness: it is given the number of the request and its body."""
    count = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal count
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, kind, content = reply(count, body)
            count += 1
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


# Gathering


def test_cosignatures_are_gathered_kept_and_make_a_quorum(tmp_path: Path, ledger: Ledger) -> None:
    with running(tmp_path, ledger, "w1.example", "w2.example") as witnesses:
        for more in (0, 1, 5):
            logs.fill(ledger, more)
            found = gather(ledger, witnesses)
            assert (found.size, found.cosigned) == (len(ledger), 2)
            assert [outcome.seconds for outcome in found.outcomes] == [NOW, NOW]
            policy = WitnessPolicy.k_of_n(2, [witness.key for witness in witnesses])
            note = Note.from_bytes(ledger.checkpoint())
            witnessed = policy.verify(note, ledger.verifier_key)
            assert witnessed.checkpoint.size == len(ledger)
            assert dict(witnessed.witnesses) == {"w1.example": NOW, "w2.example": NOW}
            ledger.receipt(0).verify(ledger.record(0).to_bytes(), ledger.verifier_key, policy)


def test_gathering_again_changes_nothing(tmp_path: Path, ledger: Ledger) -> None:
    with running(tmp_path, ledger, "w1.example") as witnesses:
        gather(ledger, witnesses)
        before = ledger.checkpoint()
        assert gather(ledger, witnesses).cosigned == 1
        assert ledger.checkpoint() == before


def test_a_witness_that_is_gone_is_named_and_keeps_nobody_from_answering(tmp_path: Path, ledger: Ledger) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        gone = WitnessAddress(f"http://127.0.0.1:{closed.getsockname()[1]}", WitnessKey("gone", seed_key("gone")))
        with running(tmp_path, ledger, "w1.example") as witnesses:
            found = gather(ledger, [gone, *witnesses])
    assert [outcome.witness.key.name for outcome in found.outcomes] == ["gone", "w1.example"]
    assert found.cosigned == 1
    assert "gives no answer" in found.outcomes[0].reason
    assert gather(ledger, [gone]).cosigned == 0


def seed_key(name: str) -> bytes:
    return Identity(name, seed(name)).public


def test_a_damaged_ledger_is_not_blamed_on_the_witness(tmp_path: Path, ledger: Ledger) -> None:
    with running(tmp_path, ledger, "w") as witnesses:
        assert gather(ledger, witnesses).cosigned == 1
        logs.fill(ledger, 2)
        with ledger._database.exclusive():
            ledger._database.change("DELETE FROM nodes WHERE level = 1 AND idx = 0")
        with pytest.raises(LedgerDamaged, match="tree node 0 of level 1 is missing"):
            gather(ledger, witnesses)


def test_a_witness_that_says_nothing_is_not_waited_for(ledger: Ledger) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = WitnessAddress(f"http://127.0.0.1:{silent.getsockname()[1]}", WitnessKey("w", seed_key("w")))
        found = gather(ledger, [address], seconds=0.3)
    assert "gives no answer" in found.outcomes[0].reason


def test_a_witness_that_sends_byte_by_byte_is_not_waited_for(ledger: Ledger) -> None:
    """Every byte comes in time, all of them never."""
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not ended.wait(0.05):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        address = WitnessAddress(f"http://127.0.0.1:{listener.getsockname()[1]}", WitnessKey("w", seed_key("w")))
        try:
            assert "gives no answer" in gather(ledger, [address], seconds=0.5).outcomes[0].reason
        finally:
            ended.set()
            thread.join()


W = Identity("w", seed("w"))
W_KEY = WitnessKey("w.example", W.public)


def line(ledger: Ledger, identity: Identity = W, name: str = "w.example", seconds: int = NOW) -> bytes:
    return f"{cosign(identity, name, ledger.head().checkpoint, seconds)}\n".encode()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda log: (200, line(log, Identity.generate("x"))), "no signature of the note is by a known key"),
        (lambda log: (200, line(log, name="v.example")), "no signature of the note is by a known key"),
        (lambda log: (200, line(log).replace(b"\xe2\x80\x94 w.example ", b"\xe2\x80\x94 w.example A")), "no cosig"),
        (lambda log: (200, b""), "no cosignature"),
        (lambda log: (200, b"thanks\n"), "malformed signature line"),
        (lambda log: (200, line(log)[:-1]), "no cosignature"),
        (lambda log: (200, b"\n" + line(log)), "no cosignature"),
        (lambda log: (200, line(log) + b"x\n\n" + line(log)), "no cosignature"),
        (lambda log: (200, line(log, seconds=2**62)), "of the future"),
        (lambda log: (200, b"\xff" * 9), "no cosignature"),
        (lambda log: (200, line(log) * 3000), "more than"),
        (lambda log: (403, b"go\taway\x1b[31m"), "refuses with 403: go away [31m"),
        (lambda log: (500, b""), "refuses with 500: no reason given"),
        (lambda log: (302, b""), "refuses with 302"),
        (lambda log: (409, b"2"), "no size"),
        (lambda log: (409, b"02\n"), "no size"),
        (lambda log: (409, b"-1\n"), "no size"),
        (lambda log: (409, b"2\n2\n"), "no size"),
        (lambda log: (409, b"4\n"), "was it set back"),
        (lambda log: (409, b"2\n"), "another size each time"),
    ],
)
def test_an_answer_that_is_no_cosignature_is_reported(
    ledger: Ledger, answer: Callable[[Ledger], tuple[int, bytes]], reason: str
) -> None:
    status, body = answer(ledger)
    kind = "text/x.tlog.size" if status == 409 else "text/plain"
    before = ledger.checkpoint()
    with answering(lambda *_: (status, kind, body)) as url:
        found = gather(ledger, [WitnessAddress(url, W_KEY)])
    assert found.cosigned == 0
    assert reason in found.outcomes[0].reason
    assert found.outcomes[0].reason.isprintable()
    assert ledger.checkpoint() == before


def test_a_conflict_without_its_content_type_is_none(ledger: Ledger) -> None:
    with answering(lambda *_: (409, "text/plain", b"2\n")) as url:
        assert "no size" in gather(ledger, [WitnessAddress(url, W_KEY)]).outcomes[0].reason


def test_the_request_is_sent_again_from_the_size_that_the_witness_names(ledger: Ledger) -> None:
    requests: list[AddCheckpoint] = []

    def reply(number: int, body: bytes) -> tuple[int, str, bytes]:
        requests.append(AddCheckpoint.from_bytes(body))
        if number < 2:
            return 409, "text/x.tlog.size; charset=us-ascii", f"{number + 1}\n".encode()
        return 200, "text/plain", line(ledger, Identity.generate("x"), "x") + line(ledger)

    with answering(reply) as url:
        assert gather(ledger, [WitnessAddress(url, W_KEY)]).cosigned == 1
    assert [request.old_size for request in requests] == [0, 1, 2]
    head = ledger.head()
    for request in requests:
        old = ledger.head_at(request.old_size)
        merkle.verify_consistency(old.size, head.size, old.root, head.root, request.proof)
        assert request.note == head.note(ledger.log_public).to_bytes()
    kept = Note.from_bytes(ledger.checkpoint())
    assert [signature.name for signature in kept.signatures] == [ledger.origin, "w.example"]
    assert timestamp(kept.signatures[1].signature) == NOW


def test_witnesses_are_named_once_and_by_url_and_key(ledger: Ledger) -> None:
    address = WitnessAddress.parse(f"https://witness.example/prefix/={W_KEY}")
    assert address == WitnessAddress("https://witness.example/prefix/", W_KEY)
    other = WitnessAddress("https://other.example", W_KEY)
    with pytest.raises(ConfigError, match="one URL or one key"):
        gather(ledger, [address, other])
    for text in (
        "https://witness.example",
        str(W_KEY),
        f"ftp://witness.example={W_KEY}",
        f"file:///tmp={W_KEY}",
        f"https://user@witness.example={W_KEY}",
        f"https://witness.example/?x={W_KEY}",
        f"https://witness.example={ledger.verifier_key}",
        f"={W_KEY}",
    ):
        with pytest.raises(ConfigError):
            WitnessAddress.parse(text)


# Forks


def fork_of(first: Log, small: int, second: Log, large: int) -> ForkProof:
    return ForkProof(
        first.note(small).to_bytes(), second.note(large).to_bytes(), second.root(small), second.proof(small, large)
    )


@given(st.integers(1, 12), st.integers(0, 12), st.data())
def test_a_fork_is_provable_between_any_two_sizes(small: int, more: int, data: st.DataObject) -> None:
    log, fork = Log(), Log(fork_at=data.draw(st.integers(0, small - 1)))
    proof = ForkProof.from_bytes(fork_of(log, small, fork, small + more).to_bytes())
    found = proof.verify(log.key)
    assert (found.first.root, found.second.root) == (log.root(small), fork.root(small + more))
    assert found.root == fork.root(small)


@given(st.integers(0, 12), st.integers(0, 12))
def test_an_honest_log_can_not_be_accused(small: int, more: int) -> None:
    log = Log()
    honest = fork_of(log, small, log, small + more)
    with pytest.raises(VerificationError, match="no fork"):
        honest.verify(log.key)
    accused = ForkProof(honest.first, honest.second, seed("another root"), honest.proof)
    with pytest.raises(VerificationError):
        accused.verify(log.key)


def test_a_fork_proof_needs_both_signatures_of_one_log() -> None:
    log, fork, other = Log(), Log(fork_at=2), Log("example.org/other", fork_at=2)
    good = fork_of(log, 5, fork, 7)
    good.verify(log.key)
    text = fork.checkpoint(7).text
    stranger = Note(text, (sign_text(Identity.generate("x"), log.key.name, text),)).to_bytes()
    for bad in (
        ForkProof(good.second, good.first, good.root, good.proof),
        ForkProof(good.first, stranger, good.root, good.proof),
        ForkProof(stranger, good.second, good.root, good.proof),
        ForkProof(good.first, other.note(7).to_bytes(), good.root, good.proof),
        ForkProof(good.first, good.second, good.root, good.proof[:-1]),
        ForkProof(good.first, good.second, good.root, (*good.proof, bytes(32))),
        ForkProof(good.first, good.second, log.root(5), log.proof(5, 7)),
        ForkProof(b"", good.second, good.root, good.proof),
    ):
        with pytest.raises(VerificationError):
            bad.verify(log.key)
    with pytest.raises(VerificationError):
        good.verify(other.key)


def test_extension_lines_hide_no_fork(tmp_path: Path) -> None:
    """They are signed with the rest, and verifiers and witnesses accept them: so does a proof."""
    log, fork = Log(), Log(fork_at=2)
    second = fork.checkpoint(7)
    extended = fork.sign(Checkpoint(second.origin, second.size, second.root, ("an extension",)).text)
    WitnessPolicy().verify(extended, log.key)
    proof = ForkProof(log.note(5).to_bytes(), extended.to_bytes(), fork.root(5), fork.proof(5, 7))
    assert proof.verify(log.key).second.root == fork.root(7)
    state = WitnessState(tmp_path / "state", W_KEY)
    witness = Witness(Identity("w", seed("w")), [log.key], state)
    witness.add_checkpoint(log.request(0, 5))
    request = AddCheckpoint(5, fork.proof(5, 7), extended.to_bytes())
    assert witness.add_checkpoint(request.to_bytes()).status == 422
    kept = witness.fork(hashlib.sha256(log.key.name.encode()).hexdigest())
    state.close()
    assert ForkProof.from_bytes(kept.body) == proof
    # Two texts of one tree are no fork.
    honest = log.sign(Checkpoint(ORIGIN, 5, log.root(5), ("an extension",)).text).to_bytes()
    with pytest.raises(VerificationError, match="no fork"):
        ForkProof(log.note(5).to_bytes(), honest, log.root(5), ()).verify(log.key)


def test_a_fork_proof_has_one_encoding() -> None:
    data = fork_of(Log(), 5, Log(fork_at=2), 7).to_bytes()
    assert ForkProof.from_bytes(data).to_bytes() == data
    for bad in (b"", data[:-1], data + b"\0", data.replace(b"fork/1", b"fork/2"), b"\xc0", bytes(1 << 20)):
        with pytest.raises(VerificationError, match="fork proof"):
            ForkProof.from_bytes(bad)
    long = ForkProof(b"", b"", bytes(32), (bytes(32),) * 65)
    with pytest.raises(VerificationError, match="at most 64"):
        ForkProof.from_bytes(long.to_bytes())


@pytest.mark.parametrize(
    ("old", "new", "shown"), [(5, 5, True), (4, 4, True), (5, 7, True), (7, 8, True), (6, 64, True), (4, 7, False)]
)
def test_a_refused_proof_shows_the_fork_unless_it_leaves_the_old_root_out(old: int, new: int, shown: bool) -> None:
    log, fork = Log(), Log(fork_at=2)
    known, refused = log.note(old).to_bytes(), fork.note(new).to_bytes()
    found = find_fork(known, refused, fork.proof(old, new), log.key)
    assert (found is not None) == shown
    if found:
        found.verify(log.key)
    # A proof that leads nowhere accuses nobody, nor does an honest one.
    assert find_fork(known, log.note(new).to_bytes(), fork.proof(old, new), log.key) is None
    assert find_fork(known, log.note(new).to_bytes(), log.proof(old, new), log.key) is None
    if old != new:
        assert find_fork(known, refused, log.proof(old, new), log.key) is None


def test_a_witness_keeps_the_proof_of_a_fork_and_serves_it(tmp_path: Path) -> None:
    log, fork = Log(), Log(fork_at=2)
    identity = Identity("w", seed("w"))
    state = WitnessState(tmp_path / "state", W_KEY)
    witness = Witness(identity, [log.key], state)
    origin_hash = hashlib.sha256(log.key.name.encode()).hexdigest()
    witness.add_checkpoint(log.request(0, 5))
    bad_proof = AddCheckpoint(5, fork.proof(5, 7), log.note(7).to_bytes()).to_bytes()
    assert witness.add_checkpoint(bad_proof).status == 422
    assert witness.fork(origin_hash).status == 404  # anyone may have sent that
    assert witness.add_checkpoint(fork.request(5, 7)).status == 422
    answer = witness.fork(origin_hash)
    assert (answer.status, answer.content_type) == (200, "application/octet-stream")
    ForkProof.from_bytes(answer.body).verify(log.key)
    assert witness.add_checkpoint(fork.request(5, 5)).status == 422
    assert witness.fork(origin_hash) == answer
    state.close()
    state = WitnessState(tmp_path / "state", W_KEY)
    assert Witness(identity, [log.key], state).fork(origin_hash) == Answer(answer.status, answer.body, BINARY)
    state.close()


BINARY = "application/octet-stream"


def test_a_forked_ledger_is_refused_by_two_witness_processes_and_shown_to_a_third_party(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operator copies the ledger, key and all, and goes on with both copies in different ways."""
    (tmp_path / "honest").mkdir()
    honest_path, forked_path = tmp_path / "honest" / "rounds.db", tmp_path / "forked" / "rounds.db"
    with Ledger(honest_path) as ledger:
        logs.fill(ledger, 3)
        key = ledger.verifier_key
    shutil.copytree(honest_path.parent, forked_path.parent)
    with Ledger(honest_path) as ledger:
        logs.fill(ledger, 2)
    with Ledger(forked_path) as ledger:
        logs.fill(ledger, 2, " with a better result")

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        assert isinstance(exit_.value.code, int)
        return exit_.value.code, capsys.readouterr().out

    with logs.witness(tmp_path, key, name="w1") as (_, first), logs.witness(tmp_path, key, name="w2") as (_, second):
        urls = [first["url"], second["url"]]
        witnesses = [f"--witness={ready['url']}={ready['key']}" for ready in (first, second)]
        assert run("ledger", "cosign", honest_path, *witnesses, "--least", 2)[0] == 0
        code, out = run("ledger", "cosign", forked_path, *witnesses)
        assert code == 3
        assert "0 of 2 witnesses" in out
        assert "refuses with 422" in out
        with Ledger(forked_path) as ledger:
            logs.fill(ledger, 3, " and further still")
            forked = ledger.checkpoint()
        assert run("ledger", "cosign", forked_path, *witnesses)[0] == 3
        with Ledger(honest_path) as ledger:
            logs.fill(ledger, 1)
        assert run("ledger", "cosign", honest_path, *witnesses, "--least", 2)[0] == 0

        # The third party holds the log's key, and asks the witnesses.
        for url in urls:
            client = WebClient(url)
            prefix = hashlib.sha256(key.name.encode()).hexdigest()
            proof, seen = client.get(f"{prefix}/fork", 1 << 20), client.get(f"{prefix}/checkpoint", 1 << 20)
            client.close()
            assert proof is not None
            assert seen is not None
            ForkProof.from_bytes(proof).verify(key)
            (tmp_path / "fork").write_bytes(proof)
            code, out = run("ledger", "fork", tmp_path / "fork", "--key", key)
            assert (code, "has signed two histories" in out) == (0, True)
            assert run("ledger", "fork", tmp_path / "fork", "--key", Log().key)[0] == 1
    # Of other sizes than the one at which it was refused, whoever has the forked ledger makes the proof.
    with Ledger(forked_path, read_only=True) as ledger:
        root, path = ledger.head_at(6).root, ledger.consistency(6, 8)
    ForkProof(seen, forked, root, path).verify(key)


def test_only_lines_of_a_note_are_taken_from_a_witness(ledger: Ledger) -> None:
    """An answer can't bring in another checkpoint: what follows is verified over the ledger's own text."""
    other = cosign(W, "w.example", Log().checkpoint(3), NOW)
    with answering(lambda *_: (200, "text/plain", f"{other}\n".encode())) as url:
        found = gather(ledger, [WitnessAddress(url, W_KEY)])
    assert "does not verify" in found.outcomes[0].reason
    assert isinstance(other, SignatureLine)
