"""Operators behind ports: only pinned peers get in, errors arrive as they were raised, and who is gone is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from support.operating.operators import ANYWHERE, COORDINATOR, OPERATOR, OTHER, ROSTER, fails, operators, running

from secure_agg import errors
from secure_agg.errors import (
    AlreadyReleased,
    BadKey,
    BadSignature,
    ConfigError,
    LedgerError,
    MalformedMessage,
    OperatorLost,
    RoundAborted,
    SecureAggError,
    StoreError,
    TooFewClients,
    UnknownSender,
)
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import Envelope, encode
from secure_agg.transport import keyfile
from secure_agg.transport.channel import CALLS, MAX_LIMIT, Endpoint, check_address, client_options
from secure_agg.transport.credentials import OperatorCard, OperatorKeys, host_name, new_certificate
from secure_agg.transport.failure import MAX_FAILURE, Failure
from secure_agg.transport.server import OperatorServer, Role
from secure_agg.transport.share_holders import aggregator_set, share_holder_card


class Echo:
    """Answers with what it got, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def receive(self, request: bytes, /) -> bytes:
        self.heard.append(request)
        return request


class Raises:
    """Answers everything with one error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def receive(self, request: bytes, /) -> bytes:
        raise self.error


@contextlib.asynccontextmanager
async def listening(
    role: Role, keys: OperatorKeys = OPERATOR, peer: OperatorKeys = COORDINATOR, **changes: Any
) -> AsyncIterator[Endpoint]:
    """A server in this process."""
    server = OperatorServer(role, keys, [peer.card()], ROSTER, **changes)
    try:
        yield Endpoint(await server.start(ANYWHERE), keys.card())
    finally:
        await server.stop(0)


# --- cards ------------------------------------------------------------------------------------------------------------


def test_a_card_binds_the_certificate_to_the_pinned_identity() -> None:
    card = OperatorCard.from_bytes(OPERATOR.card(b"what the role adds").to_bytes())
    card.check(ROSTER)
    assert (card.name, card.identity, card.channel) == ("aggregator-1", ROSTER["aggregator-1"], b"what the role adds")
    certificate = x509.load_der_x509_certificate(card.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [card.host] == [host_name(card.identity)]


def certificate_for(identity: bytes, curve: ec.EllipticCurve | None = None, *, ca: bool = False) -> bytes:
    """A certificate that ``new_certificate`` would not make."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_name(identity))])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2999))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host_name(identity))]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def with_certificate(old: bytes, new: bytes) -> OperatorCard:
    """A card whose owner has changed the certificate on it before signing."""
    assert OPERATOR.certificate.count(old) == 1
    return OperatorCard.issue(OPERATOR.identity, OPERATOR.certificate.replace(old, new))


