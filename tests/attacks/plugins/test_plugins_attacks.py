"""What servers, nodes and crashes may try against the plug-ins' common core, and what comes of it."""

from __future__ import annotations

import logging
import random
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from support.frameworks.plugin_rounds import METRICS, NAMES, WEIGHTS, Model, Nodes, World, a_world, model, updates

from secure_agg.errors import (
    AlreadyReleased,
    AnotherModel,
    LedgerError,
    LocalProtocolError,
    MalformedMessage,
    SecureAggError,
    StoreError,
    TaskSpent,
    TooFewClients,
    Unattributed,
    WrongPhase,
)
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.node.guard import Guard
from secure_agg.plugins.core.node.under_way import UnderWay
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.core.phases import Payload
from secure_agg.plugins.core.server.aborts import AbortJournal
from secure_agg.plugins.core.training import MetricNames, Trained, round_shapes
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import RESULT, encode, write
from secure_agg.roles.client.client import Client
from secure_agg.roles.task import Task


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made


def other_model() -> list[np.ndarray]:
    return [array + np.asarray(0.25, array.dtype) for array in model()]


def configured(world: World, at: Model, **changes: Any) -> RoundConfig:
    """A configuration that a server may send: attempt 0 of round 0, from this model."""
    shapes = round_shapes(world.policy, at, trains=True)
    config = Task("task", world.server.trust).next_round(shapes, base_model=model_digest(at))
    return msgspec.structs.replace(config, **changes)


def invitation(world: World, config: RoundConfig, name: str = "north") -> bytes:
    """The payload with which a server asks for this round."""
    aggregator = Task("task", world.server.trust).lead(world.server.identity, config)
    request = next(item.data for item in aggregator.start() if item.recipient == name)
    return Parcel(parcels.JOIN, (request, b"", b"")).to_bytes()


class Node:
    """North, by hand; each payload in a new process."""

    def __init__(self, world: World) -> None:
        self.home = world.homes["north"]
        self.trained_from: list[bytes] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def join(self, payload: bytes, at: Model, step: float = 0.125) -> bytes:
        def train() -> Trained:
            self.trained_from.append(model_digest(at))
            self.meanwhile()
            return Trained([array + np.asarray(step, array.dtype) for array in at], 3, {"loss": 0.5})

        with ClientHome.open(self.home) as home:
            return Participant(home).handle(payload, at, train)

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.home / "journal").rglob("*") if path.is_file())


def secret(world: World, name: str, number: int = 0, attempt: int = 0, task: str = "task") -> bytes | None:
    with ClientHome.open(world.homes[name]) as home:
        return home.store.get((name, task, number, attempt), "secret")


# --- one attempt, one model, one update ---------------------------------------------------------------------------


def test_an_update_trained_from_one_model_is_not_sent_in_a_round_on_another(world: World) -> None:
    """Two requests for one attempt: the first shows a model of its own and fails for another reason."""
    node = Node(world)
    with pytest.raises(SecureAggError):
        node.join(invitation(world, configured(world, other_model(), shapes=((3, 4), (5,)))), other_model())
    assert node.trained_from == [], "a round that its vector can't be for is not worth training"
    assert node.join(invitation(world, configured(world, model())), model())
    assert node.trained_from == [model_digest(model())]


