"""Secure aggregation whose result anyone can check.

Clients turn an update into small integers, commit to them, and hide them with a backend; an aggregator
learns the exact sum and nothing else; everybody can check that the sum is the sum of what was committed to;
only a checked sum enters the ledger.

``aggregate`` runs a whole round in this process. ``Client``, ``Aggregator`` and ``Auditor`` are the same
roles without I/O, for real deployments; ``Trust`` is what each of them has pinned.
"""

from secure_agg._version import __version__
from secure_agg.aggregator import Aggregator
from secure_agg.auditor import Auditor, Verified, verify
from secure_agg.client import Client
from secure_agg.config import Policy, RoundConfig
from secure_agg.errors import ClippingWarning, PrecisionWarning, SecureAggError, SecureAggWarning, VerificationError
from secure_agg.evidence import Evidence, RoundRecord
from secure_agg.fault import FaultProof
from secure_agg.identity import Identity, Roster
from secure_agg.keyholder import KeyHolder
from secure_agg.ledger.log import Ledger
from secure_agg.ledger.note import VerifierKey
from secure_agg.ledger.policy import WitnessPolicy
from secure_agg.ledger.receipt import Receipt
from secure_agg.rounds import Result, aggregate
from secure_agg.shareholder import ShareHolder
from secure_agg.store import AttemptStore
from secure_agg.trust import TaskTrust, Trust

__all__ = [
    "Aggregator",
    "AttemptStore",
    "Auditor",
    "Client",
    "ClippingWarning",
    "Evidence",
    "FaultProof",
    "Identity",
    "KeyHolder",
    "Ledger",
    "Policy",
    "PrecisionWarning",
    "Receipt",
    "Result",
    "Roster",
    "RoundConfig",
    "RoundRecord",
    "SecureAggError",
    "SecureAggWarning",
    "ShareHolder",
    "TaskTrust",
    "Trust",
    "VerificationError",
    "Verified",
    "VerifierKey",
    "WitnessPolicy",
    "__version__",
    "aggregate",
    "verify",
]
