"""One round under Flower: with our mod and grid, with Flower's SecAgg+, and plain, in turn.

Nodes are in this process (``plugins_nodes``), one after another, and Flower's messages are taken apart and put together
as on a wire. Homes are on this machine's disk, where every client waits for its own writes; a round's processor time is
what is left without that. Training is over before it starts, so that what is measured is the protocol.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from benchmarks.measure.cells import AGGREGATOR, CLIENT
from benchmarks.measure.meter import Meter
from benchmarks.plugins import secagg as plugins_secagg
from benchmarks.plugins.nodes import Apart, Nodes
from benchmarks.plugins.options import BITS, PluginOptions
from benchmarks.results import Row, Target
from benchmarks.timing import Samples, timed
from secure_agg.plugins.flower import SecureGrid, secure_mod
from secure_agg.plugins.homes import federation
from secure_agg.protocol.config import Policy

_CLIP: Final = 8.0
_WEIGHT: Final = 100
_FIRST_NODE: Final = 100
_OURS, _PEER, _PLAIN, _CHANNEL = "ours", "secagg", "plain", "channel"
_SECAGG: Final = "Flower's SecAgg+"
_BYTES_FACTOR: Final = 1.9
_OVERHEAD: Final = 1.5
_DOWN: Final = 1.1
_FEW, _CPU_AT_9, _CPU_AT_20 = 16, 1.0, 0.5
"""At most this share of SecAgg+'s processor time up to so many clients, and for more: 9 and 20 neighbours are asked."""

Update = npt.NDArray[np.float32]


class _Costs:
    """What the rounds of one kind have cost, repetition by repetition."""

    def __init__(self) -> None:
        self.wall, self.cpu, self.client, self.server = list[float](), list[float](), list[float](), list[float]()
        self.up, self.down, self.error = 0, 0, 0.0

    def measure(self, nodes: Nodes, one_round: Callable[[], Update], exact: npt.NDArray[np.float64]) -> None:
        """One round; ``exact`` is the mean that it should come to."""
        meter = nodes.meter = Meter(helpers=False)  # looking for them would cost more than some messages
        nodes.carrying_s, processor = 0.0, time.process_time()
        means: list[Update] = []
        self.wall.append(timed(lambda: means.append(one_round())))
        self.cpu.append(time.process_time() - processor)
        clients = sum(call.wall for call in meter.calls)
        self.client.append(clients / len(nodes.nodes))
        self.server.append(self.wall[-1] - clients - nodes.carrying_s)
        self.up, self.down = (
            max((size for (role, *_), size in meter.sent.items() if role == sender), default=0)
            for sender in (CLIENT, AGGREGATOR)
        )
        self.error = max(self.error, float(np.abs(means[0] - exact).max()))

    def seconds(self, figure: str) -> Samples:
        """All but the first, which compiles."""
        return Samples(tuple(getattr(self, figure)[1:]))


def _app(updates: dict[int, Update], mods: list[Any]) -> ClientApp:
    app = ClientApp()

    @app.train(mods=mods)
    def train(message: Message, context: Context) -> Message:
        model = message.content.array_records["arrays"]["values"].numpy()
        arrays = ArrayRecord({"values": Array(model + updates[int(context.node_config["number"])])})
        metrics = MetricRecord({"num-examples": _WEIGHT})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


