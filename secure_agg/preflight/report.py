"""``check``: what a policy or a home would be worth, in numbers and words, and which limits it breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from secure_agg import backends
from secure_agg.arguments import checked
from secure_agg.errors import ConfigError, LimitBroken
from secure_agg.planning.coefficients import Coefficients, shipped
from secure_agg.planning.prediction import Network
from secure_agg.preflight import homes
from secure_agg.preflight.figures import Figure, Measured, measure
from secure_agg.preflight.limits import REFUSED, Broken, broken, check_limits, keeps
from secure_agg.preflight.subject import Subject
from secure_agg.preflight.unprotected import Gap, gaps
from secure_agg.preflight.ways import ways_of
from secure_agg.preflight.words import price
from secure_agg.privacy.accounting import BEYOND, EPSILON_UNIT
from secure_agg.protocol.config import Policy
from secure_agg.roles.trust import Trust


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        subject: what was looked at.
        figures: all numbers, by name.
        limits: that were asked for, by the names of figures.
        broken: those that don't hold, and whatever the parties themselves would refuse.
        unprotected: what nothing protects.
        price: what draws and dropouts cost in trust.
        measured: what the figures are from.
        machine: whose seconds they are.
    """

    subject: Subject
    figures: Mapping[str, Figure]
    limits: Mapping[str, float]
    broken: tuple[Broken, ...]
    unprotected: tuple[Gap, ...]
    price: str
    measured: Measured
    machine: str

    @property
    def fits(self) -> bool:
        """Whether rounds could be, and all limits hold."""
        return not self.broken

    def require(self) -> None:
        """For programs that go on only where everything holds.

        Raises:
            LimitBroken: something does not; says what would do.
        """
        if self.broken:
            more = f" (and {len(self.broken) - 1} more)" if len(self.broken) > 1 else ""
            raise LimitBroken(f"{self.broken[0].text}{more}")

    def document(self) -> dict[str, Any]:
        """All of it in JSON types. There are no keys in it, nor anything else that is secret."""
        subject, policy, found = self.subject, self.subject.policy, self.measured.prediction
        kind, now = backends.load(policy.backend), self.measured.epsilon_now
        return {
            "fits": self.fits,
            "task": subject.task,
            "backend": policy.backend,
            "clients": subject.clients,
            "cohort": subject.cohort,
            "operators": kind.seats(policy).count,
            "operators_needed": kind.seats(policy).needed,
            "parameters": subject.parameters,
            "rounds": subject.rounds,
            "bits": policy.bits,
            "clip": policy.clip,
            "max_weight": policy.max_weight,
            "price": self.price,
            "party": asdict(subject.party) if subject.party else None,
            "pins": asdict(subject.pins) if subject.pins else None,
            "figures": {
                name: {
                    "value": figure.value,
                    "unit": figure.kind.unit,
                    "bound": figure.kind.bound,
                    "limit": self.limits.get(name),
                    "text": f"{figure.text} {figure.kind.text}" if figure.value is not None else figure.absent,
                }
                for name, figure in self.figures.items()
            },
            "epsilon_now": None if now is None or now >= BEYOND else now / EPSILON_UNIT,
            "epsilon_by": subject.spent_by,
            "machine": self.machine if found else None,
            "broken": [asdict(one) for one in self.broken],
            "not_protected": {gap.name: gap.text for gap in self.unprotected},
            "remarks": list(self.measured.remarks),
        }


@checked
def check(
    source: str | Path | Policy | Trust | Subject,
    *,
    clients: int | None = None,
    task: str | None = None,
    parameters: int | None = None,
    rounds: int | None = None,
    lost: float | None = None,
    limits: Mapping[str, float] | None = None,
    coefficients: Coefficients | None = None,
    network: Network | None = None,
) -> Report:
    """What a policy bears, costs and leaves open, before a round is made by it.

    Args:
        source: a policy; pins; or a path: of a home, of a federation's folder, of a ledger, of a trust file, of a
            policy as JSON or of a file of settings.
        clients: members of the roster, where the source doesn't say.
        task: which of several that are pinned.
        parameters: of the model; without them nothing is said of costs. A home that has a model says it itself.
        rounds: of the task, those that have been among them; by default what a privacy budget is for.
        lost: share of the clients that fall silent in a round after they have begun; by default none.
        limits: by the names of figures (``secure_agg.preflight.figures.KINDS``); beside those that a file sets.
        coefficients: of the machine whose seconds count; by default the shipped.
        network: between the parties.

    Raises:
        ConfigError: the source is none, or a number is out of range. A limit that is broken raises nothing here: see
            ``Report.require``.
        LedgerError, StoreError: of a home.
    """
    subject, asked = _subject(source, clients, task)
    said = homes.given({"parameters": parameters, "rounds": rounds, "lost": lost})
    subject = replace(subject, **said)
    asked |= check_limits(limits or {})
    machine, link = coefficients or shipped(), network or Network()
    found = measure(subject, machine, link)
    return Report(
        subject=subject,
        figures=found.figures,
        limits=asked,
        broken=_broken(subject, found, asked, machine, link),
        unprotected=gaps(subject, found),
        price=price(subject.policy, subject.clients),
        measured=found,
        machine=f"{machine.machine}, {machine.date}",
    )


def _subject(
    source: str | Path | Policy | Trust | Subject, clients: int | None, task: str | None
) -> tuple[Subject, dict[str, float]]:
    if isinstance(source, Subject):
        return source, {}
    if isinstance(source, Trust):
        return homes.of_trust(source, task), {}
    if isinstance(source, Policy):
        if clients is None:
            raise ConfigError("a policy doesn't say of how many clients: say clients=")
        return Subject(policy=source, clients=clients, task=task), {}
    return homes.read(Path(source), task, clients)


def _broken(
    subject: Subject, found: Measured, limits: Mapping[str, float], coefficients: Coefficients, network: Network
) -> tuple[Broken, ...]:
    refused = tuple(Broken(REFUSED, "", None, None, text) for text in found.refused)
    kept = {name: limit for name, limit in limits.items() if keeps(found.figures.get(name), limit)}
    said = []
    for name, limit in limits.items():
        if name in kept:
            continue
        if name not in found.figures:
            role = name.partition(".")[0]
            raise ConfigError(f"limit {name}: backend {subject.policy.backend!r} has no {role}")
        ways = ways_of(subject, name, limit, kept, coefficients, network)
        said.append(broken(found.figures[name], limit, ways))
    return (*refused, *said)
