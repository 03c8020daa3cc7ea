"""The configuration of one attempt at one round, whose digest binds all of it, and how its vectors are laid out."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import ConfigError
from secure_agg.protocol.config.norm import sketch_length
from secure_agg.protocol.config.policy import Policy, Run
from secure_agg.protocol.config.settings import MAX_DIMENSIONS, NO_DIGEST, check_arrays_fit, whole, within
from secure_agg.protocol.config.tree import FLAT, level
from secure_agg.protocol.identity import Roster, check_id
from secure_agg.protocol.messages import MAX_CONFIG, Wire, decode, encode
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


@dataclass(frozen=True)
class Layout:
    """How a client's vector is laid out: ``values ‖ weight limbs ‖ counts ‖ randomness ‖ sketch``, all uint32.

    Attributes:
        values: d, model parameters.
        limbs: coordinates that carry the weight, base 2^(bits − 1), least significant first.
        counts: coordinates that count clients whose weight was lowered, and raised; see ``Policy.counts``.
        randomness: coordinates of the commitment's s.
        elements: that are committed to beside s: values, limbs and counts, packed where the policy says so.
        sketch: coordinates of s', the randomness of the sketch's commitment; none where no norm is bounded.
        bounded: the first so many values are those whose norm is; none likewise.
        halves: coordinates that carry a value: all values' lower halves come first, then all upper ones.
    """

    values: int
    limbs: int
    counts: int
    randomness: int
    elements: int
    sketch: int = 0
    bounded: int = 0
    halves: int = 1

    @property
    def committed(self) -> int:
        """Coordinates of x: values, limbs and counts."""
        return self.values * self.halves + self.limbs + self.counts

    @property
    def total(self) -> int:
        """Coordinates that ride through the backend."""
        return self.committed + self.randomness + self.sketch

    @property
    def hashed(self) -> int:
        """Elements that are committed to with s."""
        return self.elements + self.randomness


@checked_class
class RoundConfig(Wire, frozen=True, kw_only=True):
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
        self.commitment  # noqa: B018 - refuses settings whose commitment would be insecure
        self.policy.norm_bound(self.weight_limit)

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

    @property
    def layout(self) -> Layout:
        """The layout of a client's vector."""
        values = sum(math.prod(shape) for shape in self.shapes)
        limbs, counts = self.policy.limbs, self.policy.counts
        found = self.commitment
        randomness = commitment.randomness_length(found.rank)
        elements = found.elements(values * self.policy.halves + limbs + counts)
        rule = self.policy.norm
        if rule is None:
            return Layout(values, limbs, counts, randomness, elements, halves=self.policy.halves)
        sketch, covered = sketch_length(self.policy.max_clients), rule.covered(self.shapes)
        return Layout(values, limbs, counts, randomness, elements, sketch, covered)

    @property
    def runs(self) -> tuple[Run, ...]:
        """x in order: coordinates by their range. What packs them packs run by run."""
        values = sum(math.prod(shape) for shape in self.shapes)
        policy = self.policy
        return (Run(values * policy.halves + policy.limbs + policy.counts, policy.coordinate_top),)

    @property
    def norm_bound(self) -> NormBound | None:
        """What is proved of every client's vector; None where nothing is."""
        return self.policy.norm_bound(self.weight_limit)

    @property
    def commitment(self) -> parameters.Parameters:
        """The commitment's parameters, estimated at 128 bits or more."""
        policy, runs = self.policy, self.runs
        committed = sum(run.length for run in runs)
        try:
            found = parameters.choose(policy.coordinate_bits, policy.max_clients, committed)
            packed = policy.committed_runs(runs)
            if packed is None:
                return found
            return parameters.choose(policy.coordinate_bits, policy.max_clients, committed, packed)
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
    ) -> RoundConfig:
        """Build and validate.

        Args:
            cohort: G itself, see ``Trust.cohort``.
            weight_limit: M; by default the policy's ``first_weight``, or ``max_weight`` where it keeps weights.

        Raises:
            ConfigError: a setting is out of range, contradicts another, or would be insecure.
        """
        check_arrays_fit(len(shapes))
        limit = (policy.first_weight or policy.max_weight) if weight_limit is None else weight_limit
        config = RoundConfig(
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

    @property
    def context(self) -> bytes:
        """ctx: 32 bytes that bind every field."""
        return _context(self)


@functools.lru_cache(maxsize=64)
def _context(config: RoundConfig) -> bytes:
    return digest("round-config", config.to_bytes())
