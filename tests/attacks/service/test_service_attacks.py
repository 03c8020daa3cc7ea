"""Who talks to a service, or answers for one, and is not who it says."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.service.world import NAMES, TASK, WEIGHTS, Service, World, a_world, environment, update

import secure_agg
from secure_agg.errors import (
    AnotherModel,
    BadSignature,
    ConfigError,
    MalformedMessage,
    OperatorLost,
    RequestRepeated,
    SecureAggError,
    TrustError,
    UnknownSender,
    VerificationError,
    WrongContext,
)
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import wire
from secure_agg.service.certificate import client_context, shown_certificate
from secure_agg.service.gate import Gate, Strangers
from secure_agg.transport.credentials import new_certificate

PLACE = f"/v1/{wire.place(TASK)}"
NOTHING = hashlib.sha256(b"").digest()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with world.served() as running:
        yield running


class Attacker:
    """Speaks HTTP to a service as it likes, knowing its greeting."""

    def __init__(self, world: World, service: Service) -> None:
        host, _, port = service.ready["address"].rpartition(":")
        self.address = host, int(port)
        self.certificate = shown_certificate(*self.address, 10)
        self.client = httpx.Client(verify=client_context(self.certificate), base_url=service.url, timeout=120)
        nonce = secrets.token_bytes(32)
        answer = self.client.post(f"{PLACE}/hello", content=nonce).content
        with ClientHome.open(world.home("bob")) as home:
            self.bob, self.operators = home.identity, home.trust.operators
        self.to = wire.check_greeting(answer, nonce, TASK, self.certificate, self.operators)
        self.counter = time.time_ns()

    def headers(self, member: Identity, what: str, body: bytes = b"", counter: int | None = None) -> dict[str, str]:
        self.counter = self.counter + 1 if counter is None else counter
        digest = hashlib.sha256(body).digest()
        signed = wire.authorize(member, self.to, TASK, f"{PLACE}/{what}", self.counter, digest)
        return {"authorization": signed} | ({"content-digest": wire.written_digest(digest)} if body else {})

    def post(self, what: str, headers: dict[str, str], body: bytes = b"") -> httpx.Response:
        return self.client.post(f"{PLACE}/{what}", headers=headers, content=body)


@pytest.fixture
def attacker(world: World, service: Service) -> Iterator[Attacker]:
    made = Attacker(world, service)
    with contextlib.closing(made.client):
        yield made


# --- a member's name ------------------------------------------------------------------------------------------


def test_a_request_that_was_sent_before_is_refused(attacker: Attacker) -> None:
    """Its signature is as good as the first time."""
    item = "00" * 16
    headers = attacker.headers(attacker.bob, f"refuse/{item}", b"TaskSpent", counter=time.time_ns())
    first = attacker.post(f"refuse/{item}", headers, b"TaskSpent")
    again = attacker.post(f"refuse/{item}", headers, b"TaskSpent")
    assert (first.status_code, again.status_code) == (410, 409)
    assert again.json()["error"] == "RequestRepeated"

    # What only checks signatures takes it a second time; what counts does not.
    server, nonce, operator = Identity.generate("aggregator"), secrets.token_bytes(32), attacker.bob
    gate = Gate(server, TASK, lambda: (Roster({"bob": operator.public}),), Strangers())
    greeting = gate.greet(nonce, b"certificate")
    to = wire.check_greeting(greeting, nonce, TASK, b"certificate", Roster({"aggregator": server.public}))
    header = wire.authorize(operator, to, TASK, "/path", 7, NOTHING)
    for _ in range(2):
        wire.check_request(wire.claim(header), to, TASK, "/path", NOTHING, [Roster({"bob": operator.public})])
    assert gate.admit(header, "/path", NOTHING).name == "bob"
    with pytest.raises(RequestRepeated):
        gate.admit(header, "/path", NOTHING)


def test_nobody_asks_or_answers_under_anothers_name(world: World, attacker: Attacker) -> None:
    as_ann = Identity("ann", attacker.bob.secret())
    assert attacker.post("next", attacker.headers(as_ann, "next")).status_code == 401
    stranger = Identity.generate("eve")
    answer = attacker.post("next", attacker.headers(stranger, "next"))
    assert (answer.status_code, answer.json()["error"]) == (403, "UnknownSender")
    assert attacker.post("next", {}).status_code == 400
    for what in ("model", "answer/" + "00" * 16):
        assert attacker.post(what, {"authorization": "Basic YW5uOg=="}).status_code == 400


def test_a_signature_is_for_one_server_process_task_path_and_body(attacker: Attacker) -> None:
    bob, item = attacker.bob, "00" * 16
    digested = attacker.headers(bob, f"refuse/{item}", b"TaskSpent")
    digested["content-digest"] = wire.content_digest(b"TaskSpend")
    assert attacker.post(f"refuse/{item}", digested, b"TaskSpend").status_code == 401
    moved = attacker.headers(bob, "next")
    assert attacker.post("model", moved).status_code == 401
    other = attacker.to
    for wrong in (other._replace(challenge=bytes(32)), other._replace(key=bob.public), other._replace(server="other")):
        attacker.to = wrong
        assert attacker.post("next", attacker.headers(bob, "next")).status_code == 401
    attacker.to = other
    signed = wire.authorize(bob, other, "other", f"{PLACE}/next", 99, NOTHING)
    assert attacker.post("next", {"authorization": signed}).status_code == 401


# --- sizes and time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["hello", "refuse/" + "00" * 16])
def test_a_body_that_is_too_long_is_refused_before_a_byte_of_it_has_come(attacker: Attacker, what: str) -> None:
    lines = [f"POST {PLACE}/{what} HTTP/1.1", "host: service", f"content-length: {10**13}"]
    lines.append(f"authorization: {attacker.headers(attacker.bob, what)['authorization']}")
    lines.append(f"content-digest: {wire.written_digest(NOTHING)}")
    answer = said(attacker, ("\r\n".join(lines) + "\r\n\r\n").encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"MalformedMessage" in answer


def test_a_body_of_unknown_length_is_refused(attacker: Attacker) -> None:
    headers = attacker.headers(attacker.bob, "next")
    answer = attacker.client.post(f"{PLACE}/next", headers=headers, content=iter([b"x"]))
    assert answer.status_code == 400


def test_a_head_without_end_is_refused(attacker: Attacker) -> None:
    context = client_context(attacker.certificate)
    with socket.create_connection(attacker.address, 20) as plain, context.wrap_socket(plain) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nx: " + b"a" * 40000)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")


def test_what_a_header_says_of_the_host_is_in_no_path(attacker: Attacker) -> None:
    """A signature for one path, sent to another whose host is that one; and a host that is none."""
    signed = attacker.headers(attacker.bob, "model")["authorization"]
    for host, status in ((f"x{PLACE}/model?", b"401"), ("[", b"401"), ("[", b"400")):
        lines = [f"POST {PLACE}/next HTTP/1.1", f"host: {host}", "content-length: 0"]
        lines += [f"authorization: {signed}"] if status == b"401" else []
        assert said(attacker, ("\r\n".join(lines) + "\r\n\r\n").encode()).startswith(b"HTTP/1.1 " + status)


def test_a_head_that_is_too_long_is_refused_though_it_comes_at_once(attacker: Attacker) -> None:
    """h11 bounds what is not whole yet; a whole one of 40,000 bytes was taken."""
    signed = attacker.headers(attacker.bob, "next")["authorization"]
    head = f"POST {PLACE}/next HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nauthorization: {signed}\r\nx: "
    assert said(attacker, head.encode() + b"a" * 40000 + b"\r\n\r\n").startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


@pytest.mark.parametrize(
    "what", ["GET /health", "GET /nothing", "GET /health/", "TRACE /health", f"GET {PLACE}/next", f"POST {PLACE}/next/"]
)
def test_what_nobody_has_signed_is_answered_once_in_a_connection(attacker: Attacker, what: str) -> None:
    """A thousand a second would fit into one, and there are 128 for strangers."""
    answers = said(attacker, f"{what} HTTP/1.1\r\nhost: x\r\n\r\n".encode() * 50)
    assert answers.count(b"HTTP/1.1 ") == 1


def said(attacker: Attacker, data: bytes) -> bytes:
    """What the service says to this until it closes."""
    context = client_context(attacker.certificate)
    found = b""
    with socket.create_connection(attacker.address, 20) as plain, context.wrap_socket(plain) as connection:
        connection.sendall(data)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                found += piece
    return found


def test_what_is_no_http_fills_no_log(world: World, attacker: Attacker) -> None:
    """Each such connection was a line beside the service's own, in no JSON, and each upgrade two."""
    before = world.log()
    said(attacker, b"\0" * 100 + b"\r\n\r\n")
    said(attacker, b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    assert world.log() == before


def test_silent_connections_do_not_keep_members_out(world: World, service: Service, attacker: Attacker) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(socket.create_connection(attacker.address, 20))
            if number % 2:
                with contextlib.suppress(OSError):
                    connection.sendall(b"\x16\x03\x01")  # the beginning of a handshake, and no more
        with contextlib.closing(Attacker(world, service).client) as client:
            assert client.get("/health").status_code == 200


# --- servers --------------------------------------------------------------------------------------------------


def test_a_client_talks_to_no_other_federations_server(world: World, tmp_path: Path) -> None:
    with (
        a_world() as other,
        other.served() as theirs,
        world.session(theirs.url, "ann") as session,
        pytest.raises((BadSignature, UnknownSender)),
    ):
        session.contribute(update("ann"))


def test_a_client_talks_through_nobody_in_between() -> None:
    """Who relays greetings, and shows a certificate of its own, is noticed; to whom the name is enough it is not."""
    server, nonce = Identity.generate("aggregator"), secrets.token_bytes(32)
    operators = Roster({"aggregator": server.public})
    greeting = wire.greet(server, nonce, TASK, b"the server's certificate", bytes(32))
    assert wire.check_greeting(greeting, nonce, TASK, b"the server's certificate", operators).server == "aggregator"
    with pytest.raises(WrongContext, match="certificate") as caught:
        wire.check_greeting(greeting, nonce, TASK, b"another certificate", operators)
    assert caught.value.culprit is None  # the server has signed what is true
    with pytest.raises(WrongContext):  # an old greeting, of a certificate whose key was stolen since
        wire.check_greeting(greeting, secrets.token_bytes(32), TASK, b"the server's certificate", operators)
    with pytest.raises(WrongContext, match="coordinates 'counts'"):
        wire.check_greeting(greeting, nonce, "another", b"the server's certificate", operators)


def test_whoever_answers_in_the_servers_place_makes_nobody_the_culprit() -> None:
    """Before the greeting is checked anybody may have written it, with the server's name on it."""
    server, nonce = Identity.generate("aggregator"), secrets.token_bytes(32)
    operators = Roster({"aggregator": server.public})
    forged = wire.greet(Identity.generate("aggregator"), nonce, TASK, b"certificate", bytes(32))
    replayed = wire.greet(server, secrets.token_bytes(32), TASK, b"certificate", bytes(32))
    for answer in (forged, replayed, forged[:-1], b""):
        with pytest.raises(SecureAggError) as caught:
            wire.check_greeting(answer, nonce, TASK, b"certificate", operators)
        assert caught.value.culprit is None


def test_a_time_limit_is_shorter_than_patience(tmp_path: Path) -> None:
    with a_world() as world, secure_agg.connect("https://127.0.0.1:9", world.home("ann")) as session:
        began = time.monotonic()
        with pytest.raises(OperatorLost):
            session.contribute(update("ann"), timeout=0.05)
        assert time.monotonic() - began < 60


def test_a_connection_goes_on_with_the_certificate_that_was_signed_and_no_other(tmp_path: Path) -> None:
    """Another certificate that the same server, or somebody in between, shows later is refused by TLS."""
    import cryptography.x509 as x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import Encoding

    pairs = [new_certificate(bytes(32)) for _ in range(2)]
    key, certificate = pairs[1]
    clear = serialization.NoEncryption()
    loaded = serialization.load_der_private_key(key, None)
    (tmp_path / "key").write_bytes(loaded.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, clear))
    (tmp_path / "chain").write_bytes(x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM))
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            for _ in range(2):
                taken, _ = listener.accept()
                with taken, contextlib.suppress(OSError), shown.wrap_socket(taken, server_side=True) as connection:
                    connection.recv(1)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        for signed, context in ((True, client_context(pairs[1][1])), (False, client_context(pairs[0][1]))):
            with socket.create_connection(listener.getsockname(), 20) as plain:
                if signed:
                    context.wrap_socket(plain).close()
                else:
                    with pytest.raises(ssl.SSLCertVerificationError):
                        context.wrap_socket(plain)
        thread.join(300)


