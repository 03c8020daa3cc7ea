"""A round within one Flower message: over a channel that is pinned, and without it where it fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg
from support.frameworks.flower_nodes import Fleet, Model, Seen, app_of, flower_log, members, model_of, record, start

from benchmarks.plugins.nodes import Apart, App
from secure_agg.errors import OperatorLost, RunStopped
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.node.under_way import UnderWay
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.phases import Payload
from secure_agg.plugins.flower import SecureGrid, channel, wire
from secure_agg.plugins.flower import grid as grid_module
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy
from secure_agg.service import link

NAMES = ("m0", "m1", "m2")


class Counting(Apart):
    """What each node was sent is counted by its kind."""

    def __init__(self, apps: Any) -> None:
        super().__init__(apps)
        self.sent: dict[int, list[str]] = {node: [] for node in apps}

    def push(self, message: Message) -> str:
        payload, _ = wire.take(message.content)
        assert payload is not None
        self.sent[message.metadata.dst_node_id].append(Parcel.from_bytes(payload).kind)
        return super().push(message)


class World:
    """A federation whose nodes have channels, as far as they are said to."""

    def __init__(self, folder: Path, app: App | None = None, names: tuple[str, ...] = NAMES, **policy: Any) -> None:
        self.home = folder / "federation"
        chosen = Policy.default(len(names), **({"clip": 4.0, "max_weight": 64} | policy))
        federation.make(self.home, names, chosen, task="flower")
        self.names, self.app = names, app or app_of()
        self.nodes = Counting({})

    @contextmanager
    def grid(
        self, url: Callable[[str], str | None] = lambda address: f"https://{address}", *, only: Iterable[str] = NAMES
    ) -> Iterator[tuple[SecureGrid, FedAvg]]:
        strategy = FedAvg(fraction_evaluate=0.0)
        self.nodes = Counting(
            {
                100 + number: (self.app, {"partition-id": number, "secure-agg-home": str(self.home / "clients" / name)})
                for number, name in enumerate(self.names)
            }
        )
        grid = SecureGrid(self.nodes, strategy, self.home / "server", phase_s=60.0, channel="127.0.0.1:0")
        assert grid.channel is not None
        for number, name in enumerate(self.names):
            if name in only and (found := url(grid.channel)):
                self.nodes.nodes[100 + number].context.node_config[channel.CHANNEL] = found
        with closing(grid):
            yield grid, strategy
            assert self.nodes.settle(120), "a node holds a message that nobody will answer"

    def rounds(self) -> int:
        with ServerHome.open(self.home / "server") as home:
            return home.ledger.audit(trust=home.trust).size

    def kinds(self) -> list[Counter[str]]:
        return [Counter(kinds) for kinds in self.nodes.sent.values()]


def trained(grid: SecureGrid, strategy: FedAvg, rounds: int = 1) -> Model:
    model = grid.last_model() or record(start())
    return model_of(strategy.start(grid, model, num_rounds=rounds, timeout=120.0).arrays)


def test_each_node_is_sent_one_message_a_round_and_the_model_is_the_same(tmp_path: Path) -> None:
    world = World(tmp_path / "channel")
    with world.grid() as (grid, strategy):
        found = trained(grid, strategy, rounds=2)
    assert world.kinds() == [Counter({parcels.HELLO: 1, parcels.JOIN: 2})] * 3
    assert world.rounds() == 2
    plain = model_of(Fleet.make(tmp_path / "plain", members(3, app_of())).run(rounds=2).arrays)
    assert all(np.allclose(found[name], plain[name], atol=1e-4) for name in ("layer", "bias"))


def test_nodes_without_a_channel_are_asked_by_flower_in_the_same_round(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.grid(only=["m0", "m2"]) as (grid, strategy):
        trained(grid, strategy)
    with_it, without, also_with_it = world.kinds()
    assert with_it == also_with_it == Counter({parcels.HELLO: 1, parcels.JOIN: 1})
    assert without == Counter({parcels.HELLO: 1, parcels.JOIN: 1, parcels.STEP: 4, parcels.RESULT: 1})
    assert world.rounds() == 1


def test_evaluation_goes_over_the_channel_too(tmp_path: Path) -> None:
    seen = Seen()
    world = World(tmp_path, app_of(seen=seen))
    with world.grid() as (grid, strategy):
        strategy.fraction_evaluate = 1.0
        trained(grid, strategy)
    assert sorted(seen.evaluated) == [0, 1, 2]
    assert world.kinds() == [Counter({parcels.HELLO: 2, parcels.JOIN: 2})] * 3


def test_a_channel_that_nobody_listens_at_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "PATIENCE_S", 0.2)
    world = World(tmp_path)
    with flower_log() as log, world.grid(lambda address: "https://127.0.0.1:9") as (grid, strategy):
        trained(grid, strategy)
    assert [kinds[parcels.STEP] for kinds in world.kinds()] == [4, 4, 4]
    assert any("without the channel" in line for line in log)


def test_another_servers_channel_gets_no_payload(tmp_path: Path) -> None:
    """Its certificate is signed by a key that the nodes' homes do not pin."""
    world, other = World(tmp_path / "ours"), World(tmp_path / "theirs")
    with other.grid() as (foreign, _), flower_log() as log:
        assert foreign.channel is not None
        with world.grid(lambda address: f"https://{foreign.channel}") as (grid, strategy):
            trained(grid, strategy)
    assert [kinds[parcels.STEP] for kinds in world.kinds()] == [4, 4, 4]
    assert any("without the channel" in line for line in log)


