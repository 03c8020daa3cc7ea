"""The last message to a client: the evidence of its round, checked against what the client has pinned."""

from __future__ import annotations

from secure_agg.errors import VerificationError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Evidence, evidence_limit
from secure_agg.protocol.messages import RESULT, Incoming, Received, header_limit, read
from secure_agg.protocol.session import Session
from secure_agg.roles.auditor import Auditor, Verified
from secure_agg.roles.client.shared import SharedChecks
from secure_agg.roles.trust import Trust


def read_result(
    data: Incoming,
    recipient: str,
    operator: str,
    config: RoundConfig,
    session: bytes,
    trust: Trust,
    shared: SharedChecks | None,
    seen: Session | None = None,
) -> Verified:
    """Decode the message and check the evidence.

    Args:
        recipient: id of the client.
        operator: id of the aggregator that led the round.
        config: the client's round.
        session: sid as the client knows it; empty if the client fell out before it was fixed.
        trust: what the client has pinned.
        shared: see ``Client``.
        seen: the session that the client has opened, if it has: see ``Auditor.verify``.

    Raises:
        VerificationError: the result is not what was committed to, or is of another round, attempt or session.
        RemoteProtocolError: the message is malformed or not from the aggregator.
    """
    limit = header_limit(config.cohort_size)
    received = Received.of(data, limit)
    session = session or received.header.session
    message = read(
        received,
        limit=limit,
        bulk_sizes=range(evidence_limit(config) + 1),
        session=session,
        phase=RESULT,
        recipients=(recipient,),
        keys={operator: trust.operators[operator]},
    )

    def verify() -> Verified:
        evidence = Evidence.from_bytes(message.bulk, digest=message.header.bulk_digest)
        if evidence.config != config:
            raise VerificationError("the result is of another round or attempt", phase=RESULT)
        verified = Auditor(trust).verify(evidence, beacon=config.beacon or None, seen=seen)
        if shared is not None:
            for array in verified.average:  # what several hold nobody changes
                array.flags.writeable = False
        return verified

    checked = config.context, message.header.bulk_digest
    verified = verify() if shared is None else shared.once("result", checked, verify)
    if verified.record.session != session:
        raise VerificationError("the result is of another session than this client's", phase=RESULT)
    return verified