class _Stock:
    """Rounds of a stock strategy, each from the model that the last has made."""

    def __init__(self, grid: Grid, strategy: FedAvg, params: int) -> None:
        self._grid, self._strategy = grid, strategy
        self._model = ArrayRecord({"values": Array(np.zeros(params, dtype=np.float32))})

    def run(self) -> Update:
        """One; what it has added to the model."""
        before = self._model["values"].numpy()
        self._model = self._strategy.start(self._grid, self._model, num_rounds=1).arrays
        return np.asarray(self._model["values"].numpy() - before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Flower writes a page for every round."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.ERROR)
    for handler in logger.handlers:
        handler.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in logger.handlers:
            handler.setLevel(logging.NOTSET)


def _measured(options: PluginOptions, folder: Path) -> dict[str, _Costs]:
    names = [f"client-{number:03d}" for number in range(options.clients)]
    policy = Policy.default(options.clients, clip=_CLIP, bits=BITS, max_weight=_WEIGHT)
    federation.make(folder / "federation", names, policy, task="benchmark")
    drawn = np.random.default_rng(0)
    updates = {
        _FIRST_NODE + number: drawn.standard_normal(options.params, dtype=np.float32)
        for number in range(options.clients)
    }
    exact = np.asarray(np.mean(list(updates.values()), axis=0, dtype=np.float64))
    federation.make(folder / "channel", names, policy, task="benchmark")
    others = {node: str(folder / "channel" / "clients" / name) for node, name in zip(updates, names, strict=True)}
    homes = {node: str(folder / "federation" / "clients" / name) for node, name in zip(updates, names, strict=True)}
    plain = Nodes({node: (_app(updates, []), {"number": node}) for node in updates})
    secagg = plugins_secagg.nodes(updates, _WEIGHT)
    secure = Nodes(
        {node: (_app(updates, [secure_mod]), {"number": node, "secure-agg-home": home}) for node, home in homes.items()}
    )
    strategy = FedAvg(fraction_evaluate=0.0)
    ours = _Stock(SecureGrid(secure, strategy, folder / "federation" / "server"), strategy, options.params)
    stock = _Stock(plain, FedAvg(fraction_evaluate=0.0), options.params)
    start = np.zeros(options.params, dtype=np.float32)
    held = Apart(
        {
            node: (_app(updates, [secure_mod]), {"number": node, "secure-agg-home": home})
            for node, home in others.items()
        }
    )
    beside = FedAvg(fraction_evaluate=0.0)
    channel = SecureGrid(held, beside, folder / "channel" / "server", channel="127.0.0.1:0")
    for node in held.nodes.values():
        node.context.node_config["secure-agg-channel"] = f"https://{channel.channel}"
    channelled = _Stock(channel, beside, options.params)
    threshold = (policy.min_advertised + policy.max_corrupt) // 2 + 1
    kinds: dict[str, tuple[Nodes, Callable[[], Update]]] = {
        _OURS: (secure, ours.run),
        _CHANNEL: (held, channelled.run),
        _PEER: (
            secagg,
            lambda: plugins_secagg.one_round(secagg, start, threshold=threshold, max_weight=_WEIGHT, clip=_CLIP),
        ),
        _PLAIN: (plain, stock.run),
    }
    costs = {kind: _Costs() for kind in kinds}
    for _ in range(1 + options.repeat):
        for kind, (nodes, one_round) in kinds.items():
            costs[kind].measure(nodes, one_round, exact)
            held.settle(60.0)
    channel.close()
    return costs


def rows(options: PluginOptions) -> list[Row]:
    """All three kinds of round, in turn."""
    with _quiet(), tempfile.TemporaryDirectory(prefix="secure-agg-bench-") as folder:
        costs = _measured(options, Path(folder))
    ours, peer, plain = costs[_OURS], costs[_PEER], costs[_PLAIN]
    setting = f"{options.clients} clients, {options.params:,} parameters; theirs is not verified"

    def beside(key: str, name: str, figure: str, *targets: Target) -> Row:
        return Row.timed(
            f"flower.{key}",
            name,
            ours.seconds(figure),
            peer=(_SECAGG, peer.seconds(figure)),
            targets=targets,
            note=setting,
        )

    def sizes(key: str, name: str, own: int, theirs: int, *targets: Target) -> Row:
        return Row(
            key=f"flower.{key}",
            name=name,
            unit="bytes",
            median=own,
            peer=_SECAGG,
            peer_median=theirs,
            ratio=own / theirs,
            targets=targets,
        )

    def whole(one: _Costs) -> Samples:
        return Samples(
            tuple(
                options.train_s + client + server
                for client, server in zip(one.seconds("client").seconds, one.seconds("server").seconds, strict=True)
            )
        )

    most = _CPU_AT_20 if options.clients > _FEW else _CPU_AT_9
    return [
        Row.timed(
            "flower.channel.cpu",
            "Flower: a verified round over a channel, processor time",
            costs[_CHANNEL].seconds("cpu"),
            peer=(_SECAGG, peer.seconds("cpu")),
            targets=(Target("ratio", most),),
            note=f"{setting}; with HTTPS, which theirs is without",
        ),
        beside("round.cpu", "Flower: a verified round, processor time", "cpu", Target("ratio", most)),
        beside("round", "Flower: a verified round, all clients one after another", "wall"),
        beside("client", "Flower: one client", "client"),
        beside("server", "Flower: the server", "server"),
        sizes("up", "Flower: bytes from a client", ours.up, peer.up, Target("ratio", 1 / _BYTES_FACTOR)),
        sizes("down", "Flower: bytes to a client", ours.down, peer.down, Target("ratio", _DOWN)),
        Row.timed(
            "flower.overhead",
            f"Flower: a round in which clients train {options.train_s:g} s",
            whole(ours),
            peer=("plain FedAvg", whole(plain)),
            targets=(Target("ratio", _OVERHEAD),),
            note="each client on a machine of its own; without the network, and without Flower's own waiting",
        ),
        Row(
            key="flower.error",
            name="Flower: error of the mean",
            unit="",
            median=ours.error,
            peer=_SECAGG,
            peer_median=peer.error,
            ratio=ours.error / peer.error,
        ),
    ]
