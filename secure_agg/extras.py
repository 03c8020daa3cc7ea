"""The extras of this package: what each needs, and what to say where it is missing.

They are asked for before anything starts, not when an import fails in the middle of it. pyproject.toml lists them with
versions; ``tests/installs/test_extras.py`` holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from secure_agg.errors import MissingExtra

EXTRAS: Final[Mapping[str, Mapping[str, str]]] = {
    "fast": {"numba": "numba"},
    "he": {"tenseal": "tenseal", "zstandard": "zstandard"},
    "paillier": {"gmpy2": "gmpy2", "numba": "numba"},
    "mpc": {"torch": "torch", "numba": "numba", "yaml": "pyyaml", "omegaconf": "omegaconf", "onnx": "onnx"},
    "ray": {"ray": "ray"},
    "operators": {"grpc": "grpcio"},
    "beacon": {"py_arkworks_bls12381": "py_arkworks_bls12381"},
    "evm": {"web3": "web3", "py_arkworks_bls12381": "py_arkworks_bls12381"},
    "flower": {"flwr": "flwr"},
    "nvflare": {"nvflare": "nvflare"},
    "demo": {"torch": "torch", "sklearn": "scikit-learn", "matplotlib": "matplotlib", "numba": "numba"},
    "service": {
        "uvicorn": "uvicorn",
        "starlette": "starlette",
        "httpcore": "httpcore",
        "prometheus_client": "prometheus-client",
    },
    "stats": {"narwhals": "narwhals"},
    "plots": {"matplotlib": "matplotlib"},
    "examples": {
        "mlxtend": "mlxtend",
        "statsmodels": "statsmodels",
        "lifelines": "lifelines",
        "torch": "torch",
        "matplotlib": "matplotlib",
        "numba": "numba",
    },
    "bench": {"matplotlib": "matplotlib", "phe": "phe", "psutil": "psutil", "pyperf": "pyperf", "numba": "numba"},
}
"""Of each extra the modules that must be there, and the distributions that hold them."""


def command(extra: str) -> str:
    """What to do to get an extra. There is no release on an index, so it is installed from a checkout."""
    return f"run  pip install '.[{extra}]'  in a checkout of secure-agg"


def is_there(module: str) -> bool:
    """Whether a module can be imported; it is not."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a parent is missing, or the name is blocked
        return False


def require(extra: str) -> None:
    """Refuse to start without the packages of an extra.

    Raises:
        MissingExtra: names what is missing and the command that installs it.
    """
    missing = [package for module, package in EXTRAS[extra].items() if not is_there(module)]
    if missing:
        names = " and ".join([", ".join(missing[:-1]), missing[-1]]) if len(missing) > 1 else missing[0]
        verb = "are" if len(missing) > 1 else "is"
        raise MissingExtra(f"{names} {verb} not installed: {command(extra)}", extra=extra)
