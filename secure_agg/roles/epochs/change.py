"""What a proposal says, and what it may not say: pure rules, under the epoch in force."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from secure_agg import backends
from secure_agg.arguments import checked_class
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import ConfigError, SecureAggError, VerificationError
from secure_agg.protocol.config import NO_DIGEST, Option, Policy
from secure_agg.protocol.config.privacy import HONEST, most_honest
from secure_agg.protocol.config.thresholds import quorum
from secure_agg.protocol.config.tree import FLAT, level
from secure_agg.protocol.epoch import CONTINUE, RESTART, EpochBody
from secure_agg.protocol.epoch.body import EPOCH_VERSION, named
from secure_agg.protocol.habits import habits
from secure_agg.protocol.identity import Roster
from secure_agg.roles.epochs.pins import epoch_digest
from secure_agg.roles.epochs.words import option_differences
from secure_agg.roles.trust import TaskTrust, Trust


@checked_class
@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to be another than it is; what is not named stays.

    Attributes:
        join: keys of new members, by id.
        leave: ids of members who leave.
        rotate: new keys of members who stay, by id.
        policy: of rounds; by default the one in force, with thresholds for the new number of members.
        operators: all of them.
        witnesses: all of them.
        quorum: how many of the witnesses must have cosigned.
        administrators, threshold: who authorises the epoch after this one; nobody and 0 for the members' owners.
        restart: name of a new training, and digest of the arrays that it begins from.
        beacon: whose pulses draw cohorts. Where it, the members or the cohort's size become others, its first pulse has
            to be still to come.
    """

    join: Mapping[str, bytes] = field(default_factory=dict)
    leave: frozenset[str] = frozenset()
    rotate: Mapping[str, bytes] = field(default_factory=dict)
    policy: Policy | None = None
    operators: Roster | None = None
    witnesses: Roster | None = None
    quorum: int | None = None
    administrators: Roster | None = None
    threshold: int | None = None
    restart: tuple[str, bytes] | None = None
    beacon: BeaconSource | None = None

    def _beacon(self, pins: TaskTrust) -> bytes:
        source = self.beacon if self.beacon is not None else pins.beacon
        return source.to_bytes() if source is not None else b""

    def body(self, trust: Trust, task: str) -> EpochBody:
        """The body of the epoch that follows the one in force.

        Raises:
            ConfigError: it names a member that there is not, or joins one that there is; or what comes of it can't be.
        """
        pins = trust.task(task)
        keys = dict(pins.roster)
        for name in sorted({*self.leave, *self.rotate} - set(keys)):
            raise ConfigError(f"{name!r} is no member of task {task!r}, so it can't leave or have another key")
        for name in sorted(set(self.join) & set(keys)):
            raise ConfigError(f"{name!r} is a member of task {task!r} already: another key for it is a rotation")
        keys = {name: key for name, key in keys.items() if name not in self.leave} | dict(self.rotate)
        roster = Roster(keys | dict(self.join))
        policy = self.policy if self.policy is not None else resized(pins.policy, len(pins.roster), len(roster))
        name, base = self.restart or ("", NO_DIGEST)
        keeps = self.administrators is None
        body = EpochBody(
            version=EPOCH_VERSION,
            task=task,
            epoch=pins.epoch + 1,
            previous_epoch=epoch_digest(trust, task),
            roster=named(roster),
            policy=policy,
            operators=named(trust.operators if self.operators is None else self.operators),
            witnesses=named(trust.witnesses if self.witnesses is None else self.witnesses),
            quorum=(trust.quorum or 0) if self.quorum is None else self.quorum,
            administrators=named(pins.administrators if self.administrators is None else self.administrators),
            threshold=pins.threshold if keeps and self.threshold is None else self.threshold or 0,
            beacon=self._beacon(pins) if policy.cohort_size else b"",
            mode=RESTART if self.restart else CONTINUE,
            base_model=base,
            name=name,
        )
        try:
            check_change(trust, body)
        except VerificationError as error:
            raise ConfigError(str(error.args[0])) from error
        return body


def check_ahead(trust: Trust, body: EpochBody, now: float) -> None:
    """Refuse an epoch that changes whom a beacon draws once it has begun: ids, schedule or the cohort's size could have
    been chosen by its pulses.

    Args:
        now: POSIX time in seconds; whoever authorises looks, so all that is fixed before any pulse that counts.

    Raises:
        ConfigError: its first pulse is there already.
    """
    pins = trust.task(body.task)
    if not body.beacon:
        return
    source = BeaconSource.from_bytes(body.beacon)
    if (body.members, source, body.policy.cohort_size) != (pins.roster, pins.beacon, pins.policy.cohort_size):
        source.check_ahead(now)


