"""``aggregate``: a whole verified round in one call, all roles in this process."""

from __future__ import annotations

import functools
import logging
import math
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from secure_agg import backends
from secure_agg.arguments import checked, checked_class
from secure_agg.errors import (
    ClippingWarning,
    ConfigError,
    PrecisionWarning,
    UpdateError,
    stamping,
)
from secure_agg.ledger.log import Ledger
from secure_agg.local.rounds import PHASES, LocalRound, Update
from secure_agg.local.staff import AGGREGATOR, OPERATORS, Staff, staffed, usual_names
from secure_agg.protocol.clipping import Clipping
from secure_agg.protocol.codec import Arrays, check_arrays
from secure_agg.protocol.config import MAX_WEIGHT, NO_DIGEST, Option, Policy, RoundConfig, check_arrays_fit
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.habits import USUAL
from secure_agg.protocol.identity import Identity, KeyDirectory, Roster, check_id
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.tlog.receipt import Receipt

_log = logging.getLogger("secure_agg.local.rounds")


@checked_class
@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Result:
    """A finished, checked round.

    Attributes:
        average: the weighted mean over the participants, float64, one array per model array.
        participants: ids whose updates are in it.
        record: what the ledger holds.
        evidence: all that an auditor needs.
        receipt: inclusion in the ledger, or None where none was given.
        faults: what was proved of parties that broke the protocol without stopping the round.
        stats: seconds (``…_s``) and bytes (``…_bytes``) per role and phase, clients' figures being means; where
            values were clipped how many, of all clients, ``clipped_values``, and of each array that has any,
            ``clipped_values.array_<index>``.
    """

    average: Arrays
    participants: tuple[str, ...]
    record: RoundRecord
    evidence: Evidence
    receipt: Receipt | None
    stats: dict[str, float]
    faults: tuple[FaultProof, ...] = ()

    def __repr__(self) -> str:
        record, values = self.record, sum(array.size for array in self.average)
        return (
            f"Result(task={record.task!r}, round={record.round}, claim={record.claim!r}, "
            f"participants={len(self.participants)}, arrays={len(self.average)}, values={values}, "
            f"in_ledger={self.receipt is not None}, faults={len(self.faults)})"
        )


