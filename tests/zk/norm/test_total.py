"""The check on the sum: honest sums pass, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache, reduce

import numpy as np
import pytest
from support.norms.norm_case import BOUND, CENTRE, SID, Client, client

from zk.norm import total
from zk.norm.commitment import SketchCommitment
from zk.norm.sketch import sketch, sketch_key
from zk.norm.total import SketchSum, SketchSumError

WEIGHTS = (1000, 300, 4)


@cache
def clients() -> tuple[Client, ...]:
    return tuple(client(f"client {weight}", weight) for weight in WEIGHTS)


def summed(parts: tuple[Client, ...]) -> SketchSum:
    return SketchSum(
        BOUND,
        sketch_key(SID),
        tuple(part.statement.sketch for part in parts),
        reduce(np.add, [part.values for part in parts]),
        CENTRE,
        reduce(np.add, [part.side for part in parts]),
        reduce(np.add, [part.witness.randomness for part in parts]),
    )


def test_honest_sums_pass_and_give_the_sum_of_the_sketches() -> None:
    found = total.check(summed(clients()))
    np.testing.assert_array_equal(found, sum(part.witness.sketch for part in clients()))
    for part in clients():
        total.check(summed((part,)))


def raised(values: np.ndarray, at: int, by: int) -> np.ndarray:
    out = values.copy()
    out[at] = np.uint32(int(out[at]) + by)
    return out


FALSE: dict[str, tuple[str, Callable[[SketchSum], SketchSum]]] = {
    "no summands": ("commitments", lambda s: dataclasses.replace(s, commitments=())),
    "a commitment twice": (
        "relation",
        lambda s: dataclasses.replace(s, commitments=(*s.commitments[:2], s.commitments[0])),
    ),
    "one commitment less": ("randomness", lambda s: dataclasses.replace(s, commitments=s.commitments[:1])),
    "another rank": (
        "commitments",
        lambda s: dataclasses.replace(s, commitments=(SketchCommitment(s.commitments[0].elements, 2),)),
    ),
    "a commitment without counts": (
        "commitments",
        lambda s: dataclasses.replace(s, commitments=(SketchCommitment(s.commitments[0].elements[:-1], 1),)),
    ),
    "another value": ("relation", lambda s: dataclasses.replace(s, values=raised(s.values, 17, 1))),
    "a value that is far too large": ("sketch", lambda s: dataclasses.replace(s, values=raised(s.values, 0, 1 << 26))),
    "a value that no sum has": ("sketch", lambda s: dataclasses.replace(s, values=raised(s.values, 0, 1 << 28))),
    "one value less": ("relation", lambda s: dataclasses.replace(s, values=s.values[:-1])),
    "another centre": ("sketch", lambda s: dataclasses.replace(s, centre=s.centre + 60_000)),
    "another key": ("relation", lambda s: dataclasses.replace(s, key=bytes(32))),
    "another weight": ("relation", lambda s: dataclasses.replace(s, side=raised(s.side, 0, 1))),
    "another count": ("relation", lambda s: dataclasses.replace(s, side=raised(s.side, 3, 1))),
    "a sum beside the values that is missing": ("side", lambda s: dataclasses.replace(s, side=s.side[:-1])),
    "other randomness": ("relation", lambda s: dataclasses.replace(s, randomness=flipped(s.randomness))),
    "randomness that is too large": (
        "randomness",
        lambda s: dataclasses.replace(s, randomness=raised(s.randomness, 5, 10)),
    ),
    "randomness that is too short": ("randomness", lambda s: dataclasses.replace(s, randomness=s.randomness[:-1])),
    "more than the bound is for": (
        "commitments",
        lambda s: dataclasses.replace(s, bound=dataclasses.replace(s.bound, clients=2)),
    ),
}


def flipped(values: np.ndarray) -> np.ndarray:
    out = values.copy()
    out[0] = 3 if out[0] != 3 else 2
    return out


@pytest.mark.parametrize("case", FALSE)
def test_whatever_is_not_the_sum_is_refused(case: str) -> None:
    check, change = FALSE[case]
    with pytest.raises(SketchSumError) as found:
        total.check(change(summed(clients())))
    assert found.value.check == check


def test_a_sketch_that_wraps_around_p_is_no_sketch() -> None:
    """Congruent modulo p, and far outside: the range decides, not the relation."""
    honest = summed(clients())
    wide = raised(honest.values, 0, 1 << 26)
    assert int(np.abs(sketch(honest.key, wide, 3 * CENTRE)).max()) > 3 * BOUND.offset
    with pytest.raises(SketchSumError, match="the most that 3 clients can reach"):
        total.check(dataclasses.replace(honest, values=wide))
