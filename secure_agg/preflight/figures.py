"""Numbers of a policy by name: what it bears, what its results may be off by and tell, and what its rounds cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from secure_agg import backends
from secure_agg.backends.contract import Backend, PhaseKind
from secure_agg.errors import ConfigError
from secure_agg.planning import words as planned
from secure_agg.planning.coefficients import Coefficients
from secure_agg.planning.limits import header_bytes, remarks
from secure_agg.planning.prediction import Network, Prediction, predict
from secure_agg.planning.setting import Setting
from secure_agg.preflight.subject import Subject
from secure_agg.preflight.words import norm_claim
from secure_agg.privacy import accounting
from secure_agg.privacy.accounting import BEYOND, DELTA_UNIT, EPSILON_UNIT
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.privacy import PrivacyRule, most_honest
from secure_agg.protocol.evidence import MAX_HEADER
from secure_agg.protocol.norm.claim import NormClaim

LEAST: Final = "least"
MOST: Final = "most"


@dataclass(frozen=True)
class Kind:
    """What a figure is.

    Attributes:
        name: under which limits ask for it.
        unit: of its value; empty for a plain number.
        bound: ``least`` where more of it is better, ``most`` where less is: a limit is that.
        text: what it counts.
        absent: why a policy has none, where it may not have any.
    """

    name: str
    unit: str
    bound: str
    text: str
    absent: str = ""


_NO_COSTS: Final = "the model's size is not known: say how many parameters it has"
_NO_PRIVACY: Final = "the policy has no differential privacy"
_NO_NORM: Final = "the policy bounds no norm"
ROLES: Final = ("client", "aggregator", "shareholder", "keyholder")
_COSTS: Final = (
    ("seconds", "s", "of processor time that one {} takes in a round"),
    ("sent", "bytes", "that one {} sends in a round"),
    ("received", "bytes", "that one {} receives in a round"),
    ("memory", "bytes", "that one {} holds at most, above an idle process and the update"),
)
KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("quorum", "clients", LEAST, "in every sum that is opened, at least, and signing it"),
        Kind("dropouts", "clients", LEAST, "of a round that may be missing, and it still ends"),
        Kind("corrupt", "clients", LEAST, "of a round that may be corrupt, in league with the aggregator"),
        Kind("corrupt_share", "", LEAST, "of all clients that may be corrupt"),
        Kind("honest", "clients", LEAST, "honest in every sum, if no more are corrupt than may be"),
        Kind("error", "", MOST, "that rounding moves a value of the mean by, in the units of the update"),
        Kind("noise", "clips", MOST, "of length of the noise in a mean; an update has one at most", _NO_PRIVACY),
        Kind("norm", "", MOST, "that an update's L2 norm is, at the largest weight", _NO_NORM),
        Kind("factor", "", MOST, "times that norm, which corrupt clients reach together, per head", _NO_NORM),
        Kind("epsilon", "", MOST, "that all rounds together spend of one client's privacy", _NO_PRIVACY),
        Kind("delta", "", MOST, "chance that they tell more", _NO_PRIVACY),
        Kind("rounds", "rounds", LEAST, "that the privacy budget has left", _NO_PRIVACY),
        Kind("seconds", "s", MOST, "from the first request of a round to the last verified result", _NO_COSTS),
        *(
            Kind(f"{role}.{name}", unit, MOST, text.format(role), _NO_COSTS)
            for role in ROLES
            for name, unit, text in _COSTS
        ),
    )
}
"""All figures, by name."""


@dataclass(frozen=True)
class Figure:
    """A number.

    Attributes:
        kind: what of.
        value: None where there is none.
        absent: why not.
    """

    kind: Kind
    value: float | None
    absent: str = ""

    @property
    def text(self) -> str:
        """The value with its unit, for people."""
        return said(self.kind, self.value)


def said(kind: Kind, value: float | None) -> str:
    """A value of a figure with its unit, for people."""
    if value is None:
        return "–"
    if kind.name == "corrupt_share":
        return f"{100 * value:.3g}%"
    if kind.unit == "s":
        return planned.seconds(value)
    if kind.unit == "bytes":
        return planned.size(value)
    number = f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
    unit = kind.unit.removesuffix("s") if value == 1 else kind.unit
    return f"{number} {unit}".strip()


@dataclass(frozen=True)
class Measured:
    """All of a subject.

    Attributes:
        figures: by name; all of ``KINDS`` but those of roles that the backend has not.
        refused: why no round of it could be, in words; empty where one could.
        prediction: None where the model's size or the backend's costs are not known.
        unpredicted: why not.
        epsilon_now: ε that is spent already, in millionths; None without privacy.
        weight_limit: the largest weight that rounds can have, where the policy names a larger one.
    """

    figures: dict[str, Figure]
    refused: tuple[str, ...]
    prediction: Prediction | None
    unpredicted: str
    epsilon_now: int | None
    weight_limit: int | None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has to be known of the figures."""
        said_of, found = [], self.prediction
        if found is not None:
            said_of = remarks(found)
            setting = found.setting
            if setting.policy.privacy is not None:
                said_of.append("Not counted: drawing the noise, which no measured round did.")
            phases = setting.kind.phases(setting.config)
            if setting.kind.is_sparse(setting.config) and any(one.kind is PhaseKind.RELEASE for one in phases):
                said_of.append("Clients mask with some others only: once they have begun a tenth of them may be lost.")
        if self.weight_limit is not None:
            said_of.append(f"A round in which somebody weighs more than {self.weight_limit:,} is refused.")
        noise = self.figures["noise"].value
        if noise is not None and noise > 1:
            said_of.append(f"The noise of a mean is {noise:.3g} times as long as the longest update.")
        return tuple(said_of)


