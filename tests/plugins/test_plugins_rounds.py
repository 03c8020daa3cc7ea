"""Rounds between a coordinator and participants, every payload in a new process as far as they can tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.frameworks.plugin_rounds import (
    METRICS,
    NAMES,
    WEIGHTS,
    Nodes,
    World,
    a_world,
    introduce,
    model,
    updates,
    weighted_mean,
)

from secure_agg.errors import (
    AlreadyReleased,
    AnotherModel,
    BadSignature,
    LocalProtocolError,
    MalformedMessage,
    SecureAggError,
    TooFewClients,
    UnknownSender,
    WrongContext,
)
from secure_agg.executing import Processes
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.instructions import Instructions
from secure_agg.plugins.core.metrics import MAX_METRICS
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.core.training import Trained
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import NO_DIGEST, Option
from secure_agg.protocol.identity import Identity
from secure_agg.roles.auditor import verify


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


def check_mean(world: World, outcome: Any, start: list[np.ndarray], seed: int = 0) -> None:
    """The new model is the old one plus the plain weighted mean, as near as the codec documents."""
    mean = weighted_mean(updates(seed), WEIGHTS, outcome.participants)
    # The nodes train in the arrays' own dtypes, so the plain mean is off by their rounding too.
    bound = FixedPoint(world.policy).error_bound(len(outcome.participants), outcome.weight) + 1e-6
    for new, old, step in zip(outcome.model, start, mean, strict=True):
        assert new.dtype == old.dtype
        assert np.abs(new - (old.astype(np.float64) + step)).max() <= bound


def test_a_round_moves_the_model_by_the_weighted_mean(world: World) -> None:
    start = model()
    nodes = world.nodes(start)
    assert introduce(world.coordinator, world.homes) == {name: name for name in NAMES}
    outcome = world.coordinator.round(start, nodes)
    assert nodes.errors == []
    assert outcome.participants == tuple(sorted(NAMES))
    assert outcome.weight == sum(WEIGHTS.values())
    check_mean(world, outcome, start)
    for name in ("accuracy", "loss"):
        expected = sum(WEIGHTS[c] * METRICS[c][name] for c in NAMES) / outcome.weight
        assert outcome.metrics[name] == pytest.approx(expected, rel=1e-6)
    assert verify(world.server.ledger.evidence(outcome.record), world.server.trust).pinned >= {
        "roster",
        "policy",
        "log",
    }
    assert [name for kind, _, name in nodes.log if kind == "result"] == sorted(NAMES)


def test_an_app_names_its_metrics_as_it_likes_and_reports_as_many_as_there_is_room_for(world: World) -> None:
    """Nodes add one of their own, whose name is somewhere among the app's."""
    start = model()
    nodes = world.nodes(start)
    nodes.metrics = {
        name: {f"{'azt'[place % 3]}{place:02}": place / 4 for place in range(MAX_METRICS)} for name in NAMES
    }
    outcome = world.coordinator.round(start, nodes)
    assert nodes.errors == []
    assert outcome.participants == tuple(sorted(NAMES))
    assert {name: outcome.metrics[name] for name in nodes.metrics["south"]} == pytest.approx(nodes.metrics["south"])


def test_rounds_follow_each_other_and_the_ledger_audits(world: World) -> None:
    at = model()
    for number in range(3):
        nodes = world.nodes(at, seed=number)
        outcome = world.coordinator.round(at, nodes)
        assert nodes.errors == []
        check_mean(world, outcome, at, seed=number)
        at = outcome.model
    assert len(world.server.ledger) == 3
    assert world.server.ledger.audit().verified == 3


def test_inputs_are_screened_where_the_policy_says_so() -> None:
    with a_world(options=(Option("screening", 1),)) as world:
        start = model()
        nodes = world.nodes(start)
        outcome = world.coordinator.round(start, nodes)
        assert nodes.errors == []
        assert outcome.participants == tuple(sorted(NAMES))
        check_mean(world, outcome, start)


@pytest.mark.parametrize("silent", [("join", 0), ("step", 0), ("step", 1), ("step", 2), ("step", 3), ("result", 0)])
def test_a_node_that_falls_silent_has_dropped_out(world: World, silent: tuple[str, int]) -> None:
    start = model()
    nodes = world.nodes(start, silent={"south": silent})
    outcome = world.coordinator.round(start, nodes)
    assert nodes.errors == []
    assert ("south" in outcome.participants) == (silent in [("step", 2), ("step", 3), ("result", 0)])
    check_mean(world, outcome, start)
    # It is back in the next round, verifies what it has missed, and takes part.
    nodes = world.nodes(outcome.model, seed=1)
    again = world.coordinator.round(outcome.model, nodes)
    assert nodes.errors == []
    assert again.participants == tuple(sorted(NAMES))


