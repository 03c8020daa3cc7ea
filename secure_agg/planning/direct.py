"""What all rounds have in common, and the steps of ``plain``, which has nothing else.

A step is one request and response. Bytes are means over the clients that answer; work is that of one such client, of
the aggregator for all of them together, and of one operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mpc.ntt import LANES, N
from mpc.ring import ELEMENT_BYTES
from secure_agg.backends.plain import MASKED_INPUT
from secure_agg.planning.encoding import DIGEST, KEY, SIGNATURE, binary, fields, message, number, repeated, text
from secure_agg.planning.setting import Setting
from secure_agg.planning.work import Operation, Work, times, total
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY, RECEIPT, RESULT

AGGREGATOR: Final = 10
"""Bytes of the aggregator's id."""
NOTHING: Final[Mapping[Operation, float]] = {}


@dataclass(frozen=True, kw_only=True)
class Step:
    """A phase of a round.

    Attributes:
        phase: its name.
        clients: who answer; 0 where only operators are asked.
        request: bytes to each of them, receipts included.
        response: bytes from each of them, letters to operators included.
        client: work of each.
        aggregator: work for all of them, and for the operators.
        operators: who are asked, or sent letters.
        operator_request, operator_response: bytes to and from each.
        operator: work of each.
    """

    phase: str
    clients: int = 0
    request: float = 0
    response: float = 0
    client: Work = field(default_factory=dict)
    aggregator: Work = field(default_factory=dict)
    operators: int = 0
    operator_request: float = 0
    operator_response: float = 0
    operator: Work = field(default_factory=dict)


# --- sizes ------------------------------------------------------------------------------------------------------


def advertisement_bytes(part: int) -> float:
    """Of an advertisement with ``part`` bytes of the backend's."""
    return fields(binary(DIGEST), binary(part))


def advertisements_bytes(setting: Setting, part: int, count: int) -> float:
    """Of ``count`` signed advertisements."""
    body = binary(round(advertisement_bytes(part)))
    return repeated(count, fields(text(setting.name_bytes), body, binary(SIGNATURE)))


def list_bytes(setting: Setting, part: int, count: int, backend: float) -> float:
    """Of the first request after the advertisements, with ``backend`` bytes of the backend's."""
    return fields(advertisements_bytes(setting, part, count), binary(round(backend)))


def statement_bytes(setting: Setting, members: int) -> float:
    """Of the set that is put to the vote."""
    return fields(repeated(members, fields(text(setting.name_bytes), binary(DIGEST))))


def signatures_bytes(name: int, count: int) -> float:
    """Of ``count`` signatures by parties with ids of ``name`` bytes."""
    return repeated(count, fields(text(name), binary(SIGNATURE)))


def members_bytes(setting: Setting) -> float:
    """Of the cohort with its keys."""
    return repeated(setting.clients, fields(text(setting.name_bytes), binary(KEY)))


def openings_bytes(setting: Setting, commitment: int, nonce: int) -> float:
    """Of the participants' openings."""
    return repeated(setting.survivors, fields(text(setting.name_bytes), binary(commitment), binary(nonce)))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What evidence holds, and what checking it takes.

    Attributes:
        part: bytes of the backend's part of an advertisement.
        advertised: |U|.
        signer: bytes of a signer's id.
        signatures: of the set.
        members: entries of the signed set.
        commitment, nonce: bytes of an opening.
        commitments: in each opening.
        setup: bytes.
    """

    part: int
    advertised: int
    signer: int
    signatures: int
    members: int
    commitment: int
    nonce: int = DIGEST
    commitments: int = 1
    setup: int = 0


def evidence_header_bytes(setting: Setting, shape: Shape) -> float:
    """Of everything in the evidence but the sums."""
    return fields(
        number(1),
        binary(setting.config_bytes),
        members_bytes(setting),
        advertisements_bytes(setting, shape.part, shape.advertised),
        openings_bytes(setting, shape.commitment, shape.nonce),
        signatures_bytes(shape.signer, shape.signatures),
        binary(shape.setup),
        repeated(0, 0),
        binary(DIGEST),
    )


def evidence_bytes(setting: Setting, shape: Shape) -> float:
    """Of the evidence."""
    return 4 + evidence_header_bytes(setting, shape) + setting.vector_bytes


# --- work -------------------------------------------------------------------------------------------------------


def committing(setting: Setting) -> Work:
    """One lattice hash of a whole vector. It runs on groups of blocks; the transform is a quarter of it at rank 3."""
    group = LANES * N
    coordinates = group * -(-setting.layout.hashed // group)
    return {Operation.COMMIT: coordinates * (1 + setting.commitment.rank) / 4}


def sending(body: float, bulk: float = 0) -> Work:
    """Write a message."""
    return {Operation.SEND: 1, Operation.HEADER: body, Operation.HASH: bulk, Operation.COPY: bulk}


def receiving(body: float, bulk: float = 0) -> Work:
    """Read a message."""
    return {Operation.RECEIVE: 1, Operation.HEADER: body, Operation.HASH: body + bulk}


def answering(body: float, bulk: float = 0) -> Work:
    """A client reads a request."""
    return {**receiving(body, bulk), Operation.ANSWER: 1}


def looking_up(setting: Setting) -> Work:
    """What the aggregator does for each message besides, some of it in proportion to the cohort."""
    return {Operation.HANDLE: 1, Operation.SCAN: setting.clients}


def checking_participants(setting: Setting, shape: Shape) -> Work:
    """Everything public about who took part."""
    return {
        Operation.MEMBER: setting.clients,
        Operation.ADVERTISEMENT: shape.advertised,
        Operation.OPENING: setting.survivors * shape.commitments,
        Operation.ENTRY: 2 * shape.members,
        Operation.VERIFY: shape.signatures,
    }


def checking_sum(setting: Setting) -> Work:
    """The aggregate check, and the mean."""
    layout = setting.layout
    return total(
        committing(setting),
        {
            Operation.RANGE: layout.total,
            Operation.ADD: setting.survivors * setting.commitment_bytes / 4,
            Operation.DECODE: layout.values,
        },
    )


def verifying(setting: Setting, shape: Shape) -> Work:
    """What an auditor does with evidence that has been decoded."""
    size, header = evidence_bytes(setting, shape), evidence_header_bytes(setting, shape)
    digest = {Operation.HASH: size + 8 * setting.layout.values, Operation.COPY: size, Operation.HEADER: header}
    return total(checking_participants(setting, shape), checking_sum(setting), digest)


# --- steps ------------------------------------------------------------------------------------------------------


def joining(setting: Setting, part: int, setup: int = 0, own: Work = NOTHING) -> Step:
    """Phase advertise; ``own`` is the backend's work at a client."""
    layout, body = setting.layout, advertisement_bytes(part)
    client = total(
        {Operation.JOIN: 1, Operation.MEMBER: setting.clients, Operation.ENCODE: layout.values},
        committing(setting),
        sending(body),
        {Operation.HASH: setup},
        own,
    )
    count = setting.advertised
    each = total(receiving(body), looking_up(setting), {Operation.ADVERTISEMENT: 1})
    asked = times(setting.clients, sending(setting.config_bytes, setup))
    return Step(
        phase=ADVERTISE,
        clients=count,
        request=message(ADVERTISE, AGGREGATOR, setting.name_bytes, setting.config_bytes, setup),
        response=message(ADVERTISE, setting.name_bytes, 0, body),
        client=client,
        aggregator=total(asked, times(count, each), {Operation.ADVERTISEMENT: count}),
    )


