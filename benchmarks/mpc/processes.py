"""The same round with every aggregator in a process of its own, over gRPC on the loopback interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.federation import OPERATOR, Federation, channel, seed
from benchmarks.measure.round import drawn, measure
from benchmarks.mpc.options import MpcOptions
from benchmarks.mpc.round import EXACT, federation_for, in_round, wrong_sums
from benchmarks.results import Row
from benchmarks.timing import Samples
from secure_agg.protocol.messages import SHARE
from secure_agg.roles.operators import OperatorRole
from secure_agg.transport.blocking import RemoteOperator, connected
from secure_agg.transport.client import Operators
from secure_agg.transport.credentials import OperatorKeys
from secure_agg.transport.processes import aggregator_processes

_SETTING: Final = "mutual TLS; clients, coordinator and connections in one process"


def _keys(name: str, *, share_holder: bool = False) -> OperatorKeys:
    keys = OperatorKeys.generate(name, seed=seed(name))
    return dataclasses.replace(keys, channel=channel(name)) if share_holder else keys


class _Rounds:
    """One round after another, with the aggregators here or elsewhere."""

    def __init__(self, federation: Federation, updates: npt.NDArray[np.float32]) -> None:
        self._federation, self._updates = federation, updates
        self._number = 0
        self.wrong = 0

    def run(self, holders: Mapping[str, OperatorRole]) -> float:
        """Seconds from the first request to the checked evidence."""
        federation = in_round(self._federation, self._number)
        self._number += 1
        measured = measure(federation, self._updates, operators=holders)
        self.wrong += wrong_sums(federation, self._updates, measured.evidence)
        return measured.wall


def rows(options: MpcOptions) -> list[Row]:
    """Rounds with processes and rounds without, in turn."""
    federation = federation_for(options, options.params)
    updates = drawn(options.clients, options.params)
    own, coordinator = _Rounds(federation, updates), _keys(OPERATOR)
    keys = [_keys(name, share_holder=True) for name in federation.sharing]
    remote_s, local_s, sent = list[float](), list[float](), list[float]()
    with aggregator_processes(keys, coordinator.card(), federation.trust) as running:
        endpoints = [process.endpoint for process in running.values()]
        with connected(Operators(coordinator, endpoints, federation.trust.operators)) as remote:
            for _ in range(1 + options.repeat):
                before = _share_s(remote)
                remote_s.append(own.run(remote))
                sent.append((_share_s(remote) - before) / (options.clients * options.aggregators))
                local_s.append(own.run(federation.share_holders()))
    local, far = Samples(tuple(local_s[1:])), Samples(tuple(remote_s[1:]))  # the first compiles, here and there
    return [
        Row.timed(
            "processes.round",
            f"the whole verified round, {options.aggregators} aggregators in processes",
            far,
            peer=("the same in one process", local),
            note=_SETTING,
        ),
        Row.timed(
            "processes.share",
            "a client's message to an aggregator and its receipt",
            Samples(tuple(sent[1:])),
            note="mean over long shares and keys, the aggregator's work included",
        ),
        Row(
            key="processes.error",
            name="processes: entries of a sum that are not numpy's",
            unit="",
            median=own.wrong,
            targets=(EXACT,),
        ),
    ]


def _share_s(remote: Mapping[str, RemoteOperator]) -> float:
    return sum(operator.timings.seconds[SHARE] for operator in remote.values())
