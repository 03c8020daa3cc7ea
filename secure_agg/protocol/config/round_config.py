"""The configuration of one attempt at one round, whose digest binds all of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import ConfigError
from secure_agg.privacy.accounting import EPSILON_UNIT
from secure_agg.privacy.mechanism import Mechanism
from secure_agg.protocol.config.groups import LARGEST_STEP, MAX_ADAPTIVE
from secure_agg.protocol.config.layout import Layout, adaptive_clips, first_clips, parts_of
from secure_agg.protocol.config.norm import sketch_length
from secure_agg.protocol.config.policy import Policy
from secure_agg.protocol.config.privacy import most_honest
from secure_agg.protocol.config.settings import MAX_DIMENSIONS, NO_DIGEST, check_arrays_fit, whole, within
from secure_agg.protocol.config.tree import FLAT, level
from secure_agg.protocol.identity import Roster, check_id
from secure_agg.protocol.messages import MAX_CONFIG, Wire, array_header, decode, encode
from zk import commitment, parameters
from zk.norm.bound import NormBound
from zk.transcript import DIGEST_BYTES, digest

PROTOCOL_VERSION: Final = "secure-agg/2"
_DIGESTS: Final = (
    "start_model", "base_model", "instructions", "previous_record", "renounced",
    "cohort_root", "operators", "witnesses",
)  # fmt: skip
MAX_DRAWS: Final = 16
"""Of cohorts for one round: the public beacon has so many pulses set aside for it."""
MAX_DRAWN_ROUNDS: Final = 1 << 16
"""Of a task whose cohorts are drawn: f holds over so many rounds, each with all of its draws."""


@checked_class
class RoundConfig(Wire, frozen=True, kw_only=True, dict=True):  # a dict for what is computed once
    """One attempt at one round. Its digest, ``context``, is bound into every key, signature and proof.

    Attributes:
        protocol: ``secure-agg/2``.
        task: id of the training task.
        round: from 0.
        attempt: from 0; a retry is a new attempt with everything fresh.
        epoch: number of the task's roster, policy and operators in force, from 0: each epoch's begin with a record.
        generation: from 0; how often the right to open a sum over updates of this start and base model was renounced.
        draw: 0 to 15, which of a round's draws of a cohort this is; 0 where the cohort is the whole roster.
        start_model: digest of the previous result, the task's link to its history; 32 zero bytes for none.
        base_model: digest of the very arrays that clients train from, and that their updates are differences from;
            32 zero bytes where updates are no differences from a model.
        instructions: digest of whatever else clients are given to train by: settings, layers that are not averaged,
            what kind of work it is. What it covers is the application's to say; 32 zero bytes where it says nothing.
        previous_record: digest of the task's previous record; 32 zero bytes for none.
        renounced: digest of the certificate that ended the generation before; 32 zero bytes in generation 0.
        policy: pinned by every party.
        weight_limit: M, the largest weight in this round. Where the policy keeps weights, whoever has more does not
            join; see ``Policy.weight_scale``.
        shapes: of the model's arrays; a scalar's is ().
        cohort_size: |G|.
        cohort_root: root of G's roster.
        beacon: public randomness that drew the cohort; empty where it is the whole roster.
        operators: digest of the pinned roster of aggregators and key holders.
        log_key: the ledger's public key; empty where there is none.
        witnesses: digest of the pinned roster of witnesses.
        setup: digest of the backend's public material, an encryption key; empty where it has none.
    """

    protocol: str
    task: str
    round: int
    attempt: int
    epoch: int
    generation: int
    draw: int
    start_model: bytes
    base_model: bytes
    instructions: bytes
    previous_record: bytes
    renounced: bytes
    policy: Policy
    weight_limit: int
    shapes: tuple[tuple[int, ...], ...]
    cohort_size: int
    cohort_root: bytes
    beacon: bytes
    operators: bytes
    log_key: bytes
    witnesses: bytes
    setup: bytes

    def __post_init__(self) -> None:
        check_fields(self)
        if self.protocol != PROTOCOL_VERSION:
            raise ConfigError(f"protocol {self.protocol!r} is not {PROTOCOL_VERSION!r}")
        check_id(self.task)
        within("round", self.round, 0, MAX_DRAWN_ROUNDS - 1 if self.policy.cohort_size else 2**53)
        within("attempt", self.attempt, 0, 2**32)
        within("epoch", self.epoch, 0, 2**32)
        within("generation", self.generation, 0, 2**32)
        within("draw", self.draw, 0, MAX_DRAWS - 1 if self.policy.cohort_size else 0)
        for name in _DIGESTS:
            if len(getattr(self, name)) != DIGEST_BYTES:
                raise ConfigError(f"{name} has {len(getattr(self, name))} bytes, not {DIGEST_BYTES}")
        if level(self.policy) != FLAT and (self.epoch or self.generation):
            raise ConfigError(
                f"a round of a tree is of epoch {self.epoch} and generation {self.generation}: a tree has no later ones"
            )
        if self.policy.buffer is not None:
            if self.epoch:
                raise ConfigError(
                    f"a buffered round is of epoch {self.epoch}: a buffered task is pinned once, 0 would do"
                )
            if self.base_model == NO_DIGEST:
                raise ConfigError("a buffered round goes on from a model: base_model is its digest, not zeros")
        if bool(self.generation) != (self.renounced != NO_DIGEST):
            raise ConfigError("a certificate of renunciation is named exactly if the generation is not 0")
        if len(self.log_key) not in (0, 32) or len(self.setup) not in (0, 32) or len(self.beacon) > 64:
            raise ConfigError("log_key and setup have 0 or 32 bytes, a beacon at most 64")
        if bool(self.beacon) != bool(self.policy.cohort_size):
            raise ConfigError("a beacon is there exactly if the policy draws a cohort")
        if not self.policy.min_advertised <= self.cohort_size <= self.policy.max_clients:
            raise ConfigError(
                f"a cohort of {self.cohort_size} is outside [{self.policy.min_advertised}, {self.policy.max_clients}]"
            )
        if self.policy.cohort_size not in (0, self.cohort_size):
            raise ConfigError(f"a cohort of {self.cohort_size}, where the policy draws {self.policy.cohort_size}")
        within("weight_limit", self.weight_limit, 1, self.policy.max_weight)
        first = self.policy.first_weight or self.weight_limit
        if self.previous_record == NO_DIGEST and self.weight_limit != first:
            raise ConfigError(f"weight_limit is {self.weight_limit} in a task's first round, not {first}")
        self.policy.check_error(self.weight_limit)
        if not self.shapes:
            raise ConfigError("a model has at least one array")
        self._check_shapes()
        self._check_groups()
        self.commitment  # noqa: B018 - refuses settings whose commitment would be insecure
        self.policy.norm_bound(self.weight_limit)
        self._check_privacy()

    def _check_privacy(self) -> None:
        """Refuse a round beyond the task's budget, or whose sums could hold too little noise."""
        rule = self.policy.privacy
        if rule is None:
            return
        if self.round >= rule.rounds:
            raise ConfigError(
                f"the privacy budget is spent: epsilon = {rule.epsilon / EPSILON_UNIT:g} is for {rule.rounds} rounds, "
                f"and this would be number {self.round + 1}: only a new budget, which all members agree on, goes on"
            )
        quorum = self.policy.quorum(self.cohort_size)
        least = most_honest(self.policy.min_clients, quorum, self.policy.max_corrupt)
        if rule.honest > least:
            raise ConfigError(
                f"{rule.honest} clients' noise is counted on, and of a sum from a cohort of {self.cohort_size} no more "
                f"than {least} are known to be honest"
            )
        self.mechanism  # noqa: B018 - refuses noise that there is no room for

    def _check_shapes(self) -> None:
        """Bound the number of parameters before anything is computed from it: shapes come from peers."""
        total = 0
        for shape in self.shapes:
            if len(shape) > MAX_DIMENSIONS:
                raise ConfigError(f"an array has {len(shape)} dimensions, above {MAX_DIMENSIONS}")
            size = 1
            for side in shape:
                if not 1 <= side <= self.policy.max_parameters:
                    raise ConfigError(f"an array has a side of {side}: it is empty or beyond max_parameters")
                size *= side
            total += size
            if total > self.policy.max_parameters:
                raise ConfigError(f"the model has more than max_parameters = {self.policy.max_parameters} elements")

    def _check_groups(self) -> None:
        if self.policy.groups:
            raise ConfigError("the policy has groups: a configuration says which arrays are in which")

    @functools.cached_property
    def layout(self) -> Layout:
        """The layout of a client's vector."""
        policy = self.policy
        grouping = self.grouping or (0,) * len(self.shapes)
        parts = parts_of(policy.vectors, grouping, self.clips, self.shapes)
        layout = Layout(
            parts=parts,
            limbs=policy.limbs,
            counts=policy.counts,
            unclipped=len(self.clips),
            randomness=0,
            elements=0,
            top=policy.coordinate_top,
            halves=policy.halves,
        )
        found = self._parameters(layout)
        layout = replace(
            layout,
            randomness=commitment.randomness_length(found.rank),
            elements=found.elements(layout.committed),
        )
        rule = policy.norm
        if rule is None:
            return layout
        covered = sum(part.coordinates for part in parts if part.group.weighted)
        bounded = covered if policy.groups else rule.covered(self.shapes)
        return replace(layout, sketch=sketch_length(policy.max_clients), bounded=bounded)

    @property
    def grouping(self) -> tuple[int, ...]:
        """See ``GroupedConfig``; empty where there are no groups."""
        return ()

    @property
    def clips(self) -> tuple[int, ...]:
        """See ``GroupedConfig``; empty where there are no groups."""
        return ()

    @property
    def model_size(self) -> int:
        """d: of the model."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def mechanism(self) -> Mechanism | None:
        """The numbers of this round's noise; None where there is none.

        Raises:
            ConfigError: there is no room for it.
        """
        rule = self.policy.privacy
        if rule is None:
            return None
        return rule.mechanism_of(self.model_size, self.policy.max_clients, self.policy.top // 2)

    @property
    def norm_bound(self) -> NormBound | None:
        """What is proved of every client's vector; None where nothing is."""
        return self.policy.norm_bound(self.weight_limit)

    @functools.cached_property
    def commitment(self) -> parameters.Parameters:
        """The commitment's parameters, estimated at 128 bits or more."""
        return self._parameters(self.layout)

    def _parameters(self, layout: Layout) -> parameters.Parameters:
        policy = self.policy
        try:
            found = parameters.choose(policy.coordinate_bits, policy.max_clients, layout.committed)
            packed = policy.committed_runs(layout.runs)
            if packed is None:
                return found
            return parameters.choose(policy.coordinate_bits, policy.max_clients, layout.committed, packed)
        except parameters.InsecureParametersError as error:
            raise ConfigError(str(error)) from error

    @staticmethod
    def create(
        *,
        task: str,
        round: int,
        policy: Policy,
        cohort: Roster,
        shapes: tuple[tuple[int, ...], ...],
        weight_limit: int | None = None,
        attempt: int = 0,
        epoch: int = 0,
        generation: int = 0,
        draw: int = 0,
        start_model: bytes = NO_DIGEST,
        base_model: bytes = NO_DIGEST,
        instructions: bytes = NO_DIGEST,
        previous_record: bytes = NO_DIGEST,
        renounced: bytes = NO_DIGEST,
        beacon: bytes = b"",
        operators: Roster | None = None,
        log_key: bytes = b"",
        witnesses: Roster | None = None,
        setup: bytes = b"",
        grouping: tuple[int, ...] = (),
        clips: tuple[int, ...] | None = None,
    ) -> RoundConfig:
        """Build and validate.

        Args:
            grouping: for each array the index of its group, where the policy has groups; by default all are in the
                main one.
            clips: k of every adaptive clip; by default those of a task's first round.
            cohort: G itself, see ``Trust.cohort``.
            weight_limit: M; by default the policy's ``first_weight``, or ``max_weight`` where it keeps weights.

        Raises:
            ConfigError: a setting is out of range, contradicts another, or would be insecure.
        """
        check_arrays_fit(len(shapes))
        limit = (policy.first_weight or policy.max_weight) if weight_limit is None else weight_limit
        make: Callable[..., RoundConfig] = RoundConfig
        if policy.groups:
            make = functools.partial(GroupedConfig.of, grouping, clips)
        config = make(
            protocol=PROTOCOL_VERSION,
            task=task,
            round=whole("round", round, 0, 2**53),
            attempt=whole("attempt", attempt, 0, 2**32),
            epoch=whole("epoch", epoch, 0, 2**32),
            generation=whole("generation", generation, 0, 2**32),
            draw=whole("draw", draw, 0, MAX_DRAWS - 1),
            start_model=start_model,
            base_model=base_model,
            instructions=instructions,
            previous_record=previous_record,
            renounced=renounced,
            policy=policy,
            weight_limit=whole("weight_limit", limit, 1, policy.max_weight),
            shapes=shapes,
            cohort_size=len(cohort),
            cohort_root=cohort.root(),
            beacon=beacon,
            operators=(operators or Roster({})).digest(),
            log_key=log_key,
            witnesses=(witnesses or Roster({})).digest(),
            setup=setup,
        )
        if (size := len(config.to_bytes())) > MAX_CONFIG:
            raise ConfigError(
                f"the shapes of {len(shapes)} arrays make a configuration of {size} bytes, above {MAX_CONFIG}: "
                "join arrays"
            )
        return config

    def __repr__(self) -> str:
        return (
            f"RoundConfig(task={self.task!r}, round={self.round}, attempt={self.attempt}, "
            f"backend={self.policy.backend!r}, clip={self.policy.clip:g}, bits={self.policy.bits}, "
            f"cohort_size={self.cohort_size}, arrays={len(self.shapes)})"
        )

    def to_bytes(self) -> bytes:
        """The canonical encoding."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> RoundConfig:
        """Decode strictly and validate.

        Raises:
            MalformedMessage: not canonical, over 1 MiB, or refused by the validation.
        """
        return decode(RoundConfig, data, MAX_CONFIG)

    @classmethod
    def form(cls, data: bytes | memoryview) -> type[RoundConfig]:
        """One with groups has more fields."""
        return GroupedConfig if bytes(data[:3]) == array_header(GroupedConfig) else RoundConfig

    @property
    def context(self) -> bytes:
        """ctx: 32 bytes that bind every field."""
        return _context(self)


@checked_class
class GroupedConfig(RoundConfig, frozen=True, kw_only=True):
    """The configuration of a round whose updates are groups.

    Attributes:
        grouping: for each array of an update the index of its group, in the policy's order. Groups that none is in
            are not in this round.
        clips: k of each adaptive clip, see ``layout.adaptive_clips``.
    """

    grouping: tuple[int, ...]
    clips: tuple[int, ...]

    @staticmethod
    def of(grouping: Sequence[int], clips: Sequence[int] | None, **settings: Any) -> GroupedConfig:
        """From the other fields; see ``RoundConfig.create``."""
        groups, shapes = settings["policy"].groups, settings["shapes"]
        if not grouping:
            grouping = (groups.index(settings["policy"].main),) * len(shapes)
        if clips is None and all(0 <= index < len(groups) for index in grouping):
            clips = first_clips(groups, grouping)
        return GroupedConfig(**settings, grouping=tuple(grouping), clips=tuple(clips or ()))

    def _check_groups(self) -> None:
        groups = self.policy.groups
        if not groups:
            raise ConfigError("the policy has no groups, and the configuration says which arrays are in which")
        if len(self.grouping) != len(self.shapes):
            raise ConfigError(f"a group is named for {len(self.grouping)} arrays, and there are {len(self.shapes)}")
        for index in self.grouping:
            within("the index of a group", index, 0, len(groups) - 1)
        wanted = len(adaptive_clips(groups, self.grouping))
        if len(self.clips) != wanted or wanted > MAX_ADAPTIVE:
            raise ConfigError(f"{len(self.clips)} adaptive clips, of {wanted}: there are at most {MAX_ADAPTIVE}")
        for clip in self.clips:
            within("k of an adaptive clip", clip, 0, LARGEST_STEP)
        if self.previous_record == NO_DIGEST and self.clips != first_clips(groups, self.grouping):
            raise ConfigError(f"adaptive clips of steps {list(self.clips)} are not those of a task's first round")


@functools.lru_cache(maxsize=64)
def _context(config: RoundConfig) -> bytes:
    return digest("round-config", config.to_bytes())