def test_too_few_nodes_change_nothing_and_are_on_record(world: World, caplog: pytest.LogCaptureFixture) -> None:
    start = model()
    silent = {"south": ("step", 1), "west": ("step", 1)}
    with pytest.raises(TooFewClients):
        world.coordinator.round(start, world.nodes(start, silent=silent))
    assert len(world.server.ledger) == 0
    (abort,) = world.coordinator.aborts
    assert (abort.error, abort.round, abort.attempt) == ("TooFewClients", 0, 0)
    assert "came to nothing: TooFewClients" in caplog.text
    nodes = world.nodes(start)
    outcome = world.coordinator.round(start, nodes)
    assert nodes.errors == []
    assert outcome.participants == tuple(sorted(NAMES))


def test_an_evaluation_sums_metrics_and_nothing_else(world: World) -> None:
    start = model()
    nodes = world.nodes(start)
    outcome = world.coordinator.evaluate(start, nodes.evaluating())
    assert nodes.errors == []
    assert outcome.model == []
    expected = sum(WEIGHTS[c] * METRICS[c]["accuracy"] for c in NAMES) / outcome.weight
    assert outcome.metrics["accuracy"] == pytest.approx(expected, rel=1e-6)
    assert outcome.record.task == "task-evaluation"


@pytest.mark.parametrize("backend", ["plain", "additive", "bfv"])
@pytest.mark.usefixtures("quick_operators")
def test_other_backends(backend: str) -> None:
    start = model()
    with a_world(backend=backend) as made, federation.operators(made.folder):
        nodes = made.nodes(start)
        outcome = made.coordinator.round(start, nodes)
        assert nodes.errors == []
        assert outcome.participants == tuple(sorted(NAMES))
        check_mean(made, outcome, start)


# --- a server that cheats ----------------------------------------------------------------------------------------


def refusals(nodes: Nodes) -> set[type[Exception]]:
    return {type(error) for _, error in nodes.errors}


def test_a_server_that_shows_different_models_gets_nothing(world: World) -> None:
    other = [model()[0] + np.float32(0.25), model()[1]]
    shown = {name: model() for name in NAMES} | {"south": other, "west": other}
    nodes = world.nodes(shown)
    with pytest.raises(TooFewClients):
        world.coordinator.round(model(), nodes)
    assert {(name, type(error)) for name, error in nodes.errors} == {("south", WrongContext), ("west", WrongContext)}
    assert sorted(nodes.trained) == ["east", "north"], "a node trains only from the model that the round names"


def test_a_server_that_tells_different_things_gets_nothing(world: World) -> None:
    told, other = Instructions.of(rate=0.5), Instructions.of(rate=0.0)
    nodes = world.nodes(model(), instructions={"north": told, "east": told, "south": other})
    with pytest.raises(TooFewClients):
        world.coordinator.round(model(), nodes, told.digest)
    assert {(name, type(error)) for name, error in nodes.errors} == {("south", WrongContext), ("west", WrongContext)}
    assert sorted(nodes.trained) == ["east", "north"], "a node trains only by what the round names"


def test_evaluations_and_later_rounds_are_bound_to_what_they_are_told(world: World) -> None:
    first, second = Instructions.of(round=0), Instructions.of(round=1)
    nodes = world.nodes(model(), instructions=dict.fromkeys(NAMES, first))
    outcome = world.coordinator.round(model(), nodes, first.digest)
    nodes = world.nodes(outcome.model, instructions=dict.fromkeys(NAMES, second))
    with pytest.raises(TooFewClients):
        world.coordinator.round(outcome.model, nodes, first.digest)
    assert world.coordinator.round(outcome.model, nodes, second.digest).record.round == 1


def test_the_server_takes_the_surroundings_that_most_have_named(world: World, caplog: pytest.LogCaptureFixture) -> None:
    assert world.coordinator.surroundings(NAMES) == NO_DIGEST
    for name, around in zip(NAMES, (b"\1", b"\2", b"\2", b"\3"), strict=True):
        with ClientHome.open(world.homes[name]) as home:
            world.coordinator.identify(Participant(home, around * 32).handle(world.coordinator.challenge()))
    assert world.coordinator.surroundings(NAMES) == b"\2" * 32
    assert {name for name in NAMES if f"{name} has other settings" in caplog.text} == {"north", "west"}
    with ClientHome.open(world.homes["north"]) as home, pytest.raises(MalformedMessage, match="surroundings of 3"):
        world.coordinator.identify(Participant(home, b"\1" * 3).handle(world.coordinator.challenge()))


