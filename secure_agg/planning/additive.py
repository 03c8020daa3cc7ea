"""The steps of ``additive``: clients speak once, k aggregators share the sum."""

from __future__ import annotations

from dataclasses import replace

from secure_agg.backends.additive import rules
from secure_agg.backends.additive.wire import SEAL_BYTES
from secure_agg.planning.direct import (
    AGGREGATOR,
    Shape,
    Step,
    committing,
    finishing,
    joining,
    list_bytes,
    receiving,
    sending,
    signatures_bytes,
    statement_bytes,
)
from secure_agg.planning.encoding import DIGEST, KEY, SIGNATURE, binary, fields, listed, message, number, repeated, text
from secure_agg.planning.setting import Setting
from secure_agg.planning.work import Operation, Work, times, total
from secure_agg.protocol.messages import CONSISTENCY, RECEIPT, SHARE


def steps(setting: Setting) -> list[Step]:
    """Begin, advertise with the letters, collect, agree, reveal, partial sums, result."""
    scheme, left = setting.scheme, setting.survivors
    parties = scheme.parties
    part = rules.hashes_bytes(scheme)
    setup = round(
        fields(repeated(parties, fields(text(setting.operator_bytes), binary(KEY), binary(KEY), binary(SIGNATURE))))
    )
    shape = Shape(
        part=part,
        advertised=left,
        signer=setting.operator_bytes,
        signatures=parties,
        members=left,
        commitment=parties * setting.commitment_bytes,
        nonce=round(fields(listed(parties) + parties, binary(parties * DIGEST))),
        commitments=parties,
        setup=setup,
    )
    return [
        _beginning(setting, setup),
        _joining(setting, part, setup),
        _collecting(setting, part),
        _agreeing(setting),
        _revealing(setting),
        _adding(setting),
        finishing(setting, shape),
    ]


def _operated(
    setting: Setting,
    phase: str,
    request: tuple[float, float],
    response: tuple[float, float],
    operator: Work,
    aggregator: Work,
) -> Step:
    """A phase in which operators are asked; ``request`` and ``response``: bytes of body and bulk."""
    parties = setting.scheme.parties
    return Step(
        phase=phase,
        operators=parties,
        operator_request=message(phase, AGGREGATOR, setting.operator_bytes, *request),
        operator_response=message(phase, setting.operator_bytes, AGGREGATOR, *response),
        operator=total(receiving(*request), operator, sending(*response)),
        aggregator=total(times(parties, total(sending(*request), receiving(*response))), aggregator),
    )


def _beginning(setting: Setting, setup: int) -> Step:
    operator = {Operation.MEMBER: setting.clients, Operation.JOIN: 1}
    return _operated(setting, rules.BEGIN, (setting.config_bytes, setup), (0, 0), operator, {})


def _joining(setting: Setting, part: int, setup: int) -> Step:
    """A client splits and seals; an aggregator opens and adds what it gets: a long share of some, a key of others."""
    scheme, size, coordinates = setting.scheme, setting.share_bytes, setting.layout.hashed
    free = scheme.threshold - 1
    long = scheme.parties - free
    letter = fields(binary(KEY), binary(DIGEST), binary(part), binary(2 * DIGEST + SEAL_BYTES))
    letter_long = fields(binary(KEY), binary(DIGEST), binary(part), binary(DIGEST + SEAL_BYTES))
    sealed = size + SEAL_BYTES
    letters = free * message(SHARE, setting.name_bytes, setting.operator_bytes, letter)
    letters += long * message(SHARE, setting.name_bytes, setting.operator_bytes, letter_long, sealed)
    splitting = total(
        {
            Operation.MASK: free * coordinates,
            Operation.ADD: free * (long - 1) * coordinates,
            Operation.COPY: long * size,
            Operation.LETTER: scheme.parties,
            Operation.SEAL: long * sealed,
        },
        times(free, committing(setting)),
        times(long, sending(letter, sealed)),
        times(free, sending(letter)),
    )
    share = long / scheme.parties
    taking = total(
        {
            Operation.HANDLE: 1,
            Operation.LETTER: 1,
            Operation.OPENING: 1,
            Operation.SEAL: share * sealed,
            Operation.MASK: (1 - share) * coordinates,
            Operation.ADD: (1 + share) * coordinates,
        },
        receiving(letter, share * sealed),
        sending(0),
        committing(setting),
    )
    receipt = fields(text(setting.name_bytes), binary(DIGEST), binary(DIGEST))
    step = joining(setting, part, setup, splitting)
    return replace(
        step,
        response=step.response + letters,
        operators=scheme.parties,
        operator_request=setting.advertised * letters / scheme.parties,
        operator_response=setting.advertised * message(RECEIPT, setting.operator_bytes, setting.name_bytes, receipt),
        operator=times(setting.advertised, taking),
    )


def _collecting(setting: Setting, part: int) -> Step:
    count = setting.advertised
    request = list_bytes(setting, part, count, 0)
    response = fields(repeated(count, text(setting.name_bytes)), repeated(0, 0))
    return _operated(setting, rules.COLLECT, (request, 0), (response, 0), {Operation.ADVERTISEMENT: count}, {})


def _agreeing(setting: Setting) -> Step:
    left, parties = setting.survivors, setting.scheme.parties
    signature = fields(text(setting.operator_bytes), binary(SIGNATURE))
    aggregator = {Operation.ENTRY: parties * left, Operation.VERIFY: parties}
    return _operated(
        setting,
        CONSISTENCY,
        (statement_bytes(setting, left), 0),
        (signature, 0),
        {Operation.ENTRY: 2 * left},
        aggregator,
    )


def _agreed(setting: Setting, body: float) -> float:
    signatures = signatures_bytes(setting.operator_bytes, setting.scheme.parties)
    return fields(signatures, binary(round(body)))


def _checking(setting: Setting) -> Work:
    """All share commitments against their hashes."""
    return {Operation.OPENING: setting.survivors * setting.scheme.parties}


def _combining(setting: Setting) -> Work:
    """Every client's commitment from those of its shares."""
    count = setting.survivors * setting.scheme.parties
    return {Operation.OPENING: count, Operation.ADD: count * setting.commitment_bytes / 4}


def _revealing(setting: Setting) -> Step:
    left = setting.survivors
    response = (fields(binary(DIGEST), binary(DIGEST * left)), float(left * setting.commitment_bytes))
    operator = {Operation.ENTRY: left, Operation.VERIFY: setting.scheme.parties}
    return _operated(setting, rules.REVEAL, (_agreed(setting, 0), 0), response, operator, _checking(setting))


def _adding(setting: Setting) -> Step:
    parties, left, coordinates = setting.scheme.parties, setting.survivors, setting.layout.hashed
    revealed = fields(repeated(parties, fields(number(0), binary(DIGEST * left))))
    request = (_agreed(setting, revealed), float(parties * left * setting.commitment_bytes))
    response = (fields(binary(DIGEST)), float(setting.share_bytes))
    operator = total(_checking(setting), _combining(setting), {Operation.ENTRY: left, Operation.VERIFY: parties})
    each = total(
        committing(setting), {Operation.ADD: coordinates + left * setting.commitment_bytes / 4, Operation.ENTRY: left}
    )
    combining = {Operation.ADD: setting.scheme.threshold * coordinates}
    aggregator = total(times(parties, each), combining, _combining(setting))
    return _operated(setting, rules.PARTIAL_SUM, request, response, operator, aggregator)
