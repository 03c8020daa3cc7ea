"""Which backend to choose, for how much trust there is and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.planning.constants import Constants
from secure_agg.planning.limits import USUAL_COHORT, corruption_borne, most_bits, most_clients
from secure_agg.planning.prediction import Network, Prediction, predict
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import MAX_BITS, Option

_USUAL_BITS: Final = 16
_ENCRYPTED: Final = ("bfv", "ckks", "paillier")


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
        robust: a sum is not enough: a norm bound per client, a trimmed mean or a median is needed.
    """

    parameters: int
    clients: int
    bits: int | None = None
    dropout: float = 0.0
    servers: int = 1
    key_holder: bool = False
    post_quantum: bool = False
    robust: bool = False


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


def advise(needs: Needs, constants: Constants, network: Network) -> Advice:
    """Look at every backend.

    Raises:
        ConfigError: a need is out of range.
    """
    if needs.clients < 3 or needs.servers < 1:
        raise ConfigError(f"{needs.clients} clients and {needs.servers} servers: 3 and 1 are the fewest")
    if needs.bits is not None and not 2 <= needs.bits <= MAX_BITS:
        raise ConfigError(f"{needs.bits} bits a value are outside [2, {MAX_BITS}]")
    cohort, bits, reasons = _sizes(needs)
    looked = [
        _candidate(backend, needs, cohort, bits, constants, network)
        for backend in ("masking", "additive", "bfv", "ckks", "paillier")
    ]
    looked.sort(key=lambda one: one.prediction.seconds if one.prediction and not one.refused else float("inf"))
    best = looked[0]
    if needs.robust:
        reasons.append(
            "Norm bounds, trimmed means and medians are computed by `crypten` alone, among 2 or more servers that have "
            "to stay; its cost depends on the function and is measured by `secure-agg bench mpc`."
        )
        return Advice(
            "crypten" if needs.servers > 1 and not needs.post_quantum else None, cohort, bits, (*reasons,), (*looked,)
        )
    if best.refused or best.prediction is None:
        reasons.append("No backend fits: " + "; ".join(f"{one.backend}: {one.refused}" for one in looked) + ".")
        return Advice(None, cohort, bits, (*reasons,), (*looked,))
    reasons.append(
        f"`{best.backend}` takes the least time of those that the trust allows: {best.prediction.seconds:,.0f} s "
        "a round."
    )
    return Advice(best.backend, cohort, bits, (*reasons,), (*looked,))


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
            f"while at most {100 * corruption_borne(needs.clients, cohort):.0f}% of all clients are corrupt; "
            f"{-(-needs.clients // cohort):,} rounds hear as many clients as there are. Sums of cohorts' sums are not "
            "implemented."
        )
    if needs.bits is None:
        reasons.append(
            f"{bits} bits a value: a coordinate takes 4 bytes anyway, and the smallest commitment holds sums of "
            f"{cohort:,} of them. Ciphertexts grow with the bits, so there it is {min(bits, _USUAL_BITS)}."
        )
    return cohort, bits, reasons


def _candidate(backend: str, needs: Needs, cohort: int, bits: int, constants: Constants, network: Network) -> Candidate:
    refused = "; ".join(_objections(backend, needs))
    if needs.bits is None and backend in _ENCRYPTED:
        bits = min(bits, _USUAL_BITS)
    options: Sequence[Option] = ()
    if backend == "additive" and needs.servers > 1:
        options = (Option("aggregators", min(needs.servers, 16)),)
    try:
        setting = Setting(backend, needs.parameters, cohort, bits, needs.dropout, options=tuple(options))
        return Candidate(backend, predict(setting, constants, network), refused)
    except ConfigError as error:
        return Candidate(backend, None, refused or str(error.args[0]))


def _objections(backend: str, needs: Needs) -> list[str]:
    found = []
    if backend == "additive" and needs.servers < 2:
        found.append("needs two independent servers")
    if backend in _ENCRYPTED and not needs.key_holder:
        found.append("needs a key holder apart from the aggregator")
    if needs.post_quantum and backend in ("masking", "additive", "paillier"):
        found.append("its secrets open to a quantum computer")
    return found