def unfit_cards() -> dict[str, tuple[OperatorCard, type[SecureAggError]]]:
    good, own = OPERATOR.card(), OPERATOR.identity
    mallory = Identity.generate("aggregator-1")
    stolen = msgspec.structs.replace(good, signature=mallory.sign(b"anything"))
    return {
        "of somebody who is not pinned": (OperatorKeys.generate("mallory").card(), UnknownSender),
        "of an impostor with an identity of its own": (OperatorKeys.generate("aggregator-1").card(), BadKey),
        "signed by another identity": (stolen, BadSignature),
        "with a swapped certificate": (msgspec.structs.replace(good, certificate=OTHER.certificate), BadSignature),
        "with a swapped channel key": (msgspec.structs.replace(good, channel=b"other"), BadSignature),
        "with another operator's certificate, signed": (OperatorCard.issue(own, OTHER.certificate), BadKey),
        "with a certificate that could sign others": (
            OperatorCard.issue(own, certificate_for(own.public, ca=True)),
            BadKey,
        ),
        "with a key on another curve": (
            OperatorCard.issue(own, certificate_for(own.public, ec.SECP384R1())),
            BadKey,
        ),
        "with what is no certificate": (OperatorCard.issue(own, b"certificate"), BadKey),
        "with a certificate of no version": (
            with_certificate(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"),
            BadKey,
        ),
        "with an extension that is there twice": (with_certificate(b"\x55\x1d\x13", b"\x55\x1d\x11"), BadKey),
        "with a name of a kind that nobody reads": (with_certificate(b"\x30\x33\x82\x31", b"\x30\x33\xa3\x31"), BadKey),
        "with a certificate of megabytes": (OperatorCard.issue(own, bytes(1 << 20)), BadKey),
    }


@pytest.mark.parametrize("what", list(unfit_cards()))
def test_a_card_is_refused_by_both_ends(what: str) -> None:
    card, error = unfit_cards()[what]
    with pytest.raises(error) as caught:
        operators(Endpoint(ANYWHERE, card))
    assert (caught.value.phase, caught.value.culprit) == ("connect", card.name)
    with pytest.raises(error):
        OperatorServer(Echo(), OTHER, [card], ROSTER)


@given(place=st.integers(0, len(OPERATOR.card(b"channel").to_bytes()) - 1), bit=st.integers(0, 7))
def test_no_bit_of_a_card_can_be_changed(place: int, bit: int) -> None:
    data = bytearray(OPERATOR.card(b"channel").to_bytes())
    data[place] ^= 1 << bit
    with pytest.raises((MalformedMessage, UnknownSender, BadKey, BadSignature)):
        OperatorCard.from_bytes(bytes(data)).check(ROSTER)


def test_what_is_no_card_is_refused(tmp_path: Path) -> None:
    for data in (b"", b"\x95", OPERATOR.card().to_bytes() + b"\0", bytes(1 << 20)):
        with pytest.raises(MalformedMessage):
            OperatorCard.from_bytes(data)
        (tmp_path / "card").write_bytes(data)
        with pytest.raises(ConfigError, match="no operator's card"):
            OperatorCard.load(tmp_path / "card")
    with pytest.raises(ConfigError, match="can't be read"):
        OperatorCard.load(tmp_path / "none")


def test_a_round_s_aggregators_come_from_their_cards() -> None:
    keys = [OperatorKeys.generate(f"aggregator-{i}", share_holder=True) for i in (2, 1)]
    pinned = Roster({own.name: own.identity.public for own in keys})
    found = aggregator_set(map(share_holder_card, keys), pinned)
    assert found.names == ("aggregator-1", "aggregator-2")
    assert {member.channel for member in found.members} == {own.channel.public for own in keys if own.channel}
    another = keys[0].card(share_holder_card(keys[1]).channel)
    for card, error in ((keys[0].card(), MalformedMessage), (another, BadKey)):
        with pytest.raises(error) as caught:
            aggregator_set([card], pinned)
        assert caught.value.culprit == "aggregator-2"


# --- secrets at rest --------------------------------------------------------------------------------------------------


def test_an_operators_file_opens_under_its_passphrase_only(tmp_path: Path) -> None:
    keys, path = OperatorKeys.generate("aggregator-1", share_holder=True), tmp_path / "operator.key"
    keyfile.save(path, keys, "passphrase")
    assert path.stat().st_mode & 0o777 == 0o600
    assert keyfile.load(path, "passphrase") == keys
    for secret in (keys.seed, keys.tls_key, keys.channel.secret if keys.channel else b""):
        assert secret
        assert secret not in path.read_bytes()
        assert secret.hex() not in repr(keys)
        assert repr(secret) not in repr(keys)
    with pytest.raises(ConfigError, match="exists already"):
        keyfile.save(path, keys, "passphrase")
    with pytest.raises(ConfigError, match="the passphrase is wrong, or the file was altered"):
        keyfile.load(path, "another")
    data = path.read_bytes().replace(b"aggregator-1", b"aggregator-2")
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="the passphrase is wrong, or the file was altered"):
        keyfile.load(path, "passphrase")
    path.write_bytes(data[:-1])
    with pytest.raises(ConfigError, match="no operator's key file"):
        keyfile.load(path, "passphrase")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="accessible to others"):
        keyfile.load(path, "passphrase")


def test_keys_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    keyfile.save(path, dataclasses.replace(OPERATOR, tls_key=new_certificate(OPERATOR.identity.public)[0]), "word")
    with pytest.raises(ConfigError, match="do not belong together"):
        keyfile.load(path, "word")


# --- errors travel ----------------------------------------------------------------------------------------------------

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SecureAggError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_every_class_arrives_as_it_was_raised(kind: type[SecureAggError]) -> None:
    sent = kind("two words", phase="decrypt", culprit="clinic-a")
    found = Failure.read(Failure.of(sent).to_bytes(), "aggregator-1")
    assert type(found) is kind
    words = "the operator's own log says why" if issubclass(kind, StoreError | LedgerError) else "two words"
    assert (found.args[0], found.phase) == (f"{words} (operator 'aggregator-1' names 'clinic-a')", "decrypt")
    assert found.culprit is None  # one operator's word against another party
    own = Failure.read(Failure.of(kind("two words", culprit="aggregator-1")).to_bytes(), "aggregator-1")
    assert (own.args[0], own.culprit) == (words, "aggregator-1")
    assert found.__notes__ == ["as answered by operator 'aggregator-1'"]
    bare = Failure.read(Failure.of(kind("")).to_bytes(), "aggregator-1")
    assert (bare.phase, bare.culprit) == (None, None)


