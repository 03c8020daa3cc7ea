"""A service, or whoever stands before it, that keeps a member's connection or fills its memory by what it answers."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import httpcore
import numpy as np
import pytest
from support.service.world import a_world, start_model

from secure_agg.errors import (
    BadSignature,
    ConfigError,
    LedgerDamaged,
    LocalProtocolError,
    MalformedMessage,
    PolicyViolation,
    RequestRefused,
    SecureAggError,
    StoreError,
)
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.codec import model_digest
from secure_agg.service import bounds, link, paced, wire
from secure_agg.service.interface.bodies import TooLong
from secure_agg.service.interface.refusals import MAX_REFUSAL, read_refusal, refusal
from secure_agg.service.session import Session, connect

MOST = 1 << 10
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"


class Slow(httpcore.NetworkStream):
    """Answers bytes one at a time, 50 seconds after another, by a clock of its own."""

    def __init__(self, answer: Iterator[bytes], pause_s: float) -> None:
        self.now, self._answer, self._pause_s = 0.0, answer, pause_s

    def clock(self) -> float:
        return self.now

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if timeout is not None and timeout < self._pause_s:
            self.now += timeout
            raise httpcore.ReadTimeout("nothing has come")
        self.now += self._pause_s
        return next(self._answer)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.now += 1.0

    def close(self) -> None:
        pass

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return self

    def get_extra_info(self, info: str) -> Any:
        return False if info == "is_readable" else None


class Network(httpcore.NetworkBackend):
    def __init__(self, stream: Slow) -> None:
        self._stream = stream

    def connect_tcp(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        return self._stream


def one_by_one(data: bytes) -> Iterator[bytes]:
    for place in range(len(data)):
        yield data[place : place + 1]


def without_end(data: bytes) -> Iterator[bytes]:
    while True:
        yield data


def ask(stream: Slow, *, is_paced: bool) -> bytes:
    pace = paced.Pace(stream.clock)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pool = paced.connection(context, pace, (), Network(stream))
    if not is_paced:
        pool = httpcore.ConnectionPool(ssl_context=context, network_backend=Network(stream))
    pace.begin(MOST)
    with pool, pool.stream("POST", "https://s/", content=b"", extensions={"timeout": paced.TIMEOUTS}) as answer:
        return b"".join(answer.iter_stream())


@pytest.mark.parametrize(
    "answer",
    [
        lambda: one_by_one(HEAD + b"x: " + b"a" * 400 + b"\r\n\r\n0\r\n\r\n"),
        lambda: one_by_one(b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + HEAD + b"\r\n0\r\n\r\n"),
        lambda: one_by_one(HEAD + b"\r\n1;" + b"e" * 400 + b"\r\nx\r\n0\r\n\r\n"),
        lambda: one_by_one(HEAD + b"\r\n" + b"1\r\nx\r\n" * 80 + b"0\r\n\r\n"),
        lambda: one_by_one(HEAD + b"\r\n0\r\n" + b"t: " + b"a" * 400 + b"\r\n\r\n"),
    ],
    ids=["head", "interim answers", "extensions of chunks", "body", "trailers"],
)
def test_an_answer_byte_by_byte_is_given_up_whatever_part_of_it(answer: Callable[[], Iterator[bytes]]) -> None:
    """No byte is a minute late. Who only looks at that waits for hours."""
    slow = Slow(answer(), 50.0)
    ask(slow, is_paced=False)
    assert slow.now > 5 * 3600
    slow = Slow(answer(), 50.0)
    with pytest.raises(httpcore.ReadTimeout):
        ask(slow, is_paced=True)
    assert slow.now < 2 * paced.ANSWER_S


def test_interim_answers_without_end_are_longer_than_an_answer() -> None:
    """At full speed: a limit on time, or on what HTTP takes for a head, ends none of them."""
    slow = Slow(without_end(b"HTTP/1.1 100 Continue\r\n\r\n" * 40), 0.0)
    with pytest.raises(MalformedMessage, match="longer than what was asked for"):
        ask(slow, is_paced=True)


def test_a_request_that_is_taken_byte_by_byte_is_given_up_and_gives_its_answer_no_time() -> None:
    now = [0.0]
    pace = paced.Pace(lambda: now[0])
    pace.begin(MOST)
    for _ in range(100):
        assert pace.left_s(sending=True) > 0
        pace.sent(1 << 20)  # a long one, quickly
    now[0] = paced.ANSWER_S + 1
    assert pace.left_s(sending=True) > 0
    assert pace.left_s(sending=False) == paced.ANSWER_S
    pace.begin(MOST)
    pace.sent(1)
    now[0] += paced.ANSWER_S + 1
    assert pace.left_s(sending=True) <= 0
    pace.begin(MOST, now[0] + 5)  # a caller's own limit
    assert pace.left_s(sending=False) == 5


def test_what_a_member_is_sent_can_be_as_long_as_its_pins_say() -> None:
    """It was 64 GiB for everybody. The policy's limit on models counts until there is one, and then its size."""
    pins: dict[str, Any] = {"start_elements": 1 << 20}
    with a_world(max_parameters=1 << 24, rules=pins) as pinned, ClientHome.open(pinned.home("bob")) as home:
        assert bounds.elements(home) == 1 << 20
    with a_world(max_parameters=1 << 24) as world, ClientHome.open(world.home("ann")) as home:
        participant = Participant(home)
        with pytest.raises(LocalProtocolError):
            participant.request_limit  # noqa: B018 - it is in no round
        before = bounds.payload_bytes(home, participant)
        assert 12 << 24 < before < 64 << 24
        home.chain.start(list(start_model().values()))
        assert bounds.elements(home) == 10
        assert bounds.payload_bytes(home, participant) < 64 << 20 < before