def measure(subject: Subject, coefficients: Coefficients, network: Network) -> Measured:
    """All numbers of a subject.

    Raises:
        ConfigError: its backend is not installed.
    """
    policy, kind = subject.policy, backends.load(subject.policy.backend)
    setting, refused = _round(subject, kind)
    prediction, why = _predict(subject, setting, refused, coefficients, network)
    values: dict[str, float | None] = {
        "quorum": subject.needed,
        "dropouts": max(0, subject.cohort - max(policy.min_advertised, subject.needed)),
        "corrupt": policy.max_corrupt,
        "corrupt_share": float(policy.bearable(subject.clients)),
        "honest": honest(policy, subject.cohort, kind),
        "error": policy.worst_error(subject.weight_limit),
    }
    missing: dict[str, str] = {}
    if claim := _norm(subject):
        values["norm"], values["factor"] = claim.bound, claim.factor / 100 or None
        missing["factor"] = f"no such number is known for {policy.max_corrupt} corrupt clients"
    rule = policy.privacy
    if rule is not None:
        values |= _privacy(subject, rule)
        missing["noise"] = _NO_COSTS if subject.parameters is None else "there is no room for it"
        missing["epsilon"] = "it is more than can be said"
    roles = ("client", "aggregator", *(("shareholder",) if kind.shares else ()), *(("keyholder",) if kind.keys else ()))
    if prediction is not None:
        values["seconds"] = prediction.seconds
        for role in prediction.roles:
            values[f"{role}.seconds"] = prediction.processor(role)
            values[f"{role}.sent"] = prediction.sent(role)
            values[f"{role}.received"] = prediction.received(role)
            values[f"{role}.memory"] = prediction.memory.get(role)
    figures = {}
    for name, one in KINDS.items():
        role = name.partition(".")[0]
        if role in ROLES and role not in roles:
            continue
        absent = missing.get(name, why if one.absent == _NO_COSTS else one.absent)
        value = values.get(name)
        figures[name] = Figure(one, value, "" if value is not None else absent)
    now = None if rule is None else accounting.spent(subject.spent, rule.delta, rule.epsilon)
    least = None if policy.weight_scale or subject.weight_limit == policy.max_weight else subject.weight_limit
    return Measured(figures, tuple(refused), prediction, why, now, least)