def resized(policy: Policy, old: int, new: int) -> Policy:
    """The same rules for another number of members: thresholds by the protocol's defaults, and with privacy the same
    budget, for which the same share of the honest is relied on. Where somebody holds a key, room for fewer than before
    is not given up: the key is for sums of so many.

    Raises:
        ConfigError: there are too few, or a setting is not for so many.
    """
    if policy.cohort_size or new == old:
        return policy
    keyed = backends.load(policy.backend).keys is not None
    advertised = max(policy.min_clients, new - max(1, math.ceil(new / 10)))
    corrupt, options = (advertised - 1) // 3, policy.options
    if (rule := policy.privacy) is not None:
        signs = habits(policy.backend).clients_sign
        had, has = (
            most_honest(policy.min_clients, quorum(members, f) if signs else 0, f)
            for members, f in ((old, policy.max_corrupt), (new, corrupt))
        )
        honest = rule.honest * max(has, 0) // had
        options = Option.list({option.name: option.value for option in options} | {HONEST: honest})
    return msgspec.structs.replace(
        policy,
        options=options,
        max_clients=new if policy.max_clients == old and not keyed else max(policy.max_clients, new),
        min_advertised=advertised,
        max_corrupt=corrupt,
    )


def check_change(trust: Trust, body: EpochBody) -> None:
    """Check that a body is one that can follow the epoch in force.

    Raises:
        VerificationError: it is of another task or epoch, or follows another one.
        ConfigError: its rounds could not be.
    """
    pins = trust.task(body.task)
    if body.epoch != pins.epoch + 1:
        raise VerificationError(f"epoch {body.epoch} of task {body.task!r} does not follow epoch {pins.epoch}")
    expected = epoch_digest(trust, body.task)
    if body.previous_epoch != expected:
        raise VerificationError(
            f"epoch {body.epoch} of task {body.task!r} follows {body.previous_epoch.hex()[:16]}…, and the epoch in "
            f"force is {expected.hex()[:16]}…"
        )
    if any(level(policy) != FLAT for policy in (pins.policy, body.policy)):
        raise ConfigError(f"task {body.task!r} has no epoch {body.epoch}: a tree is pinned once")
    if pins.policy.buffer or body.policy.buffer:
        raise ConfigError(f"task {body.task!r} has no epoch {body.epoch}: a buffered task is pinned once")
    try:
        if body.beacon:
            BeaconSource.from_bytes(body.beacon)
        if body.beacon and not body.policy.cohort_size:
            raise ConfigError("a beacon is named, and the policy draws no cohort")
        backend = backends.load(body.policy.backend)
        backend.check_policy(body.policy)
        body.policy.check_error(body.policy.first_weight or (body.policy.max_weight if body.policy.weight_scale else 1))
    except SecureAggError as error:
        raise ConfigError(f"epoch {body.epoch} of task {body.task!r}: {error.args[0]}") from error


def new_keys(trust: Trust, body: EpochBody) -> dict[str, bytes]:
    """The keys that an epoch brings: of members, operators and administrators, new or rotated; each has to accept."""
    pins = trust.task(body.task)
    before = {*pins.roster.items(), *trust.operators.items(), *pins.administrators.items()}
    after = [*body.members.items(), *body.operator_keys.items(), *body.administrator_keys.items()]
    found: dict[str, bytes] = {}
    for name, key in after:
        if (name, key) in before:
            continue
        if found.setdefault(name, key) != key:
            raise ConfigError(f"{name!r} has two new keys in epoch {body.epoch}")
    return found


def differences(trust: Trust, body: EpochBody) -> dict[str, str]:
    """What an epoch changes, in words, for whoever is asked to authorise it."""
    pins = trust.task(body.task)
    old, new = dict(pins.roster), dict(body.members)
    said = {
        "joins": ", ".join(name for name in new if name not in old),
        "leaves": ", ".join(name for name in old if name not in new),
        "new key": ", ".join(name for name in new if name in old and old[name] != new[name]),
        "operators": _changed(trust.operators, body.operator_keys),
        "witnesses": _changed(trust.witnesses, body.witness_keys),
        "administrators": _changed(pins.administrators, body.administrator_keys),
    }
    for field_name in Policy.__struct_fields__:
        before, after = getattr(pins.policy, field_name), getattr(body.policy, field_name)
        if field_name == "options":
            said |= dict(option_differences(pins.policy, body.policy))
        elif before != after:
            said[field_name] = f"{before} becomes {after}"
    for what, was, becomes in (
        ("quorum", trust.quorum or 0, body.quorum),
        ("threshold", pins.threshold, body.threshold),
    ):
        if was != becomes:
            said[what] = f"{was} becomes {becomes}"
    if (drawing := BeaconSource.from_bytes(body.beacon) if body.beacon else None) != pins.beacon:
        said["beacon"] = f"{_beacon_text(pins.beacon)} becomes {_beacon_text(drawing)}"
    if body.mode == RESTART:
        said["new training"] = f"{body.name}, from the model {body.base_model.hex()}"
    return {what: text for what, text in said.items() if text}


def _changed(old: Roster, new: Roster) -> str:
    names: Iterable[str] = sorted({name for name, _ in old.items() ^ new.items()})
    return ", ".join(names)


def _beacon_text(source: BeaconSource | None) -> str:
    if source is None:
        return "none"
    time = f"every {source.period} s from {source.genesis} on" if source.period else "keeping no time"
    return f"key {source.key.hex()}, {time}, pulse {source.first} and then each {source.step}th"
