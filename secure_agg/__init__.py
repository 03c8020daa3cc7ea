"""Secure aggregation whose result anyone can check.

Clients turn an update into small integers, commit to them, and hide them with a backend; an aggregator
learns the exact sum and nothing else; everybody can check that the sum is the sum of what was committed to;
only a checked sum enters the ledger.

``aggregate`` runs a whole round in this process. ``Client``, ``Aggregator`` and ``Auditor`` are the same
roles without I/O, for real deployments; ``Trust`` is what each of them has pinned.

What is below imports nothing of what is above it; ARCHITECTURE.md has the picture, and the way of one update.

* ``cli``: the command line. ``service``: rounds over HTTPS, without a framework.
* ``preflight``: what a policy or a home would be worth, before it begins.
* ``plugins``: rounds inside Flower and NVFlare.
* ``stats``: statistics without a model.
* ``fl``: models and their training. ``planning``: what a round would cost. ``transport``: operators as processes.
* ``explorer``: the page that verifies a ledger in the browser. ``local``: one process that plays all roles.
* ``ledger``: the log of verified rounds, on disk and published.
* ``roles``: the parties of a round, without I/O.
* ``backends``: ways of hiding updates while they are summed, behind one contract.
* ``beacon``: public randomness that draws cohorts.
* ``tlog``: formats of transparency logs. ``protocol``: what parties say and sign.
* ``executing``: where work on long vectors is done: in this process, in several, on a Ray cluster.
* ``privacy``: noise for differential privacy, and what rounds of it spend.
* ``arguments``: types of what callers give. ``files``, ``formats``: files written whole, and what a file is.
* ``pictures``: how pictures look.
* ``admission``: who has to go when more come than there is room for.
* ``errors``: every exception. ``extras``: optional packages. ``installed``: what is registered by name.
* ``locks``: locks between processes.

A name below is imported from its module when it is first asked for: who takes part in no round waits for none.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Final

from secure_agg._version import __version__
from secure_agg.errors import ClippingWarning, PrecisionWarning, SecureAggError, SecureAggWarning, VerificationError

if TYPE_CHECKING:
    from secure_agg.ledger.log import Appended, Ledger
    from secure_agg.local.aggregate import Result, aggregate
    from secure_agg.local.buffered.task import BufferedTask
    from secure_agg.planning.clips import agreed_clips
    from secure_agg.preflight.report import check
    from secure_agg.privacy.asked import Privacy
    from secure_agg.protocol.config import Group, Policy, RoundConfig
    from secure_agg.protocol.evidence import Evidence, RoundRecord
    from secure_agg.protocol.fault import FaultProof
    from secure_agg.protocol.identity import Identity, Roster
    from secure_agg.protocol.tree.evidence import TreeEvidence
    from secure_agg.roles.aggregator import Aggregator
    from secure_agg.roles.auditor import Auditor, Verified, verify
    from secure_agg.roles.client.client import Client
    from secure_agg.roles.keyholder import KeyHolder
    from secure_agg.roles.memory.store import AttemptStore
    from secure_agg.roles.shareholder import ShareHolder
    from secure_agg.roles.tree.auditor import VerifiedTree, verify_tree
    from secure_agg.roles.tree.pins import TreeTrust
    from secure_agg.roles.trust import TaskTrust, Trust
    from secure_agg.service.session import RoundResult, Session, connect
    from secure_agg.tlog.note import VerifierKey
    from secure_agg.tlog.policy import WitnessPolicy
    from secure_agg.tlog.receipt import Receipt

# The library logs under this name and leaves it to applications where that goes.
logging.getLogger("secure_agg").addHandler(logging.NullHandler())

__all__ = [
    "Aggregator",
    "Appended",
    "AttemptStore",
    "Auditor",
    "BufferedTask",
    "Client",
    "ClippingWarning",
    "Evidence",
    "FaultProof",
    "Group",
    "Identity",
    "KeyHolder",
    "Ledger",
    "Policy",
    "PrecisionWarning",
    "Privacy",
    "Receipt",
    "Result",
    "Roster",
    "RoundConfig",
    "RoundRecord",
    "RoundResult",
    "SecureAggError",
    "SecureAggWarning",
    "Session",
    "ShareHolder",
    "TaskTrust",
    "TreeEvidence",
    "TreeTrust",
    "Trust",
    "VerificationError",
    "Verified",
    "VerifiedTree",
    "VerifierKey",
    "WitnessPolicy",
    "__version__",
    "aggregate",
    "agreed_clips",
    "check",
    "connect",
    "verify",
    "verify_tree",
]

_HOMES: Final = {
    "Aggregator": "secure_agg.roles.aggregator",
    "Appended": "secure_agg.ledger.log",
    "AttemptStore": "secure_agg.roles.memory.store",
    "Auditor": "secure_agg.roles.auditor",
    "BufferedTask": "secure_agg.local.buffered.task",
    "Client": "secure_agg.roles.client.client",
    "Evidence": "secure_agg.protocol.evidence",
    "FaultProof": "secure_agg.protocol.fault",
    "Group": "secure_agg.protocol.config",
    "Identity": "secure_agg.protocol.identity",
    "KeyHolder": "secure_agg.roles.keyholder",
    "Ledger": "secure_agg.ledger.log",
    "Policy": "secure_agg.protocol.config",
    "Privacy": "secure_agg.privacy.asked",
    "Receipt": "secure_agg.tlog.receipt",
    "Result": "secure_agg.local.aggregate",
    "Roster": "secure_agg.protocol.identity",
    "RoundConfig": "secure_agg.protocol.config",
    "RoundRecord": "secure_agg.protocol.evidence",
    "RoundResult": "secure_agg.service.session",
    "Session": "secure_agg.service.session",
    "ShareHolder": "secure_agg.roles.shareholder",
    "TaskTrust": "secure_agg.roles.trust",
    "TreeEvidence": "secure_agg.protocol.tree.evidence",
    "TreeTrust": "secure_agg.roles.tree.pins",
    "Trust": "secure_agg.roles.trust",
    "Verified": "secure_agg.roles.auditor",
    "VerifiedTree": "secure_agg.roles.tree.auditor",
    "VerifierKey": "secure_agg.tlog.note",
    "WitnessPolicy": "secure_agg.tlog.policy",
    "aggregate": "secure_agg.local.aggregate",
    "agreed_clips": "secure_agg.planning.clips",
    "check": "secure_agg.preflight.report",
    "connect": "secure_agg.service.session",
    "verify": "secure_agg.roles.auditor",
    "verify_tree": "secure_agg.roles.tree.auditor",
}
"""Where each public name is at home; a test holds it to the imports above, which type checkers read."""

if not TYPE_CHECKING:  # a type checker would take every name for one that there is

    def __getattr__(name: str) -> object:
        """A public name, imported on first use (PEP 562).

        Raises:
            AttributeError: there is none of that name.
        """
        try:
            home = _HOMES[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        value = globals()[name] = getattr(import_module(home), name)
        return value


def __dir__() -> list[str]:
    """The public names too that nobody has asked for yet."""
    return sorted({*globals(), *__all__})
