"""Bad peers under Flower: each is stopped with a named error in Flower's own log, and an abort is on record."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.serverapp.strategy import FedAvg
from support.federation import bulk_of, edit, edit_first, forge, replace
from support.frameworks.flower_nodes import (
    Fleet,
    Seen,
    app_of,
    flower_log,
    meddle,
    members,
    model_of,
    record,
    silent_from,
    start,
)

from benchmarks.plugins.nodes import App, Node
from secure_agg.errors import RunStopped
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.server.history import History
from secure_agg.plugins.flower import wire
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import Agreed, peek

LIMIT = 1 << 20


def server_of(folder: Path) -> Identity:
    """What a malicious server signs with."""
    with ServerHome.open(folder / "federation" / "server") as home:
        return home.identity


def at_phase(kind: str, phase: str, change: Callable[[bytes], bytes | None]) -> Callable[[Parcel], Parcel | None]:
    """Change the first message of parcels of a kind and a protocol phase."""

    def changed(parcel: Parcel) -> Parcel | None:
        if parcel.kind != kind or peek(parcel.parts[0], LIMIT).phase != phase:
            return parcel
        first = change(bytes(parcel.parts[0]))
        return None if first is None else Parcel(kind, (first, *parcel.parts[1:]))

    return changed


# --- dropouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("replies", "took_part"), [(1, 3), (2, 3), (3, 3), (4, 4), (5, 4), (6, 4)])
def test_a_node_may_fall_silent_in_any_phase(replies: int, took_part: int, tmp_path: Path) -> None:
    """After hello, joining, shares, input, consistency, unmask: its input counts from where the others have it."""
    app = app_of()
    fleet = Fleet.make(tmp_path, members(3, app) | {"m3": silent_from(app, replies)})
    result = fleet.run(phase_s=1.0, timeout=1.0)
    assert result.arrays
    with ServerHome.open(fleet.folder / "server") as home:
        (entry,) = home.ledger.records()
        assert len(home.ledger.evidence(entry).participants) == took_part


def test_with_too_few_nodes_the_model_stays_and_the_run_says_so(tmp_path: Path) -> None:
    app = app_of()
    fleet = Fleet.make(tmp_path, members(2, app) | {"m2": silent_from(app, 1)})
    with flower_log() as log:
        said = fleet.stops(rounds=2, timeout=0.5)
    assert "no round of this run is verified" in said
    assert "m2: it did not answer within 0.5 s" in said
    assert [abort["error"] for abort in fleet.aborts()] == ["TooFewClients"] * 2
    assert any("TooFewClients: 2 clients advertised" in line and "the model stays as it was" in line for line in log)


def test_a_node_that_was_restarted_is_the_same_member(tmp_path: Path) -> None:
    """Flower gives it another id, and goes on listing the old one for a while."""
    app = app_of()
    fleet = Fleet.make(tmp_path, members(2, app) | {"m2": silent_from(app, 7)})
    grid = fleet.secure(FedAvg(fraction_evaluate=0.0), phase_s=1.0)
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=3)
    first = strategy.start(grid, record(start()), num_rounds=1)
    old = fleet.grid.nodes[102]
    fleet.grid.nodes = {50: Node(app, old.context), **fleet.grid.nodes}
    assert strategy.start(grid, first.arrays, num_rounds=1).arrays
    assert not fleet.aborts()


# --- a malicious server -----------------------------------------------------------------------------------------


def wrong_keys(me: Identity) -> Callable[[Parcel], Parcel | None]:
    def relay(request: bytes) -> bytes:
        def swap(body):  # type: ignore[no-untyped-def]
            first, second, *rest = body.advertisements
            return replace(body, advertisements=(replace(first, body=second.body), second, *rest))

        return edit_first(request, me, swap)

    return at_phase(parcels.STEP, "share-keys", relay)


def replayed_round(me: Identity) -> Callable[[Parcel], Parcel | None]:
    first: list[Parcel] = []

    def replay(parcel: Parcel) -> Parcel:
        if parcel.kind == parcels.JOIN:
            first.append(Parcel(parcel.kind, tuple(map(bytes, parcel.parts))))
            return first[0]
        return parcel

    return replay


def edited_aggregate(me: Identity) -> Callable[[Parcel], Parcel | None]:
    """In the result, and in what nodes are shown of it again before the next round."""

    def flipped(evidence: bytes) -> bytes:
        changed = bytearray(evidence)
        changed[-400] ^= 1  # inside of the sum
        return bytes(changed)

    def change(parcel: Parcel) -> Parcel:
        first, *rest = map(bytes, parcel.parts)
        if parcel.kind == parcels.RESULT:
            return Parcel(parcel.kind, (forge(first, me, bulk=flipped(bulk_of(first))), *rest))
        if parcel.kind == parcels.JOIN and rest[0]:
            return Parcel(parcel.kind, (first, flipped(rest[0]), rest[1]))
        return parcel

    return change


def another_receipt(me: Identity) -> Callable[[Parcel], Parcel | None]:
    def change(parcel: Parcel) -> Parcel:
        if parcel.kind != parcels.RESULT and not (parcel.kind == parcels.JOIN and parcel.parts[1]):
            return parcel
        place = 1 if parcel.kind == parcels.RESULT else 2
        receipt = bytearray(parcel.parts[place])
        receipt[-5] ^= 1
        return Parcel(parcel.kind, (*parcel.parts[:place], bytes(receipt), *parcel.parts[place + 1 :]))

    return change


@pytest.mark.parametrize(
    ("attack", "error", "rounds_trained"),
    [
        (wrong_keys, "BadSignature", 2),
        (replayed_round, "WrongContext", 1),
        (edited_aggregate, "VerificationError", 1),
        (another_receipt, "VerificationError", 1),
    ],
)
def test_a_malicious_server_is_refused_by_name(attack, error: str, rounds_trained: int, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    seen = Seen()
    fleet = Fleet.make(tmp_path, members(3, app_of(seen=seen)))
    me = server_of(tmp_path)
    for node in fleet.grid.nodes.values():
        node.app = meddle(node.app, down=attack(me))
    with flower_log() as log, contextlib.suppress(RunStopped):
        fleet.run(rounds=2)
    refusals = [line for line in log if "out of the round" in line or "not confirmed" in line]
    assert sum(error in line for line in refusals) >= 3
    assert sorted(seen.trained) == sorted([0, 1, 2] * rounds_trained)
    assert fleet.aborts()[-1]["error"] == "TooFewClients"


def test_a_server_that_shows_one_node_another_model_loses_that_node(tmp_path: Path) -> None:
    def another_model(app: App) -> App:
        def shown(message: Message, context: Context) -> Message | None:
            model = message.content.array_records.get("arrays")
            if model is not None:
                changed = model_of(model)
                changed["layer"] = changed["layer"] + np.float32(1)
                message.content = RecordDict({**message.content, "arrays": record(changed)})
            return app(message, context)

        return shown

    plain = app_of(mods=())
    naive = Fleet.nodes(tmp_path, members(3, plain) | {"m3": another_model(plain)})
    both = [
        FedAvg().start(grid, record(start()), num_rounds=1)
        for grid in (naive, Fleet.nodes(tmp_path, members(4, plain)))
    ]
    assert not np.array_equal(*(model_of(result.arrays)["layer"] for result in both))  # and nobody notices

    app = app_of()
    fleet = Fleet.make(tmp_path, members(3, app) | {"m3": another_model(app)})
    with flower_log() as log:
        fleet.run()
    assert any("m3 is out of the round in phase advertise" in line and "WrongContext" in line for line in log)


def test_a_server_that_asks_for_the_other_shares_too_gets_none(tmp_path: Path) -> None:
    app = app_of()
    fleet = Fleet.make(tmp_path, members(4, app))
    me = server_of(tmp_path)
    answers: list[bool] = []

    def asks_twice(message: Message, context: Context) -> Message | None:
        payload, _ = wire.take(message.content)
        parcel = Parcel.from_bytes(payload or b"")
        reply = app(message, context)
        if parcel.kind == parcels.STEP and peek(parcel.parts[0], LIMIT).phase == "unmask":
            other = edit(
                bytes(parcel.parts[0]), me, Agreed, lambda body: replace(body, signatures=body.signatures[:-1])
            )
            message.content = wire.put(RecordDict(), Parcel(parcels.STEP, (other,)).to_bytes())
            again = app(message, context)
            assert reply is not None
            assert again is not None
            answers.append(wire.take(again.content) == wire.take(reply.content))
        return reply

    fleet.grid.nodes[100].app = asks_twice
    assert fleet.run().arrays
    assert answers == [True], "whatever signatures are shown, the same shares in the same bytes"


class Steered(FedAvg):
    """A server that takes the verified mean and hands out something else."""

    def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is not None:
            model = model_of(arrays)
            arrays = ArrayRecord(
                {name: Array(np.asarray(array + array.dtype.type(1))) for name, array in model.items()}
            )
        return arrays, metrics


def test_nodes_dont_train_on_a_model_that_the_verified_mean_has_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen()
    fleet = Fleet.make(tmp_path, members(3, app_of(seen=seen)))
    monkeypatch.setattr(History, "check", lambda *_: None)  # a server that knows what it does
    with flower_log() as log:
        said = fleet.stops(Steered(fraction_evaluate=0.0), rounds=2, custom_strategy=True)
    assert "3 of 3 nodes know another" in said
    assert sorted(seen.trained) == [0, 1, 2]
    assert sum("AnotherModel" in line and "verified mean" in line for line in log) == 3
    assert [abort["error"] for abort in fleet.aborts()] == ["TooFewClients"]


# --- a malicious client -----------------------------------------------------------------------------------------


def garbage(parcel: Parcel) -> Parcel:
    return Parcel(parcel.kind, (b"garbage",)) if parcel.kind == parcels.ANSWER else parcel


def out_of_phase() -> Callable[[Parcel], Parcel]:
    """It goes on sending what it has answered first."""
    sent: list[bytes] = []

    def change(parcel: Parcel) -> Parcel:
        if parcel.kind not in (parcels.JOINED, parcels.ANSWER):
            return parcel
        sent.append(bytes(parcel.parts[0]))
        return Parcel(parcel.kind, (sent[0], *parcel.parts[1:]))

    return change


@pytest.mark.parametrize(
    ("change", "error"), [(garbage, "MalformedMessage"), (out_of_phase(), "WrongPhase|WrongContext|DuplicateMessage")]
)
def test_a_bad_client_is_named_and_the_round_goes_on_without_it(
    change: Callable[[Parcel], Parcel], error: str, tmp_path: Path
) -> None:
    app = app_of()
    fleet = Fleet.make(tmp_path, members(3, app) | {"m3": meddle(app, up=change)})
    with flower_log() as log:
        result = fleet.run()
    assert any(re.search(f"an answer of m3 was refused: ({error})", line) for line in log)
    assert result.arrays


def test_an_answer_in_another_members_name_is_refused(tmp_path: Path) -> None:
    app = app_of()
    overheard: list[Parcel] = []

    def overhear(parcel: Parcel) -> Parcel:
        overheard.append(Parcel(parcel.kind, tuple(map(bytes, parcel.parts))))
        return parcel

    def repeat(parcel: Parcel) -> Parcel:
        return overheard[-1] if parcel.kind == parcels.ANSWER else parcel

    fleet = Fleet.make(
        tmp_path, {"m0": meddle(app, up=overhear)} | {"m1": app, "m2": app} | {"m3": meddle(app, up=repeat)}
    )
    with flower_log() as log:
        result = fleet.run()
    assert any("an answer of m3 was refused: UnknownSender" in line for line in log)
    assert result.arrays


def test_a_node_with_the_keys_of_another_federation_is_nobody(tmp_path: Path) -> None:
    app = app_of()
    stranger = Fleet.make(tmp_path / "other", members(4, app))
    fleet = Fleet.make(tmp_path, members(4, app))
    fleet.grid.nodes[103].context.node_config["secure-agg-home"] = str(stranger.folder / "clients" / "m3")
    with flower_log() as log:
        result = fleet.run()
    assert any("node 103 is not in this round" in line for line in log)
    assert result.arrays