def _norm(subject: Subject) -> NormClaim | None:
    """None too where a round would be refused for it, which is said elsewhere."""
    try:
        return norm_claim(subject.policy, subject.weight_limit)
    except ConfigError:
        return None


def honest(policy: Policy, cohort: int, kind: Backend) -> int:
    """Clients of every sum that are honest, at least."""
    quorum = policy.quorum(cohort) if kind.clients_sign else 0
    return max(0, most_honest(policy.min_clients, quorum, policy.max_corrupt))


def _round(subject: Subject, kind: Backend) -> tuple[Setting | None, list[str]]:
    """A round of it, and why there could be none: what the parties themselves would refuse, and in the same words."""
    policy, found, setting = subject.policy, list[str](), None
    if policy.cohort_size > subject.clients:
        found.append(f"a cohort of {policy.cohort_size} can't be drawn from {subject.clients} members")
    if subject.needed > policy.min_advertised:
        found.append(
            f"a round goes on with min_advertised = {policy.min_advertised} clients, and only {subject.needed} of "
            f"{subject.cohort} can end it: min_advertised = {subject.needed} would do"
        )
    try:
        kind.check_policy(policy)
        setting = Setting.of(policy, subject.parameters or 1, subject.clients, subject.lost, subject.weight_limit)
    except ConfigError as error:
        found.append(str(error.args[0]))
    rule = policy.privacy
    if rule is not None and subject.rounds is not None and subject.rounds > (most := _rounds(subject, rule)):
        ratio = accounting.calibrated(subject.rounds, rule.delta, rule.epsilon)
        found.append(
            f"the privacy budget, epsilon = {rule.epsilon / EPSILON_UNIT:g}, is for {most} rounds, "
            f"{sum(subject.spent.values())} of which have been, and {subject.rounds} are asked for: clients refuse the "
            f"next. rounds = {most} or, from the first round on, {ratio / rule.ratio:.3g} times the noise's variance "
            "would do"
        )
    return setting, found


def _rounds(subject: Subject, rule: PrivacyRule) -> int:
    """How many rounds of the task a client takes part in before its budget is spent, those that have been with them."""
    done = Counter(subject.spent)
    if set(done) <= {rule.ratio}:
        return rule.rounds
    low, high = 0, rule.rounds
    while low < high:
        middle = (low + high + 1) // 2
        fits = accounting.spent(done + Counter({rule.ratio: middle}), rule.delta, rule.epsilon) <= rule.epsilon
        low, high = (middle, high) if fits else (low, middle - 1)
    return done.total() + low


def _privacy(subject: Subject, rule: PrivacyRule) -> dict[str, float | None]:
    """What rounds spend, and how long the noise of their means is."""
    policy, done = subject.policy, Counter(subject.spent)
    most = _rounds(subject, rule)
    more = max(0, min(most, subject.rounds or most) - done.total())
    after = accounting.spent(done + Counter({rule.ratio: more}), rule.delta, rule.epsilon)
    found: dict[str, float | None] = {
        "epsilon": None if after >= BEYOND else after / EPSILON_UNIT,
        "delta": rule.delta / DELTA_UNIT,
        "rounds": max(0, most - done.total()),
    }
    if subject.parameters is not None:
        try:
            made = rule.mechanism_of(subject.parameters, policy.max_clients, policy.top // 2)
            found["noise"] = made.noise(subject.cohort)
        except ConfigError:  # said as a refusal
            found["noise"] = None
    return found


def _predict(
    subject: Subject, setting: Setting | None, refused: list[str], coefficients: Coefficients, network: Network
) -> tuple[Prediction | None, str]:
    """What a round costs; where that is not known why."""
    if subject.parameters is None:
        return None, _NO_COSTS
    if setting is None or refused:
        return None, "no round of this policy could be"
    try:
        found = predict(setting, coefficients, network)
    except ConfigError as error:
        return None, str(error.args[0])
    if header_bytes(found) > MAX_HEADER:
        refused.append(
            f"evidence of a round would have {header_bytes(found):,.0f} bytes besides the sum, above {MAX_HEADER:,}: "
            "a smaller cohort would do"
        )
    return found, ""