def test_a_member_that_does_not_know_its_models_size_takes_no_more_than_a_gibibyte_or_what_it_says() -> None:
    """Whoever pinned a digest, or takes any model, took what a policy allows by default: 20 GB."""
    for rules in ({}, {"checks_model": False, "start_model": None}):
        with a_world(rules=rules) as world, ClientHome.open(world.home("ann")) as home:
            participant = Participant(home)
            assert bounds.payload_bytes(home, participant) < 1.5 * (1 << 30)
            assert bounds.elements(home, 10) == 10
            assert bounds.elements(home, 1 << 40) == world.policy.max_parameters
            with pytest.raises(ConfigError, match="max_parameters is 0"):
                connect("https://127.0.0.1:1", world.home("bob"), max_parameters=0)

            def sent(most: int) -> bytes:
                return link._read(httpcore.Response(200, content=[bytes(most + 1)]), {}, most)

            session = Session(home, cast(Any, SimpleNamespace(next=sent)), lambda: None, 10)
            with pytest.raises(MalformedMessage, match="one of 10 parameters is taken at most; give max_parameters="):
                session.contribute(list(start_model().values()))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_larger_model_is_refused_with_what_to_do_whatever_its_elements_are(kind: type) -> None:
    """One of float32 is as long as half as many elements of float64, so that its length does not tell."""
    model = [np.zeros((2, 600), kind), np.zeros(7, kind)]
    sent = b"".join(wire.encode_model(model))

    def answered(most: int) -> bytes:
        return link._read(httpcore.Response(200, content=[sent]), {}, most)

    with (
        a_world(rules={"checks_model": False, "start_model": None}) as world,
        ClientHome.open(world.home("ann")) as home,
    ):
        link_of: Any = SimpleNamespace(model=answered)
        for known, said in ((1206, "one of 1,206 parameters is taken at most; give max_parameters="), (1207, None)):
            session = Session(home, link_of, lambda: None, known)
            if said is None:
                assert [array.shape for array in session._model(model_digest(model))] == [(2, 600), (7,)]
            else:
                with pytest.raises(MalformedMessage, match=said):
                    session._model(model_digest(model))


def test_an_answer_is_refused_by_the_length_that_it_says_and_by_that_it_has() -> None:
    for headers, body in (([(b"Content-Length", b"68719476736")], []), ([], [bytes(600), bytes(600)])):
        answer = httpcore.Response(200, headers=headers, content=iter(body))
        with pytest.raises(MalformedMessage, match=r"above 1000|more than 1000"):
            link._read(answer, link._headers(answer), 1000)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (PolicyViolation("'ann' proposes nothing"), 400, "PolicyViolation: 'ann' proposes nothing"),
        (TooLong("a body of 9 bytes, above 2"), 413, "MalformedMessage: a body of 9 bytes, above 2"),
        (BadSignature("another's"), 401, "BadSignature: another's"),
        (StoreError("/srv/secret/place is full"), 503, "StoreError: the service's own log says why"),
        (ConfigError("/srv/secret/trust.json is no JSON"), 503, "ConfigError: the service's own log says why"),
        (LedgerDamaged("/srv/secret/place is damaged"), 503, "LedgerDamaged: the service's own log says why"),
        (MalformedMessage("\x1b[2J" + "€" * 5000), 400, "MalformedMessage:"),
    ],
)
def test_a_refusal_says_what_and_why_and_names_nobody(error: SecureAggError, status: int, said: str) -> None:
    answer = refusal(error)
    assert answer.status_code == status
    assert len(answer.body) <= MAX_REFUSAL
    found = read_refusal(status, bytes(answer.body), "propose")
    assert isinstance(found, RequestRefused)
    assert (found.status, found.error, found.culprit) == (status, said.partition(":")[0], None)
    assert said in str(found.args[0])
    assert "'propose'" in str(found.args[0])
    assert str(found.args[0]).isprintable()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", json.dumps({"error": "a b", "message": ""}).encode()])
def test_a_refusal_of_whoever_stands_before_the_service_is_its_status(body: bytes) -> None:
    found = read_refusal(418, body, "next")
    assert (found.error, found.status, str(found.args[0])) == ("", 418, "the service refuses 'next': status 418")
