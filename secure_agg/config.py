"""What a round is: the policy that everybody pins, and the RoundConfig whose digest binds everything in the
round.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

from mpc import graph
from mpc.digits import Digits
from secure_agg.errors import ConfigError
from secure_agg.identity import Roster, check_id
from secure_agg.messages import MAX_CONFIG, Wire, decode, encode
from zk import commitment, parameters
from zk.transcript import DIGEST_BYTES, digest

PROTOCOL_VERSION: Final = "secure-agg/1"
MAX_BITS: Final = 24
MAX_WEIGHT: Final = (1 << 32) - 1
MAX_PARAMETERS: Final = 1 << 32
MAX_CLIENTS: Final = 1 << 24
MAX_OPTION: Final = (1 << 32) - 1
MAX_DIMENSIONS: Final = 32
"""Of one array: what numpy can hold."""
NO_DIGEST: Final = bytes(DIGEST_BYTES)
"""Stands for "there is none": no start or base model, no previous record."""


class Option(Wire, frozen=True):
    """A backend's own setting."""

    name: str
    value: int

    def __post_init__(self) -> None:
        check_id(self.name)
        _within(f"option {self.name}", self.value, 0, MAX_OPTION)


class Policy(Wire, frozen=True, kw_only=True):
    """What every party agrees on before the first round, and pins.

    ``Policy.default`` fills in the thresholds; building one by hand is for tests and for resuming from a
    file.

    Attributes:
        backend: name of the way of hiding.
        options: the backend's settings, in name order.
        clip: c; values are clipped to [−c, c].
        bits: q, bits per value, 2 to 24.
        commit_packed: whether several values are committed to as one element, as many as leave sums short enough:
            smaller shares where shares are what is committed to. The sums stay the same.
        rounding: ``nearest`` or ``stochastic``.
        max_weight: the largest weight a client may declare, public.
        cohort_size: clients drawn for a round; 0 takes the whole roster.
        max_clients: n_max, headroom of the sums.
        min_clients: n_min, fewest clients whose sum is ever opened.
        min_advertised: u_min, fewest clients that a round goes on with.
        max_corrupt: f, most members that may collude with a malicious aggregator; u_min > 3f.
        max_parameters: limit on a model's size, against memory exhaustion.
    """

    backend: str
    options: tuple[Option, ...]
    clip: float
    bits: int
    commit_packed: bool
    rounding: str
    max_weight: int
    cohort_size: int
    max_clients: int
    min_clients: int
    min_advertised: int
    max_corrupt: int
    max_parameters: int

    def __post_init__(self) -> None:
        check_id(self.backend)
        names = [option.name for option in self.options]
        if names != sorted(set(names)):
            raise ConfigError(f"backend options {names} are not in order, each once")
        _within("bits", self.bits, 2, MAX_BITS)
        if not isinstance(self.commit_packed, bool):
            raise ConfigError(f"commit_packed is {self.commit_packed!r}, neither True nor False")
        _within("max_weight", self.max_weight, 1, MAX_WEIGHT)
        _within("max_parameters", self.max_parameters, 1, MAX_PARAMETERS)
        for name in ("max_clients", "min_clients", "min_advertised", "max_corrupt", "cohort_size"):
            _within(name, getattr(self, name), 0, MAX_CLIENTS)
        if not isinstance(self.clip, float) or not (math.isfinite(self.clip) and 1e-30 <= self.clip <= 1e30):
            raise ConfigError(f"clip is {self.clip!r}, not a float between 1e-30 and 1e30")
        if self.rounding not in ("nearest", "stochastic"):
            raise ConfigError(f"rounding is {self.rounding!r}, neither 'nearest' nor 'stochastic'")
        if self.min_clients < 2:
            raise ConfigError(
                f"min_clients is {self.min_clients}: the sum of fewer than 2 updates is somebody's update"
            )
        if not self.min_clients <= self.min_advertised <= self.max_clients:
            raise ConfigError(
                f"min_advertised is {self.min_advertised}, outside [min_clients, max_clients] = "
                f"[{self.min_clients}, {self.max_clients}]"
            )
        if not 0 <= 3 * self.max_corrupt < self.min_advertised:
            raise ConfigError(
                f"min_advertised {self.min_advertised} must exceed 3 · max_corrupt = {3 * self.max_corrupt}"
            )
        if self.cohort_size and not self.min_advertised <= self.cohort_size <= self.max_clients:
            raise ConfigError(f"cohort_size {self.cohort_size} is outside [{self.min_advertised}, {self.max_clients}]")

    @staticmethod
    def default(
        clients: int,
        *,
        backend: str = "masking",
        options: tuple[Option, ...] = (),
        clip: float = 8.0,
        bits: int = 16,
        commit_packed: bool | None = None,
        rounding: str = "nearest",
        max_weight: int = 1,
        min_clients: int = 3,
        max_clients: int | None = None,
        cohort_size: int = 0,
        corruption_rate: float | None = None,
        max_parameters: int = 1 << 30,
    ) -> Policy:
        """The policy for a roster of ``clients`` members, thresholds by the protocol's defaults.

        Args:
            clients: members of the roster.
            commit_packed: by default what the backend says that it gains from.
            cohort_size: members drawn per round by a public beacon; 0 takes all.
            corruption_rate: share of the roster that may be corrupt; only for a drawn cohort, where f is
                then the most corrupt members that it holds except with probability 2^-40. For a whole
                roster f = floor((u_min − 1)/3).

        Raises:
            ConfigError: a setting is out of range, or u_min > 3f can't hold.
        """
        for name, value in (("min_clients", min_clients), ("cohort_size", cohort_size), ("bits", bits)):
            _within(name, value, 0, MAX_CLIENTS)
        if isinstance(clip, bool) or not isinstance(clip, int | float):
            raise ConfigError(f"clip is {clip!r}, not a number")
        cohort = cohort_size or clients
        if cohort < min_clients:
            raise ConfigError(f"{cohort} clients are fewer than min_clients = {min_clients}")
        min_advertised = max(min_clients, cohort - max(1, math.ceil(cohort / 10)))
        if cohort_size:
            if cohort_size > clients:
                raise ConfigError(f"a cohort of {cohort_size} can't be drawn from {clients} members")
            if corruption_rate is None or not 0 <= corruption_rate <= 1:
                raise ConfigError(f"a drawn cohort needs a corruption_rate in [0, 1], not {corruption_rate!r}")
            # Rounded up, but for what binary fractions add to a rate like 0.29 of 100.
            corrupt = min(clients, math.ceil(clients * corruption_rate - 1e-9))
            max_corrupt = graph.corrupt_in_sample(clients, corrupt, cohort_size)
        else:
            max_corrupt = (min_advertised - 1) // 3
        return Policy(
            backend=backend,
            options=options,
            clip=float(clip),
            bits=bits,
            commit_packed=_gains_from_packing(backend) if commit_packed is None else commit_packed,
            rounding=rounding,
            max_weight=max_weight,
            cohort_size=cohort_size,
            max_clients=cohort if max_clients is None else max_clients,
            min_clients=min_clients,
            min_advertised=min_advertised,
            max_corrupt=max_corrupt,
            max_parameters=max_parameters,
        )

    @property
    def top(self) -> int:
        """The largest value of one client in any coordinate."""
        return (1 << self.bits) - 1

    @property
    def base(self) -> int:
        """B: one more than the largest sum, so that sums never carry where values are packed as digits in this base."""
        return self.max_clients * self.top + 1

    @property
    def noise_base(self) -> int:
        """The same of the commitment's randomness, whose coordinates have a width of their own."""
        return self.max_clients * parameters.noise_top(self.bits, self.max_clients) + 1

    @property
    def committed_digits(self) -> Digits | None:
        """How values lie in the elements that are committed to; None where each is one, or fills one."""
        found = Digits.fitting(self.base, max(parameters.WIDTH_LIMIT.values())) if self.commit_packed else None
        return found if found and found.count > 1 else None

    def quorum(self, cohort: int) -> int:
        """t_sig = floor((|G| + f)/2) + 1: any two quorums of one cohort share an honest member, who signs once.

        It counts G, not those who advertised: U may differ between attempts, and between what clients are shown.
        """
        return (cohort + self.max_corrupt) // 2 + 1

    def option(self, name: str, default: int) -> int:
        """A backend's setting, or its default."""
        return next((option.value for option in self.options if option.name == name), default)


