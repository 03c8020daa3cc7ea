"""What one client's message sets off in a library is that client's refusal; the round goes on without it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import support.native.mutations as mutations
from support.federation import Federation, Tape, bulk_of, forge, identity, names
from support.frameworks.plugin_rounds import World, a_world, model

from mpc import ring
from secure_agg import backends
from secure_agg.backends.contract import AggregatorSide
from secure_agg.backends.homomorphic import lattice
from secure_agg.backends.homomorphic.lattice_backend import LatticeOpener
from secure_agg.errors import (
    AlreadyReleased,
    BadKey,
    MalformedMessage,
    OperatorLost,
    RemoteProtocolError,
    UpdateError,
    stamping,
)
from secure_agg.protocol.messages import Envelope
from secure_agg.protocol.refusal import LIBRARY_ERRORS, refusing
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.operators import ask_operator

CHEAT, HOLDER = "c002", "keyholder-1"
ME = identity("aggregator")
LATTICE = ["bfv", "ckks"]


def raising(error: type[Exception]) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error("inside a library, of something secret")

    return fail


# --- the translation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [*LIBRARY_ERRORS, OverflowError, ZeroDivisionError, IndexError, RecursionError])
def test_a_librarys_exception_is_the_senders_refusal_and_says_nothing_else(error: type[Exception]) -> None:
    with pytest.raises(MalformedMessage) as caught, refusing("masked-input", CHEAT):
        raising(error)()
    assert (caught.value.phase, caught.value.culprit) == ("masked-input", CHEAT)
    assert error.__name__ in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_error_that_passes_keeps_its_phase_and_is_of_whoever_relays_it() -> None:
    for named, phase in ((None, "unmask"), ("advertise", "advertise")):
        with pytest.raises(BadKey) as caught, stamping(RemoteProtocolError, phase="unmask", culprit=CHEAT):
            raise BadKey("no key", phase=named, culprit="c001")
        assert (caught.value.phase, caught.value.culprit) == (phase, CHEAT)
    with pytest.raises(BadKey) as caught, stamping(RemoteProtocolError, phase="unmask"):
        raise BadKey("no key", culprit="c001")
    assert (caught.value.phase, caught.value.culprit) == ("unmask", "c001")
    with pytest.raises(AlreadyReleased) as other, stamping(RemoteProtocolError, phase="unmask", culprit=CHEAT):
        raise AlreadyReleased("another set")
    assert (other.value.phase, other.value.culprit) == (None, None)


@pytest.mark.parametrize("error", [BadKey, UpdateError, AlreadyReleased, OSError, KeyboardInterrupt])
def test_what_is_ours_or_nobodys_message_passes(error: type[Exception]) -> None:
    with pytest.raises(error) as caught, refusing("masked-input", CHEAT):
        raising(error)()
    assert "secret" in str(caught.value)


# --- the aggregator -------------------------------------------------------------------------------------------


def cheating(backend: str, change: mutations.Change) -> Tape:
    """A round whose inputs are asked for, and a client that has committed to a ciphertext that it has changed."""
    tape = Tape.start(Federation(5, backend=backend))
    honest = lattice.encrypt

    def encrypt(public: lattice.PublicKey, vector: ring.Vector) -> bytes:
        data = honest(public, vector)
        streams = mutations.streams_of("vector", data)
        streams[-1] = change(random.Random(3), streams[-1])
        return mutations.with_streams("vector", data, streams)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lattice, "encrypt", encrypt)
        tape.answer(CHEAT)
    tape.deliver(tape.responses["advertise"][CHEAT])
    tape.answer_all(but=(CHEAT,))
    tape.advance()
    return tape.until("masked-input")


CHANGES = [change for change in mutations.STREAM if change is not mutations.damaged_blocks]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change.__name__))
@pytest.mark.parametrize("backend", LATTICE)
def test_a_clients_changed_ciphertext_is_its_own_refusal(backend: str, change: mutations.Change) -> None:
    """Its commitment binds it, its signature is right: naively SEAL is what finds out, and the process ends."""
    tape = cheating(backend, change)
    with pytest.raises(RemoteProtocolError) as caught:
        tape.deliver(tape.answer(CHEAT))
    assert (caught.value.phase, caught.value.culprit) == ("masked-input", CHEAT)
    tape.answer_all(but=(CHEAT,))
    tape.advance()
    assert tape.finish().participants == tuple(name for name in names(5) if name != CHEAT)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, ValueError, OverflowError, SystemError])
@pytest.mark.parametrize("backend", ["masking", "bfv"])
def test_whatever_an_input_raises_leaves_the_round_as_it_was(backend: str, error: type[Exception]) -> None:
    tape = Tape.start(Federation(5, backend=backend)).until("masked-input")
    side: AggregatorSide = tape.aggregator._side
    good = tape.answer(CHEAT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side, "take", raising(error))
        with pytest.raises(MalformedMessage) as caught:
            tape.deliver(good)
    assert (caught.value.phase, caught.value.culprit) == ("masked-input", CHEAT)
    tape.deliver(good)
    tape.answer_all(but=(CHEAT,))
    tape.advance()
    assert tape.finish().participants == tuple(names(5))


# --- the key holder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change.__name__))
@pytest.mark.parametrize("backend", LATTICE)
def test_a_changed_sum_costs_a_key_holder_nothing(backend: str, change: mutations.Change) -> None:
    tape = Tape.start(Federation(5, backend=backend)).until("decrypt")
    holder, request = tape.local.holders[HOLDER], tape.requests["decrypt"][HOLDER]
    streams = mutations.streams_of("sum", bulk_of(request))
    streams[-1] = change(random.Random(4), streams[-1])
    with pytest.raises(RemoteProtocolError) as caught:
        holder.receive(forge(request, ME, bulk=mutations.with_streams("sum", bulk_of(request), streams)))
    assert (caught.value.phase, caught.value.culprit) == ("decrypt", "aggregator")
    tape.answer_all()
    tape.advance()
    assert tape.finish().participants == tuple(names(5)), "refusing cost nothing"


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, OverflowError])
def test_whatever_a_check_raises_costs_a_key_holder_nothing(error: type[Exception]) -> None:
    tape = Tape.start(Federation(5, backend="bfv")).until("decrypt")
    holder, request = tape.local.holders[HOLDER], tape.requests["decrypt"][HOLDER]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LatticeOpener, "check", raising(error))
        with pytest.raises(MalformedMessage) as caught:
            holder.receive(request)
    assert (caught.value.phase, caught.value.culprit) == ("decrypt", "aggregator")
    tape.answer_all()
    tape.advance()
    assert tape.finish().participants == tuple(names(5))


def test_an_operator_that_fails_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    """As one in a process of its own is; what it failed of may depend on what it holds, and is not told."""
    tape = Tape.start(Federation(5, backend="bfv")).until("decrypt")
    holder = tape.local.holders[HOLDER]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holder, "receive", raising(RuntimeError))
        assert ask_operator(tape.local.holders, Envelope(HOLDER, tape.requests["decrypt"][HOLDER])) is None
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text
    with pytest.raises(OperatorLost):
        tape.advance()


# --- clients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change.__name__))
def test_a_changed_key_in_a_certificate_is_refused_before_seal_sees_it(change: mutations.Change) -> None:
    """Signed by the key holder: a client that joins takes nobody's word for what is in a key."""
    federation = Federation(5, backend="bfv")
    honest = federation.openers[HOLDER].public
    streams = mutations.streams_of("public key", honest)
    streams[0] = change(random.Random(5), streams[0])
    federation.certificate = federation.certify(mutations.with_streams("public key", honest, streams))
    with pytest.raises(RemoteProtocolError):
        backends.load("bfv").check_setup(federation.config(), federation.setup, federation.trust.operators)


