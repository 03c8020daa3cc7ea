"""The smallest changes after which a limit holds: settings are turned, one at a time, and everything is measured again.

What follows from a setting follows: with more clients thresholds grow, with more corrupt ones fewer may be missing. A
change counts only if a round could still be, and no limit that holds now breaks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from mpc import graph
from secure_agg import backends
from secure_agg.errors import ConfigError
from secure_agg.planning.coefficients import Coefficients
from secure_agg.planning.prediction import Network
from secure_agg.preflight.figures import Measured, measure
from secure_agg.preflight.limits import Way, keeps
from secure_agg.preflight.subject import Subject
from secure_agg.privacy.accounting import DELTA_UNIT, EPSILON_UNIT, calibrated
from secure_agg.protocol.config import MAX_BITS, Option, Policy
from secure_agg.protocol.config import norm as norms
from secure_agg.protocol.config import privacy as privacies
from secure_agg.protocol.config.settings import fits
from secure_agg.protocol.config.thresholds import most_corrupt, quorum

_MOST_CLIENTS: Final = 32
"""A roster is not made larger than so many times what it is."""


@dataclass(frozen=True)
class _Dial:
    """A setting that can be turned.

    Attributes:
        name: what is changed first.
        now: where it stands.
        end: how far it can be turned, in the direction that helps.
        turned: the subject with it at another place; raises ConfigError where it can't be there.
    """

    name: str
    now: int
    end: int
    turned: Callable[[int], Subject]


def ways_of(
    subject: Subject, name: str, limit: float, kept: Mapping[str, float], coefficients: Coefficients, network: Network
) -> tuple[Way, ...]:
    """The smallest changes after which a figure is within its limit.

    Args:
        name: of the figure.
        kept: limits that hold now.
    """

    @functools.cache
    def good(turn: Callable[[int], Subject], place: int) -> bool:
        try:
            found = measure(turn(place), coefficients, network)
        except ConfigError:
            return False
        return _holds(found, {**kept, name: limit})

    found: dict[str, Way] = {}
    for dial in _dials(subject, name, limit):
        place = _nearest(dial, functools.partial(good, dial.turned))
        if place is not None:
            way = _way(subject, dial.turned(place), dial.name)
            found.setdefault(way.text, way)
    return tuple(found.values())


def _holds(found: Measured, limits: Mapping[str, float]) -> bool:
    return not found.refused and all(keeps(found.figures.get(name), limit) for name, limit in limits.items())


def _nearest(dial: _Dial, good: Callable[[int], bool]) -> int | None:
    """The place next to where a dial stands that is good: by steps that double, then between the last two."""
    sign = 1 if dial.end >= dial.now else -1
    bad, step = dial.now, 1
    while True:
        place = dial.now + sign * min(step, abs(dial.end - dial.now))
        if good(place):
            break
        if place == dial.end:
            return None
        bad, step = place, 2 * step
    while abs(place - bad) > 1:
        middle = (place + bad) // 2
        place, bad = (middle, bad) if good(middle) else (place, middle)
    return place


def _dials(subject: Subject, name: str, limit: float) -> Iterator[_Dial]:
    """Settings that move a figure towards a limit, those first that cost the least."""
    policy, cohort = subject.policy, subject.cohort

    def dial(setting: str, now: int, end: int, turned: Callable[[Subject, int], Subject]) -> _Dial:
        return _Dial(setting, now, end, functools.partial(turned, subject))

    def to(setting: str, turned: Callable[[Subject], Subject]) -> _Dial:
        return _Dial(setting, 0, 1, lambda place: turned(subject) if place else subject)

    corrupt_down = dial("max_corrupt", policy.max_corrupt, 0, _with_corrupt)
    more = dial("clients", cohort, _MOST_CLIENTS * cohort, _with_clients)
    match name:
        case "quorum":
            yield dial("min_clients", policy.min_clients, cohort, _with_min_clients)
        case "honest":
            yield corrupt_down
            yield dial("min_clients", policy.min_clients, cohort, _with_min_clients)
            yield more
        case "dropouts":
            yield dial("min_advertised", policy.min_advertised, policy.min_clients, _with_advertised)
            yield more
        case "corrupt":
            yield dial("max_corrupt", policy.max_corrupt, cohort // 3, _with_corrupt)
            yield more
        case "corrupt_share":
            yield dial("min_advertised", policy.min_advertised, cohort, _with_advertised)
            yield more
        case "error":
            yield dial("bits", policy.bits, MAX_BITS, _with_bits)
            yield dial("max_weight", policy.max_weight, 1, _with_max_weight)
        case "norm":
            yield to("norm_bound", lambda one: _with_norm(one, limit))
        case "factor":
            yield corrupt_down
        case "epsilon" | "delta" | "rounds" | "noise":
            yield from _private(subject, name, limit, to)
        case _:
            if subject.parameters is not None:
                yield dial("parameters", subject.parameters, 1, _with_parameters)
            yield dial("bits", policy.bits, 2, _with_bits)
            yield dial("clients", cohort, max(3, policy.min_clients), _with_clients)


def _private(
    subject: Subject, name: str, limit: float, to: Callable[[str, Callable[[Subject], Subject]], _Dial]
) -> Iterator[_Dial]:
    """What a budget can be changed to."""
    rule = subject.policy.privacy
    if rule is None:
        return
    done, rounds = sum(subject.spent.values()), subject.rounds or rule.rounds

    def fewer(one: Subject, rounds: int) -> Subject:
        return replace(one, rounds=rounds)

    match name:
        case "epsilon":
            yield _Dial("rounds", rounds, max(1, done), functools.partial(fewer, subject))
            yield to("epsilon", lambda one: _with_budget(one, limit, None, rounds))
        case "delta":
            yield to("delta", lambda one: _with_budget(one, None, limit, rounds))
        case "rounds":
            yield to(
                "noise_ratio",
                lambda one: _with_budget(one, None, None, max(subject.rounds or 0, done + math.ceil(limit))),
            )
        case _:
            if subject.parameters is not None:
                yield _Dial("parameters", subject.parameters, 1, functools.partial(_with_parameters, subject))
            yield _Dial(
                "rounds", rounds, max(1, done), lambda place: fewer(_with_budget(subject, None, None, place), place)
            )


def _with_policy(subject: Subject, **changes: object) -> Subject:
    return replace(subject, policy=msgspec.structs.replace(subject.policy, **changes))


def _with_parameters(subject: Subject, parameters: int) -> Subject:
    return replace(subject, parameters=parameters)


def _with_min_clients(subject: Subject, least: int) -> Subject:
    policy = subject.policy
    return _with_policy(subject, min_clients=least, min_advertised=max(policy.min_advertised, least))


def _with_advertised(subject: Subject, advertised: int) -> Subject:
    """Of a drawn cohort f is what the draw may hold, whatever thresholds are."""
    policy, borne = subject.policy, most_corrupt(subject.cohort, advertised)
    corrupt = policy.max_corrupt
    if not policy.cohort_size:
        corrupt = borne if advertised > policy.min_advertised else min(corrupt, borne)
    elif corrupt > borne:
        raise ConfigError(f"a cohort may hold {corrupt} corrupt clients, and {borne} are safe")
    return _with_policy(subject, min_advertised=advertised, max_corrupt=corrupt)


def _with_corrupt(subject: Subject, corrupt: int) -> Subject:
    """As many of a round have to be there as that takes."""
    policy, cohort = subject.policy, subject.cohort
    if policy.cohort_size:
        raise ConfigError("of a drawn cohort f follows from the draw")
    advertised = policy.min_advertised
    if policy.buffer is None:
        advertised = max(advertised, 3 * corrupt + 1, quorum(cohort, corrupt))
    if advertised > cohort:
        raise ConfigError(f"{corrupt} of {cohort} clients can't be corrupt")
    return _with_policy(subject, max_corrupt=corrupt, min_advertised=advertised)


def _with_clients(subject: Subject, clients: int) -> Subject:
    """Another number of clients of a round, of whom the same share may be missing; with so many bits as sums of more
    leave room for.
    """
    policy, cohort = subject.policy, subject.cohort
    missing = (cohort - policy.min_advertised) * clients // cohort
    advertised = max(policy.min_clients, clients - missing)
    room = clients if policy.max_clients == cohort else max(policy.max_clients, clients)
    if not (policy.groups or policy.halves > 1 or fits(policy.bits, room)):
        subject = _with_bits(subject, backends.load(policy.backend).usual_bits(room))
    if policy.buffer is not None:  # whoever is first is summed, of however many
        return replace(_with_policy(subject, max_clients=room), clients=clients)
    if not policy.cohort_size:
        corrupt = most_corrupt(clients, advertised)
        made = _with_policy(subject, min_advertised=advertised, max_corrupt=corrupt, max_clients=room)
        return replace(made, clients=clients)
    if clients > subject.clients:
        raise ConfigError(f"a cohort of {clients} can't be drawn from {subject.clients} members")
    marked = int(policy.bearable(subject.clients) * subject.clients)
    corrupt = graph.corrupt_in_sample(subject.clients, marked, clients)
    if corrupt > most_corrupt(clients, advertised):
        raise ConfigError(f"a cohort of {clients} may hold {corrupt} corrupt clients")
    return _with_policy(subject, cohort_size=clients, min_advertised=advertised, max_corrupt=corrupt, max_clients=room)


def _with_bits(subject: Subject, bits: int) -> Subject:
    """A norm bound is counted in steps, and stays what it is."""
    made = _with_policy(subject, bits=bits)
    return _with_norm(made, subject.policy.norm_limit) if subject.policy.norm else made


def _with_max_weight(subject: Subject, most: int) -> Subject:
    first = min(subject.policy.first_weight, most)
    return _with_policy(subject, max_weight=most, first_weight=first)


def _with_options(subject: Subject, changes: Mapping[str, int]) -> Subject:
    named = {option.name: option.value for option in subject.policy.options}
    return _with_policy(subject, options=Option.list(named | dict(changes)))


def _with_norm(subject: Subject, norm: float) -> Subject:
    """With what a backend turns on where a norm is bounded, if none was."""
    policy = subject.policy
    usual = {} if policy.norm else dict(backends.load(policy.backend).when_bounded)
    named = {option.name: option.value for option in policy.options if isinstance(option.value, int)}
    rule = policy.norm
    main = policy.main
    return _with_options(
        subject,
        usual
        | named
        | {
            norms.NORM_STEPS: norms.steps_of(norm, main.clip, main.bits, policy.max_clients),
            norms.NORM_EXCESS: norms.EXCESSES.index(rule.excess if rule else norms.SCALE),
            norms.NORM_OUTSIDE: rule.outside if rule else 0,
        },
    )


def _with_budget(subject: Subject, epsilon: float | None, delta: float | None, rounds: int) -> Subject:
    """Another budget, or for so many rounds, and the noise that follows."""
    rule = subject.policy.privacy
    if rule is None:
        raise ConfigError("the policy has no differential privacy")
    most = rule.epsilon if epsilon is None else int(epsilon * EPSILON_UNIT)
    chance = rule.delta if delta is None else int(delta * DELTA_UNIT)
    if most < 1 or chance < 1:
        raise ConfigError("nothing is so private")
    ratio = calibrated(rounds, chance, most)
    return _with_options(subject, {privacies.EPSILON: most, privacies.DELTA: chance, privacies.RATIO: ratio})


_UNITS: Final = {privacies.EPSILON: ("epsilon", EPSILON_UNIT), privacies.DELTA: ("delta", DELTA_UNIT)}


def _way(old: Subject, new: Subject, first: str) -> Way:
    """What differs between two subjects; what was turned is named first."""
    before, after = _settings(old), _settings(new)
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    ordered = {name: changed[name] for name in (first, *changed) if name in changed}
    head, *rest = (f"{name} = {_plain(value)}" for name, value in ordered.items())
    return Way(ordered, head + (f", with {', '.join(rest)}" if rest else ""))


def _settings(subject: Subject) -> dict[str, int | float]:
    """Numbers of a subject by name; a budget and a bound in the units of people."""
    policy: Policy = subject.policy
    found: dict[str, int | float] = {"clients": policy.cohort_size or subject.clients}
    for name in ("parameters", "rounds"):
        if (value := getattr(subject, name)) is not None:
            found[name] = value
    for name in Policy.__struct_fields__:
        value = getattr(policy, name)
        if name not in ("cohort_size", "max_error") and isinstance(value, int | float):
            found[name] = value
    for option in policy.options:
        if option.name == norms.NORM_STEPS:
            found["norm_bound"] = policy.norm_limit
        elif option.name in _UNITS:
            name, unit = _UNITS[option.name]
            found[name] = float(option.value) / unit if isinstance(option.value, int) else 0.0
        elif option.name == privacies.RATIO and isinstance(option.value, int):
            found["noise_ratio"] = option.value
        elif isinstance(option.value, int) and option.name not in norms.NORM_OPTIONS:
            found[option.name] = option.value
    return found


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
