"""The steps of ``masking``."""

from __future__ import annotations

from typing import Final

from mpc import keys
from mpc.ring import ELEMENT_BYTES
from mpc.shamir import LIMBS, SHARE_BYTES
from secure_agg.backends.masking.rules import CHOOSE_PEERS, SHARE_KEYS, UNMASK
from secure_agg.backends.masking.wire import SEALED_BYTES
from secure_agg.planning.direct import (
    AGGREGATOR,
    Shape,
    Step,
    agreeing,
    answering,
    finishing,
    hiding,
    joining,
    list_bytes,
    looking_up,
    receiving,
    sending,
    signatures_bytes,
    statement_bytes,
)
from secure_agg.planning.encoding import DIGEST, SIGNATURE, binary, fields, message, numbers, repeated
from secure_agg.planning.setting import Setting
from secure_agg.planning.work import Operation, Work, times, total

_PART: Final = 2 * keys.PUBLIC_BYTES


class _Graph:
    """Who masks with whom, on average.

    Attributes:
        chosen: neighbours that a client shares its secrets with.
        edges: masks that it shares, with those it chose and those who chose it.
        holders: who hold a share of a seed.
        threshold: shares that rebuild a secret.
        index: bytes of an encoded index of a client.
    """

    def __init__(self, setting: Setting) -> None:
        others = setting.clients - 1
        found = setting.degree
        self.complete = found is None
        self.chosen = found.neighbours if found else others
        self.threshold = found.threshold if found else setting.quorum
        self.edges = 2 * self.chosen - self.chosen**2 / others if found else float(others)
        self.holders = self.chosen + self.complete
        self.index = numbers(setting.clients) / setting.clients

    @property
    def edges_bytes(self) -> float:
        """Of what a client says to all its peers."""
        dealt = fields(self.index, binary(keys.CONFIRMATION_BYTES), binary(SEALED_BYTES), *2 * [binary(DIGEST)])
        bare = fields(self.index, binary(keys.CONFIRMATION_BYTES), *3 * [binary(0)])
        return repeated(round(self.edges), 0) + self.chosen * dealt + (self.edges - self.chosen) * bare


def steps(setting: Setting) -> list[Step]:
    """Advertise, choose peers on a sparse graph, share keys, mask, agree, unmask, result."""
    graph, everybody, left = _Graph(setting), setting.clients, setting.survivors
    listing = list_bytes(setting, _PART, everybody, 0)
    first: Work = {Operation.ADVERTISEMENT: everybody}
    found = [joining(setting, _PART)]
    if graph.complete:
        found.append(_sharing(setting, graph, listing, first))
    else:
        choice = fields(repeated(graph.chosen, graph.index))
        found.append(_exchange(setting, CHOOSE_PEERS, listing, choice, first))
        choosers = fields(repeated(graph.chosen, fields(graph.index, binary(round(choice)), binary(SIGNATURE))))
        found.append(_sharing(setting, graph, choosers, {Operation.VERIFY: graph.chosen}))
    stream = setting.carried_bytes / ELEMENT_BYTES  # words of the key stream in a mask, whatever it is added to
    masking = {Operation.MASK: (1 + graph.edges) * stream, Operation.TAKE: graph.edges}
    part = fields(binary(DIGEST), repeated(round(graph.edges), 0) + graph.edges * graph.index)
    relayed = fields(graph.edges_bytes)
    adding: Work = {Operation.ADD: stream}
    shape = Shape(
        part=_PART,
        advertised=everybody,
        signer=setting.name_bytes,
        signatures=left,
        members=left,
        commitment=setting.commitment_bytes,
    )
    return [
        *found,
        hiding(setting, relayed, part, setting.carried_bytes, masking, adding),
        agreeing(setting, left, statement_bytes(setting, left)),
        _unmasking(setting, graph),
        finishing(setting, shape),
    ]


def edges(setting: Setting) -> float:
    """Masks that a client shares with others, on average."""
    return _Graph(setting).edges


def _exchange(setting: Setting, phase: str, request: float, response: float, client: Work) -> Step:
    each = total(sending(request), receiving(response), looking_up(setting))
    return Step(
        phase=phase,
        clients=setting.clients,
        request=message(phase, AGGREGATOR, setting.name_bytes, request),
        response=message(phase, setting.name_bytes, 0, response),
        client=total(answering(request), client, sending(response)),
        aggregator=times(setting.clients, each),
    )


def _sharing(setting: Setting, graph: _Graph, request: float, first: Work) -> Step:
    response = fields(graph.edges_bytes, binary(DIGEST if graph.complete else 0))
    dealing = {Operation.DEAL: graph.edges, Operation.SHARE: 2 * LIMBS * graph.holders * graph.threshold}
    return _exchange(setting, SHARE_KEYS, request, response, total(first, dealing))


def _unmasking(setting: Setting, graph: _Graph) -> Step:
    left, lost = setting.survivors, setting.lost
    request = fields(signatures_bytes(setting.name_bytes, left), binary(0))
    response = fields(repeated(graph.holders, fields(graph.index, binary(SHARE_BYTES))))
    lost_edges = lost * graph.edges * left / (setting.clients - 1)
    each = total(sending(request), receiving(response), looking_up(setting), {Operation.REVEAL: graph.holders})
    rebuilding = {
        Operation.SHARE: (left + lost) * LIMBS * graph.threshold,
        Operation.LOST_EDGE: lost_edges,
        Operation.MASK: (left + lost_edges) * setting.carried_bytes / ELEMENT_BYTES,
    }
    return Step(
        phase=UNMASK,
        clients=left,
        request=message(UNMASK, AGGREGATOR, setting.name_bytes, request),
        response=message(UNMASK, setting.name_bytes, AGGREGATOR, response),
        client=total(answering(request), {Operation.VERIFY: left, Operation.ENTRY: left}, sending(response)),
        aggregator=total(times(left, each), rebuilding),
    )