def hiding(setting: Setting, request: float, part: float, hidden: float, own: Work, adding: Work) -> Step:
    """The input phase: ``own`` is the backend's work at a client, ``adding`` at the aggregator for one input."""
    body = fields(binary(setting.commitment_bytes), binary(DIGEST), binary(round(part)))
    receipt = fields(text(setting.name_bytes), binary(DIGEST), binary(DIGEST))
    count = setting.survivors
    return Step(
        phase=MASKED_INPUT,
        clients=count,
        request=message(MASKED_INPUT, AGGREGATOR, setting.name_bytes, request)
        + message(RECEIPT, AGGREGATOR, setting.name_bytes, receipt),
        response=message(MASKED_INPUT, setting.name_bytes, AGGREGATOR, body, hidden),
        client=total(answering(request), own, {Operation.HASH: hidden}, sending(body, hidden), receiving(receipt)),
        aggregator=times(
            count,
            total(
                sending(request),
                receiving(body, hidden),
                looking_up(setting),
                {Operation.OPENING: 1},
                adding,
                sending(receipt),
            ),
        ),
    )


def agreeing(setting: Setting, members: int, request: float, own: Work = NOTHING) -> Step:
    """Phase consistency, where the clients sign: ``members`` entries in a request of ``request`` bytes."""
    signature = fields(text(setting.name_bytes), binary(SIGNATURE))
    each = total(sending(request), receiving(signature), looking_up(setting), {Operation.VERIFY: 1})
    # The aggregator hashes the statement again for every signature that it checks.
    return Step(
        phase=CONSISTENCY,
        clients=members,
        request=message(CONSISTENCY, AGGREGATOR, setting.name_bytes, request),
        response=message(CONSISTENCY, setting.name_bytes, AGGREGATOR, signature),
        client=total(answering(request), own, {Operation.ENTRY: members, Operation.SEND: 1}, sending(signature)),
        aggregator=total(times(members, each), {Operation.ENTRY: members * members}),
    )


def finishing(setting: Setting, shape: Shape) -> Step:
    """The result: decoded and checked by the aggregator, sent to everybody, checked by every client."""
    size, header = evidence_bytes(setting, shape), evidence_header_bytes(setting, shape)
    decoding = {Operation.DECODE: setting.layout.values, Operation.HASH: 8 * setting.layout.values}
    once = total(decoding, verifying(setting, shape), {Operation.COPY: size, Operation.HEADER: header})
    return Step(
        phase=RESULT,
        clients=setting.survivors,
        request=message(RESULT, AGGREGATOR, setting.name_bytes, 0, size),
        client=total(
            answering(0, size),
            {Operation.HEADER: header, Operation.MEMBER: setting.clients},
            verifying(setting, shape),
        ),
        aggregator=total(once, times(setting.clients, total(sending(0), {Operation.COPY: size}))),
    )


def steps(setting: Setting) -> list[Step]:
    """Of backend ``plain``."""
    everybody, left = setting.clients, setting.survivors
    shape = Shape(
        part=0,
        advertised=everybody,
        signer=setting.name_bytes,
        signatures=left,
        members=left,
        commitment=setting.commitment_bytes,
    )
    listing = list_bytes(setting, 0, everybody, 0)
    first: Work = {Operation.ADVERTISEMENT: everybody}
    adding: Work = {Operation.ADD: setting.carried_bytes / ELEMENT_BYTES}
    return [
        joining(setting, 0),
        hiding(setting, listing, 0, setting.carried_bytes, first, adding),
        agreeing(setting, left, statement_bytes(setting, left)),
        finishing(setting, shape),
    ]