def test_a_node_whose_connection_is_lost_is_asked_by_flower_for_what_it_has_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid_module, "AWAY_S", 2.0)
    answer, lost = link.Link.answer, []

    def losing(self: link.Link, item: str, payload: bytes) -> bool:
        """The third answer of one node, its masked input, is made and never arrives."""
        if "m1" in repr(self):
            lost.append(len(payload))
            if len(lost) == 3:
                raise OperatorLost("the line is cut", culprit=None)
        return answer(self, item, payload)

    monkeypatch.setattr(link.Link, "answer", losing)
    seen = Seen()
    world = World(tmp_path, app_of(seen=seen))
    with flower_log() as log, world.grid() as (grid, strategy):
        trained(grid, strategy)
    assert [kinds[parcels.STEP] for kinds in world.kinds()] == [0, 3, 0]
    assert sorted(seen.trained) == [0, 1, 2], "nobody has trained twice"
    assert any("m1 is lost on the channel" in line for line in log)
    with ServerHome.open(world.home / "server") as home:
        last = home.ledger.last("flower")
        assert last is not None
        assert home.ledger.evidence(last).participants == NAMES


def test_who_goes_late_has_the_rest_of_the_phase_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that stayed on the channel until just before the deadline had everybody wait for it once more."""
    now, asked = [0.0], list[tuple[str, float]]()
    monkeypatch.setattr(channel, "time", SimpleNamespace(monotonic=lambda: now[0]))
    went: list[float] = []

    def post(kind: str, requests: Any, deadline_s: float) -> Iterator[Any]:
        for name, _ in requests:
            if kind == parcels.JOIN:
                yield name, b"joined"
            else:
                now[0] += went.pop()
                yield name, OperatorLost("it is gone", culprit=name)

    def flower(kind: str, requests: Any, deadline_s: float) -> Iterator[Any]:
        asked.extend((kind, deadline_s) for _ in requests)
        if kind == parcels.STEP:
            yield from ((name, b"answered") for name, _ in requests)

    flower.elsewhere = set()  # type: ignore[attr-defined]
    beside: Any = SimpleNamespace(post=SimpleNamespace(asking=lambda *_: post))
    way = channel.ChannelAsk(flower, beside)  # type: ignore[arg-type]
    request = [("m0", Payload(Parcel(parcels.JOIN, (b"", b"", b"")).to_bytes))]
    for gone_after, left in ((20.0, [("step", 40.0)]), (61.0, [])):
        assert list(way(parcels.JOIN, request, 60.0)) == [("m0", b"joined")]
        asked.clear()
        went.append(gone_after)
        assert list(way(parcels.STEP, request, 60.0)) == [("m0", b"answered") for _ in left]
        assert asked == left


def test_nodes_are_let_go_when_a_round_comes_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = UnderWay.step

    def refusing(self: UnderWay, messages: Any) -> bytes:
        if self._home.name != "m2":
            raise OSError("the disk is gone")
        return step(self, messages)

    monkeypatch.setattr(UnderWay, "step", refusing)
    world = World(tmp_path)
    with world.grid() as (grid, strategy), pytest.raises(RunStopped):
        trained(grid, strategy)


def test_who_holds_the_message_of_another_round_keeps_its_answer_to_itself() -> None:
    class Asking:
        """A channel that asks for the answer to one message, and then says that the round is over."""

        def __init__(self, payload: bytes) -> None:
            asked = [channel._wanted(Payload(lambda: payload))(), Parcel(parcels.HELD, (b"",)).to_bytes()]
            self.waiting, self.answers = [link.Arrived("0" * 32, data, None) for data in asked], list[bytes]()

        def next(self, most: int) -> link.Arrived:
            return self.waiting.pop(0)

        def answer(self, item: str, payload: bytes) -> bool:
            self.answers.append(payload)
            return True

    def taken(held: bytes, asked: bytes) -> tuple[bool, list[bytes]]:
        asking = Asking(asked)
        found = channel._answer_all(asking, None, channel._mark(held), b"joined", lambda: 1000)  # type: ignore[arg-type]
        return found, asking.answers

    one, other = (Parcel(parcels.JOIN, (text, b"", b"")).to_bytes() for text in (b"round 1", b"round 2"))
    assert taken(one, one) == (True, [b"joined", b""])
    assert taken(one, other) == (False, [])


def test_a_node_says_nothing_to_a_channel_that_its_operator_has_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a node has made a connection")

    monkeypatch.setattr(link.Link, "__init__", never)
    world = World(tmp_path)
    with world.grid(only=[]) as (grid, strategy):
        trained(grid, strategy)
    assert world.rounds() == 1
