"""How long what a member is sent can be: from what its home pins and has come to, before a byte of it is there.

A pinned service may be malicious. It fills no member's memory with more than a round of this task can have.
"""

from __future__ import annotations

from typing import Final

from mpc.ring import ELEMENT_BYTES
from secure_agg.errors import SecureAggError, StoreError
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.node.intake import MAX_FIRST
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.homes.chain import MAX_TYPES
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.epoch.body import MAX_BODY
from secure_agg.protocol.epoch.evidence import MAX_EVIDENCE
from secure_agg.protocol.messages import header_limit, public_limit
from secure_agg.roles.epochs.following import MAX_STEP_ANSWER
from secure_agg.tlog.receipt import MAX_RECEIPT

_ACCEPTANCES: Final = parcels.MAX_PARTS << 16
"""Most bytes of what operators have signed for a member: it keeps none that is longer, see ``ClientHome``."""
_BESIDE: Final = 1 << 16
"""More coordinates than a vector has beside values: marks, metrics, counts, randomness, blocks that are filled up."""
_PER_ELEMENT: Final = 3
"""Coordinates of one element, at most: two halves, and a count where its clip is adaptive."""


UNSAID: Final = 1 << 26
"""Elements of a model whose size its home does not say, at most, unless its owner says more: 512 MiB as float64. Where
nobody has chosen a policy allows sixteen times as many, and a pinned service may be malicious.
"""


def known_elements(home: ClientHome) -> int | None:
    """How many elements the model of the next payload can have: those of the model that this member has come to, or of
    the first one, if its owner has pinned its file. None where that is not known: before a new training, where a digest
    is all that is pinned, and where any model is taken.
    """
    if not home.checks_model:
        return None
    with home.locked():
        link = home.chain.link
        record, model = (link.record, link.model) if link else (NO_DIGEST, None)
        if home.epochs.after(record).restarted not in (None, model):
            return None
        if link is not None and (link.rounds or link.model == home.start_model):
            return home.chain.elements
        return home.start_elements


def elements(home: ClientHome, unsaid: int = UNSAID) -> int:
    """The same, never more than the policy allows; ``unsaid`` where it is not known."""
    found = known_elements(home)
    return min(home.trust.task(home.task).policy.max_parameters, unsaid if found is None else found)


def vector_bytes(elements: int) -> int:
    """Most bytes of a sum over a model of so many elements."""
    return ELEMENT_BYTES * (_PER_ELEMENT * elements + _BESIDE)


def payload_bytes(home: ClientHome, participant: Participant, unsaid: int = UNSAID) -> int:
    """Most bytes of a payload that this member can be asked to answer now; ``unsaid``: see ``elements``."""
    members, most = home.epochs.most_members, elements(home, unsaid)
    result = public_limit(members) + vector_bytes(most) + MAX_RECEIPT
    try:
        request = participant.request_limit
    except StoreError:
        raise
    except SecureAggError:  # it is in no round, or in one that it can't go on with, as of an epoch before
        request = 0
    return parcels.FRAME + max(
        MAX_FIRST + result,  # a request to join, with the last result
        request + _ACCEPTANCES,
        header_limit(members) + result + _ACCEPTANCES,
        result + MAX_TYPES + 8 * most,  # one that was missed, with the model that it started from
        MAX_EVIDENCE + MAX_BODY,  # an epoch to close
        MAX_STEP_ANSWER,
    )