@given(message=st.text(), phase=st.text(), culprit=st.text())
def test_whatever_an_error_says_it_fits_and_holds_no_control_characters(message: str, phase: str, culprit: str) -> None:
    data = Failure.of(TooFewClients(message * 200, phase=phase * 50, culprit=culprit * 50)).to_bytes()
    assert len(data) <= MAX_FAILURE
    found = Failure.read(data, "aggregator-1")
    assert type(found) is TooFewClients
    assert str(found.args[0]).isprintable()


def test_a_class_from_elsewhere_arrives_as_the_nearest_one_of_ours() -> None:
    class Another(AlreadyReleased):
        pass

    assert type(Failure.read(Failure.of(Another("once")).to_bytes(), "aggregator-1")) is AlreadyReleased


@pytest.mark.parametrize(
    "failure",
    [
        Failure("SystemExit", "", "", ""),
        Failure("Final", "", "", ""),
        Failure("SecureAggError", "\x1b[2J", "", ""),
        Failure("SecureAggError", "", "", "clinic\n-a"),
        Failure("SecureAggError", "long" * MAX_FAILURE, "", ""),
    ],
)
def test_an_error_that_is_none_names_the_operator_who_sent_it(failure: Failure) -> None:
    for data in (encode(failure), encode(failure) + b"\0", b""):
        with pytest.raises(MalformedMessage) as caught:
            Failure.read(data, "aggregator-1")
        assert caught.value.culprit == "aggregator-1"


# --- who gets in ------------------------------------------------------------------------------------------------------


def test_pinned_peers_talk_and_the_bytes_arrive_unchanged() -> None:
    async def test() -> None:
        role = Echo()
        messages = [b"", b"\0", os.urandom(5_000_000)]
        async with listening(role) as endpoint, operators(endpoint) as asked:
            await asked.connect()
            for message in messages:
                assert await asked.call("aggregator-1", message) == message
        assert role.heard == messages

    running(test)


@pytest.mark.parametrize(
    "stranger",
    [OperatorKeys.generate("aggregator", seed=COORDINATOR.seed), OTHER],
    ids=["another certificate of the same identity", "a pinned operator who is no peer"],
)
def test_a_peer_with_another_certificate_is_refused_by_tls(stranger: OperatorKeys) -> None:
    async def test() -> None:
        role = Echo()
        async with listening(role) as endpoint:
            async with operators(endpoint, keys=stranger) as asked:
                lost = await fails(asked.call("aggregator-1", b"let me in"), OperatorLost, "does not know us")
                assert lost.culprit == "aggregator-1"
                await fails(asked.ping("aggregator-1"), OperatorLost)
            async with operators(endpoint) as asked:
                await asked.call("aggregator-1", b"known")
        assert role.heard == [b"known"]

    running(test)


def test_a_peer_without_a_certificate_or_without_tls_is_refused() -> None:
    async def test() -> None:
        role = Echo()
        async with listening(role) as endpoint:
            options = client_options(1 << 20, endpoint.card.host)
            tls = grpc.ssl_channel_credentials(endpoint.card.pem)
            for raw in (
                grpc.aio.secure_channel(endpoint.address, tls, options=options),
                grpc.aio.insecure_channel(endpoint.address),
            ):
                async with raw:
                    error = await fails(
                        raw.unary_unary("/secure_agg.Operator/Receive")(b"x", timeout=120), grpc.aio.AioRpcError
                    )
                    assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert role.heard == []

    running(test)


@pytest.mark.parametrize(
    "impostor",
    [OperatorKeys.generate("aggregator-1", seed=OPERATOR.seed), OTHER],
    ids=["another certificate of the same identity", "another operator"],
)
def test_a_server_with_another_certificate_is_not_told_anything(impostor: OperatorKeys) -> None:
    async def test() -> None:
        role = Echo()
        async with (
            listening(role, impostor) as endpoint,
            operators(Endpoint(endpoint.address, OPERATOR.card())) as asked,
        ):
            started = time.monotonic()
            error = await fails(asked.connect(300.0), BadKey, "not the certificate of the card")
            assert (error.culprit, time.monotonic() - started < 60) == ("aggregator-1", True)
            await fails(asked.call("aggregator-1", b"secret"), BadKey)
        assert role.heard == []

    running(test)


