"""Which backend to choose, for how much trust there is and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from secure_agg import backends
from secure_agg.backends.contract import Backend
from secure_agg.errors import ConfigError
from secure_agg.planning.coefficients import Coefficients
from secure_agg.planning.limits import USUAL_COHORT, corruption_borne, most_bits, most_clients
from secure_agg.planning.prediction import Network, Prediction, predict
from secure_agg.planning.privacy import fewest_bits
from secure_agg.planning.setting import Setting
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.config import MAX_BITS, Option, Policy
from secure_agg.protocol.config.norm import bits_for

_USUAL_BITS: Final = 16
_SCREENING: Final = "screening"
"""The option of backends that test inputs: on where a norm is bounded, as in a round."""
_MOST_SERVERS: Final = 16
"""That are asked for."""


@dataclass(frozen=True)
class Needs:
    """What a federation has and wants.

    Attributes:
        parameters: of the model.
        clients: all of them.
        bits: per value; None lets the plan choose.
        dropout: share of the clients that fall silent in a round.
        servers: independent operators, of whom one is honest.
        key_holder: somebody apart from the servers may hold a decryption key.
        post_quantum: updates have to stay secret from a quantum computer that reads today's traffic later.
        robust: a sum is not enough: a norm that operators check, a trimmed mean or a median is needed.
        norm_bound: of every update, which every client proves; None where none is bounded.
        privacy: differential privacy of the task's results; None where none is wanted.
        min_clients: fewest whose sum is opened. The more the less noise privacy takes.
    """

    parameters: int
    clients: int
    bits: int | None = None
    dropout: float = 0.0
    servers: int = 1
    key_holder: bool = False
    post_quantum: bool = False
    robust: bool = False
    norm_bound: float | None = None
    privacy: Privacy | None = None
    min_clients: int = 3


@dataclass(frozen=True)
class Candidate:
    """A backend: what it would cost, or why not."""

    backend: str
    prediction: Prediction | None
    refused: str


@dataclass(frozen=True)
class Advice:
    """A recommendation.

    Attributes:
        backend: to choose; None where none fits.
        cohort: clients of one round.
        bits: per value.
        reasons: in words.
        candidates: all backends that were looked at, the cheapest first.
    """

    backend: str | None
    cohort: int
    bits: int
    reasons: tuple[str, ...]
    candidates: tuple[Candidate, ...]


def advise(needs: Needs, coefficients: Coefficients, network: Network) -> Advice:
    """Look at every backend that is installed and hides something.

    Raises:
        ConfigError: a need is out of range.
    """
    if needs.clients < 3 or needs.servers < 1:
        raise ConfigError(f"{needs.clients} clients and {needs.servers} servers: 3 and 1 are the fewest")
    if needs.bits is not None and not 2 <= needs.bits <= MAX_BITS:
        raise ConfigError(f"{needs.bits} bits a value are outside [2, {MAX_BITS}]")
    cohort, bits, reasons = _sizes(needs)
    hiding = [kind for kind in map(backends.load, backends.names()) if kind.trust.hides]
    looked = [_candidate(kind, needs, cohort, bits, coefficients, network) for kind in hiding]
    looked.sort(key=lambda one: one.prediction.seconds if one.prediction and not one.refused else float("inf"))
    if needs.robust:
        judges = [kind for kind in hiding if kind.trust.judges]
        reasons.append(
            f"Norms that operators check, trimmed means and medians are computed by {_quoted(judges)} alone, among 2 "
            "or more servers that have to stay; what it costs depends on the function: see `secure-agg bench mpc`."
        )
        fit = [kind.name for kind in judges if needs.servers > 1 and (kind.trust.lasting or not needs.post_quantum)]
        return Advice(fit[0] if fit else None, cohort, bits, (*reasons,), (*looked,))
    best = looked[0] if looked else None
    if best is None or best.refused or best.prediction is None:
        reasons.append("No backend fits: " + "; ".join(f"{one.backend}: {one.refused}" for one in looked) + ".")
        return Advice(None, cohort, bits, (*reasons,), (*looked,))
    reasons.append(
        f"`{best.backend}` takes the least time of those that the trust allows: {best.prediction.seconds:,.0f} s "
        "a round."
    )
    return Advice(best.backend, cohort, bits, (*reasons,), (*looked,))


def _quoted(kinds: Sequence[Backend]) -> str:
    return ", ".join(f"`{kind.name}`" for kind in kinds) or "no backend"


def _sizes(needs: Needs) -> tuple[int, int, list[str]]:
    """Clients of a round, and bits per value."""
    reasons = []
    bits, cohort = needs.bits or most_bits(needs.clients, needs.parameters), needs.clients
    if bits is None or cohort > most_clients(bits):
        cohort = min(USUAL_COHORT, most_clients(bits or _USUAL_BITS))
        bits = needs.bits or most_bits(cohort, needs.parameters) or _USUAL_BITS
        reasons.append(
            f"{needs.clients:,} clients are too many for one sum: with {bits} bits a value a commitment binds sums "
            f"of {most_clients(bits):,}. Draw a cohort of {cohort:,} for each round (`cohort_size`), which is safe "
            f"while at most {100 * corruption_borne(needs.clients, cohort, needs.dropout):.0f}% of all clients are "
            "corrupt; "
            f"{-(-needs.clients // cohort):,} rounds hear as many clients as there are. Sums of cohorts' sums are not "
            "implemented."
        )
    if needs.bits is None:
        reasons.append(
            f"{bits} bits a value: a coordinate takes 4 bytes anyway, and the smallest commitment holds sums of "
            f"{cohort:,} of them. What grows with the bits takes fewer."
        )
        if needs.norm_bound is not None:
            most, bits = bits, bits_for(cohort, needs.norm_bound, Policy.default(cohort).clip, bits)
            if bits < most:
                reasons.append(f"{bits} under this norm bound: sketches of longer vectors could not be summed.")
    return cohort, bits, reasons


def _candidate(
    kind: Backend, needs: Needs, cohort: int, bits: int, coefficients: Coefficients, network: Network
) -> Candidate:
    refused = ""
    try:
        policy = Policy.default(cohort, backend=kind.name, privacy=needs.privacy, min_clients=needs.min_clients)
        seats, options = kind.seats(policy).count, tuple[Option, ...]()
        shared, held = (seats if kind.shares else 0), (seats if kind.keys else 0)
        refused = "; ".join(_objections(kind, needs, shared, held))
        if shared and needs.servers > 1 and any(rule.name == "aggregators" for rule in kind.options):
            options = (Option("aggregators", min(needs.servers, _MOST_SERVERS)),)
        if needs.bits is None:
            bits = min(bits, kind.usual_bits(cohort))
            if policy.privacy is not None:
                bits = max(bits, fewest_bits(policy.privacy, needs.parameters, policy.max_clients) or bits)
        if needs.norm_bound is not None and any(rule.name == _SCREENING for rule in kind.options):
            options = (*options, Option(_SCREENING, 1))
        setting = Setting(
            kind.name,
            needs.parameters,
            cohort,
            bits,
            needs.dropout,
            options=options,
            norm_bound=needs.norm_bound,
            privacy=needs.privacy,
            min_clients=needs.min_clients,
        )
        return Candidate(kind.name, predict(setting, coefficients, network), refused)
    except ConfigError as error:
        return Candidate(kind.name, None, refused or str(error.args[0]))


def _objections(kind: Backend, needs: Needs, shared: int, holders: int) -> list[str]:
    """Args:
    shared: operators among whom updates are shared.
    holders: of a decryption key.
    """
    found = []
    if shared and needs.servers < 2:
        found.append("needs two independent servers")
    if holders and not needs.key_holder:
        found.append("needs a key holder apart from the aggregator")
    if needs.post_quantum and not kind.trust.lasting:
        found.append("its secrets open to a quantum computer")
    return found