def test_a_model_that_is_not_the_verified_mean_is_refused(world: World) -> None:
    outcome = world.coordinator.round(model(), world.nodes(model()))
    edited = [outcome.model[0] + np.float32(0.125), outcome.model[1]]
    nodes = world.nodes(edited)
    with pytest.raises(TooFewClients):
        world.coordinator.round(edited, nodes)
    assert refusals(nodes) == {AnotherModel}
    assert {(error.phase, error.culprit) for _, error in nodes.errors} == {("advertise", None)}
    assert all("not the model that follows" in str(error) for _, error in nodes.errors)
    assert nodes.trained == []


def test_a_server_side_optimiser_is_allowed_where_the_node_says_so() -> None:
    with a_world(checks_model=False) as made:
        outcome = made.coordinator.round(model(), made.nodes(model()))
        stepped = [array + np.asarray(0.125, array.dtype) for array in outcome.model]
        nodes = made.nodes(stepped, seed=1)
        made.coordinator.round(stepped, nodes)
        assert nodes.errors == []


def test_a_replayed_round_is_refused(world: World) -> None:
    kept: dict[tuple[str, str], list[bytes]] = {}

    def record(kind: str, name: str, payload: bytes) -> bytes:
        kept.setdefault((kind, name), []).append(payload)
        return payload

    outcome = world.coordinator.round(model(), world.nodes(model(), tamper_request=record))

    def replay(kind: str, name: str, payload: bytes) -> bytes:
        return kept[kind, name][0]

    nodes = world.nodes(model(), tamper_request=replay)
    with pytest.raises(TooFewClients):
        world.coordinator.round(outcome.model, nodes)
    assert len(nodes.errors) == len(NAMES)
    assert all(isinstance(error, SecureAggError) for _, error in nodes.errors)
    assert nodes.trained == []


def test_both_shares_of_a_peer_are_never_given_out(world: World) -> None:
    """The unmask request comes a second time, in a new process, after the answer has left: it is the same answer."""
    answers: dict[str, int] = {}
    given: list[bytes] = []

    def twice(kind: str, name: str, payload: bytes) -> bytes:
        answers[name] = answers.get(name, 0) + (kind == "step")
        if answers[name] == 4 and name == "south" and kind == "step":  # unmask
            given.append(nodes.answer(name, kind, payload))
        return payload

    def keep(kind: str, name: str, payload: bytes) -> bytes:
        if given and len(given) < 2 and name == "south" and kind == "step":
            given.append(payload)
        return payload

    nodes = world.nodes(model(), tamper_request=twice, tamper_answer=keep)
    world.coordinator.round(model(), nodes)
    assert nodes.errors == []
    assert len(given) == 2
    assert given[0] == given[1]


def test_wrong_keys_are_named(world: World) -> None:
    """The server relays somebody else's advertisement under a client's name."""

    def swap(kind: str, name: str, payload: bytes) -> bytes:
        parcel = Parcel.from_bytes(payload)
        if kind != "step":
            return payload
        raw = bytes(parcel.parts[0])
        return Parcel("step", (raw[:-1] + bytes([raw[-1] ^ 1]), *parcel.parts[1:])).to_bytes()

    nodes = world.nodes(model(), tamper_request=swap)
    with pytest.raises(TooFewClients):
        world.coordinator.round(model(), nodes)
    assert refusals(nodes) <= {MalformedMessage, BadSignature}
    assert len(nodes.errors) == len(NAMES)


def test_an_edited_aggregate_is_refused_by_every_node_and_trained_on_by_none(world: World) -> None:
    def edit(kind: str, name: str, payload: bytes) -> bytes:
        if kind != "result":
            return payload
        parcel = Parcel.from_bytes(payload)
        raw = bytearray(parcel.parts[0])
        raw[-3] ^= 1  # one summed value
        return Parcel("result", (bytes(raw), *parcel.parts[1:])).to_bytes()

    nodes = world.nodes(model(), tamper_request=edit)
    outcome = world.coordinator.round(model(), nodes)
    assert {name for name, _ in nodes.errors} == set(NAMES)
    assert all(isinstance(error, SecureAggError) for _, error in nodes.errors)

    def edit_evidence(kind: str, name: str, payload: bytes) -> bytes:
        if kind != "join":
            return payload
        parcel = Parcel.from_bytes(payload)
        raw = bytearray(parcel.parts[1])
        raw[-3] ^= 1
        return Parcel("join", (parcel.parts[0], bytes(raw), parcel.parts[2])).to_bytes()

    nodes = world.nodes(outcome.model, seed=1, tamper_request=edit_evidence)
    with pytest.raises(TooFewClients):
        world.coordinator.round(outcome.model, nodes)
    assert nodes.trained == []
    nodes = world.nodes(outcome.model, seed=1)
    world.coordinator.round(outcome.model, nodes)
    assert nodes.errors == []


