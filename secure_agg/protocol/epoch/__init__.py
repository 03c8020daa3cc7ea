"""An epoch: the roster, policy, operators and training of a task that are in force between two records of the ledger.

* ``body``: what an epoch says; its digest is what is authorised, closed for and accepted.
* ``record``: the leaf, chained like a round's. ``evidence``: the signatures that make it one, and what each is over.
"""

from secure_agg.protocol.epoch.body import CONTINUE, GENESIS, RESTART, EpochBody, Named, genesis, root_task
from secure_agg.protocol.epoch.evidence import (
    Authorised,
    EpochEvidence,
    accept_bytes,
    authorise_bytes,
)
from secure_agg.protocol.epoch.record import EpochRecord, Record, read_leaf

__all__ = [
    "CONTINUE",
    "GENESIS",
    "RESTART",
    "Authorised",
    "EpochBody",
    "EpochEvidence",
    "EpochRecord",
    "Named",
    "Record",
    "accept_bytes",
    "authorise_bytes",
    "genesis",
    "read_leaf",
    "root_task",
]