def test_bytes_that_are_no_tls_do_not_disturb_the_others() -> None:
    async def test() -> None:
        async with listening(Echo()) as endpoint, operators(endpoint) as asked:
            host, _, port = endpoint.address.rpartition(":")
            for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\x16\x03\x01\xff\xff" + os.urandom(70_000)):
                with socket.create_connection((host, int(port))) as raw, contextlib.suppress(OSError):
                    raw.sendall(garbage)
                assert await asked.call("aggregator-1", b"still here") == b"still here"

    running(test)


# --- one message at a time, within limits -----------------------------------------------------------------------------


def test_a_message_above_a_limit_is_refused_on_either_side() -> None:
    async def test() -> None:
        role = Echo()
        async with listening(role, limit=100_000) as endpoint:
            async with operators(endpoint) as asked:
                assert len(await asked.call("aggregator-1", bytes(100_000))) == 100_000
                await fails(asked.call("aggregator-1", bytes(100_001)), ConfigError, "above the operator's limit")
            async with operators(endpoint, limit=50_000) as asked:
                await fails(asked.call("aggregator-1", bytes(50_001)), ConfigError, "above the limit of 50000")
        assert [len(message) for message in role.heard] == [100_000]

    running(test)


def test_an_answer_above_a_limit_is_refused_on_either_side() -> None:
    class Long:
        def receive(self, request: bytes, /) -> bytes:
            return bytes(60_000)

    async def test() -> None:
        async with listening(Long()) as endpoint, operators(endpoint, limit=50_000) as asked:
            error = await fails(asked.call("aggregator-1", b""), MalformedMessage, "an answer is above the limit")
            assert error.culprit == "aggregator-1"
        async with listening(Long(), limit=50_000) as endpoint, operators(endpoint) as asked:
            await fails(asked.call("aggregator-1", b""), RoundAborted, "60000 bytes, above the limit")

    running(test)


def test_a_role_hears_one_message_at_a_time_and_every_one() -> None:
    class Alone:
        def __init__(self) -> None:
            self.busy = threading.Lock()
            self.threads: set[int] = set()

        def receive(self, request: bytes, /) -> bytes:
            if not self.busy.acquire(blocking=False):
                raise RuntimeError("two at a time")
            try:
                self.threads.add(threading.get_ident())
                time.sleep(0)  # lets another thread in, if there is one
                return request
            finally:
                self.busy.release()

    async def test() -> None:
        first, second = Alone(), Alone()
        async with listening(first) as one, listening(second, OTHER) as two, operators(one, two) as asked:
            requests = [Envelope(name, b"%d" % i) for i in range(40) for name in ("aggregator-1", "aggregator-2")]
            assert await asked.exchange(requests) == [request.data for request in requests]
        for role in (first, second):
            assert len(role.threads) == 1
            assert threading.get_ident() not in role.threads

    running(test)


def test_an_operator_takes_in_a_few_messages_at_once_however_many_connections_there_are() -> None:
    class Waits(Echo):
        def __init__(self) -> None:
            super().__init__()
            self.released = threading.Event()

        def receive(self, request: bytes, /) -> bytes:
            self.released.wait(120)
            return super().receive(request)

    async def test() -> None:
        role = Waits()
        async with contextlib.AsyncExitStack() as stack:
            endpoint = await stack.enter_async_context(listening(role))
            asked = [await stack.enter_async_context(operators(endpoint)) for _ in range(5)]
            waiting = {asyncio.create_task(one.call("aggregator-1", b"%d" % i)) for i, one in enumerate(asked * 4)}
            while len(waiting) > CALLS:
                refused, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for call in refused:
                    await fails(call, RoundAborted, "limit exceeded")
            role.released.set()
            assert set(await asyncio.gather(*waiting)) == set(role.heard)
        assert len(role.heard) == CALLS

    running(test)


def test_an_exchange_gives_every_answer_and_every_error() -> None:
    async def test() -> None:
        refusing = Raises(TooFewClients("few"))
        async with listening(Echo()) as one, listening(refusing, OTHER) as two, operators(one, two) as asked:
            requests = [Envelope("aggregator-2", b"a"), Envelope("aggregator-1", b"b"), Envelope("nobody", b"c")]
            refused, answer, unknown = await asked.exchange(requests, phase="collect")
        assert isinstance(refused, TooFewClients)
        assert answer == b"b"
        assert isinstance(unknown, ConfigError)

    running(test)


