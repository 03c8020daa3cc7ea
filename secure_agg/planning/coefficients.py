"""What one of each amount takes, by backend, role and phase: fitted to measured rounds, and kept in a file.

A cost is a sum of amounts times coefficients, none of which is negative. The package has the coefficients of one
machine; ``python -m benchmarks fit`` makes such a file from measured rounds of another.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from secure_agg import files
from secure_agg.errors import ConfigError
from secure_agg.protocol.ready import ready

SECONDS: Final = "seconds"
SENT: Final = "sent"
RECEIVED: Final = "received"
MEMORY: Final = "memory"
FIGURES: Final = (SECONDS, SENT, RECEIVED, MEMORY)
_LARGEST: Final = 1 << 22
_SHIPPED: Final = Path(__file__).with_name("coefficients.json")


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure of one party.

    Attributes:
        role: whose.
        phase: of the round, or a step of one; empty for memory, which is of the whole round.
        figure: one of ``FIGURES``: seconds of processor time, bytes sent, received, or held at most.
        per: coefficients by the name of the amount, see ``Setting.amounts``.
    """

    role: str
    phase: str
    figure: str
    per: dict[str, float]

    def __post_init__(self) -> None:
        if self.figure not in FIGURES or not all(math.isfinite(each) and each >= 0 for each in self.per.values()):
            raise ValueError(f"{self.role}, {self.phase}: no {self.figure!r} with these coefficients")

    def of(self, amounts: Mapping[str, float]) -> float:
        """The figure for these amounts; one that a backend no longer has counts nothing."""
        return sum(each * amounts.get(name, 0.0) for name, each in self.per.items())


class Fitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A backend's.

    Attributes:
        cells: settings that were measured.
        parameters, clients, bits: the least and the most of them.
        errors: of cells that were left out of the fit, by figure: the median and the 90th percentile of the larger of
            predicted and measured over the smaller, for a party's whole round. None of memory where all of it was too
            little to be told.
        terms: by role, phase and figure.
    """

    cells: int
    parameters: tuple[int, int]
    clients: tuple[int, int]
    bits: tuple[int, int]
    errors: dict[str, tuple[float, float]]
    terms: tuple[Term, ...]


class Coefficients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of a machine.

    Attributes:
        machine: its name, for people.
        date: of the measurements.
        load: of the machine meanwhile, in words.
        versions: of what was measured, by package.
        backends: what was fitted for each.
    """

    machine: str
    date: str
    load: str
    versions: dict[str, str]
    backends: dict[str, Fitted]

    def fitted(self, backend: str) -> Fitted:
        """A backend's.

        Raises:
            ConfigError: none of its rounds was measured.
        """
        if backend not in self.backends:
            raise ConfigError(
                f"no plan is made for backend {backend!r}: {', '.join(self.backends)} have been measured; measure it "
                "by `python -m benchmarks rounds --spread`, then `python -m benchmarks fit`"
            )
        return self.backends[backend]

    def scaled(self, factor: float, machine: str, date: str) -> Coefficients:
        """For a machine on which everything takes ``factor`` times as long; bytes and memory stay."""
        slowed = {
            name: msgspec.structs.replace(one, terms=tuple(_slowed(term, factor) for term in one.terms))
            for name, one in self.backends.items()
        }
        load = f"scaled by {factor:.3g} from {self.machine}, {self.date}"
        return msgspec.structs.replace(self, machine=machine, date=date, load=load, backends=slowed)

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        files.replace(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @staticmethod
    def load_file(path: Path) -> Coefficients:
        """Read what ``save`` wrote.

        Raises:
            ConfigError: it can't be read, or is something else.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST + 1)
            if len(data) > _LARGEST:
                raise ValueError(f"it is larger than {_LARGEST} bytes")
            return msgspec.json.decode(data, type=ready(Coefficients))
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise ConfigError(f"{path} holds no coefficients of a machine: {error}") from error


def _slowed(term: Term, factor: float) -> Term:
    if term.figure != SECONDS:
        return term
    return msgspec.structs.replace(term, per={name: factor * each for name, each in term.per.items()})


@functools.cache
def shipped() -> Coefficients:
    """Those that the package has."""
    return Coefficients.load_file(_SHIPPED)
