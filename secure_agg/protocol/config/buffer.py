"""Buffered rounds: options of a policy, and the bases that clients may have trained from.

In a buffered task (FedBuff, Nguyen et al. 2022, arXiv:2106.06639) whoever is done hands in an update, from the newest
model or from one that is a few results old. Rounds of other tasks have none of these options, and are what they were
before there were any, byte for byte.

A *base* is the model that so many of the task's results lead to. Which bases a round has is nobody's choice: they are
the newest, and as many before it as the policy says. So a client that recomputes models from recorded results knows
them, and one that is shown a crafted model among them takes no part: somebody who trained from that could come to an
update which leaves another's alone in the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ConfigError, PolicyViolation
from secure_agg.protocol.config.settings import NO_DIGEST
from secure_agg.protocol.messages import ADVERTISE, Wire

BUFFER_HONEST: Final = "buffer_honest"
"""How many honest updates a sum has at least, whoever is corrupt: with it a policy is of buffered rounds."""
BUFFER_STALENESS: Final = "buffer_staleness"
"""τ: how many results old a base may be."""
BUFFER_OPTIONS: Final = (BUFFER_HONEST, BUFFER_STALENESS)
LEAST_HONEST: Final = 2
"""Of fewer the sum, less what the corrupt know of it, is somebody's update."""
MAX_STALENESS: Final = 255


@dataclass(frozen=True)
class BufferRule:
    """What a policy says of buffered rounds.

    Attributes:
        honest: updates of honest clients that every sum has.
        staleness: τ.
    """

    honest: int
    staleness: int

    def check(self, min_clients: int, max_corrupt: int, cohort_size: int) -> None:
        """Refuse thresholds under which corrupt clients could leave fewer honest ones in a sum.

        Args:
            min_clients: K, the fewest updates that are summed.
            max_corrupt: f of the whole roster: who is in a buffer is up to whoever is fast, and who says so.
            cohort_size: of the policy.

        Raises:
            ConfigError: says the smallest change that would do.
        """
        if self.honest < LEAST_HONEST:
            raise ConfigError(f"{BUFFER_HONEST} is {self.honest}, below {LEAST_HONEST}: {LEAST_HONEST} would do")
        if not 0 <= self.staleness <= MAX_STALENESS:
            raise ConfigError(
                f"{BUFFER_STALENESS} is {self.staleness}, outside [0, {MAX_STALENESS}]: {MAX_STALENESS} would do"
            )
        if cohort_size:
            raise ConfigError(
                f"cohort_size is {cohort_size}, and a buffered task draws no cohorts: cohort_size = 0 would do"
            )
        needed = max_corrupt + self.honest
        if min_clients < needed:
            fewer = min_clients - self.honest
            ways = f"min_clients = {needed}" + (f" or max_corrupt = {fewer}" if fewer >= 0 else "")
            raise ConfigError(
                f"min_clients is {min_clients}, below max_corrupt + {BUFFER_HONEST} = {max_corrupt} + {self.honest}: "
                f"all but {self.honest} of a sum may be corrupt clients' who know their own part of it; {ways} would do"
            )


class Base(Wire, frozen=True):
    """A model that updates of a buffered round may be differences from.

    Attributes:
        number: of the task's results that lead to it; 0 of the model that it began with.
        record: digest of the last of these results' records; 32 zero bytes for none.
        model: digest of its arrays.
    """

    number: int
    record: bytes
    model: bytes

    def __repr__(self) -> str:
        return f"Base({self.number}, model={self.model.hex()[:16]}…)"


Bases = tuple[Base, ...]


def check_bases(
    bases: Bases, rule: BufferRule, *, base_model: bytes, previous_record: bytes, start_model: bytes
) -> None:
    """Check a round's bases in themselves, and that the newest is the one that its configuration goes on from.

    Args:
        base_model, previous_record, start_model: of the configuration.

    Raises:
        PolicyViolation: they are not the newest results' and as many before as there may be.
    """

    def refuse(text: str) -> PolicyViolation:
        return PolicyViolation(text, phase=ADVERTISE)

    if not bases:
        raise refuse("a buffered round names no base")
    newest = bases[-1]
    wanted = min(rule.staleness, newest.number) + 1
    if newest.number < 0 or [base.number for base in bases] != list(
        range(newest.number - wanted + 1, newest.number + 1)
    ):
        raise refuse(
            f"the bases {[base.number for base in bases]} are not {newest.number} and the {wanted - 1} before it, in "
            f"order, each once: {BUFFER_STALENESS} is {rule.staleness}"
        )
    for base in bases:
        if (len(base.record), len(base.model)) != (len(NO_DIGEST), len(NO_DIGEST)) or base.model == NO_DIGEST:
            raise refuse(f"base {base.number} has no digests of a record and a model")
        if (base.record == NO_DIGEST) != (base.number == 0):
            raise refuse(f"base {base.number} follows from {base.number} results, and its record says otherwise")
    if len({base.record for base in bases}) != len(bases):  # models may be the same: of a result that moved nothing
        raise refuse("two bases follow from the same record")
    for what, value, expected in (
        ("model", newest.model, base_model),
        ("record", newest.record, previous_record),
    ):
        if value != expected:
            raise refuse(f"the newest base has {what} {value.hex()}, the configuration goes on from {expected.hex()}")
    if newest.number and start_model == NO_DIGEST:
        raise refuse("a base follows from results, and the configuration starts from none")


def follow_bases(rule: BufferRule, before: Bases | None, newest: Base) -> Bases:
    """The bases of a round: those of the one before it, the result that this has led to, and no more than may be.

    Args:
        before: of the round before; None for a task's first round.
        newest: what its result has led to.
    """
    kept = (before or ())[-rule.staleness :] if rule.staleness else ()
    return (*kept, newest)


def base_of(bases: Bases, model: bytes) -> Base | None:
    """The newest base with this model; None if there is none."""
    return next((base for base in reversed(bases) if base.model == model), None)


def name_bases(bases: Sequence[Base]) -> str:
    """Their numbers, for people."""
    return ", ".join(str(base.number) for base in bases) or "none"
