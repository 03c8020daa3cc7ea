"""What one party signs of an epoch: each statement once, bound durably before it leaves."""

from __future__ import annotations

import time
from typing import Final

from secure_agg.errors import AlreadyReleased, PolicyViolation
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.epoch import RESTART, EpochBody, EpochEvidence, accept_bytes, authorise_bytes
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import Signature, encode
from secure_agg.protocol.renunciation import RENOUNCE, Renunciation
from secure_agg.roles.epochs.change import check_ahead, check_change, new_keys
from secure_agg.roles.epochs.checking import check_goes_on, check_ready, check_statement
from secure_agg.roles.epochs.pins import authority, closing, opened_by_members, some_shapes, without_privacy
from secure_agg.roles.memory import bonds
from secure_agg.roles.memory import epochs as memory
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust

AUTHORISE: Final = "epoch-authorise"
"""The phase, if one likes, in which an owner decides."""


def authorise(
    store: AttemptStore, identity: Identity, trust: Trust, body: EpochBody, *, now: float | None = None
) -> Signature:
    """Authorise an epoch, as an owner or administrator who has looked at what it changes: one body and no other.

    Args:
        store: durable, of this party's own.
        trust: what is in force.
        now: POSIX time; by default the system's.

    Raises:
        VerificationError, ConfigError: it can't follow the epoch in force; or whom the beacon draws changes, and could
            have been chosen by its pulses.
        PolicyViolation: this party has no say in it.
        AlreadyReleased: it has authorised another body for this epoch.
    """
    check_change(trust, body)
    check_ahead(trust, body, time.time() if now is None else now)
    voters, _ = authority(trust, body.task)
    if voters.get(identity.name) != identity.public:
        raise PolicyViolation(
            f"{identity.name!r} has no say in epoch {body.epoch} of task {body.task!r}", phase=AUTHORISE
        )
    if not memory.bind_authority(store, identity.name, body.task, body.epoch, body.digest):
        raise AlreadyReleased(
            f"{identity.name!r} has authorised another epoch {body.epoch} of task {body.task!r}: two would be a proof "
            "of fault",
            phase=AUTHORISE,
        )
    return Signature(identity.name, identity.sign(authorise_bytes(body.task, body.previous_epoch, body.digest)))


def accept(identity: Identity, trust: Trust, body: EpochBody) -> Signature:
    """Accept an epoch, as the owner of a key that is new in it.

    Raises:
        VerificationError, ConfigError: it can't follow the epoch in force.
        PolicyViolation: the key is not new in it, or not in it.
    """
    check_change(trust, body)
    if new_keys(trust, body).get(identity.name) != identity.public:
        raise PolicyViolation(f"the key of {identity.name!r} is not new in epoch {body.epoch} of task {body.task!r}")
    return Signature(identity.name, identity.sign(accept_bytes(body.task, body.digest, identity.name, identity.public)))


def close(
    store: AttemptStore, identity: Identity, trust: Trust, proposal: EpochEvidence, statement: Renunciation
) -> Signature:
    """Close the epoch in force, as a member's node: nothing more is signed or given in it from now on.

    Args:
        store: the client's own, which its rounds are bound by.
        trust: what is in force.
        proposal: authorised by enough, and accepted by all new keys.
        statement: what is renounced: see ``checking.ends``. The caller has checked that it is where the task is.

    Raises:
        VerificationError, ConfigError: the proposal is not authorised or accepted, or can't follow, or not here.
        PolicyViolation: this node is no member, or was given the new training's model before.
        AlreadyReleased: it has closed this epoch for another, or elsewhere; or has released something in this
            generation.
    """
    body = proposal.says
    check_ready(trust, proposal)
    voters, _ = closing(trust, body.task)
    if voters.get(identity.name) != identity.public:
        raise PolicyViolation(f"{identity.name!r} can't close an epoch of task {body.task!r}", phase=RENOUNCE)
    check_statement(trust, body, statement)
    check_goes_on(trust, body, statement.generation)
    check_fresh(store, identity.name, body)
    said = encode(statement)
    if not memory.may_close(store, identity.name, body.task, statement.epoch, said):
        raise _closed(identity.name, statement)
    if opened_by_members(trust.task(body.task).policy):
        _renounce(store, identity.name, trust, statement)  # which refuses before anything is bound, or binds for good
    if not memory.bind_closure(store, identity.name, body.task, statement.epoch, said):
        raise _closed(identity.name, statement)
    return statement.sign(identity)


def _closed(client: str, statement: Renunciation) -> AlreadyReleased:
    return AlreadyReleased(
        f"{client!r} has closed epoch {statement.epoch} of task {statement.task!r} for another one, or elsewhere",
        phase=RENOUNCE,
    )


def _renounce(store: AttemptStore, client: str, trust: Trust, statement: Renunciation) -> None:
    """Bind to it as to any renunciation of this generation: see ``Bonds.renounce``."""
    pins = trust.task(statement.task)
    admitted = bonds.admitted(store, client, statement)
    if bool(statement.generation) != (admitted != NO_DIGEST):
        raise AlreadyReleased(f"{client!r} is not in generation {statement.generation}", phase=RENOUNCE)
    config = RoundConfig.create(
        task=statement.task,
        round=statement.round,
        epoch=statement.epoch,
        generation=statement.generation,
        renounced=admitted,
        start_model=statement.start_model,
        base_model=statement.base_model,
        policy=without_privacy(pins.policy),  # else no epoch could end a task whose budget is spent: it has no rounds
        cohort=pins.roster,
        shapes=some_shapes(pins.policy),
    )
    bonds.Bonds(store, client, config).renounce(statement.successor)


def check_fresh(store: AttemptStore, client: str, body: EpochBody) -> None:
    """Refuse a new training from a model that this client has given an update of before: the difference of two sums
    over one model shows somebody's.

    Raises:
        PolicyViolation: it has.
    """
    if body.mode == RESTART and bonds.gave_input(store, client, body.task, body.base_model):
        raise PolicyViolation(
            f"{client!r} has given an update of the model {body.base_model.hex()[:16]}… before: a new training begins "
            "from another",
            phase=RENOUNCE,
        )