def test_what_was_trained_for_one_configuration_is_not_used_in_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between training and joining leaves an update that nothing is bound to yet."""
    node = Node(world)

    def dies(*_: object, **__: object) -> bytes:
        raise StoreError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Client, "join", dies)
        with pytest.raises(StoreError):
            node.join(invitation(world, configured(world, other_model())), other_model())
    with pytest.raises(AlreadyReleased, match="another configuration"):
        node.join(invitation(world, configured(world, model())), model())
    assert node.trained_from == [model_digest(other_model())]
    assert node.join(invitation(world, configured(world, other_model())), other_model()), "the same goes on"
    assert len(node.trained_from) == 1


def test_a_request_twice_is_answered_with_the_same_bytes_and_trained_for_once(world: World) -> None:
    node, payload = Node(world), invitation(world, configured(world, model()))
    assert node.join(payload, model()) == node.join(payload, model(), step=0.25)
    assert len(node.trained_from) == 1


def test_a_bound_attempt_takes_no_other_update_when_the_journal_is_lost(world: World) -> None:
    node, payload = Node(world), invitation(world, configured(world, model()))
    node.join(payload, model())
    with ClientHome.open(node.home) as home:
        home.journal.clear()
    with pytest.raises(AlreadyReleased):
        node.join(payload, model(), step=0.25)


def test_two_processes_that_join_at_once_join_with_one_update(world: World) -> None:
    node, payload = Node(world), invitation(world, configured(world, model()))
    both, answers = threading.Barrier(2), []
    node.meanwhile = lambda: both.wait(60)
    threads = [
        threading.Thread(target=lambda step=step: answers.append(node.join(payload, model(), step)))
        for step in (0.125, 0.25)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(node.trained_from) == 2
    assert answers[0] == answers[1]


def test_who_has_trained_too_long_does_not_undo_a_later_attempt(world: World) -> None:
    node, late = Node(world), Node(world)
    later = invitation(world, configured(world, model(), attempt=1))
    late.meanwhile = lambda: node.join(later, model())
    with pytest.raises(AlreadyReleased, match="another attempt"):
        late.join(invitation(world, configured(world, model())), model())
    with ClientHome.open(node.home) as home:
        assert home.journal.key == ("task", 0, 1)
    assert node.join(later, model()), "and it is still joined"


# --- what stays on a node's disk ----------------------------------------------------------------------------------


def test_an_update_is_gone_from_the_disk_when_it_is_hidden(world: World) -> None:
    node, seen = Node(world), dict[int, list[str]]()

    def look(kind: str, name: str, answer: bytes) -> bytes:
        if kind == "step" and name == "north":
            seen[len(seen)] = node.files()
        return answer

    world.coordinator.round(model(), world.nodes(model(), tamper_answer=look))
    assert "update.arrays" in seen[0]  # shares of keys
    assert "update.arrays" not in seen[1] + seen[2] + seen[3]  # masked input, consistency, unmask
    assert node.files() == []


def test_an_attempt_that_came_to_nothing_leaves_no_secret_and_no_update_behind(world: World) -> None:
    silent = {"south": ("step", 1), "west": ("step", 1)}
    with pytest.raises(TooFewClients):
        world.coordinator.round(model(), world.nodes(model(), silent=silent))
    assert secret(world, "north") is not None, "or this test is about nothing"
    world.coordinator.round(model(), world.nodes(model()))
    for name in NAMES:
        assert secret(world, name) is secret(world, name, attempt=1) is None
        assert not any((world.homes[name] / "journal").rglob("*.arrays"))


def test_an_evaluation_in_between_ends_the_attempt_that_it_takes_the_place_of(world: World) -> None:
    silent = {"south": ("step", 1), "west": ("step", 1)}
    nodes = world.nodes(model(), silent=silent)
    with pytest.raises(TooFewClients):
        world.coordinator.round(model(), nodes)
    world.coordinator.evaluate(model(), world.nodes(model()).evaluating())
    assert secret(world, "north") is secret(world, "north", task="task-evaluation") is None


@pytest.mark.parametrize(("part", "moment"), [(Guard, "learn"), (UnderWay, "end")])
def test_a_crash_while_a_result_is_taken_leaves_nothing_undone(
    world: World, monkeypatch: pytest.MonkeyPatch, part: type, moment: str
) -> None:
    kept: list[bytes] = []

    def keep(kind: str, name: str, payload: bytes) -> bytes:
        if (kind, name) == ("result", "north"):
            kept.append(payload)
            with monkeypatch.context() as patch:
                patch.setattr(part, moment, crash)
                with pytest.raises(StoreError):
                    nodes.answer(name, kind, payload)
        return payload

    def crash(*_: object) -> None:
        raise StoreError("power cut")

    nodes = world.nodes(model(), tamper_request=keep)
    outcome = world.coordinator.round(model(), nodes)
    assert kept
    assert nodes.errors == []
    assert secret(world, "north") is None
    edited = [outcome.model[0] + np.float32(0.125), outcome.model[1]]
    nodes = world.nodes(edited)
    with pytest.raises(TooFewClients):
        world.coordinator.round(edited, nodes)
    assert {(name, type(error)) for name, error in nodes.errors} == {(name, AnotherModel) for name in NAMES}


# --- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["nothing", "an evaluation"])
def test_a_server_that_keeps_the_result_back_still_can_t_go_on_from_another_model(world: World, between: str) -> None:
    """Nodes learn of the result with the next request, and know what they have trained from."""
    silent = dict.fromkeys(NAMES, ("result", 0))
    outcome = world.coordinator.round(model(), world.nodes(model(), silent=silent))
    if between == "an evaluation":
        world.coordinator.evaluate(outcome.model, world.nodes(outcome.model).evaluating())
    edited = [outcome.model[0] + np.float32(0.125), outcome.model[1]]
    nodes = world.nodes(edited)
    with pytest.raises(TooFewClients):
        world.coordinator.round(edited, nodes)
    assert {type(error) for _, error in nodes.errors} == {AnotherModel}
    assert nodes.trained == []
    nodes = world.nodes(outcome.model, seed=1)
    world.coordinator.round(outcome.model, nodes)
    assert nodes.errors == []


def believing_itself_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that doesn't stop at its own ledger, however often it looks, and asks for what is in it already."""
    newest = Coordinator._last

    def of_another_model(coordinator: Coordinator, task: str) -> Any:
        found = newest(coordinator, task)
        if found is None:
            return None
        config = SimpleNamespace(base_model=b"another model")
        evidence = SimpleNamespace(config=config, to_bytes=found.evidence.to_bytes)
        return SimpleNamespace(record=found.record, receipt=found.receipt, evidence=evidence)

    monkeypatch.setattr(Coordinator, "_last", of_another_model)


