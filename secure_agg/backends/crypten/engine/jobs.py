"""What can be computed, with which parameters; as objects, and as frames to the parties.

All inputs are n client vectors of d integers, shared additively modulo 2^64 among the parties. A ``Layout`` says in
which range each coordinate has to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from secure_agg.backends.crypten.engine.randomness import Words
from secure_agg.errors import ConfigError, MalformedMessage
from secure_agg.protocol.messages import Wire

MIN_PARTIES: Final = 2
MAX_PARTIES: Final = 5
MAX_CLIENTS: Final = 64
MAX_BITS: Final = 32
MAX_WORDS: Final = 1 << 30
"""Most words of one party's shares in one job (8 GiB)."""
MAX_RANGES: Final = 1024

SUM: Final = "sum"
JUDGE: Final = "judge"
NORM_BOUNDED_SUM: Final = "norm-bounded-sum"
TRIMMED_SUM: Final = "trimmed-sum"
MEDIAN: Final = "median"

Vector = npt.NDArray[np.int64]
_T = TypeVar("_T")


class Range(Wire, frozen=True):
    """``count`` consecutive coordinates, each in [0, 2^bits); ``normed`` ones count for the norm."""

    count: int
    bits: int
    normed: bool = True


@dataclass(frozen=True)
class Layout:
    """The ranges of all coordinates, in order.

    Raises:
        ConfigError: no range or too many, an empty one, or widths outside [1, 32].
    """

    ranges: tuple[Range, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.ranges) <= MAX_RANGES:
            raise ConfigError(f"{len(self.ranges)} ranges, outside [1, {MAX_RANGES}]")
        for part in self.ranges:
            if part.count < 1 or not 1 <= part.bits <= MAX_BITS:
                raise ConfigError(f"a range of {part.count} coordinates of {part.bits} bits: at least 1, and 1 to 32")

    @property
    def length(self) -> int:
        """d: coordinates of a vector."""
        return sum(part.count for part in self.ranges)

    @property
    def normed(self) -> int:
        """Coordinates that count for the norm."""
        return sum(part.count for part in self.ranges if part.normed)

    def largest_norm(self) -> int:
        """Largest squared norm of a vector in range, around any centre in range."""
        return sum(part.count * ((1 << part.bits) - 1) ** 2 for part in self.ranges if part.normed)


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class NormBound:
    """Squared L2 norm, at most, of x − centre over the normed coordinates.

    Attributes:
        squared: the bound's square, in [0, 2^63).
        centre: int64 (normed coordinates), or one integer for all; each in the range of its coordinate.
    """

    squared: int
    centre: Vector | int = field(default=0, repr=False)

    def centre_for(self, layout: Layout) -> Vector:
        """The centre as a vector.

        Raises:
            ConfigError: a bound or centre out of range or of a wrong length, nothing normed, or vectors so long that
                a squared norm could reach 2^63.
        """
        if not 0 <= self.squared < 1 << 63:
            raise ConfigError(f"a squared norm bound of {self.squared} is outside [0, 2^63)")
        if not layout.normed:
            raise ConfigError("a norm bound, and no coordinate that counts for the norm")
        if layout.largest_norm() >= 1 << 63:
            raise ConfigError(
                f"squared norms can reach {layout.largest_norm()}, above 2^63 - 1: fewer bits or shorter vectors"
            )
        centre = np.asarray(self.centre)
        if centre.dtype.kind not in "iu" or centre.shape not in ((), (layout.normed,)):
            raise ConfigError(f"a centre of {centre.dtype} {centre.shape}: wanted are {layout.normed} integers")
        limits = np.concatenate([np.full(part.count, 1 << part.bits) for part in layout.ranges if part.normed])
        if np.any(centre < 0) or np.any(centre >= limits):
            raise ConfigError("a coordinate of the centre is outside the range of its coordinate")
        return np.ascontiguousarray(np.broadcast_to(centre, limits.shape), dtype=np.int64)


class JobHeader(Wire, frozen=True):
    """What is sent to a party ahead of its shares. Bulk: the shares (clients · length), then the centre (normed).

    Attributes:
        function: one of the names above.
        clients: n.
        ranges: the layout.
        bounded: whether there is a norm bound.
        squared: its square, else 0.
        trim: how many values to drop at each end of every coordinate, else 0.
    """

    function: str
    clients: int
    ranges: tuple[Range, ...]
    bounded: bool = False
    squared: int = 0
    trim: int = 0

    def words(self) -> int:
        """Words of the bulk."""
        layout = Layout(self.ranges)
        return self.clients * layout.length + (layout.normed if self.bounded else 0)


