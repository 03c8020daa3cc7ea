"""Suite ``peers``: other people's code beside ours, the same work in the same run.

Each is used as its own documentation does, on the same vectors. The suites ``he``, ``mpc`` and ``plugins`` look closer;
this one takes the rows that stand for a round from them, at one size for all. What is not installed is reported as
missing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Final

from rich.console import Console

from benchmarks.federation import Options
from benchmarks.he.options import HeOptions
from benchmarks.mpc.options import MpcOptions
from benchmarks.mpc.suite import CRYPTEN_INSTALL
from benchmarks.results import Report, Row, machine
from benchmarks.suite import Suite, UsageError, installed
from secure_agg.errors import ConfigError

_BITS: Final = 16
_HEADROOM: Final = 100
_NEIGHBOURS: Final = 20
_AGGREGATORS: Final = 3
_MODULUS_BITS: Final = 2048
_STAGES: Final = ("encrypt", "add", "decrypt", "bytes", "error")
_BENCH: Final = "pip install '.[bench]'"


@dataclass(frozen=True)
class PeerOptions:
    """What the suite is run with.

    Attributes:
        params: length of a vector.
        clients: whose vectors are added up with CrypTen.
        repeat: repetitions of everything that is repeated.
    """

    params: int
    clients: int
    repeat: int

    @property
    def masking(self) -> Options:
        """The core suite's options."""
        return Options(self.params, _HEADROOM, _NEIGHBOURS, _BITS, 3 * self.repeat)

    @property
    def he(self) -> HeOptions:
        """The homomorphic suite's options."""
        return HeOptions(self.params, _HEADROOM, _BITS, self.repeat, _MODULUS_BITS)

    @property
    def mpc(self) -> MpcOptions:
        """Those of the suite of shared updates."""
        return MpcOptions(self.params, self.clients, _AGGREGATORS, _BITS, self.params, self.repeat)


@dataclass(frozen=True)
class Peer:
    """Somebody else's library.

    Attributes:
        name: for people.
        needs: packages; the first is the peer's own, and all are imported by these names.
        install: the command that brings them.
        rows: measures it and ours in turn.
    """

    name: str
    needs: tuple[str, ...]
    install: str
    rows: Callable[[PeerOptions], list[Row]]

    @property
    def missing(self) -> str:
        """Why it can't be measured here; empty if it can."""
        absent = [name for name in self.needs if not installed(name)]
        return f"{absent[0]} is not installed: run  {self.install}" if absent else ""


def _only(rows: list[Row], *keys: str) -> list[Row]:
    return [row for row in rows if row.key in keys]


def _without_targets(row: Row) -> Row:
    """Targets are stated at the sizes of their own suites, but that sums are exact at any."""
    return replace(row, targets=tuple(target for target in row.targets if target.limit == 0))


def _flower(options: PeerOptions) -> list[Row]:
    from benchmarks.peers import flower as flower_peer

    return flower_peer.rows(options.masking)


def _tenseal(options: PeerOptions) -> list[Row]:
    from benchmarks.he import lattice as he_lattice

    keys = [f"{name}.{stage}" for name in ("tenseal", "ckks", "bfv") for stage in _STAGES]
    return _only(he_lattice.rows(options.he), *keys)


def _phe(options: PeerOptions) -> list[Row]:
    from benchmarks.he import paillier as he_paillier

    return _only(
        he_paillier.rows(options.he), *(f"{name}.{stage}" for name in ("phe", "paillier") for stage in _STAGES)
    )


def _crypten(options: PeerOptions) -> list[Row]:
    from benchmarks.mpc import round as mpc_round

    rows = mpc_round.rows(options.mpc, with_peer=True)
    return _only(rows, "sum.add", "sum.share_and_add", "sum.round", "sum.error")


PEERS: Final = (
    Peer("Flower SecAgg+", ("flwr",), "pip install '.[flower]'", _flower),
    Peer("TenSEAL", ("tenseal",), _BENCH, _tenseal),
    Peer("phe", ("phe",), _BENCH, _phe),
    Peer("CrypTen", ("crypten", "torch"), CRYPTEN_INSTALL, _crypten),
)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=int, default=100_000, metavar="N", help="length of a vector (%(default)s)")
    parser.add_argument("--clients", type=int, default=10, metavar="N", help="clients of a sum (%(default)s)")
    parser.add_argument("--repeat", type=int, default=5, metavar="R", help="repetitions (%(default)s)")


def _run(arguments: argparse.Namespace) -> Report:
    options = PeerOptions(arguments.params, arguments.clients, arguments.repeat)
    try:
        _ = options.masking, options.he, options.mpc
    except (ValueError, ConfigError) as error:
        raise UsageError(str(error)) from error
    present = [peer for peer in PEERS if not peer.missing]
    stamp = machine(*(name for peer in present for name in peer.needs))
    progress = Console(stderr=True)
    rows: list[Row] = []
    for peer in present:
        with progress.status(peer.name):
            rows += map(_without_targets, peer.rows(options))
    missing = {peer.name: peer.missing for peer in PEERS if peer.missing}
    return Report("peers", stamp, asdict(options), tuple(rows), missing)


SUITE: Final = Suite(
    "others' code beside ours: Flower's SecAgg+ and pycryptodome's Shamir, TenSEAL, phe, CrypTen",
    _add_arguments,
    _run,
    quick=("--params", "2000", "--clients", "5", "--repeat", "1"),
)