@dataclass(frozen=True)
class Layout:
    """How a client's vector is laid out: ``values ‖ weight limbs ‖ randomness``, all uint32.

    Attributes:
        values: d, model parameters.
        limbs: coordinates that carry the weight, base 2^bits, least significant first.
        randomness: coordinates of the commitment's s.
        elements: that are committed to beside s: values and limbs, packed where the policy says so.
    """

    values: int
    limbs: int
    randomness: int
    elements: int

    @property
    def committed(self) -> int:
        """Coordinates of x: values and limbs."""
        return self.values + self.limbs

    @property
    def total(self) -> int:
        """Coordinates that ride through the backend."""
        return self.committed + self.randomness

    @property
    def hashed(self) -> int:
        """Elements that are committed to with s."""
        return self.elements + self.randomness


class RoundConfig(Wire, frozen=True, kw_only=True):
    """One attempt at one round. Its digest, ``context``, is bound into every key, signature and proof.

    Attributes:
        protocol: ``secure-agg/1``.
        task: id of the training task.
        round: from 0.
        attempt: from 0; a retry is a new attempt with everything fresh.
        start_model: digest of the previous result, the task's link to its history; 32 zero bytes for none.
        base_model: digest of the very arrays that clients train from, and that their updates are differences from;
            32 zero bytes where updates are no differences from a model.
        previous_record: digest of the task's previous record; 32 zero bytes for none.
        policy: pinned by every party.
        shapes: of the model's arrays.
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
    start_model: bytes
    base_model: bytes
    previous_record: bytes
    policy: Policy
    shapes: tuple[tuple[int, ...], ...]
    cohort_size: int
    cohort_root: bytes
    beacon: bytes
    operators: bytes
    log_key: bytes
    witnesses: bytes
    setup: bytes

    def __post_init__(self) -> None:
        if self.protocol != PROTOCOL_VERSION:
            raise ConfigError(f"protocol {self.protocol!r} is not {PROTOCOL_VERSION!r}")
        check_id(self.task)
        _within("round", self.round, 0, 2**53)
        _within("attempt", self.attempt, 0, 2**32)
        for name in ("start_model", "base_model", "previous_record", "cohort_root", "operators", "witnesses"):
            if len(getattr(self, name)) != DIGEST_BYTES:
                raise ConfigError(f"{name} has {len(getattr(self, name))} bytes, not {DIGEST_BYTES}")
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
        if not self.shapes:
            raise ConfigError("a model has at least one array")
        self._check_shapes()
        self.commitment  # noqa: B018 - refuses settings whose commitment would be insecure

    def _check_shapes(self) -> None:
        """Bound the number of parameters before anything is computed from it: shapes come from peers."""
        total = 0
        for shape in self.shapes:
            if not shape:
                raise ConfigError("an array has no dimension: reshape a scalar to (1,)")
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
        limbs = -(-self.policy.max_weight.bit_length() // self.policy.bits)
        found = self._parameters(values + limbs)
        return Layout(values, limbs, commitment.randomness_length(found.rank), found.elements(values + limbs))

    @property
    def commitment(self) -> parameters.Parameters:
        """The commitment's parameters, estimated at 128 bits or more."""
        return self._parameters(self.layout.committed)

    def _parameters(self, committed: int) -> parameters.Parameters:
        policy = self.policy
        try:
            found = parameters.choose(policy.bits, policy.max_clients, committed)
            digits = policy.committed_digits
            return parameters.choose(policy.bits, policy.max_clients, committed, digits) if digits else found
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
        attempt: int = 0,
        start_model: bytes = NO_DIGEST,
        base_model: bytes = NO_DIGEST,
        previous_record: bytes = NO_DIGEST,
        beacon: bytes = b"",
        operators: Roster | None = None,
        log_key: bytes = b"",
        witnesses: Roster | None = None,
        setup: bytes = b"",
    ) -> RoundConfig:
        """Build and validate. ``cohort`` is G itself, see ``Trust.cohort``.

        Raises:
            ConfigError: a setting is out of range, contradicts another, or would be insecure.
        """
        return RoundConfig(
            protocol=PROTOCOL_VERSION,
            task=task,
            round=round,
            attempt=attempt,
            start_model=start_model,
            base_model=base_model,
            previous_record=previous_record,
            policy=policy,
            shapes=shapes,
            cohort_size=len(cohort),
            cohort_root=cohort.root(),
            beacon=beacon,
            operators=(operators or Roster({})).digest(),
            log_key=log_key,
            witnesses=(witnesses or Roster({})).digest(),
            setup=setup,
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


def _gains_from_packing(backend: str) -> bool:
    from secure_agg import backends  # each of them imports this module

    return backends.load(backend).commits_packed


def _within(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}, outside [{low}, {high}]")