def check_job(job: JobHeader, centre: Vector | None) -> None:
    """Refuse a job that can't be computed exactly, or isn't one.

    Raises:
        ConfigError: what is wrong with it.
    """
    layout = Layout(job.ranges)
    if job.function not in (SUM, JUDGE, NORM_BOUNDED_SUM, TRIMMED_SUM, MEDIAN):
        raise ConfigError(f"no function {job.function!r}")
    if not 1 <= job.clients <= MAX_CLIENTS:
        raise ConfigError(f"{job.clients} clients, outside [1, {MAX_CLIENTS}]")
    if job.words() > MAX_WORDS:
        raise ConfigError(f"{job.words()} words of shares, above {MAX_WORDS}")
    if job.bounded != (centre is not None) or (job.function == NORM_BOUNDED_SUM and not job.bounded):
        raise ConfigError("a norm bound without a centre, a centre without a bound, or neither where both are needed")
    if job.bounded and job.function not in (JUDGE, NORM_BOUNDED_SUM):
        raise ConfigError(f"function {job.function!r} takes no norm bound")
    if centre is not None:
        NormBound(job.squared, centre).centre_for(layout)
    elif job.squared:
        raise ConfigError("a squared norm without a norm bound")
    if job.trim < 0 or (job.trim and job.function != TRIMMED_SUM) or 2 * job.trim >= job.clients:
        raise ConfigError(f"trim is {job.trim}: at least 0, below half of {job.clients} clients, 0 but for trimming")


class Outcome(Wire, frozen=True):
    """What a party answers. Bulk: the values.

    Attributes:
        accepted: for each client, whether its vector is in range (and bound).
        addends: of how many clients' values each value is the sum; 0 if too few were accepted for a result.
    """

    accepted: tuple[bool, ...]
    addends: int


@dataclass(frozen=True, eq=False)
class Result:
    """What a job reveals: this and nothing else, to all parties and their caller.

    Attributes:
        accepted: for each client, whether its vector was used.
        addends: of how many clients' values each value is the sum; 0, without values, if too few are.
        values: int64 (d), exact; modulo 2^64 for ``sum``.
    """

    accepted: tuple[bool, ...]
    addends: int
    values: Vector = field(repr=False)


# --- frames between a process and its launcher --------------------------------------------------------------


class Start(Wire, frozen=True, tag=True):
    """To the provider: a job begins."""


class Ping(Wire, frozen=True, tag=True):
    """To anyone: answer at once."""


class Work(Wire, frozen=True, tag=True):
    """To a party: a job. Bulk as in ``JobHeader``."""

    job: JobHeader


class Pong(Wire, frozen=True, tag=True):
    """The answer to a ping."""


class Ready(Wire, frozen=True, tag=True):
    """The process has found the others."""


class Done(Wire, frozen=True, tag=True):
    """A job is done; from the provider without an outcome."""

    outcome: Outcome | None


class Failed(Wire, frozen=True, tag=True):
    """A job has failed, and so has the process.

    Attributes:
        reason: the error.
        own: whether its cause is this process, rather than its links with the others.
    """

    reason: str
    own: bool


ToProcess = Start | Ping | Work
FromProcess = Pong | Ready | Done | Failed
_to_process = msgspec.msgpack.Decoder(ToProcess)
_from_process = msgspec.msgpack.Decoder(FromProcess)


def read_order(header: bytes) -> ToProcess:
    """Decode what a process is told.

    Raises:
        MalformedMessage: it is none, or not in canonical form.
    """
    order: ToProcess = _strict(_to_process, header)
    return order


def read_answer(header: bytes) -> FromProcess:
    """Decode what a process says.

    Raises:
        MalformedMessage: it is none, or not in canonical form.
    """
    answer: FromProcess = _strict(_from_process, header)
    return answer


def _strict(decoder: msgspec.msgpack.Decoder[_T], header: bytes) -> _T:
    try:
        value = decoder.decode(header)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise MalformedMessage(f"no frame: {error}") from error
    if msgspec.msgpack.encode(value) != header:
        raise MalformedMessage("a frame is not in canonical form")
    return value


def check_shares(shares: Sequence[npt.NDArray[np.generic]], parties: int, clients: int, length: int) -> list[Words]:
    """One matrix (clients, length) of 64-bit words for each party, as unsigned words, without copying.

    Raises:
        MalformedMessage: another number of matrices, shape or dtype; nothing was sent.
    """
    if len(shares) != parties:
        raise MalformedMessage(f"shares for {len(shares)} parties, not {parties}")
    for party, matrix in enumerate(shares):
        if matrix.dtype not in (np.int64, np.uint64) or matrix.shape != (clients, length):
            raise MalformedMessage(
                f"shares of {matrix.dtype} {matrix.shape}: wanted are 64-bit integers {(clients, length)}",
                culprit=f"party {party}",
            )
    return [matrix.view(np.uint64) for matrix in shares]
