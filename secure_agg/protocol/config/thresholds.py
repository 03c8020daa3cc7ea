"""How many clients a round needs, and how many of them may be corrupt: what dropouts and draws cost in trust.

Of a cohort of n, ⌈n · dropout⌉ may be missing, and a round still ends: u_min is the rest. Two quorums of one cohort
share an honest member, so t_sig = ⌊(n + f)/2⌋ + 1; the rest have to be as many, and more than 3f: f ≤ (u_min − 1)/3 and
f ≤ 2·u_min − n − 1. Up to two in five missing the first bound is the smaller; at a half 0 or 1 is left.

A drawn cohort holds at most f corrupt members except with probability 2^-60, by exact hypergeometric tails: with 2^16
rounds of 2^4 draws each, 2^-40 over all of a task.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Final

from mpc import graph
from secure_agg.errors import ConfigError
from secure_agg.protocol.config.settings import real

USUAL_DROPOUT: Final = 0.1
MOST_DROPOUT: Final = 0.5
DROPOUTS: Final = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Settings whose price documents and plans state."""
_EVERY_SIZE: Final = 4096
"""Up to here the smallest safe cohort is looked for one by one, above in steps of the 64th part."""


def check_dropout(dropout: float) -> float:
    """Return a share of clients that may be missing.

    Raises:
        ConfigError: no number in (0, 0.5].
    """
    found = real("dropout", dropout)
    if not 0 < found <= MOST_DROPOUT:
        raise ConfigError(
            f"dropout is {found:g}, outside (0, {MOST_DROPOUT}]: two quorums of a cohort share an honest member, so "
            "more than a half have to stay"
        )
    return found


def least_advertised(cohort: int, min_clients: int, dropout: float = USUAL_DROPOUT) -> int:
    """u_min: what is left of a cohort in which this share is missing; at a half more than the other half stay."""
    # Rounded up, but for what binary fractions add to a share like 0.3 of 10.
    missing = min(max(1, math.ceil(cohort * dropout - 1e-9)), (cohort - 1) // 2)
    return max(min_clients, cohort - missing)


def most_corrupt(cohort: int, advertised: int) -> int:
    """The largest f under which so many of a cohort end a round."""
    return min((advertised - 1) // 3, 2 * advertised - cohort - 1)


def quorum(cohort: int, corrupt: int) -> int:
    """t_sig: any two quorums of one cohort share an honest member."""
    return (cohort + corrupt) // 2 + 1


def corrupt_of(clients: int, rate: float) -> int:
    """Members of a roster that this share is.

    Raises:
        ConfigError: no share.
    """
    found = real("corruption_rate", rate)
    if not 0 <= found <= 1:
        raise ConfigError(f"corruption_rate is {found:g}, outside [0, 1]")
    return min(clients, math.ceil(clients * found - 1e-9))


def drawn_corrupt(clients: int, rate: float, cohort: int, *, min_clients: int, dropout: float) -> int:
    """f of a drawn cohort.

    Args:
        clients: members of the roster.
        rate: share of them that may be corrupt.
        cohort: how many are drawn.
        min_clients: n_min.
        dropout: see ``least_advertised``.

    Raises:
        ConfigError: so small a cohort may hold too many; names the smallest that may not.
    """
    corrupt = corrupt_of(clients, rate)
    found, borne = graph.corrupt_in_sample(clients, corrupt, cohort), _borne(cohort, min_clients, dropout)
    if found <= borne:
        return found
    safe = safe_size(clients, rate, min_clients=min_clients, dropout=dropout)
    ways = f"{safe} is the smallest safe size" if safe is not None else "no size is safe"
    if dropout > USUAL_DROPOUT:
        ways += f" with dropout {dropout:g}; a smaller dropout costs less trust"
    raise ConfigError(
        f"a cohort of {cohort} from {clients} members of which {corrupt} are corrupt holds up to {found} of them "
        f"except with probability 2^-{graph.DRAW_BITS}, and at most {borne} are safe: {ways}"
    )


def safe_size(
    clients: int, rate: float, *, min_clients: int = 3, dropout: float = USUAL_DROPOUT, least: int = 2
) -> int | None:
    """The smallest drawn cohort that is safe; above 4,096 up to a 64th part more.

    Returns:
        None where not even the whole roster is.
    """
    return _safe_size(clients, corrupt_of(clients, rate), min_clients, dropout, max(least, min_clients))


@functools.lru_cache(maxsize=64)
def _safe_size(clients: int, corrupt: int, min_clients: int, dropout: float, least: int) -> int | None:
    if 5 * corrupt > 2 * clients:  # f < n/3, and a draw holds as large a share or more
        return None
    size = least
    while size <= clients:
        if _is_safe(clients, corrupt, size, min_clients, dropout):
            return size
        size += 1 if size < _EVERY_SIZE else size // 64
    return clients if _is_safe(clients, corrupt, clients, min_clients, dropout) else None


def bearable(clients: int, cohort: int, advertised: int, corrupt: int) -> Fraction:
    """The largest share of a roster that may be corrupt: what a policy costs in trust.

    Args:
        clients: members of the roster.
        cohort: how many are drawn; 0 for all.
        advertised: u_min.
        corrupt: f.
    """
    if not cohort or cohort >= clients:
        return Fraction(corrupt, max(clients, 1))
    low, high = 0, clients
    while low < high:
        middle = (low + high + 1) // 2
        held = graph.corrupt_in_sample(clients, middle, cohort)
        low, high = (middle, high) if held <= most_corrupt(cohort, advertised) else (low, middle - 1)
    return Fraction(low, clients)


def _borne(cohort: int, min_clients: int, dropout: float) -> int:
    return most_corrupt(cohort, least_advertised(cohort, min_clients, dropout))


def _is_safe(clients: int, corrupt: int, cohort: int, min_clients: int, dropout: float) -> bool:
    return graph.corrupt_in_sample(clients, corrupt, cohort) <= _borne(cohort, min_clients, dropout)
