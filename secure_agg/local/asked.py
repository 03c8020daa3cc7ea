"""What one call of ``aggregate`` asks for: its inputs, and the settings that a policy is made of."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from secure_agg import backends
from secure_agg.errors import ConfigError, UpdateError, stamping
from secure_agg.local.rounds import PHASES, Update
from secure_agg.local.staff import OPERATORS
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.codec import check_arrays
from secure_agg.protocol.config import MAX_WEIGHT, Group, Option, Policy, check_arrays_fit
from secure_agg.protocol.config.norm import EXCESSES, NORM_EXCESS, NORM_OPTIONS, SCALE
from secure_agg.protocol.config.privacy import PRIVACY_OPTIONS
from secure_agg.protocol.config.settings import MAX_CLIENTS, whole
from secure_agg.protocol.config.thresholds import USUAL_DROPOUT
from secure_agg.protocol.config.tree import LEVEL
from secure_agg.protocol.habits import habits
from secure_agg.protocol.identity import Identity, check_id
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.roles.trust import TaskTrust


@dataclass(frozen=True)
class Inputs:
    """What the clients bring; see ``aggregate``."""

    updates: Mapping[str, Update]
    weights: Mapping[str, int]
    dropouts: Mapping[str, str]
    identities: Mapping[str, Identity]

    @property
    def heaviest(self) -> int:
        """The largest weight."""
        return int(max(self.weights.values(), default=1))

    def check(self) -> tuple[tuple[int, ...], ...]:
        """The model's shapes, which are those of most clients.

        Raises:
            ConfigError: weights or dropouts of unknown clients, an unknown phase.
            UpdateError: arrays that can't be encoded, or of other shapes; names the client.
        """
        self._check_names()
        for name, weight in self.weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | np.integer) or weight < 1:
                raise UpdateError(f"weight is {weight!r}, not a positive integer", phase=ADVERTISE, culprit=name)
        for name, phase in self.dropouts.items():
            if phase not in PHASES:
                raise ConfigError(f"{phase!r} is no phase: {', '.join(PHASES)}", culprit=name)
        shapes = {}
        for name, update in self.updates.items():
            with stamping(UpdateError, phase=ADVERTISE, culprit=name):
                shapes[name] = check_arrays(update)
        usual, _ = Counter(shapes.values()).most_common(1)[0]
        for name, shape in shapes.items():
            if shape != usual:
                raise UpdateError(f"arrays of shapes {shape}, most clients have {usual}", phase=ADVERTISE, culprit=name)
        return usual

    def _check_names(self) -> None:
        if not self.updates:
            raise ConfigError("there are no clients")
        for name in self.updates:
            if check_id(name) in OPERATORS:
                raise ConfigError(f"{name!r} is the id of an operator", culprit=name)
            if name in self.identities and self.identities[name].name != name:
                raise ConfigError(f"the identity given for {name!r} is {self.identities[name]!r}", culprit=name)
        for update in self.updates.values():
            check_arrays_fit(len(update) if isinstance(update, Sequence) else 1)
        for what, names in (("weights", self.weights), ("dropouts", self.dropouts)):
            unknown = sorted(set(names) - set(self.updates))
            if unknown:
                raise ConfigError(f"{what} names {unknown[0]!r}, who has no update", culprit=unknown[0])


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a caller says of the policy; None leaves it to what is pinned, or to the default. See ``aggregate``."""

    backend: str
    options: tuple[Option, ...]
    clip: float
    bits: int | None
    groups: tuple[Group, ...] | None
    max_error: float | None
    norm_bound: float | None
    norm_excess: str | None
    privacy: Privacy | None
    max_weight: int | None
    weight_scale: int | None
    weight_span: int | None
    first_weight: int | None
    max_clients: int | None
    min_clients: int
    sample: int | float | None
    corruption_rate: float | None
    dropout: float | None

    def policy(self, inputs: Inputs, known: TaskTrust | None, *, goes_on: bool) -> tuple[Policy, int]:
        """The policy, and the weight limit of a round under it where weights are kept.

        Args:
            known: what is pinned of the task so far.
            goes_on: whether the task may have further rounds, with heavier clients.

        Raises:
            ConfigError: a setting is out of range.
            UpdateError: a weight that the policy does not allow; names the client.
        """
        policy, limit = self._policy(inputs, known, goes_on=goes_on)
        for name, weight in inputs.weights.items():
            if weight > policy.max_weight:
                raise UpdateError(
                    f"weight is {weight}, above max_weight = {policy.max_weight}; where the ledger has pinned that for "
                    "the task, only a new task can have more",
                    phase=ADVERTISE,
                    culprit=name,
                )
        return policy, limit

    def _policy(self, inputs: Inputs, known: TaskTrust | None, *, goes_on: bool) -> tuple[Policy, int]:
        if any(option.name == LEVEL for option in self.options):
            raise ConfigError(f"{LEVEL!r} is set by what a tree is made of, and is no option of a call: see edges=")
        pinned, heaviest = known.policy if known else None, inputs.heaviest

        def given(name: str) -> Any:
            """What the call says, or what is pinned."""
            value = getattr(self, name)
            return getattr(pinned, name) if value is None and pinned is not None else value

        clients = len(known.roster) if known else len(inputs.updates)
        kept: dict[str, int] = {}
        if pinned is not None and (self.sample, self.corruption_rate, self.dropout) == (None, None, None):
            clients = pinned.cohort_size or clients
            kept = {
                name: getattr(pinned, name)
                for name in ("cohort_size", "min_advertised", "max_corrupt", "max_clients")
                if self.min_clients == pinned.min_clients and (name != "max_clients" or self.max_clients is None)
            }

        def build(**settings: Any) -> Policy:
            policy = Policy.default(clients, **settings)
            return msgspec.structs.replace(policy, **kept) if kept else policy

        self._check_private(inputs)
        keeps = self.privacy is None and pinned is not None and pinned.privacy is not None
        make = functools.partial(
            build,
            backend=self.backend,
            clip=pinned.clip if keeps and pinned is not None else self.clip,
            privacy=self.privacy,
            bits=self.bits if given("groups") else given("bits"),
            groups=given("groups") or (),
            max_error=given("max_error"),
            **({"options": self.options} | self._norm(pinned)),
            weight_scale=given("weight_scale") or 0,
            weight_span=given("weight_span"),
            first_weight=given("first_weight"),
            max_clients=self.max_clients,
            min_clients=self.min_clients,
            cohort_size=sample_size(self.sample, clients),
            corruption_rate=self.corruption_rate,
            dropout=USUAL_DROPOUT if self.dropout is None else self.dropout,
        )
        if self.norm_bound is None and self.norm_excess is not None and (pinned is None or pinned.norm is None):
            raise ConfigError("norm_excess goes with a norm_bound: without one no norm is bounded")
        if self.max_weight is not None:
            policy = make(max_weight=self.max_weight)
            return policy, policy.max_weight
        if pinned is not None:
            named = pinned.max_weight != MAX_WEIGHT
            return make(max_weight=pinned.max_weight), pinned.max_weight if named else heaviest
        if self.privacy is not None:
            return make(max_weight=1), 1
        policy = make(max_weight=heaviest)
        return _with_headroom(policy, make) if goes_on else policy, heaviest

    def _norm(self, pinned: Policy | None) -> dict[str, Any]:
        """What is bounded of norms; where the call says nothing, what is pinned."""
        kept = {} if pinned is None else {option.name: option.value for option in pinned.options}
        usual = {}
        if pinned is not None and pinned.norm:
            usual = {name: kept[name] for name in habits(self.backend).when_bounded if name in kept}
        named = {option.name: option.value for option in self.options}
        if self.norm_bound is not None:
            excess = self.norm_excess or (pinned.norm.excess if pinned and pinned.norm else SCALE)
            options = Option.list(usual | named)
            return {"options": options, "norm_bound": self.norm_bound, "norm_excess": excess}
        if self.norm_excess is not None:
            kept[NORM_EXCESS] = EXCESSES.index(self.norm_excess) if self.norm_excess in EXCESSES else len(EXCESSES)
        said = (*NORM_OPTIONS, *(() if self.privacy else PRIVACY_OPTIONS))
        return {"options": Option.list(usual | named | {name: kept[name] for name in said if name in kept})}

    def _check_private(self, inputs: Inputs) -> None:
        """Refuse weights beside privacy.

        Raises:
            ConfigError: says that there are none.
        """
        if self.privacy is None:
            return
        heavy = next((name for name, weight in inputs.weights.items() if weight != 1), None)
        if heavy is not None or self.max_weight not in (None, 1) or self.weight_scale:
            raise ConfigError(
                "privacy counts every client alike: leave out weights, max_weight and weight_scale, or multiply "
                "updates before they are given"
            )


def placing(policy: Policy, grouping: Sequence[str] | None) -> tuple[int, ...]:
    """For each array the index of its group; empty where all are in the main one.

    Raises:
        ConfigError: a group that the policy does not have.
    """
    names = [group.name for group in policy.groups]
    for name in grouping or ():
        if name not in names:
            raise ConfigError(f"an array is in group {name!r}, and the policy has {', '.join(names) or 'none'}")
    return tuple(map(names.index, grouping or ()))


def sample_size(sample: int | float | None, clients: int) -> int:
    """How many clients are drawn for a round; 0 for all.

    Args:
        sample: a number of clients, or a share of them below 1, of which the clients are the whole part.
        clients: of the roster.

    Raises:
        ConfigError: neither.
    """
    if sample is None:
        return 0
    if isinstance(sample, bool) or not isinstance(sample, int | float | np.integer | np.floating) or not sample > 0:
        raise ConfigError(f"sample is {sample!r}, neither a number of clients nor a share of them")
    if sample < 1:
        return math.floor(clients * sample + 1e-9)
    return whole("sample", sample, 1, MAX_CLIENTS)


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