def test_metrics_of_one_node_are_not_the_difference_of_two_evaluations(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model evaluated by all, then by all but one: the difference would be that one's metrics, exactly."""
    all_of_them = world.coordinator.evaluate(model(), world.nodes(model()).evaluating())
    without = {name: path for name, path in world.homes.items() if name != "west"}
    nodes = Nodes(without, updates(0), model(), WEIGHTS, METRICS)
    again = world.coordinator.evaluate(model(), nodes.evaluating())
    assert (again.record, again.metrics) == (all_of_them.record, all_of_them.metrics), "nobody was asked"
    believing_itself_new(monkeypatch)
    shutil.rmtree(world.server.path / "rounds")  # the logs of what it has finished, from which it would answer
    with pytest.raises(TooFewClients):
        world.coordinator.evaluate(model(), nodes.evaluating())
    assert {type(error) for name, error in nodes.errors if name != "west"} == {TaskSpent}


def test_nobody_trains_twice_from_one_model_though_the_server_chooses_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with a_world(checks_model=False) as world:
        world.coordinator.round(model(), world.nodes(model()))
        believing_itself_new(monkeypatch)
        nodes = world.nodes(model())
        with pytest.raises(TooFewClients):
            world.coordinator.round(model(), nodes)
        assert {type(error) for _, error in nodes.errors} == {TaskSpent}
        assert nodes.trained == []


# --- payloads that are none -----------------------------------------------------------------------------------------


def test_what_is_too_large_is_refused_before_it_is_copied_or_decoded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(bytes):
        def __bytes__(self) -> bytes:
            raise AssertionError("it was copied")

    large = (40 << 20).to_bytes(4, "little") + bytes(40 << 20)
    monkeypatch.setattr("secure_agg.protocol.evidence.bundle.decode", lambda *_, **__: pytest.fail("it was decoded"))
    monkeypatch.setattr("secure_agg.protocol.evidence.record.decode", lambda *_, **__: pytest.fail("it was decoded"))
    with ClientHome.open(world.homes["north"]) as home:
        participant = Participant(home)
        for parcel in (
            Parcel(parcels.JOIN, (large, b"", b"")),
            Parcel(parcels.JOIN, (b"", large, b"")),
            Parcel(parcels.RESULT, (large, b"")),
            Parcel(parcels.RESULT, (write(home.identity, bytes(32), RESULT, home.name, b"", large), b"")),
            Parcel(parcels.RESULT, (b"", b"", large)),
        ):
            with pytest.raises(MalformedMessage, match="above"):
                participant.handle(parcel.to_bytes(), model(), pytest.fail)
        for parcel in (Parcel(parcels.STEP, (large,)), Parcel(parcels.STEP, (b"", large))):
            with pytest.raises(LocalProtocolError, match="joined no round"):  # which says how long a request may be
                participant.handle(parcel.to_bytes(), model(), pytest.fail)


def test_whatever_comes_a_node_refuses_it_by_name_and_goes_on(world: World) -> None:
    """Every payload of a round, with bytes changed, cut off and added, before the right one."""
    chance = random.Random(7)
    refused: list[Exception] = []

    def spoil(kind: str, name: str, payload: bytes) -> bytes:
        for _ in range(6 if name == "north" else 0):
            bad = bytearray(payload)
            for _ in range(chance.randrange(1, 4)):
                bad[chance.randrange(min(len(bad), 4000))] ^= 1 << chance.randrange(8)
            cut = bytes(bad)[: chance.choice((None, len(bad) // 2, -1))]
            try:
                nodes.answer(name, kind, cut)
            except SecureAggError as error:
                refused.append(error)
        return payload

    nodes = world.nodes(model(), tamper_request=spoil)
    outcome = world.coordinator.round(model(), nodes)
    assert len(refused) > 20
    assert nodes.errors == []
    assert "north" in outcome.participants


def test_whatever_a_node_answers_the_others_get_their_round(world: World) -> None:
    chance = random.Random(11)

    def spoil(kind: str, name: str, answer: bytes) -> bytes:
        if name != "west":
            return answer
        bad = bytearray(answer)
        for _ in range(chance.randrange(1, 4)):
            bad[chance.randrange(min(len(bad), 600))] ^= 1 << chance.randrange(8)
        return bytes(bad)[: chance.choice((None, len(bad) // 2, -1))]

    at = model()
    for seed in range(8):
        outcome = world.coordinator.round(at, world.nodes(at, seed=seed, tamper_answer=spoil))
        assert set(NAMES) - {"west"} <= set(outcome.participants)
        at = outcome.model


def test_a_request_is_not_taken_for_a_receipt(world: World) -> None:
    """Or it would be answered without a word in the journal."""
    met: list[Exception] = []

    def twice(kind: str, name: str, payload: bytes) -> bytes:
        if kind == "step" and name == "north":
            (request, *_) = Parcel.from_bytes(payload).parts
            with pytest.raises(WrongPhase) as caught:
                nodes.answer(name, kind, Parcel("step", (request, bytes(request))).to_bytes())
            met.append(caught.value)
        return payload

    nodes = world.nodes(model(), tamper_request=twice)
    world.coordinator.round(model(), nodes)
    assert len(met) == 4
    assert nodes.errors == []


# --- the server's side ----------------------------------------------------------------------------------------------


class Asking:
    """An ``Ask`` that does with the answers of another what ``change`` says."""

    def __init__(self, nodes: Nodes, change: Callable[[str, Iterator[Any]], Iterator[Any]]) -> None:
        self.nodes, self.change = nodes, change

    def __call__(self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float) -> Iterator[Any]:
        return self.change(kind, self.nodes(kind, requests, deadline_s))


def test_answers_come_once_from_whom_was_asked(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def noisy(kind: str, answers: Iterator[Any]) -> Iterator[Any]:
        for name, answer in answers:
            yield "nobody\nERROR forged", answer
            if name == "west" and kind == "join":
                yield name, TimeoutError("it is gone")
            yield name, answer
            yield name, b"something else"
        while True:  # a framework that does not stop by itself is not waited for
            yield "north", answer

    outcome = world.coordinator.round(model(), Asking(world.nodes(model()), noisy))
    assert outcome.participants == ("east", "north", "south")
    assert "nobody\\nERROR forged" in caplog.text
    assert "\nERROR forged" not in caplog.text


def test_the_same_acceptances_come_with_every_later_payload(world: World) -> None:
    """One that gets lost on the way is not missing in the end."""
    lost = []

    def lose(kind: str, name: str, payload: bytes) -> bytes:
        parcel = Parcel.from_bytes(payload)
        if kind == "step" and len(parcel.parts) > 1 and name not in lost:
            lost.append(name)
            return Parcel("step", parcel.parts[:1]).to_bytes()
        return payload

    world.coordinator.round(model(), world.nodes(model(), tamper_request=lose))
    assert sorted(lost) == sorted(NAMES)
    for path in world.homes.values():
        assert len(list((path / "receipts").iterdir())) == 1


@pytest.mark.parametrize("stop", [RuntimeError("the\nnetwork\u2028is gone"), KeyboardInterrupt()])
def test_an_abort_is_on_record_once_whatever_ends_the_round(
    world: World, stop: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(kind: str, answers: Iterator[Any]) -> Iterator[Any]:
        if kind == "step":
            raise stop
        yield from answers

    with pytest.raises(type(stop)):
        world.coordinator.round(model(), Asking(world.nodes(model()), breaks))
    (abort,) = world.coordinator.aborts
    assert (abort.error, abort.phase, abort.attempt) == (type(stop).__name__, "share-keys", 0)
    assert abort.message == str(stop)
    assert caplog.text.count("came to nothing") == 1
    assert "the\nnetwork" not in caplog.text


def test_what_a_peer_says_neither_ends_nor_hides_an_entry(world: World, tmp_path: Path) -> None:
    journal, config = AbortJournal(tmp_path), configured(world, model())
    said = ['"}\n{"task": "forged"', "\x85\x1c\u2028\u2029", "\udc80 no unicode", "x" * 100_000]
    for text in said:
        journal.record(config, Unattributed(text, phase="unmask", culprit=text[:9]))
    assert [abort.message for abort in journal] == [text[:2000] for text in said]
    with journal.path.open("ab") as file:
        file.write(b'{"task": "cut o')  # a crash
    journal.record(config, TooFewClients("after it"))
    assert [abort.message for abort in journal] == [*(text[:2000] for text in said), "after it"]


def test_a_round_that_can_t_be_recorded_says_what_went_wrong_first(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AbortJournal, "record", full)
    with pytest.raises(TooFewClients):
        world.coordinator.round(model(), world.nodes(model(), silent=dict.fromkeys(NAMES, ("join", 0))))
    assert "can't be written" in caplog.text


def test_a_round_in_the_ledger_stands_though_its_delivery_fails(world: World) -> None:
    def breaks(kind: str, answers: Iterator[Any]) -> Iterator[Any]:
        if kind == "result":
            raise RuntimeError("the network is gone")
        yield from answers

    outcome = world.coordinator.round(model(), Asking(world.nodes(model()), breaks))
    assert len(world.server.ledger) == 1
    assert list(world.coordinator.aborts) == []
    nodes = world.nodes(outcome.model, seed=1)
    world.coordinator.round(outcome.model, nodes)
    assert nodes.errors == []


@pytest.mark.parametrize("died", ["before the record", "after the record"])
def test_a_server_that_dies_while_it_appends_goes_on_where_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch, died: str
) -> None:
    append = type(world.server.ledger).append

    def dies(self: Any, evidence: Any, **more: Any) -> Any:
        if died == "after the record":
            append(self, evidence, **more)
        raise LedgerError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.server.ledger), "append", dies)
        with pytest.raises(LedgerError):
            world.coordinator.round(model(), world.nodes(model()))
    again = Coordinator(world.server)
    nodes = world.nodes(model())
    outcome = again.round(model(), nodes)
    assert outcome.record.round == 0
    assert not [kind for kind, *_ in nodes.log if kind != "result"], "nobody is asked for anything again"
    nodes = world.nodes(outcome.model, seed=1)
    assert again.round(outcome.model, nodes).record.round == 1
    assert nodes.errors == []


def test_two_servers_over_one_home_make_no_two_rounds_of_one(world: World) -> None:
    other = Coordinator(world.server)

    def interrupted(kind: str, answers: Iterator[Any]) -> Iterator[Any]:
        if kind == "step" and not done:
            done.append(other.round(model(), world.nodes(model())))
        yield from answers

    done: list[Any] = []
    with pytest.raises(TooFewClients):
        world.coordinator.round(model(), Asking(world.nodes(model()), interrupted))
    assert len(world.server.ledger) == 1
    assert done[0].record.attempt == 1
    assert [abort.attempt for abort in world.coordinator.aborts] == [0]


@pytest.mark.parametrize(
    "names", [("loss", "accuracy"), ("loss", "loss"), ("a\nb",), tuple(f"m{i:02}" for i in range(17))]
)
def test_names_that_no_node_of_ours_sends_put_their_sender_out(
    world: World, names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    def rename(kind: str, name: str, answer: bytes) -> bytes:
        parcel = Parcel.from_bytes(answer)
        if kind != "join" or name != "west":
            return answer
        return Parcel(parcel.kind, (parcel.parts[0], encode(MetricNames(names)), *parcel.parts[2:])).to_bytes()

    outcome = world.coordinator.round(model(), world.nodes(model(), tamper_answer=rename))
    assert outcome.participants == ("east", "north", "south")
    assert set(outcome.metrics) == {"accuracy", "loss"}
    assert "an answer of west was refused" in caplog.text


def test_what_a_node_writes_forges_no_line_of_the_server_s_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def lies(kind: str, answers: Iterator[Any]) -> Iterator[Any]:
        for name, answer in answers:
            yield name, RuntimeError("x\nINFO all is well\x1b[2K") if name == "west" else answer

    with caplog.at_level(logging.INFO, "secure_agg.plugins"):
        world.coordinator.round(model(), Asking(world.nodes(model()), lies))
    assert "x\\nINFO all is well\\x1b[2K" in caplog.text
    assert "\x1b" not in caplog.text


def test_nothing_secret_is_shown(world: World, caplog: pytest.LogCaptureFixture) -> None:
    seen = set()

    def look(kind: str, name: str, payload: bytes) -> bytes:
        if kind == "step" and (found := secret(world, name)):
            seen.add(found)
        return payload

    with caplog.at_level(logging.DEBUG):
        world.coordinator.round(model(), world.nodes(model(), tamper_request=look))
    assert len(seen) == len(NAMES)
    with ClientHome.open(world.homes["north"]) as home:
        shown = f"{caplog.text}{Participant(home)!r}{home.journal!r}{world.coordinator!r}"
    assert not any(item.hex() in shown or repr(item)[2:-1] in shown for item in seen)
