"""Whose request it is, and how many: counters, rates, keys of several epochs."""

from __future__ import annotations

import hashlib
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_agg.errors import BadSignature, MalformedMessage, RequestRepeated, TooManyRequests, UnknownSender
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.service import gate, wire
from secure_agg.service.gate import Bucket, Gate, Strangers

NOTHING = hashlib.sha256(b"").digest()


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Door:
    """A gate for ann, whose key was another one in the epoch before."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.server, self.old, self.new = Identity.generate("s"), Identity.generate("ann"), Identity.generate("ann")
        rosters = Roster({"ann": self.new.public}), Roster({"ann": self.old.public})
        self.gate = Gate(self.server, "t", lambda: rosters, Strangers(self.clock), clock=self.clock)
        nonce = secrets.token_bytes(32)
        operators = Roster({"s": self.server.public})
        self.to = wire.check_greeting(self.gate.greet(nonce, b"c"), nonce, "t", b"c", operators)

    def ask(self, member: Identity, counter: int, **how: bool) -> str:
        return self.admit(member, counter, **how).name

    def admit(self, member: Identity, counter: int, **how: bool) -> gate.Admitted:
        signed = wire.authorize(member, self.to, "t", "/p", counter, NOTHING)
        return self.gate.admit(signed, "/p", NOTHING, **how)


def test_counters_only_rise() -> None:
    door = Door()
    assert door.ask(door.new, 5) == "ann"
    for counter in (5, 4, 0):
        with pytest.raises(RequestRepeated) as caught:
            door.ask(door.new, counter)
        assert (caught.value.last, caught.value.culprit) == (5, None)  # whoever has recorded one can send it again
    assert door.ask(door.new, 6) == "ann"


def test_a_member_that_has_not_heard_of_its_new_key_yet_is_let_in() -> None:
    door = Door()
    assert door.ask(door.old, 1) == "ann"
    with pytest.raises(BadSignature):  # but proposes nothing by it: it was rotated for some reason
        door.ask(door.old, 2, newest=True)
    assert door.ask(door.new, 2, newest=True) == "ann"
    with pytest.raises(BadSignature) as caught:
        door.ask(Identity.generate("ann"), 3)
    assert caught.value.culprit is None  # anybody can write a name
    with pytest.raises(UnknownSender):
        door.ask(Identity.generate("eve"), 3)


def test_one_members_requests_do_not_use_up_anothers() -> None:
    door = Door()
    for number in range(gate.OF_MEMBER[1]):
        door.ask(door.new, number, known=True)
    with pytest.raises(TooManyRequests) as caught:
        door.ask(door.new, 1000, known=True)
    assert 0 < caught.value.seconds <= 1 / gate.OF_MEMBER[0]
    door.clock.now += 1
    door.ask(door.new, 1001, known=True)


def test_requests_that_are_sent_again_use_up_nothing_of_their_members() -> None:
    door = Door()
    door.ask(door.new, 5, known=True)
    for _ in range(gate.OF_MEMBER[1]):
        with pytest.raises(RequestRepeated):
            door.ask(door.new, 5, known=True)
    for number in range(gate.OF_MEMBER[1] - 1):
        door.ask(door.new, 6 + number, known=True)


def test_strangers_use_up_what_strangers_have_and_no_more() -> None:
    door = Door()
    for _ in range(gate.OF_STRANGERS[1] - 1):  # one was the door's own greeting
        door.gate.greet(bytes(32), b"c")
    with pytest.raises(TooManyRequests):
        door.gate.greet(bytes(32), b"c")
    with pytest.raises(TooManyRequests):
        door.ask(door.new, 1)
    assert door.ask(door.new, 1, known=True) == "ann"  # whose connection was recognised


def test_one_address_leaves_others_what_strangers_have() -> None:
    strangers = Strangers(Clock())
    for number in range(gate.OF_ADDRESS[1]):
        strangers.take(f"2001:db8::{number:x}")  # of one network, whose owner has all of them
    for _ in range(gate.OF_STRANGERS[1]):
        with pytest.raises(TooManyRequests):
            strangers.take("2001:db8::")
    for number in range(gate.OF_STRANGERS[1] - gate.OF_ADDRESS[1]):
        strangers.take(f"192.0.2.{number % 250}")
    with pytest.raises(TooManyRequests):
        strangers.take("198.51.100.1")


@given(st.lists(st.floats(0, 10), max_size=30))
def test_a_bucket_gives_no_more_than_its_rate(waits: list[float]) -> None:
    clock = Clock()
    bucket = Bucket(2.0, 5.0, clock)
    given_out = 0
    for wait in waits:
        clock.now += wait
        while bucket.take() == 0:
            given_out += 1
    assert given_out <= 5 + 2 * clock.now


@given(st.text(max_size=40))
def test_what_is_no_authorization_is_no_claim(text: str) -> None:
    with pytest.raises(MalformedMessage):
        wire.claim(text)


@pytest.mark.parametrize("name", ["ann", "Dr. Ö. Ünal, ward=3", "a b", "%41"])
def test_a_claim_reads_what_was_signed_and_has_one_form(name: str) -> None:
    to = wire.Greeted("s", bytes(32), bytes(32))
    header = wire.authorize(Identity.generate(name), to, "t", "/p", 17, NOTHING)
    said = wire.claim(header)
    assert (said.name, said.counter) == (name, 17)
    for other in (header.upper(), header + " ", header.replace("counter=17", "counter=-1"), header[:-1]):
        with pytest.raises(MalformedMessage):
            wire.claim(other)


def test_a_request_is_signed_over_these_bytes() -> None:
    """Section 24 of the specification, worked out by hand."""
    member, to = Identity("ann", bytes(range(32))), wire.Greeted("s", bytes([1]) * 32, bytes([2]) * 32)
    parts = [b"s", bytes([1]) * 32, bytes([2]) * 32, b"t", b"ann", b"/v1/x/next", (7).to_bytes(8, "little"), NOTHING]
    signed = b"".join(len(part).to_bytes(8, "little") + part for part in (b"secure-agg/2", b"service-request", *parts))
    assert wire.claim(wire.authorize(member, to, "t", "/v1/x/next", 7, NOTHING)).signature == member.sign(signed)
