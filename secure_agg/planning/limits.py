"""How far a setting can go, and what is known of it beyond: refused, not implemented, extrapolated."""

from __future__ import annotations

import math
from typing import Final

from secure_agg.backends.contract import PhaseKind
from secure_agg.errors import ConfigError
from secure_agg.planning.prediction import CLIENT, Prediction
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import MAX_BITS
from secure_agg.protocol.config.thresholds import (
    MOST_DROPOUT,
    USUAL_DROPOUT,
    bearable,
    least_advertised,
    most_corrupt,
)
from secure_agg.protocol.evidence import MAX_HEADER
from zk import parameters
from zk.parameters import InsecureParametersError

USUAL_COHORT: Final = 1000
"""Clients that are drawn for a round where all of them are too many for one."""
_GIGABYTE: Final = 1e9
_FEWER: Final = 8
_LARGE_MEMORY: Final = 8 * _GIGABYTE


def most_clients(bits: int) -> int:
    """The largest cohort whose sums of values of ``bits`` bits a commitment still binds."""
    return 1 << (max(parameters.WIDTH_LIMIT.values()) - max(bits, parameters.NARROW_NOISE_BITS))


def most_bits(clients: int, values: int) -> int | None:
    """The most bits per value that never take more than the 4 bytes of an element (fewer may take less, see
    ``backends.packed``), nor a larger commitment than the smallest. None where the cohort is too large for any.
    """
    fits: dict[int, int] = {}
    for bits in range(2, MAX_BITS + 1):
        try:
            fits[bits] = parameters.choose(bits, clients, values).rank
        except InsecureParametersError:
            break
    return max((bits for bits, rank in fits.items() if rank == min(fits.values())), default=None)


def corruption_borne(clients: int, cohort: int, dropout: float = USUAL_DROPOUT) -> float:
    """The largest share of all clients that may be corrupt, in whole hundredths, for a drawn cohort to be safe."""
    least = least_advertised(cohort, 3, min(max(dropout, USUAL_DROPOUT), MOST_DROPOUT))
    borne = bearable(clients, cohort, least, most_corrupt(cohort, least))
    return math.floor(100 * borne) / 100


def header_bytes(found: Prediction) -> float:
    """What a client receives besides the sum: evidence about all others."""
    return found.received(CLIENT) - found.setting.sum_bytes


def remarks(found: Prediction) -> list[str]:
    """What has to be known of a prediction: where it leaves what was measured, and what stands against it."""
    setting, fitted = found.setting, found.fitted
    said = []
    beyond = [
        f"{value:,} {name} ({least:,} to {most:,})"
        for name, value, (least, most) in (
            ("parameters", setting.parameters, fitted.parameters),
            ("clients", setting.clients, fitted.clients),
            ("bits", setting.bits, fitted.bits),
        )
        if not least <= value <= most
    ]
    if beyond:
        said.append(f"Extrapolated from what was measured (in brackets): {', '.join(beyond)}.")
    if setting.options:
        chosen = ", ".join(f"{option.name} {option.value}" for option in setting.options)
        said.append(f"Extrapolated: rounds with {chosen} may not have been measured.")
    if setting.norm_bound is not None and not any("sketches" in term.per for term in fitted.terms):
        said.append("Not counted: sketches and norm proofs, which no measured round had.")
    if setting.privacy is not None:
        said.append("Not counted: rotation and noise, which no measured round had; see `secure-agg bench privacy`.")
    if found.unknown:
        said.append(f"Not counted: no measured round had {', '.join(found.unknown)}.")
    header = header_bytes(found)
    if header > setting.sum_bytes:
        said.append(
            f"Most of what a client receives ({header / 1e6:,.1f} MB) is evidence about the other clients, "
            f"{setting.commitment_bytes:,} bytes for a commitment of each: draw smaller cohorts, or let auditors check."
        )
    if header > MAX_HEADER:
        said.append(f"Refused: evidence may have {MAX_HEADER:,} bytes besides the sums: draw a smaller cohort.")
    heaviest = max(found.memory, key=lambda role: found.memory[role], default="")
    if heaviest and found.memory[heaviest] > _LARGE_MEMORY:
        count = round(found.memory[heaviest] / _LARGE_MEMORY) + 1
        said.append(
            f"Memory: {found.memory[heaviest] / _GIGABYTE:,.0f} GB at the {heaviest}. As {count} shards, each a task "
            f"of its own, it would be {found.memory[heaviest] / _GIGABYTE / count:,.1f} GB at a time; the shards' "
            "rounds are then the caller's to run, and nothing binds them to one another yet."
        )
    said.extend(_shorter(setting))
    policy, clients = setting.policy, setting.clients
    said.append(
        f"Trust: {clients - policy.min_advertised:,} of {clients:,} clients may be missing, so at most "
        f"{policy.max_corrupt:,} ({policy.max_corrupt / clients:.1%}) may be corrupt, in league with the aggregator. "
        "The more may be missing (--dropout) the fewer."
    )
    kinds = {phase.kind for phase in setting.kind.phases(setting.config)}
    if setting.lost > setting.clients // 10 and PhaseKind.RELEASE in kinds:
        said.append("More clients are lost than degrees and thresholds are made for, a tenth: expect rounds to abort.")
    return said


def _shorter(setting: Setting) -> list[str]:
    """With how many bits a hidden vector would take a tenth less, where few bits fewer do."""
    size = setting.kind.usual_size(setting.config)
    for bits in range(setting.bits - 1, max(1, setting.bits - _FEWER), -1):
        try:
            shorter = setting.kind.usual_size(setting.with_bits(bits).config)
        except ConfigError:  # a norm bound may take more
            break
        if shorter < 0.9 * size:
            now, then = size / setting.parameters, shorter / setting.parameters
            return [f"With {bits} bits a parameter would be hidden in {then:,.2f} bytes instead of {now:,.2f}."]
    return []
