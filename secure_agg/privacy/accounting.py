"""What rounds spend together, by Rényi differential privacy: to the bit the same for everybody who adds up.

Two inputs are neighbours if one client's vector is replaced by zero; who takes part is public. With Δ2² and V = ρ·Δ2²
of ``mechanism`` the sum of a round is (a, ε(a))-RDP for integers a > 1 (Agarwal et al. 2021, theorem 3.5):

    ε(a) ≤ a·Δ2²/(2V) + min{((2a − 1)·Δ2² + 6·Δ1)/(4V²), 3·Δ1/(2V)}

Since L ≥ 2·√D, Δ1 ≤ √D·Δ2 ≤ Δ2²/2, and with D ≥ 64, Δ2² ≥ 292: so whatever the model is

    ε(a) ≤ a/(2ρ) + min{(2a + 2)/(4·292·ρ²), 3/(4ρ)}

ε(a) of rounds add up. They are (ε, δ)-private for (Canonne, Kamath and Steinke 2020, proposition 12; Balle et al. 2020)

    ε = min over a of  Σ ε(a) + ln((a − 1)/a) − (ln δ' + ln a)/(a − 1)

where δ' = δ less what limits to the noise, and the sampler, may add: T·(1 + exp(ε))·2^−60. The logarithms are those of
``decimal``, correctly rounded, and the result is rounded up to millionths.

Nothing is claimed for cohorts being drawn: who takes part is known.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.privacy.mechanism import LEAST_PADDED, RATIO_UNIT, sensitivity

ORDERS: Final = (*range(2, 129), 256)
"""a."""
EPSILON_UNIT: Final = 10**6
DELTA_UNIT: Final = 10**12
"""Budgets are multiples of a millionth and of 10^−12."""
TAIL_BITS: Final = 60
"""Of a round's n·D draws, limits and the sampler change the distribution by 2^−60 at most."""
MOST_ROUNDS: Final = 1 << 20
BEYOND: Final = (1 << 32) - 1
"""Millionths that stand for more than can be said."""

_EXACT: Final = Context(
    prec=50, rounding=ROUND_CEILING, Emin=-999_999, Emax=999_999, traps=[DivisionByZero, InvalidOperation, Overflow]
)
"""All that is computed here is computed in it: an operator like + takes the caller's context, whatever that is."""
_LEAST_SQUARED: Final = sensitivity(16, LEAST_PADDED)  # 292


def renyi(ratio: int, order: int) -> Fraction:
    """ε(a) of one round, from above.

    Args:
        ratio: ρ in 1024ths.
        order: a.
    """
    rho = Fraction(ratio, RATIO_UNIT)
    more = min(Fraction(2 * order + 2, 4 * _LEAST_SQUARED) / rho**2, Fraction(3, 4) / rho)
    return order / (2 * rho) + more


@functools.lru_cache(maxsize=256)
def _conversions(delta: int, epsilon: int, rounds: int) -> tuple[Decimal, ...] | None:
    """What is added to Σ ε(a) for each order, in ``_EXACT``; None where nothing is left of δ."""
    budget = Decimal(epsilon) / EPSILON_UNIT
    tail = _EXACT.divide(rounds * (1 + _EXACT.exp(budget)), Decimal(2**TAIL_BITS))
    left = Decimal(delta) / DELTA_UNIT - tail
    if left <= 0:
        return None
    said = -_EXACT.ln(left)
    return tuple(
        _EXACT.ln(_EXACT.divide(Decimal(a - 1), Decimal(a)))
        + _EXACT.divide(said - _EXACT.ln(Decimal(a)), Decimal(a - 1))
        for a in ORDERS
    )


def spent(rounds: Mapping[int, int], delta: int, epsilon: int) -> int:
    """ε of rounds together, in millionths, rounded up; ``BEYOND`` where it is more than can be said.

    Args:
        rounds: how many there were, by their noise ratio in 1024ths.
        delta: δ in 10^−12.
        epsilon: of the budget, in millionths: what is added to δ for limits to the noise grows with it.
    """
    with localcontext(_EXACT):
        return _spent(rounds, delta, epsilon)


def _spent(rounds: Mapping[int, int], delta: int, epsilon: int) -> int:
    count = sum(rounds.values())
    if not count:
        return 0
    conversions = _conversions(delta, epsilon, count)
    if conversions is None:
        return BEYOND
    found = []
    for order, more in zip(ORDERS, conversions, strict=True):
        total = sum((count * renyi(ratio, order) for ratio, count in rounds.items()), Fraction(0))
        found.append(_EXACT.divide(Decimal(total.numerator), Decimal(total.denominator)) + more)
    least = max(Decimal(0), min(found) * EPSILON_UNIT)
    return min(BEYOND, int(least.to_integral_value(ROUND_CEILING)))


def _last(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number in [low, high] that fits, where ``low`` does and whatever is above a misfit does not."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


@functools.lru_cache(maxsize=64)
def rounds_within(ratio: int, delta: int, epsilon: int) -> int:
    """How many rounds of one noise ratio the budget is for; 0 if not even one."""
    return _last(lambda count: spent({ratio: count}, delta, epsilon) <= epsilon, 0, MOST_ROUNDS)


@functools.lru_cache(maxsize=64)
def calibrated(rounds: int, delta: int, epsilon: int) -> int:
    """The smallest noise ratio, in 1024ths, under which so many rounds stay within the budget.

    Raises:
        ConfigError: no ratio does.
    """
    return calibrated_after({}, rounds, delta, epsilon)


def calibrated_after(known: Mapping[int, int], rounds: int, delta: int, epsilon: int) -> int:
    """The same for so many rounds more, after others that count against the budget too.

    Args:
        known: how many others there were, by their noise ratio in 1024ths.

    Raises:
        ConfigError: no ratio does.
    """
    most = (1 << 32) - 1

    def fits(ratio: int) -> bool:
        return spent(Counter(known) + Counter({ratio: rounds}), delta, epsilon) <= epsilon

    if not fits(most):
        before = sum(known.values())
        others = f", after {before} others," if known else ""
        with localcontext(_EXACT):
            left = _conversions(delta, epsilon, before + rounds) is not None
        mend = "a larger epsilon" if left else "a smaller epsilon, or a larger delta: limits to the noise need more"
        raise ConfigError(
            f"{rounds} rounds{others} can't stay within epsilon = {epsilon / EPSILON_UNIT:g} at delta = "
            f"{delta / DELTA_UNIT:g}, however much noise there is: take fewer rounds or {mend}"
        )
    return most - _last(lambda less: fits(most - less), 0, most - 1)
