"""A round from its first request to its checked result: the one loop of everybody who drives an aggregator.

``drive`` is the protocol as the aggregator's side sees it. In each phase of the backend requests go out, answers come
back, and the phase is closed; what is in them is the roles' to make and to check. A ``Carrier`` takes them there and
back, in one process (``local``) or through a framework (``plugins``): it owns network, disk and clock, and decides how
long to wait and what becomes of a client whose answer is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from secure_agg.errors import LocalProtocolError, SecureAggError
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import Envelope, Incoming
from secure_agg.protocol.refusal import refusing
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Verified
from secure_agg.roles.operators import OperatorRole, ask_operator, ask_operators

_log = logging.getLogger("secure_agg.roles.driver")


class Answer(NamedTuple):
    """What a client has to say to one request.

    Attributes:
        client: its id.
        response: for the aggregator.
        letters: for single operators, with the response to the first request.
    """

    client: str
    response: Incoming
    letters: Sequence[Envelope] = ()


class Finished(NamedTuple):
    """A round that is over: all that is public about it, and what the aggregator has found that it proves."""

    evidence: Evidence
    verified: Verified


class Carrier(Protocol):
    """Takes messages between an aggregator and its clients."""

    def begin(self, phase: str) -> None:
        """A phase has begun, of clients or operators."""

    def ask(self, phase: str, requests: Sequence[Envelope]) -> Iterable[Answer]:
        """Hand each request to its client, and hand back what comes, as it comes. Who is silent has dropped out."""

    def give(self, client: str, receipt: bytes) -> None:
        """Hand a client what shows that somebody has accepted its input; with its next request is early enough."""

    def refuse(self, client: str, error: SecureAggError) -> None:
        """A client's response is refused. Raises if the round is not to go on without it."""

    def miss(self, operator: str, error: SecureAggError) -> None:
        """An operator has refused, and the round goes on without it."""


def drive(aggregator: Aggregator, carrier: Carrier, operators: Mapping[str, OperatorRole]) -> Finished:
    """A whole round.

    Args:
        aggregator: not started yet, or resumed.
        carrier: reaches the clients.
        operators: key holders and share holders by id, for backends that have them. One that is not there never
            answers.

    Raises:
        SecureAggError: the round has come to nothing, see ``Aggregator.advance``; or what ``carrier`` raises.
    """
    requests = aggregator.again()
    while requests:
        exchange(aggregator, requests, carrier, operators)
        requests = aggregator.advance()
    return finished(aggregator)


def exchange(
    aggregator: Aggregator, requests: Sequence[Envelope], carrier: Carrier, operators: Mapping[str, OperatorRole]
) -> None:
    """One phase: requests out, answers in. The arguments and errors are those of ``drive``."""
    carrier.begin(aggregator.state)
    if aggregator.asks_operators:
        for operator, error in ask_operators(aggregator, requests, operators).items():
            carrier.miss(operator, error)
        return
    for client, response, letters in carrier.ask(aggregator.state, requests):
        try:
            with refusing(aggregator.state, client):
                receipts = [receipt.data for receipt in aggregator.receive(response)]
        except SecureAggError as error:
            carrier.refuse(client, error)
            continue
        for receipt in (*receipts, *post(client, letters, operators)):
            carrier.give(client, receipt)


def post(client: str, letters: Sequence[Envelope], operators: Mapping[str, OperatorRole]) -> Iterator[bytes]:
    """Hand a client's letters to the operators that they are for, all at once; yields what they sign for them.

    A letter is sealed to its operator, and what is wrong with it is the operator's to report.
    """
    if not letters:
        return
    with ThreadPoolExecutor(len(letters)) as pool:
        answers = pool.map(lambda letter: ask_operator(operators, letter), letters)
        for letter, answer in zip(letters, answers, strict=True):
            if isinstance(answer, bytes):
                yield answer
            else:
                said = type(answer).__name__ if answer else "it is gone"
                _log.warning("operator %s has not accepted a share of %s: %s", letter.recipient, client, said)


def finished(aggregator: Aggregator) -> Finished:
    """What a round has come to.

    Raises:
        LocalProtocolError: it is not over.
    """
    if aggregator.evidence is None or aggregator.verified is None:
        raise LocalProtocolError("the round ended without a result", phase=aggregator.state)
    return Finished(aggregator.evidence, aggregator.verified)
