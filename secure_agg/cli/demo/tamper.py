"""The adversary of the demonstration: an aggregator that alters the sum, and who notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mpc.ring import P
from secure_agg.errors import SecureAggError, VerificationError
from secure_agg.fl.fedavg import Model
from secure_agg.ledger.log import Ledger
from secure_agg.local.rounds import LocalRound
from secure_agg.local.staff import AGGREGATOR, Staff, staffed, usual_names
from secure_agg.protocol.codec import FixedPoint, model_digest
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import KeyDirectory
from secure_agg.protocol.messages import Envelope
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import verify
from secure_agg.roles.client.client import Client
from secure_agg.roles.task import Task


def alter(evidence: Evidence, coordinate: int) -> Evidence:
    """Evidence in which one coordinate of the opened sum is larger by one unit, and the result's digest
    belongs to the mean that follows: consistent in all but the commitments.
    """
    sums = evidence.sums.copy()
    sums[coordinate] = (int(sums[coordinate]) + 1) % P
    config = evidence.config
    average, _ = FixedPoint.of(config).decode(
        sums[: config.layout.committed], len(evidence.participants), config.shapes
    )
    return replace(evidence, sums=sums, result_model=model_digest(average))


class TamperingAggregator(Aggregator):
    """The adversary of the demonstration, never used for anything else.

    It follows the protocol until the sum is open, adds one unit to one coordinate, and hands out that
    result as if it had checked it.
    """

    coordinate = 0

    def advance(self) -> Sequence[Envelope]:
        """As an honest aggregator; then alter the evidence behind its check."""
        requests = super().advance()
        if self.evidence is not None:
            self.evidence = alter(self.evidence, self.coordinate)
        return requests


@dataclass(frozen=True)
class Verdict:
    """What one party says to the altered result.

    Attributes:
        party: who.
        refusal: the error it raised; None where it noticed nothing.
    """

    party: str
    refusal: SecureAggError | None


@dataclass(frozen=True)
class TamperedRound:
    """An altered round and what everybody says to it. Nothing of it is in the ledger.

    Attributes:
        evidence: the altered one.
        coordinate: of the sum, larger by one unit.
        verdicts: each client's, the ledger's and the auditor's.
    """

    evidence: Evidence
    coordinate: int
    verdicts: tuple[Verdict, ...]

    @property
    def caught(self) -> bool:
        """Whether everybody refuses it."""
        return all(isinstance(verdict.refusal, VerificationError) for verdict in self.verdicts)


def run_tampered(
    path: Path, task: str, updates: Mapping[str, Model], weights: Mapping[str, int], coordinate: int
) -> TamperedRound:
    """The next round of ``task`` under a tampering aggregator, with the identities and pins of a ledger that
    holds the rounds before it.

    Raises:
        SecureAggError: the round did not come as far as a result.
    """
    with Ledger(path) as ledger:
        trust, keys = ledger.trust, KeyDirectory(ledger.keys)
        config = Task(task, trust, ledger.last(task)).next_round(
            tuple(array.shape for array in next(iter(updates.values()))),
            weight_limit=max(weights.values()),  # as honest rounds have it: the policy leaves room for any weight
        )
        staff = Staff.of(config, {name: keys.get("operator", name) for name in usual_names(config.policy)})
        config, own = staffed(config, staff.setup), keys.get("operator", AGGREGATOR)
        clients = {name: Client(keys.get("client", name), trust) for name in updates}
        aggregator = TamperingAggregator(own, config, trust.cohort(task), operators=trust.operators, setup=staff.setup)
        aggregator.coordinate = coordinate
        evidence = LocalRound(aggregator, clients, updates, weights, holders=staff.roles(trust)).run()
        verdicts = [
            _ask(envelope.recipient, partial(clients[envelope.recipient].finish, envelope.data))
            for envelope in aggregator.results()
        ]
        verdicts.append(_ask("ledger", partial(ledger.append, evidence)))
        verdicts.append(_ask("auditor", partial(verify, evidence, trust)))
        return TamperedRound(evidence, coordinate, tuple(verdicts))


def _ask(party: str, accept: Callable[[], object]) -> Verdict:
    try:
        accept()
    except SecureAggError as error:
        return Verdict(party, error)
    return Verdict(party, None)
