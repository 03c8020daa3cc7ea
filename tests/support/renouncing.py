"""A generation that is renounced, and the round that goes on from it."""

from __future__ import annotations

from collections.abc import Sequence

from support.federation import Federation, Tape, identity

from secure_agg.errors import SecureAggError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.roles.renouncing import Renouncing, renounce_as_client
from secure_agg.roles.task import Task


def renouncing(where: Federation, config: RoundConfig, renounced: bytes = b"") -> Renouncing:
    return Renouncing(
        where.operator, config, where.roster, where.trust.operators, setup=where.setup, renounced=renounced
    )


def asked(
    where: Federation, asking: Renouncing, names: Sequence[str] | None = None, tape: Tape | None = None
) -> dict[str, SecureAggError]:
    """Ask some, or all, to renounce; what they refuse with, by id."""
    refused: dict[str, SecureAggError] = {}
    for name, request in asking.requests():
        if names is not None and name not in names:
            continue
        try:
            if asking.renouncers.operators:
                holders = tape.local.holders if tape else where.staff()
                asking.receive(holders[name].receive(request))
            else:
                asking.receive(renounce_as_client(identity(name), where.trust, where.stores[name], request))
        except SecureAggError as error:
            refused[name] = error
    return refused


def following(where: Federation, certificate: RenunciationCertificate, **changes: object) -> Tape:
    """A round of the next generation."""
    config = where.config(renounced=certificate, attempt=1, **changes)
    tape = Tape(where, where.round())
    tape.local.aggregator = Task(where.task, where.trust).lead(
        where.operator, config, where.setup, renounced=certificate
    )
    tape.open(tape.aggregator.start())
    return tape
