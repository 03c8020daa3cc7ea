"""Real aggregators in processes of their own, one of which is killed in the middle of a round."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.federation import Federation, assert_is_mean
from support.operating.operators import keys_of

from secure_agg.errors import OperatorLost
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.auditor import Auditor
from secure_agg.transport.blocking import connected
from secure_agg.transport.client import Operators
from secure_agg.transport.processes import OperatorProcess, aggregator_processes

pytestmark = pytest.mark.usefixtures("quick_operators")


@contextmanager
def running(federation: Federation) -> Iterator[tuple[LocalRound, dict[str, OperatorProcess]]]:
    """A round whose aggregators are processes."""
    keys = [keys_of(name, share_holder=True) for name in federation.share_holder_names]
    coordinator = keys_of("aggregator")
    with aggregator_processes(keys, coordinator.card(), federation.trust) as processes:
        endpoints = [process.endpoint for process in processes.values()]
        with connected(Operators(coordinator, endpoints, federation.trust.operators)) as remote:
            clients = {name: federation.client(name) for name in federation.names}
            yield LocalRound(federation.aggregator(), clients, federation.updates, holders=remote), processes


def play(local: LocalRound, victim: OperatorProcess, phase: str) -> Evidence | None:
    """Run a round, killing an aggregator when the requests of a phase are ready to be sent."""
    requests = local.aggregator.start()
    while requests:
        if local.aggregator.state == phase:
            victim.kill()
        local.exchange(requests)
        requests = local.aggregator.advance()
    return local.aggregator.evidence


@pytest.mark.parametrize("phase", ["collect-shares", "partial-sum"])
def test_the_loss_of_one_of_all_aggregators_ends_the_round_and_names_it(phase: str) -> None:
    federation = Federation(4, backend="additive", options={"aggregators": 2})
    with running(federation) as (local, processes):
        with pytest.raises(OperatorLost) as caught:
            play(local, processes["aggregator-2"], phase)
        assert (caught.value.culprit, caught.value.phase) == ("aggregator-2", phase)
        assert (local.aggregator.state, local.aggregator.evidence) == ("aborted", None)


@pytest.mark.parametrize("phase", ["advertise", "partial-sum"])
def test_with_a_threshold_the_round_goes_on_without_an_aggregator_that_was_killed(phase: str) -> None:
    federation = Federation(4, backend="additive", options={"aggregators": 4, "threshold": 2})
    with running(federation) as (local, processes):
        evidence = play(local, processes["aggregator-3"], phase)
        assert evidence is not None
        verified = Auditor(federation.trust).verify(evidence)
        assert evidence.participants == tuple(federation.names)
        weights = dict.fromkeys(federation.names, 1)
        assert_is_mean(verified.average, federation.updates, weights, evidence.participants, evidence.config)
