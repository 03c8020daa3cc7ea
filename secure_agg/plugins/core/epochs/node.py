"""A node's side: nothing is asked of its owner but what is below the home's floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_agg.errors import AnotherModel, PolicyViolation
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.epoch.body import MAX_BODY
from secure_agg.protocol.messages import Signature, decode
from secure_agg.protocol.renunciation import RENOUNCE, Renunciation
from secure_agg.roles.epochs import acts
from secure_agg.roles.memory import results

if TYPE_CHECKING:
    from secure_agg.plugins.homes.client import ClientHome


def close(home: ClientHome, proposal: bytes | memoryview, statement: bytes | memoryview) -> Signature:
    """Close the epoch in force for one that was authorised, where this node knows the task to be. The home is locked.

    Raises:
        TrustError: the next epoch is below this home's floor, and its owner has not approved it.
        AnotherModel: the task is elsewhere than this node has come to.
        VerificationError, PolicyViolation, AlreadyReleased: see ``acts.close``.
    """
    evidence = EpochEvidence.from_bytes(proposal)
    said = decode(Renunciation, statement, MAX_BODY, phase=RENOUNCE)
    home.epochs.check_floor(evidence.says)
    _check_place(home, said)
    return acts.close(home.store, home.identity, home.trust, evidence, said)


def _check_place(home: ClientHome, said: Renunciation) -> None:
    """Whether what is renounced is over the model that this node has come to."""
    link = home.chain.link if home.checks_model else None
    if link is None or not link.rounds:
        return
    after = home.epochs.after(link.record)
    base = after.restarted if after.restarted is not None else link.model
    if said.round <= link.last or said.base_model != base:
        raise AnotherModel(
            f"the epoch is to end before round {said.round}, over the model {said.base_model.hex()[:16]}…, and this "
            f"node has come to {base.hex()[:16]}…, after round {link.last}"
        )
    if not results.is_known(home.store, home.name, home.task, said.start_model):
        raise AnotherModel("the epoch is to end after a result that this node has not verified")


def check_may_join(home: ClientHome, config: RoundConfig) -> None:
    """Refuse a round that a new key has to sit out: where nobody has closed the epoch before for all, its owner may
    have given an update of this model under another key.

    Raises:
        PolicyViolation: this is one.
    """
    record = home.epochs.may_have_given(home.identity, config.start_model)
    if record is not None:
        raise PolicyViolation(
            f"the key of {home.name!r} is new in epoch {record.epoch}, and nobody could close the one before for all: "
            "it sits out the rounds over this model"
        )