LIES = {
    "clip": TrustError,
    "model": AnotherModel,
    "swapped": MalformedMessage,
    "average": (MalformedMessage, VerificationError),
    "unrecorded": (MalformedMessage, VerificationError),
}


SHORT = ("clip", "average")


@pytest.mark.slow
@pytest.mark.parametrize("lie", [pytest.param(lie, marks=() if lie in SHORT else pytest.mark.long) for lie in LIES])
def test_a_server_that_lies_is_refused(lie: str) -> None:
    names = NAMES[:3]
    with a_world(names) as world, world.served("--rounds", "1", lie=lie) as service:
        errors: dict[str, Exception] = {}

        def member(name: str) -> None:
            with world.session(service.url, name) as session:
                try:
                    session.contribute(update(name), WEIGHTS[name], timeout=250)
                except SecureAggError as error:
                    errors[name] = error

        threads = [threading.Thread(target=member, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert set(errors) == set(names), world.log()
        assert all(isinstance(error, LIES[lie]) for error in errors.values()), errors


def test_two_services_have_no_log_in_common(world: World, service: Service) -> None:
    command = [sys.executable, "-m", "secure_agg", "serve", "--home", str(world.server), "--listen", "127.0.0.1:0"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert f"in use by process {service.ready['pid']}" in done.stderr
    assert done.stdout == ""


def test_two_processes_are_not_one_member(world: World, service: Service) -> None:
    with secure_agg.connect(service.url, world.home("cyd")), pytest.raises(ConfigError, match="in use by process"):
        secure_agg.connect(service.url, world.home("cyd"))


def test_a_model_that_is_not_the_announced_one_is_not_taken() -> None:
    import numpy as np

    model = [np.arange(6.0).reshape(2, 3), np.ones(2, np.float32)]
    head, elements = wire.encode_model(model)
    digest = wire.model_digest(model)
    found = wire.decode_model(head + elements, digest, 8)
    assert all((a == b).all() and a.dtype == b.dtype for a, b in zip(found, model, strict=True))
    for data, expected, most in (
        (head + elements, bytes(32), 8),
        (head + elements, digest, 7),
        (head + elements + b"\0", digest, 8),
        (head + elements[:-1], digest, 8),
        (head[:3], digest, 8),
    ):
        with pytest.raises(MalformedMessage):
            wire.decode_model(data, expected, most)
