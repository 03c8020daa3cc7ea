"""What a policy says, a backend's own settings among it, and the numbers and rules that follow."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

from mpc.digits import Runs
from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import ConfigError
from secure_agg.protocol.config import norm as norms
from secure_agg.protocol.config import privacy as privacies
from secure_agg.protocol.config import thresholds
from secure_agg.protocol.config.buffer import BUFFER_HONEST, BUFFER_STALENESS, BufferRule
from secure_agg.protocol.config.groups import GROUPS, Group, check_groups
from secure_agg.protocol.config.layout import Run
from secure_agg.protocol.config.settings import HALVES, MAX_OPTION, free_bits, whole, within
from secure_agg.protocol.identity import check_id
from secure_agg.protocol.messages import Wire
from zk import parameters
from zk.norm.bound import NormBound


@checked_class
class Option(Wire, frozen=True):
    """A setting that not all policies have: a backend's own, of a norm bound, of privacy, or the policy's groups."""

    name: str
    value: int | tuple[Group, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        check_id(self.name)
        if self.name == GROUPS and isinstance(self.value, tuple):
            check_groups(self.value)
        elif isinstance(self.value, tuple):
            raise ConfigError(f"option {self.name} is a list of groups, which only {GROUPS!r} is")
        else:
            within(f"option {self.name}", self.value, 0, MAX_OPTION if self.name != GROUPS else -1)

    @staticmethod
    def list(settings: Mapping[str, int | tuple[Group, ...]]) -> tuple[Option, ...]:
        """A policy's options from settings by name.

        Raises:
            ConfigError: a value that is no integer in [0, 2^32).
        """
        return tuple(
            Option(name, value if isinstance(value, tuple) else whole(f"option {name}", value, 0, MAX_OPTION))
            for name, value in sorted(settings.items())
        )


@functools.lru_cache(maxsize=64, typed=True)
def _only(bits: int, clip: float, rotated: bool) -> Group:
    """The group of all arrays where none is named; a round asks for it hundreds of times."""
    return Group(name="update", bits=bits, clip=clip, rotated=rotated)


@checked_class
class Terms(Wire, frozen=True, kw_only=True):
    """The fields of a policy, and what follows from them; ``Policy`` refuses those that don't fit together.

    Attributes:
        backend: name of the way of hiding.
        options: the backend's settings, those of a norm bound and of privacy, and groups, in name order.
        clip: c; values are clipped to [−c, c]. Where there are groups the most of any; with privacy it is updates' L2
            norms that are at most c.
        bits: b, bits per value, 2 to 24; where there are groups the most of any.
        commit_packed: whether several values are committed to as one element, as many as leave sums short enough:
            smaller shares where shares are what is committed to. The sums stay the same.
        max_error: rounds are refused beforehand whose means could be further off than this by rounding, in the units
            of the update: see ``worst_error``.
        max_weight: the largest weight a client may declare, public.
        weight_scale: κ; 0 keeps every weight as it is. Otherwise a round's weight limit M is ``first_weight`` at first
            and then κ times the mean weight of the task's last record, at most ``max_weight``; weights above it count
            as M.
        weight_span: λ; weights below ⌈M/λ⌉ count as that. 0 where weights are kept.
        first_weight: M of a task's first round. 0 where weights are kept.
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
    max_error: float
    max_weight: int
    weight_scale: int
    weight_span: int
    first_weight: int
    cohort_size: int
    max_clients: int
    min_clients: int
    min_advertised: int
    max_corrupt: int
    max_parameters: int

    @property
    def buffer(self) -> BufferRule | None:
        """What holds of buffered rounds; None where all clients train from the same model."""
        honest = self.option(BUFFER_HONEST, 0)
        return BufferRule(honest, self.option(BUFFER_STALENESS, 0)) if honest else None

    @property
    def groups(self) -> tuple[Group, ...]:
        """The named vectors of an update, in name order; none where all arrays have one range and weighting."""
        return next((option.value for option in self.options if isinstance(option.value, tuple)), ())

    @property
    def vectors(self) -> tuple[Group, ...]:
        """The groups, and where there are none the one that all arrays are then."""
        rotated = self.privacy is not None
        return self.groups or (_only(self.bits, self.clip, rotated),)

    @property
    def norm(self) -> norms.NormRule | None:
        """What is bounded of updates' norms; None where nothing is."""
        steps = self.option(norms.NORM_STEPS, 0)
        if not steps:
            return None
        excess = norms.EXCESSES[self.option(norms.NORM_EXCESS, 0) % len(norms.EXCESSES)]
        return norms.NormRule(steps, excess, self.option(norms.NORM_OUTSIDE, 0))

    @property
    def privacy(self) -> privacies.PrivacyRule | None:
        """What is said of differential privacy; None where nothing is.

        Raises:
            ConfigError: some of its options are missing.
        """
        return privacies.rule_of(
            {option.name: option.value for option in self.options if isinstance(option.value, int)}
        )

    @property
    def norm_limit(self) -> float:
        """B in the units of the update; 0 where no norm is bounded."""
        return self.norm.steps * self.step if self.norm else 0.0

    @property
    def main(self) -> Group:
        """The first group that is weighted, on whose grid a norm is bounded; the first where none is."""
        return next((group for group in self.vectors if group.weighted), self.vectors[0])

    @property
    def half(self) -> int:
        """H of that group: what a zero is encoded as."""
        return self.main.half

    def norm_bound(self, weight_limit: int) -> NormBound | None:
        """What is proved of every client's vector in a round of this limit; None where nothing is.

        Raises:
            ConfigError: nothing can be, with so many clients, bits or so large weights; says what could.
        """
        if self.norm is None:
            return None
        return norms.norm_bound(
            clients=self.max_clients,
            steps=self.norm.steps,
            most_weight=weight_limit,
            least_weight=self.least_weight(weight_limit),
            bits=self.bits,
            limbs=self.limbs,
            counts=self.counts,
        )

    @property
    def top(self) -> int:
        """Q = 2H, H = 2^(bits − 1) − 1: the largest integer that a value of one client is; zero is H. Of several groups
        the largest.
        """
        return max((1 << self.bits) - 2, *(group.top for group in self.vectors))

    @property
    def step(self) -> float:
        """c / H: the width of a step of the grid, in the units of the update; of the main group."""
        return self.main.step

    @property
    def halves(self) -> int:
        """Coordinates that carry a value: 2 where each half of its bits, the lower one first, has one of its own."""
        return 2 if self.option(HALVES, 0) else 1

    @property
    def coordinate_bits(self) -> int:
        """Bits of a coordinate of a client's vector, but for randomness."""
        return -(-self.bits // self.halves)

    @property
    def coordinate_top(self) -> int:
        """The largest integer that a coordinate of one client's vector is."""
        return self.top if self.halves == 1 else (1 << self.coordinate_bits) - 1

    @property
    def limb_bits(self) -> int:
        """Bits of a weight in one coordinate: what is below H, or a half's."""
        return self.coordinate_bits - 1

    @property
    def limbs(self) -> int:
        """L: coordinates that carry the weight."""
        return -(-self.max_weight.bit_length() // self.limb_bits)

    @property
    def counts(self) -> int:
        """Coordinates that count clients whose weight was lowered, and raised: none where weights are kept."""
        return 2 if self.weight_scale else 0

    def least_weight(self, weight_limit: int) -> int:
        """⌈M/λ⌉: the least weight that a vector carries in a round of this limit; 1 where weights are kept."""
        return -(-weight_limit // self.weight_span) if self.weight_scale else 1

    def next_weight_limit(self, participants: int, weight_sum: int) -> int:
        """M of the round after one with these participants; 0 where weights are kept, and M may be any."""
        return min(self.max_weight, -(-self.weight_scale * weight_sum // participants))

    def worst_error(self, weight_limit: int) -> float:
        """More than a mean can be off by rounding in a round of this limit, whoever drops out: step · M / least weight.
        All that is known before the weights have been summed.
        """
        least = self.least_weight(weight_limit)
        signed = (group for group in self.vectors if group.half)
        errors = (group.step * weight_limit / least if group.weighted else group.step for group in signed)
        return max(errors, default=0.0)

    def check_error(self, weight_limit: int) -> None:
        """Refuse a round whose means could be off by more than ``max_error``, and with a weight scale a task that could
        come to such a round: what its participants say they weigh decides the next round's limit, and none of them may
        end the task by it.

        Raises:
            ConfigError: it could; names what would do.
        """
        # No limit has a wider spread of weights than this one: M / ⌈M/λ⌉ is at most M, and at most λ.
        limit = min(self.weight_span, self.max_weight) if self.weight_scale else weight_limit
        worst = self.worst_error(limit)
        if worst <= self.max_error:
            return
        spread = limit / self.least_weight(limit)
        half = math.ceil(spread * self.clip / self.max_error)
        bits = half.bit_length() + 1
        ways = [f"a max_error of {worst:.6g}"]
        if bits <= free_bits(self.max_clients):
            ways.insert(0, f"bits = {bits}")
        ratio = math.floor(self.max_error / self.step)
        if ratio >= 1:
            ways.insert(0, f"weight_span = {ratio}" if self.weight_scale else f"max_weight = {ratio}")
        raise ConfigError(
            f"with clip {self.clip:g}, {self.bits} bits and weights from {self.least_weight(limit)} to "
            f"{limit} a mean could be off by {worst:.6g}, above max_error = {self.max_error:g}: "
            f"{' or '.join(ways)} would do"
        )

    def base_of(self, top: int) -> int:
        """One more than the largest sum of integers up to ``top``: as digits in this base sums never carry."""
        return self.max_clients * top + 1

    @property
    def base(self) -> int:
        """B: that of values."""
        return self.base_of(self.coordinate_top)

    @property
    def noise_base(self) -> int:
        """That of the commitment's randomness, whose coordinates have a width of their own."""
        return self.base_of(parameters.noise_top(self.coordinate_bits, self.max_clients))

    def committed_runs(self, runs: Iterable[Run]) -> Runs | None:
        """How coordinates lie in the elements that are committed to; None where each is one, or fills one.

        Raises:
            ConfigError: sums of one are wider than any element.
        """
        if not self.commit_packed:
            return None
        ranges, widest = tuple(runs), max(parameters.WIDTH_LIMIT.values())
        if (most := max(run.top for run in ranges)) * self.max_clients >= 1 << widest:
            width = Run(1, most).width(self.max_clients)
            raise ConfigError(
                f"sums over {self.max_clients} clients of values up to {most} have {width} bits, more than the "
                f"{widest} that a commitment binds: fewer bits, or fewer clients, would do"
            )
        found = Runs.fitting(((run.length, self.base_of(run.top)) for run in ranges), widest)
        return found if found.most > 1 else None

    @property
    def packs(self) -> bool:
        """Whether several values of some range are committed to as one element."""
        tops = {self.coordinate_top, *(group.top for group in self.groups)}
        if any(group.adaptive for group in self.groups):
            tops.add(1)
        return self.committed_runs(Run(1, top) for top in tops) is not None

    def quorum(self, cohort: int) -> int:
        """t_sig = floor((|G| + f)/2) + 1: any two quorums of one cohort share an honest member, who signs once.

        It counts G, not those who advertised: U may differ between attempts, and between what clients are shown.

        In a buffered task, whose operators sign, it is the fewest that leave so many honest ones in a sum as the policy
        wants, though all f of the roster were in it: who is in a buffer is nobody's but the coordinator's to say.
        """
        if self.buffer is not None:
            return self.max_corrupt + self.buffer.honest
        return thresholds.quorum(cohort, self.max_corrupt)

    def bearable(self, clients: int) -> Fraction:
        """The largest share of a roster of ``clients`` that may be corrupt under this policy: its price in trust. Of a
        drawn cohort except with probability 2^-60 a draw.
        """
        return thresholds.bearable(clients, self.cohort_size, self.min_advertised, self.max_corrupt)

    def option(self, name: str, default: int) -> int:
        """A backend's setting, or its default."""
        found = (option.value for option in self.options if option.name == name and isinstance(option.value, int))
        return next(found, default)
