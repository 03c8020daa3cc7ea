"""What needs an extra: the modules that can't be imported without it, and public calls that refuse to start.

Data for a test in an environment of a single extra (``smoke.py``), and for one in a process in which nothing optional
can be imported (``test_needs.py``).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

import secure_agg
from mpc.optional import MissingPackage
from secure_agg.errors import MissingExtra

PACKAGES: Final = ("secure_agg", "mpc", "zk")
NORM_BOUND: Final = {"options": {"norm_bound_milli": 60_000}}

MODULES: Final[Mapping[str, str]] = {
    "mpc.kernels.compiling": "fast",
    "secure_agg.backends.crypten.engine.functions": "mpc",
    "secure_agg.backends.crypten.engine.kernels": "mpc",
    "secure_agg.backends.crypten.engine.provider": "mpc",
    "secure_agg.ledger.evm.node": "evm",
    "secure_agg.ledger.evm.reader": "evm",
    "secure_agg.ledger.evm.registry": "evm",
    "secure_agg.plugins.flower": "flower",
    "secure_agg.plugins.nvflare": "nvflare",
    "secure_agg.service.paced": "service",
}
"""Extra by module. All that is not below one of these is imported with the base install."""


def _sum(**settings: object) -> object:
    return secure_agg.aggregate({name: [np.zeros(3)] for name in "abcd"}, **settings)  # type: ignore[arg-type]


def _call(name: str, *arguments: object) -> object:
    """Call ``module:function``, imported here: a module may be one that its extra brings."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found(*arguments)


CALLS: Final[tuple[tuple[tuple[str, ...], str, Callable[[], object]], ...]] = (
    (("he",), "backend bfv", lambda: _sum(backend="bfv")),
    (("he",), "backend ckks", lambda: _sum(backend="ckks")),
    (("paillier",), "backend paillier", lambda: _sum(backend="paillier")),
    (("mpc",), "backend crypten", lambda: _sum(backend="crypten", **NORM_BOUND)),
    (("mpc",), "parties of crypten", lambda: _call("secure_agg.backends.crypten.engine.loader:require")),
    (("ray",), "executor ray", lambda: _sum(executor="ray:1")),
    (("operators",), "a server of operators", lambda: _call("secure_agg.transport.server:OperatorServer", *[None] * 4)),
    (("operators",), "a client of operators", lambda: _call("secure_agg.transport.client:_Link", None, None, 1)),
    (("beacon",), "pins of a beacon", lambda: _call("secure_agg.beacon.source:quicknet", 5)),
    (("beacon",), "BLS signatures", lambda: _call("zk.bls:public_key", bytes(31) + b"\x01")),
    (("evm", "beacon"), "commitments on a curve", lambda: _call("zk.kzg:powers")),
    (("evm",), "a chain's node", lambda: _call("secure_agg.ledger.evm.node:connect", "http://127.0.0.1:1")),
    (("flower",), "the plug-in for Flower", lambda: _call("secure_agg.plugins.flower:SecureGrid", None)),
    (("nvflare",), "the plug-in for NVFlare", lambda: _call("secure_agg.plugins.nvflare:secure", None)),
    (("demo",), "data of the demo", lambda: _call("secure_agg.fl.datasets:load", "digits", 0)),
    (("examples",), "data of the examples", lambda: _call("secure_agg.fl.datasets:mnist")),
    (("service",), "a member's link", lambda: _call("secure_agg.service.link:Link", "https://localhost:1", None)),
    (("stats",), "a data frame", lambda: _call("secure_agg.stats.tables:Table.of", object())),
    (("plots",), "the name of a picture", lambda: _call("secure_agg.pictures:check", Path("round.svg"))),
    (("plots",), "a picture", lambda: _call("secure_agg.pictures:begin", 1, 1)),
    (("fast",), "a kernel without a slow form", lambda: _call("mpc.kernels.compiling:_Announcer")),
)
"""Extras of which any will do, what needs one, and a call that has to be refused where none is there: by the first."""


def extra_of(module: str) -> str | None:
    """The extra without which a module can't be imported; None if the base install is enough."""
    return next((extra for name, extra in MODULES.items() if f"{module}.".startswith(f"{name}.")), None)


def every_module() -> Iterator[tuple[str, MissingExtra | MissingPackage | None]]:
    """Imports all of the package; each module, and what it says to be missing.

    Packages that can't be imported are not looked into. Another error is the caller's.
    """
    waiting = [importlib.import_module(name) for name in PACKAGES]
    while waiting:
        package = waiting.pop()
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if info.name.endswith(".__main__"):
                continue
            found = _imported(info.name)
            if isinstance(found, ModuleType):
                yield info.name, None
                waiting += [found] if info.ispkg else []
            else:
                yield info.name, found


def _imported(name: str) -> ModuleType | MissingExtra | MissingPackage:
    try:
        return importlib.import_module(name)
    except (MissingExtra, MissingPackage) as error:
        return error


def wrong(installed: Mapping[str, bool]) -> list[str]:
    """What does not behave as the data above say.

    Args:
        installed: of every extra in ``secure_agg.extras``, whether all that it is known by is there.
    """
    found = []
    for module, error in every_module():
        extra = extra_of(module)
        expected = extra if extra is not None and not installed[extra] else None
        said = None if error is None else error.extra
        if said != expected:
            found.append(f"module {module} is missing {said}, not {expected}: {error}")
    for enough, what, call in CALLS:
        if any(installed[extra] for extra in enough):
            continue
        extra = enough[0]
        try:
            call()
        except (MissingExtra, MissingPackage) as error:
            if error.extra != extra or extra not in str(error):
                found.append(f"{what} needs {extra!r}, and says: {error}")
        else:
            found.append(f"{what} needs {extra!r}, which is missing, and does not say so")
    return found