def test_a_result_without_a_receipt_of_the_pinned_ledger_is_refused(world: World) -> None:
    with a_world() as other:
        foreign = other.coordinator.round(model(), other.nodes(model())).receipt.to_bytes()

    def exchange(kind: str, name: str, payload: bytes) -> bytes:
        parcel = Parcel.from_bytes(payload)
        return payload if kind != "result" else Parcel("result", (parcel.parts[0], foreign)).to_bytes()

    nodes = world.nodes(model(), tamper_request=exchange)
    world.coordinator.round(model(), nodes)
    assert {name for name, _ in nodes.errors} == set(NAMES)


def test_a_server_that_is_not_pinned_learns_nobodys_name(world: World) -> None:
    with a_world() as stranger, ClientHome.open(world.homes["north"]) as home, pytest.raises(SecureAggError):
        Participant(home).handle(stranger.coordinator.challenge())


# --- a client that cheats ----------------------------------------------------------------------------------------


def test_nobody_answers_the_challenge_for_somebody_else(world: World) -> None:
    with ClientHome.open(world.homes["north"]) as home:
        forged = Identity.generate("east")
        home.identity = forged
        answer = Participant(home).handle(world.coordinator.challenge())
    with pytest.raises(BadSignature):
        world.coordinator.identify(answer)


@pytest.mark.parametrize("what", ["garbage", "empty", "out of phase", "somebody else's", "twice"])
@pytest.mark.parametrize("kind", ["join", "step"])
def test_a_client_that_answers_wrongly_is_out_and_named(
    world: World, caplog: pytest.LogCaptureFixture, kind: str, what: str
) -> None:
    seen: list[bytes] = []

    def tamper(at: str, name: str, answer: bytes) -> bytes:
        seen.append(answer)
        if at != kind or name != "west":
            return answer
        if what == "garbage":
            return b"\x00garbage" * 100
        if what == "empty":
            return b""
        if what == "out of phase":
            return Parcel(parcels.ANSWER if kind == "join" else parcels.JOINED, (b"x", b"y")).to_bytes()
        if what == "twice":
            return seen[0]
        return next(item for item in reversed(seen[:-1]))

    start = model()
    with caplog.at_level(logging.WARNING, "secure_agg.plugins"):
        outcome = world.coordinator.round(start, world.nodes(start, tamper_answer=tamper))
    assert "west" not in outcome.participants
    assert "an answer of west was refused" in caplog.text
    check_mean(world, outcome, start)


def test_a_round_that_was_never_joined_has_no_steps(world: World) -> None:
    with ClientHome.open(world.homes["north"]) as home, pytest.raises((LocalProtocolError, AlreadyReleased)):
        Participant(home).handle(Parcel("step", (b"",)).to_bytes())


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xff" * 40, Parcel("join", ()).to_bytes(), Parcel("x", (b"",)).to_bytes()]
)
def test_a_payload_that_is_none_is_refused(world: World, data: bytes) -> None:
    with ClientHome.open(world.homes["north"]) as home, pytest.raises((MalformedMessage, LocalProtocolError)):
        Participant(home).handle(data)


def test_a_parcel_comes_back_whole_from_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "PIECE", 7)
    parcel = Parcel("step", (b"one", b"", bytes(range(100))))
    pieces = parcels.split(parcel.to_bytes())
    assert max(map(len, pieces)) == 7
    assert [bytes(part) for part in Parcel.from_bytes(parcels.join(pieces)).parts] == list(parcel.parts)
    with pytest.raises(MalformedMessage):
        parcels.join(pieces, limit=50)
    for cut in (parcel.to_bytes()[:-1], parcel.to_bytes() + b"\0"):
        with pytest.raises(MalformedMessage):
            Parcel.from_bytes(cut)


def test_unknown_senders_do_not_speak_for_members(world: World) -> None:
    with pytest.raises((UnknownSender, MalformedMessage)):
        world.coordinator.identify(world.coordinator.challenge())


def test_what_training_has_come_to_does_not_show_in_a_log() -> None:
    trained = Trained([np.array([0.123456])], 4711, {"loss": 0.987654})
    assert all(text not in repr(trained) for text in ("0.123456", "weight", "0.987654"))


def test_the_servers_work_may_be_done_by_other_processes(world: World) -> None:
    with Processes(2, least=1, handing=0) as executor:
        world.coordinator = Coordinator(world.server, executor=executor)
        introduce(world.coordinator, world.homes)
        start = model()
        outcome = world.coordinator.round(start, world.nodes(start))
        assert len(executor.pids()) == 2
    check_mean(world, outcome, start)
