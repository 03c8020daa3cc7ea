"""An Ethereum chain in this process: py-evm under the Prague rules, spoken to through web3 like any other."""

from __future__ import annotations

from typing import Any

from support.anchoring import Chain

from benchmarks.ledger.gas import in_process_chain


def chain(vm: Any = None) -> Chain:
    """A new chain under one fork's rules. Accounts 1 to 10 of eth-tester are rich."""
    tester, web3 = in_process_chain(vm)

    def advance(seconds: int) -> None:
        tester.time_travel(web3.eth.get_block("latest")["timestamp"] + seconds)
        tester.mine_block()

    return Chain(web3, advance)