@checked
def aggregate(
    updates: Mapping[str, Update],
    *,
    weights: Mapping[str, int] | None = None,
    backend: str = USUAL,
    options: Mapping[str, int] | None = None,
    aggregators: int | None = None,
    ledger: str | PathLike[str] | Ledger | None = None,
    dropouts: Mapping[str, str] | None = None,
    clip: float = 8.0,
    bits: int | None = None,
    max_error: float | None = None,
    rounding: str | None = None,
    max_weight: int | None = None,
    weight_scale: int | None = None,
    weight_span: int | None = None,
    first_weight: int | None = None,
    max_clients: int | None = None,
    min_clients: int = 3,
    task: str = "default",
    round: int | None = None,
    start_model: bytes | None = None,
    identities: Mapping[str, Identity] | None = None,
) -> Result:
    """One verified secure round over ``updates``, all roles in this process.

    Args:
        updates: client id to its arrays, float32 or float64, the same shapes for all.
        weights: client id to its positive integer weight; 1 where missing.
        backend: how updates are hidden, see ``secure-agg backends``.
        options: the backend's own settings. With ``crypten`` a ``function`` that is no sum is asked for by them: the
            result is then ``attested``, which the trust file says too.
        aggregators: how many share each update, for ``additive``: its option of that name.
        ledger: a path or an open ``Ledger``; the checked round is appended to it. The first call for a task
            pins roster and policy; later calls may leave clients out (they count as dropped) but not add any.
        dropouts: client id to the phase at which it falls silent: advertise, share-keys, masked-input, consistency or
            unmask. From consistency on its update is in the result, where the backend takes inputs before that (the
            homomorphic ones don't). A phase that the backend does not have stands for the next that it has.
        clip: values are clipped to [−clip, clip].
        bits: per value, 2 to 24; by default what the ledger has pinned, or as many as cost the backend nothing.
        max_error: refuse the round if rounding could move a value of the mean further, whoever drops out; by default
            what is pinned, or 1024 clips or what the named ``bits`` need. What holds for the round when the weights
            are known, nearly always far less, is ``record.error_bound``.
        rounding: ``stochastic``, which is the only way: rounding is without bias. For callers of earlier releases.
        max_weight: public bound of the weights; by default the largest of them in this call. What the ledger has pinned
            then bounds them only where a call has named it.
        weight_scale, weight_span, first_weight: limit large and small weights instead of keeping them, for precision
            with few bits: see ``Policy``. The record then says how many were limited.
        max_clients: headroom of the sums; by default the number of clients.
        min_clients: fewest clients whose sum is opened, at least 2.
        task: name of the training task.
        round: number of the round; the ledger's next one, else 0.
        start_model: digest of the model the updates are relative to; the ledger's last result, else zeros.
        identities: client id to ``Identity``; made when missing, and kept in ``<ledger>.keys/`` with a ledger.

    Returns:
        The checked result.

    Raises:
        ConfigError: a setting is out of range, insecure, or contradicts what the ledger has pinned for the task.
        UpdateError: an unfit update or weight; names the client.
        TooFewClients: too many have dropped out.
        VerificationError, LedgerError: the result did not pass, or can't be appended. Nothing was written.
        ClaimRefused: the result would be attested, and the ledger, or its trust file, accepts sums only.

    Warns:
        ClippingWarning: values were clipped; ``stats`` says how many of which array.
        PrecisionWarning: rounding may have moved a value by more than the range that ``clip`` leaves.
    """
    if rounding not in (None, "stochastic"):
        raise ConfigError(f"rounding is {rounding!r}, and there is one way, 'stochastic': it has no bias")
    shapes = _check_inputs(updates, weights or {}, dropouts or {}, identities or {})
    with ExitStack() as stack:
        path = Path(ledger) if isinstance(ledger, str | PathLike) and str(ledger) else None
        if path is not None and not os.path.lexists(path):
            log = None  # it is made when nothing is left that could be refused
        elif isinstance(ledger, str | PathLike):
            log, path = stack.enter_context(Ledger(ledger)), None
        else:
            log = ledger
        known = log.trust.tasks.get(task) if log else None
        settings: dict[str, int] = dict(options or {}) | (
            {"aggregators": aggregators} if aggregators is not None else {}
        )
        pinned = known.policy if known else None
        heaviest = int(max((weights or {}).values(), default=1))
        make = functools.partial(
            Policy.default,
            len(known.roster) if known else len(updates),
            backend=backend,
            options=Option.list(settings),
            clip=clip,
            bits=pinned.bits if pinned and bits is None else bits,
            max_error=pinned.max_error if pinned and max_error is None else max_error,
            weight_scale=_given(weight_scale, pinned and pinned.weight_scale, 0),
            weight_span=_given(weight_span, pinned and pinned.weight_span, None),
            first_weight=_given(first_weight, pinned and pinned.first_weight, None),
            max_clients=max_clients,
            min_clients=min_clients,
        )
        if max_weight is not None:
            policy = make(max_weight=max_weight)
            limit = policy.max_weight
        elif pinned:
            policy = make(max_weight=pinned.max_weight)
            limit = heaviest if pinned.max_weight == MAX_WEIGHT else pinned.max_weight
        else:
            policy, limit = make(max_weight=heaviest), heaviest
            if log or path:  # the task's next round may have heavier clients
                policy = _with_headroom(policy, make)
        _check_weights(weights or {}, policy)
        folder = log.keys if log else Path(f"{path}.keys") if path else None
        kept = KeyDirectory(folder) if folder else None
        members, operators, missing = _identities(updates, identities or {}, kept, known)
        roster = known.roster if known else Roster({name: member.public for name, member in members.items()})
        # Options that name a function which is no sum are how a caller asks for one.
        claims = known.claims if known else frozenset({_claim(policy)})
        pins = TaskTrust(roster, policy, claims)
        operating = Roster({name: operator.public for name, operator in operators.items()})
        planned = log.planned(task, pins, operating) if log else Trust(tasks={task: pins}, operators=operating)
        last = log.last(task) if log else None
        config = RoundConfig.create(
            task=task,
            round=round if round is not None else (last.round + 1 if last else 0),
            policy=policy,
            weight_limit=_weight_limit(policy, limit, last),
            cohort=planned.cohort(task),
            shapes=shapes,
            start_model=start_model or (last.result_model if last else NO_DIGEST),
            previous_record=last.digest() if last else NO_DIGEST,
            operators=planned.operators,
            log_key=planned.log or b"",
            witnesses=planned.witnesses,
        )
        serving = usual_names(policy)
        # From here on files are written: nothing of the call is refused any more.
        if path is not None:
            log = stack.enter_context(Ledger(path))
        trust = planned if log is None else _pin(log, task, pins, operating, missing)
        config = msgspec.structs.replace(config, log_key=trust.log or b"")
        staff = Staff.of(config, {name: operators[name] for name in serving})
        config = staffed(config, staff.setup)
        aggregator = Aggregator(
            operators[AGGREGATOR], config, trust.cohort(task), operators=trust.operators, setup=staff.setup
        )
        clients = {name: Client(member, trust) for name, member in members.items()}
        local = LocalRound(aggregator, clients, updates, weights, dropouts, staff.roles(trust))
        evidence = local.run()
        if aggregator.verified is not None:  # as it is after a run; said before anything is written
            values = len(updates) * sum(map(math.prod, shapes))
            _tell(aggregator.verified.record, policy, local.clipping(), values)
        start = time.perf_counter()
        entry = log.append(evidence) if log else None
        appended = time.perf_counter() - start
        local.deliver()
        verified = entry.verified if entry else Auditor(trust).verify(evidence)
        receipt = entry.receipt if entry else None
        stats = local.stats() | ({"ledger.append_s": appended} if log else {})
        faults = aggregator.faults
        return Result(verified.average, evidence.participants, verified.record, evidence, receipt, stats, faults)