def test_what_a_role_raises_is_raised_at_the_caller() -> None:
    async def test() -> None:
        raised = AlreadyReleased("été " * 256, phase="decrypt", culprit="é" * 64)
        async with listening(Raises(raised)) as endpoint, operators(endpoint) as asked:
            error = await fails(asked.call("aggregator-1", b""), AlreadyReleased)
        assert type(error) is AlreadyReleased
        assert error.args[0].startswith(("été " * 256).encode()[:1024].decode("utf-8", "ignore"))
        assert (error.phase, error.culprit) == ("decrypt", None)
        assert "é" * 64 in str(error)

    running(test)


def test_what_a_role_did_not_foresee_stays_in_its_own_log(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with listening(Raises(ValueError("a secret"))) as endpoint, operators(endpoint) as asked:
            error = await fails(asked.call("aggregator-1", b"", phase="decrypt"), RoundAborted, "INTERNAL")
            assert (type(error), error.phase, error.culprit) == (RoundAborted, "decrypt", "aggregator-1")
            assert "secret" not in f"{error} {error.__cause__!r}"
            assert "Traceback" not in f"{error} {error.__cause__!r}"

    running(test)
    assert "a secret" in caplog.text


@pytest.mark.slow
def test_a_slow_role_costs_its_caller_the_deadline_and_answers_pings_meanwhile() -> None:
    class Slow(Echo):
        def __init__(self) -> None:
            super().__init__()
            self.begun, self.released = threading.Event(), threading.Event()

        def receive(self, request: bytes, /) -> bytes:
            self.begun.set()
            self.released.wait(120)
            return super().receive(request)

    async def test() -> None:
        role = Slow()
        async with listening(role) as endpoint, operators(endpoint) as asked:
            call = asyncio.create_task(asked.call("aggregator-1", b"first", phase="collect", deadline=2.0))
            assert await asyncio.to_thread(role.begun.wait, 120)
            await asked.ping("aggregator-1")
            lost = await fails(call, OperatorLost, "no answer within 2 s")
            assert (lost.phase, lost.culprit) == ("collect", "aggregator-1")
            role.released.set()
            assert await asked.call("aggregator-1", b"second") == b"second"
        assert role.heard == [b"first", b"second"]  # what was begun was finished, and not repeated

    running(test)


def test_nobody_is_asked_outside_the_connections_life() -> None:
    async def test() -> None:
        async with listening(Echo()) as endpoint:
            asked = operators(endpoint)
            await fails(asked.call("aggregator-1", b""), ConfigError, "use 'async with'")
            await fails(asked.call("nobody", b""), ConfigError, "no operator here")

    running(test)


def test_unfit_settings_are_refused() -> None:
    for address in (
        "",
        "localhost",
        ":1",
        "host:",
        "host:65536",
        "unix:/tmp/x:1",
        "a b:1",
        "host:1/x",
        "::1:1",
        "[::1]",
    ):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            check_address(address)
    for address in ("127.0.0.1:0", "[::1]:443", "clinic-a.example:65535"):
        assert check_address(address) == address
    endpoint = Endpoint(ANYWHERE, OPERATOR.card())
    with pytest.raises(ConfigError, match="named twice"):
        operators(endpoint, endpoint)
    with pytest.raises(ConfigError, match="limit"):
        operators(endpoint, limit=MAX_LIMIT + 1)
    with pytest.raises(ConfigError, match="answers nobody"):
        OperatorServer(Echo(), OPERATOR, [], ROSTER)
    with pytest.raises(ConfigError, match="two cards"):
        OperatorServer(Echo(), OPERATOR, [COORDINATOR.card()] * 2, ROSTER)
    with pytest.raises(UnknownSender):
        OperatorServer(Echo(), OperatorKeys.generate("mallory"), [COORDINATOR.card()], ROSTER)


def test_a_port_in_use_is_refused_and_not_shared() -> None:
    async def test() -> None:
        async with listening(Echo()) as endpoint:
            second = OperatorServer(Echo(), OTHER, [COORDINATOR.card()], ROSTER)
            await fails(second.start(endpoint.address), ConfigError, "can't be listened on")
            await second.stop(0)

    running(test)


def test_without_grpcio_the_error_says_what_to_install() -> None:
    """Importing needs none: a client's home without operators is read by the same modules."""
    program = (
        "import sys; sys.modules['grpc'] = None; import secure_agg.cli; from secure_agg.transport import client\n"
        "print('imported', flush=True); client._Link(None, client.Endpoint('localhost:1', None), 1024)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.stdout == "imported\n"
    assert "MissingExtra: grpcio is not installed: run  pip install '.[operators]'" in found.stderr
