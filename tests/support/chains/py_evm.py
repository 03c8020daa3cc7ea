"""An Ethereum chain in this process: py-evm under the Prague rules, spoken to through web3 like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support.chains.anchoring import Chain

from benchmarks.ledger.gas import in_process_chain


@dataclass
class InProcess(Chain):
    """A chain whose transactions can be undone.

    Attributes:
        tester: eth-tester, behind the connection.
    """

    tester: Any

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens meanwhile has not happened afterwards, so that tests can share a contract."""
        before = self.tester.take_snapshot()
        try:
            yield
        finally:
            self.tester.revert_to_snapshot(before)


def chain(vm: Any = None) -> InProcess:
    """A new chain under one fork's rules. Accounts 1 to 10 of eth-tester are rich."""
    tester, web3 = in_process_chain(vm)

    def advance(seconds: int) -> None:
        tester.time_travel(web3.eth.get_block("latest")["timestamp"] + seconds)
        tester.mine_block()

    return InProcess(web3, advance, tester)
