"""What is kept of a round, for whoever checks it.

* ``record``: the ledger's leaf. ``bundle``: all that anyone needs to check a round.
* ``opening``: what a key holder is shown of it before. ``lists``: what both consist of.
"""

from secure_agg.protocol.evidence.bundle import MAX_HEADER, Evidence, evidence_limit
from secure_agg.protocol.evidence.lists import CohortMember
from secure_agg.protocol.evidence.opening import DECRYPT, Opened, OpeningRequest, RenouncedOpeningRequest
from secure_agg.protocol.evidence.record import MAX_RECORD, RECORD_VERSION, GroupRecord, PrivateRecord, RoundRecord

__all__ = [
    "DECRYPT",
    "MAX_HEADER",
    "MAX_RECORD",
    "RECORD_VERSION",
    "CohortMember",
    "Evidence",
    "GroupRecord",
    "Opened",
    "OpeningRequest",
    "PrivateRecord",
    "RenouncedOpeningRequest",
    "RoundRecord",
    "evidence_limit",
]
