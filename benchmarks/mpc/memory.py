"""Peak memory of one of the aggregators of backend ``additive`` while it takes all clients' shares, in a fresh process.

The process first serves a small round, so that everything is compiled. Messages come as copies, so what is kept of
them counts.
"""

from __future__ import annotations

from typing import Final

from benchmarks.core.memory import growth, in_fresh_process
from benchmarks.federation import Federation, channel, identity
from benchmarks.mpc.options import MpcOptions
from benchmarks.mpc.round import drawn, federation_for
from benchmarks.report.report import Row
from mpc.ring import ELEMENT_BYTES
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.roles.trust import Trust

_WARM_PARAMS: Final = 10_000
_MB: Final = 1_000_000


def _messages(federation: Federation, params: int) -> tuple[str, list[bytes]]:
    """The aggregator that gets most, and what it is sent until it has all shares."""
    aggregator, holders = federation.aggregator(), federation.share_holders()
    sent: dict[str, list[bytes]] = {}
    for envelope in aggregator.start():
        sent[envelope.recipient] = [envelope.data]
        aggregator.receive(holders[envelope.recipient].receive(envelope.data))
    requests = {envelope.recipient: envelope.data for envelope in aggregator.advance()}
    updates = drawn(len(federation.names), params)
    for (name, client), update in zip(federation.clients().items(), updates, strict=True):
        client.join(requests[name], [update])
        for letter in client.outbox:
            sent[letter.recipient].append(letter.data)
    return max(sent.items(), key=lambda item: sum(map(len, item[1])))


def _take(name: str, trust: Trust, messages: list[bytes]) -> None:
    holder = ShareHolder(identity(name), trust, channel(name))
    for message in messages:
        holder.receive(bytes(bytearray(message)))


def _holder_growth(warm: tuple[str, Trust, list[bytes]], name: str, trust: Trust, messages: list[bytes]) -> int:
    _take(*warm)
    return growth(lambda: _take(name, trust, messages))


def rows(options: MpcOptions) -> list[Row]:
    """One row."""
    small, federation = federation_for(options, _WARM_PARAMS), federation_for(options, options.params)
    first, warming = _messages(small, _WARM_PARAMS)
    name, messages = _messages(federation, options.params)
    grown = in_fresh_process(_holder_growth, (first, small.trust, warming), name, federation.trust, messages)
    size = ELEMENT_BYTES * options.params / _MB
    long = sum(len(message) > ELEMENT_BYTES * federation.config.layout.elements for message in messages)
    return [
        Row(
            key="memory.holder",
            name="aggregator: peak growth while it takes all shares",
            unit="MB",
            median=grown,
            derived=_MB * grown / options.params,
            derived_unit="B/param",
            peer="one vector",
            peer_median=size,
            ratio=grown / size,
            note=f"{options.clients} clients, {long} long shares among them, kept sealed until the set is signed",
        )
    ]