def test_what_a_request_raises_in_a_library_is_its_senders_refusal() -> None:
    tape = Tape.start(Federation(5, backend="masking")).until("consistency")
    client = tape.client(CHEAT)
    request = tape.requests["consistency"][CHEAT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(client._joined.entry.backend.agreement), "check_statement", raising(MemoryError))
        with pytest.raises(MalformedMessage) as caught:
            client.receive(request)
    assert (caught.value.phase, caught.value.culprit) == ("consistency", "aggregator")
    assert client.receive(request), "nothing was bound by a request that was refused"


# --- plug-ins' driver -----------------------------------------------------------------------------------------


def test_a_driver_of_the_plugins_goes_on_without_a_client_whose_message_can_not_be_taken() -> None:
    with a_world() as world:
        refuse_one(world)


def refuse_one(world: World) -> None:
    honest = Aggregator.receive
    spoiled: list[str] = []

    def receive(self: Aggregator, data: bytes) -> Any:
        if self.state == "advertise" and not spoiled:
            spoiled.append("once")
            raise MemoryError("of a message that is larger than it says")
        return honest(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Aggregator, "receive", receive)
        outcome = world.coordinator.round(model(), world.nodes(model()))
    assert len(outcome.participants) == 3
    assert spoiled == ["once"]
