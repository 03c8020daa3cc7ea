"""Who masks with whom, how many shares rebuild a secret, and when a client refuses to go on.

On a **complete graph** every pair of participants shares a mask, every participant holds a share of every
other's secrets and one of its own seed, and the share threshold is the quorum t_sig. On a **sparse graph**
each client chooses its neighbours from a secret stream, shares its secrets among them only, and degree and
threshold come from ``mpc.graph.degree``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from mpc import graph
from mpc.graph import Degree
from mpc.ntt import N
from mpc.ring import ELEMENT_BYTES
from secure_agg.backends.contract import OptionRule
from secure_agg.backends.masking.wire import split_part
from secure_agg.backends.packed import Carrier, Committed, carrier
from secure_agg.errors import ConfigError, DuplicateMessage, TooFewClients
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.messages import ADVERTISE, CONSISTENCY, header_limit
from secure_agg.protocol.norm.wire import response_header_limit
from secure_agg.protocol.renunciation import of_complete_graph, of_sparse_graph, split_bits
from secure_agg.protocol.session import Session
from zk.parameters import sketch_rank

_SHOWN: Final = 256
"""Bytes of an input that is shown, beside what it commits to."""
_CHOOSERS: Final = 3
CHOOSE_PEERS: Final = "choose-peers"
SHARE_KEYS: Final = "share-keys"
MASKED_INPUT: Final = "masked-input"
UNMASK: Final = "unmask"
CONFIRM_EDGES: Final = "confirm-edges"
SCREEN: Final = "screen"
DISPUTE: Final = "dispute"
EXCISE: Final = "excise"
"""Of each excision the name begins with it, and its number follows."""
SCREEN_SKETCHES: Final = "screen-sketches"
DISPUTE_SKETCHES: Final = "dispute-sketches"
EXCISE_SKETCHES: Final = "excise-sketches"
"""Likewise, once sketches were tested."""
COMPLETE_UP_TO: Final = "complete_up_to"
COMPLETE: Final = OptionRule(
    COMPLETE_UP_TO, 0, 1 << 20, "the largest cohort in which every pair of clients shares a mask", graph.COMPLETE_UP_TO
)
SCREENING: Final = OptionRule(
    "screening",
    0,
    2,
    "whether inputs are tested before anything is opened, and whoever cheats is named and taken out of the sum",
    0,
    meanings={0: "no", 1: "yes, sketches once their sum has failed", 2: "yes, sketches with the rest"},
)
TRANSPORT: Final = OptionRule(
    "transport",
    0,
    1,
    "what inputs are sent as",
    usual="1, but 0 where inputs are screened",
    meanings={
        0: "elements modulo p, as they are committed to",
        1: "words of 64 bits, each with as many values as their sums leave room for, where these are shorter",
    },
)


def screens(config: RoundConfig) -> bool:
    """Whether inputs are screened."""
    return SCREENING.of(config.policy) > 0


def check_screening(policy: Policy) -> None:
    """Refuse to screen what is not linear over what is committed to; to test sketches where there are none, or where
    they are not.

    Raises:
        ConfigError: as it says.
    """
    if SCREENING.of(policy) and TRANSPORT.of(policy):
        raise ConfigError(
            "transport 1 sums words of several values modulo 2^64, and screening tests what is linear modulo p over "
            "what is committed to: a policy has either the smallest transport (screening 0) or screening (transport 0)"
        )
    if SCREENING.of(policy) == 2 and (policy.norm is None or policy.packs):
        raise ConfigError(
            "screening 2 tests sketches with the inputs: it takes a norm_bound, and values that are committed to one "
            "by one (commit_packed=False); screening 1 does not"
        )


def sketches_at_once(config: RoundConfig) -> bool:
    """Whether sketches are tested before anything is opened, and not only once their sum has failed."""
    return SCREENING.of(config.policy) == 2


def tests_sketches(config: RoundConfig) -> bool:
    """Whether it is tested, once a sum has failed, whose sketch is not of its vector: sketches are linear over values,
    and so over what is hidden where each value is an element of it. Where they are tested at once it is known before.
    """
    return SCREENING.of(config.policy) == 1 and config.policy.norm is not None and config.commitment.runs is None


def excisions(config: RoundConfig, name: str = EXCISE) -> tuple[str, ...]:
    """The phases in which somebody may be taken out of a signed set: each takes out one at least of those who may be
    corrupt.
    """
    return tuple(f"{name}-{i}" for i in range(1, config.policy.max_corrupt + 1))


def request_limit(config: RoundConfig) -> int:
    """Most bytes of a request's header: where sketches are tested, the sum that has failed and what was committed to,
    or a masked input that proves its client wrong, and as much as in any other.
    """
    limit = header_limit(config.cohort_size)
    bound = config.norm_bound
    if bound is None or not tests_sketches(config):
        return limit
    committed = (config.commitment.rank + sketch_rank(bound.clients) + 1) * N * ELEMENT_BYTES
    shown = config.cohort_size * (committed + bound.side * ELEMENT_BYTES + _SHOWN)
    return response_header_limit(config) + limit + form(config).size + shown


def form(config: RoundConfig) -> Carrier:
    """How vectors ride: where they are screened as they are committed to, since that alone is linear modulo p."""
    return carrier(config) if TRANSPORT.of(config.policy, usual=0 if screens(config) else 1) else Committed(config)


def chooses_peers(config: RoundConfig) -> bool:
    """Whether the cohort is so large that clients choose their neighbours."""
    return config.cohort_size > COMPLETE.of(config.policy)


@dataclass(frozen=True)
class Plan:
    """The graph of one session.

    Attributes:
        complete: every pair is an edge.
        neighbours: peers that each client shares its secrets with.
        threshold: shares that rebuild a secret.
    """

    complete: bool
    neighbours: int
    threshold: int


def most_choosers(shape: Plan) -> int:
    """How many may have chosen one client: on average as many as each chooses. No honest ones are more than three times
    as many, and a client fetches no more, however many corrupt ones choose it.
    """
    return _CHOOSERS * shape.neighbours


def plan(session: Session) -> Plan:
    """The graph for these participants. A cohort too small for a sparse graph to be safe gets a complete one."""
    n = len(session.members)
    if chooses_peers(session.config):
        found = degree(n, session.config.policy.max_corrupt)
        if found is not None:
            return Plan(False, found.neighbours, found.threshold)
    return Plan(True, n - 1, session.quorum)


def degree(advertised: int, corrupt: int) -> Degree | None:
    """The graph of so many who advertised; None where only a complete one is safe."""
    return graph.degree(advertised, corrupt, max(1, math.floor(advertised * graph.EXPECTED_DROPOUT)))


@functools.lru_cache(maxsize=64)
def renouncing(members: int, corrupt: int, quorum: int, advertised: int) -> int:
    """How many of a cohort that chooses its neighbours have to renounce, see ``protocol.renunciation``."""
    return of_sparse_graph(members, corrupt, quorum, advertised, lambda size: degree(size, corrupt))


def renounced_by(config: RoundConfig) -> int:
    """How many members of G have to renounce a generation of this round, so that none of its sums can be opened."""
    policy, members = config.policy, config.cohort_size
    quorum = policy.quorum(members)
    if chooses_peers(config):
        return renouncing(members, policy.max_corrupt, quorum, policy.min_advertised)
    return of_complete_graph(members, policy.max_corrupt, quorum)


def check_renounceable(session: Session, shape: Plan) -> None:
    """On a sparse graph: that as many as renounce leave no sum of this very session that could be opened.

    Raises:
        TooFewClients: they might.
    """
    if shape.complete:
        return
    config, n = session.config, len(session.members)
    policy, enough = config.policy, renounced_by(config)
    found = Degree(shape.neighbours, shape.threshold)
    if split_bits(config.cohort_size, policy.max_corrupt, session.quorum, enough, n, found) > -graph.PRIVACY_BITS:
        raise TooFewClients(
            f"with {n} clients a sum could be opened that {enough} of {config.cohort_size} have renounced",
            phase=ADVERTISE,
        )


def check_distinct_keys(session: Session, names: Iterable[str] | None = None) -> None:
    """Refuse a public key that appears twice: reflected, or copied from somebody else.

    Args:
        names: among whom; by default all.

    Raises:
        DuplicateMessage: who has copied whom can't be told.
    """
    owners: dict[bytes, str] = {}
    for name in session.members if names is None else names:
        for key in split_part(name, session.parts[name]):
            if key in owners:
                raise DuplicateMessage(f"{name!r} shows a public key of {owners[key]!r} again", phase=ADVERTISE)
            owners[key] = name


def check_active(session: Session, shape: Plan, active: Collection[int], chosen: Collection[int]) -> None:
    """Before sending a masked input: enough confirmed edges that the secrets can be rebuilt, and only by a quorum.

    On a complete graph that many edges also join every honest client to more than half of the honest ones,
    so an aggregator that withholds confirmations can't cut the honest clients in two.

    Raises:
        TooFewClients: it would not be safe or not be possible to go on.
    """
    have = len(active) + 1 if shape.complete else len(set(active) & set(chosen))
    if have < shape.threshold:
        raise TooFewClients(f"{have} confirmed edges, {shape.threshold} are needed", phase=MASKED_INPUT)


def can_be_unmasked(
    session: Session,
    shape: Plan,
    members: Collection[int],
    chosen: Mapping[int, Set[int]],
    active: Mapping[int, Set[int]],
) -> frozenset[int]:
    """Where inputs are screened: of these clients all but those whose secrets too few of the others hold good shares
    of. Whether such a client dealt bad ones or is denied good ones can't be told.

    Too few are, on a complete graph, also those that it could become by the silence of as many as may be corrupt beside
    those who are gone, if the client is one of them; whoever is denied by most goes first. As long as those who go are
    corrupt, silence can't make anybody impossible to unmask; no more than f go for what might be. A sparse graph's
    threshold allows for silence.

    Args:
        chosen: to whom each client deals shares.
        active: each client's edges that both ends accept.
    """
    policy = session.config.policy
    least, gone = max(policy.min_clients, session.quorum), session.config.cohort_size - len(members)
    left = set(members)
    holders = {
        dealer: sum(dealer in active[member] for member in left & chosen[dealer]) + shape.complete for dealer in left
    }
    while left:
        fewest = min(left, key=lambda dealer: (holders[dealer], dealer))
        silent = max(0, policy.max_corrupt - gone) if shape.complete and holders[fewest] < len(left) else 0
        if holders[fewest] >= shape.threshold and (len(left) <= least or holders[fewest] - silent >= shape.threshold):
            break
        left.discard(fewest)
        gone += 1
        for dealer in active[fewest] & left:
            holders[dealer] -= fewest in chosen[dealer]
    return frozenset(left)


def check_survivors(
    session: Session,
    shape: Plan,
    survivors: Collection[int],
    active: Collection[int],
    chosen: Collection[int],
) -> None:
    """Before signing S: the masks that remain between survivors still tie this client to enough of them.

    Raises:
        TooFewClients: S would leave this client's input with too few masks.
    """
    kept = set(survivors) & set(active)
    if shape.complete:
        have, least = len(kept) + 1, (len(survivors) + session.config.policy.max_corrupt) // 2 + 1
    else:
        have, least = len(kept & set(chosen)), shape.threshold
    if have < least:
        raise TooFewClients(f"only {have} masks of {least} needed remain in the set", phase=CONSISTENCY)