def _check_inputs(
    updates: Mapping[str, Update],
    weights: Mapping[str, int],
    dropouts: Mapping[str, str],
    identities: Mapping[str, Identity],
) -> tuple[tuple[int, ...], ...]:
    """The model's shapes, which are those of most clients.

    Raises:
        ConfigError: weights or dropouts of unknown clients, an unknown phase.
        UpdateError: arrays that can't be encoded, or of other shapes; names the client.
    """
    if not updates:
        raise ConfigError("there are no clients")
    for name in updates:
        if check_id(name) in OPERATORS:
            raise ConfigError(f"{name!r} is the id of an operator", culprit=name)
        if name in identities and identities[name].name != name:
            raise ConfigError(f"the identity given for {name!r} is {identities[name]!r}", culprit=name)
    for update in updates.values():
        check_arrays_fit(len(update) if isinstance(update, Sequence) else 1)
    for what, names in (("weights", weights), ("dropouts", dropouts)):
        unknown = sorted(set(names) - set(updates))
        if unknown:
            raise ConfigError(f"{what} names {unknown[0]!r}, who has no update", culprit=unknown[0])
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | np.integer) or weight < 1:
            raise UpdateError(f"weight is {weight!r}, not a positive integer", phase=ADVERTISE, culprit=name)
    for name, phase in dropouts.items():
        if phase not in PHASES:
            raise ConfigError(f"{phase!r} is no phase: {', '.join(PHASES)}", culprit=name)
    shapes = {}
    for name, update in updates.items():
        with stamping(UpdateError, phase=ADVERTISE, culprit=name):
            shapes[name] = check_arrays(update)
    usual, _ = Counter(shapes.values()).most_common(1)[0]
    for name, shape in shapes.items():
        if shape != usual:
            raise UpdateError(f"arrays of shapes {shape}, most clients have {usual}", phase=ADVERTISE, culprit=name)
    return usual


def _given(*values: Any) -> Any:
    """The first that is not None."""
    return next((value for value in values if value is not None), None)


