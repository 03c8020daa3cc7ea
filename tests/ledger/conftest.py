"""A chain in this process, with one good round of three clients in its registry; a file has a chain of its own.

What it takes is imported by whoever asks for it: few tests of the ledger need a virtual machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import support.chains.py_evm as py_evm

    from secure_agg.ledger.evm.registry import Registry


@pytest.fixture(scope="module")
def chain() -> py_evm.InProcess:
    import support.chains.py_evm as py_evm

    return py_evm.chain()


@pytest.fixture(scope="module")
def registered(chain: py_evm.InProcess) -> Registry:
    """For ``registry`` alone: what a test does to this one stays."""
    from support.chains.anchoring import anchored, round_of

    return anchored(chain, [round_of()])


@pytest.fixture
def registry(chain: py_evm.InProcess, registered: Registry) -> Iterator[Registry]:
    """With that round registered; what a test does to it is undone."""
    with chain.undone():
        yield registered


@pytest.fixture
def watcher(chain: py_evm.InProcess, registry: Registry) -> Registry:
    """The registry, by the hand of somebody who watches."""
    from support.chains.anchoring import WATCHER

    return chain.as_(WATCHER, registry)
