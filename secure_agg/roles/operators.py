"""Asking a round's operators, for whoever drives an aggregator: key holders, and aggregators that hold shares."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Protocol

from secure_agg.errors import OperatorLost, SecureAggError
from secure_agg.protocol.messages import Envelope
from secure_agg.protocol.refusal import LIBRARY_ERRORS
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.stopwatch import Stopwatch

_log = logging.getLogger("secure_agg.roles.operators")


class OperatorRole(Protocol):
    """A role that answers messages: key holder, share holder, or a connection to one elsewhere."""

    role: ClassVar[str]
    timings: Stopwatch

    def receive(self, request: bytes, /) -> bytes:
        """Answer one message."""


def ask_operator(holders: Mapping[str, OperatorRole], request: Envelope) -> bytes | SecureAggError | None:
    """An operator's answer, or refusal; none from one that is gone: what that means is the aggregator's to say.

    One that has failed is gone, as if its process had ended: what it failed of may depend on what it holds, so the log
    of this process says no more than the exception's type.
    """
    if request.recipient not in holders:
        return None
    try:
        return holders[request.recipient].receive(request.data)
    except OperatorLost:
        return None
    except SecureAggError as error:
        return error
    except LIBRARY_ERRORS as error:
        _log.error("operator %s has failed: %s", request.recipient, type(error).__name__)
        return None


def ask_operators(
    aggregator: Aggregator, requests: Sequence[Envelope], holders: Mapping[str, OperatorRole]
) -> dict[str, SecureAggError]:
    """One phase of operators, all at once: some compute together before any of them answers.

    Returns:
        What operators have refused with whom the round goes on without, by id.

    Raises:
        SecureAggError: what an operator has refused with, if the round can't go on without it.
    """
    with ThreadPoolExecutor(max(1, len(requests))) as pool:
        given = pool.map(lambda request: ask_operator(holders, request), requests)
        answers = dict(zip((request.recipient for request in requests), given, strict=True))
    refusals = {name: answer for name, answer in answers.items() if isinstance(answer, SecureAggError)}
    if refusals and not aggregator.can_lose(refusals):
        raise refusals[min(refusals)]
    for answer in answers.values():
        if isinstance(answer, bytes):
            aggregator.receive(answer)
    return refusals