def _with_headroom(policy: Policy, make: Callable[..., Policy]) -> Policy:
    """The policy with room for any weight, which is free: a round's weight limit is what precision depends on. A
    backend that has no weights refuses that, and keeps none.
    """
    roomy = make(max_weight=MAX_WEIGHT)
    try:
        backends.load(policy.backend).check_policy(roomy)
    except ConfigError:
        return policy
    return roomy


def _check_weights(weights: Mapping[str, int], policy: Policy) -> None:
    """See that the policy allows all weights.

    Raises:
        UpdateError: it does not; names the client.
    """
    for name, weight in weights.items():
        if weight > policy.max_weight:
            raise UpdateError(
                f"weight is {weight}, above max_weight = {policy.max_weight}; where the ledger has pinned that for the "
                "task, only a new task can have more",
                phase=ADVERTISE,
                culprit=name,
            )


def _weight_limit(policy: Policy, heaviest: int, last: RoundRecord | None) -> int | None:
    """M of the next round."""
    if policy.weight_scale:
        return last.next_weight_limit if last else None
    return heaviest


def _tell(record: RoundRecord, policy: Policy, clipping: Clipping, values: int) -> None:
    """Warn of what may not be what the caller wants: once each, in words that name no client."""
    if text := clipping.text(policy.clip, values):
        _warn(text, ClippingWarning)
    if record.error_bound > 2 * policy.clip:
        _warn(
            f"a value of the mean may be off by {record.error_bound:.6g} by rounding, in a range of "
            f"±{policy.clip:g}: {record.participants} weights sum to {record.weight_sum}, far below the limit of "
            f"{record.weight_limit} each. Take more bits or a smaller max_weight.",
            PrecisionWarning,
        )
    _log.info(
        "round %d of %r: %d participants, weights of %d in all, rounding moves no value by more than %.3g",
        record.round, record.task, record.participants, record.weight_sum, record.error_bound,
    )  # fmt: skip
    if record.weights_lowered or record.weights_raised:
        _log.warning(
            "round %d of %r: %d weights count as the limit of %d, and %d as the least of %d",
            record.round, record.task, record.weights_lowered, record.weight_limit, record.weights_raised,
            policy.least_weight(record.weight_limit),
        )  # fmt: skip


def _warn(text: str, category: type[Warning]) -> None:
    _log.warning("%s", text)
    warnings.warn(text, category, stacklevel=5)  # where ``aggregate`` was called


def _claim(policy: Policy) -> str:
    """What results under a policy claim, once its backend has looked at its options: nothing unfit is pinned."""
    backend = backends.load(policy.backend)
    backend.check_policy(policy)
    return backend.result(policy).claim


def _identities(
    updates: Mapping[str, Update],
    given: Mapping[str, Identity],
    kept: KeyDirectory | None,
    known: TaskTrust | None,
) -> tuple[dict[str, Identity], dict[str, Identity], list[tuple[str, Identity]]]:
    """The clients' identities and the operators': given, kept beside the ledger, or new; and those that a ledger does
    not keep yet, with their roles. Nothing is written.
    """
    if known:
        strangers = sorted(set(updates) - set(known.roster))
        if strangers:
            raise ConfigError(
                f"{strangers[0]!r} is not in the roster pinned for this task: use a new task name", culprit=strangers[0]
            )
    missing: list[tuple[str, Identity]] = []

    def find(role: str, name: str) -> Identity:
        found = kept.find(role, name) if kept else None
        if found is None:
            found = Identity.generate(name)
            missing.append((role, found))
        return found

    members = {name: given[name] if name in given else find("client", name) for name in updates}
    operators = {name: find("operator", name) for name in OPERATORS}
    return members, operators, missing


def _pin(log: Ledger, task: str, trust: TaskTrust, operators: Roster, missing: Sequence[tuple[str, Identity]]) -> Trust:
    """Keep the identities that are new, and pin the task: it stands in the trust file from the first round on."""
    kept = KeyDirectory(log.keys)
    for role, identity in missing:
        kept.add(role, identity)
    log.pin(task, trust, operators)
    return log.trust
