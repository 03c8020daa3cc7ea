"""Whether the packages of the extra ``evm`` are there, asked before anything starts."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from secure_agg.errors import ConfigError

PACKAGES: Final = {"web3": "web3", "py_arkworks_bls12381": "py_arkworks_bls12381"}
"""Module to the distribution that holds it."""


def require_evm_extra() -> None:
    """Refuse to start without what anchoring on a chain needs.

    Raises:
        ConfigError: names what is missing and how to install it.
    """
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not installed: run  pip install 'secure-agg[evm]'")
