"""Gas of the contract that rounds are anchored with, by the number of clients, on py-evm in this process.

Gas is counted and not timed: it is the same on every machine, and on every chain with the Prague rules and prices.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import secure_agg
from benchmarks.results import Row
from secure_agg.ledger.log import Ledger

CLIENTS: Final = (3, 10, 30, 100)
GAS_LIMIT: Final = 12_000_000
_FOUNDER: Final = (1).to_bytes(32, "big")  # eth-tester's first account, on a chain that ends with this process


@functools.cache
def in_process_provider() -> Any:
    """A web3 provider class for a chain in this process. Imports what only benchmarks and tests need.

    It reports a reverted call as a node does, so that web3 raises the same error as over HTTP, and estimates gas by one
    call, where eth-tester makes some twenty.
    """
    from eth.precompiles import point_evaluation
    from eth_tester.exceptions import TransactionFailed  # type: ignore[import-untyped]
    from web3 import EthereumTesterProvider

    # py-evm reads the trusted setup from its file whenever the precompile is called, which takes a second.
    module: Any = point_evaluation
    module.load_trusted_setup = functools.cache(module.load_trusted_setup)

    class Provider(EthereumTesterProvider):
        def make_request(self, method: Any, params: Any) -> Any:
            estimate = method == "eth_estimateGas"
            try:
                answer: Any = super().make_request("eth_call" if estimate else method, params)  # type: ignore[arg-type]
            except TransactionFailed as error:
                return {"jsonrpc": "2.0", "id": 1, "error": {"code": 3, "message": str(error)}}
            return answer | {"result": hex(GAS_LIMIT)} if estimate and "error" not in answer else answer

    return Provider


def in_process_chain(vm: Any = None) -> tuple[Any, Any]:
    """A new chain in this process: eth-tester, and web3 on it.

    Args:
        vm: the fork's rules, a class of py-evm; Prague's by default.
    """
    from eth.vm.forks.prague import PragueVM
    from eth_tester import EthereumTester, PyEVMBackend  # type: ignore[import-untyped]
    from web3 import Web3

    tester = EthereumTester(PyEVMBackend(vm_configuration=((0, vm or PragueVM),)))
    return tester, Web3(in_process_provider()(tester))


@dataclass(frozen=True)
class Gas:
    """What the steps of one round cost.

    Attributes:
        clients: n.
        register, challenge, answer, settle: gas of the transactions.
        calldata: bytes of the registration.
    """

    clients: int
    register: int
    challenge: int
    answer: int
    settle: int
    calldata: int


@dataclass(frozen=True)
class Measured:
    """All that was counted: what does not depend on the number of clients, and what does."""

    deploy: int
    checkpoint: int
    rounds: tuple[Gas, ...]


def measure(clients: Sequence[int] = CLIENTS) -> Measured:
    """Anchor a real round for each number of clients, challenge two of its entries, answer one and lose the other."""
    from eth_account import Account

    from secure_agg.ledger.evm.reader import Terms
    from secure_agg.ledger.evm.registry import Registry

    tester, web3 = in_process_chain()
    account = Account.from_key(_FOUNDER)

    def used() -> int:
        return int(web3.eth.get_block("latest")["gasUsed"])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rounds.db"
        for n in clients:
            rng = np.random.default_rng(n)
            updates = {f"c{i:04d}": [rng.normal(size=8)] for i in range(n)}
            secure_agg.aggregate(updates, backend="plain", bits=16, ledger=path, task=f"of-{n}")
        with Ledger(path, read_only=True) as ledger:
            registry = Registry.deploy(web3, account, Terms(account.address, ledger.log_public, 1000, 100, 1))
            deploy = used()
            registry.store_checkpoint(ledger)
            checkpoint, rounds = used(), []
            for n in clients:
                task = f"of-{n}"
                item = registry.anchor(ledger, task, 0)
                register = used()
                calldata = len(web3.eth.get_block("latest", True)["transactions"][0]["data"])
                registry.challenge(task, 0, 0)
                challenge = used()
                registry.answer(item, 0)
                answer = used()
                registry.challenge(task, 0, 1)
                tester.time_travel(web3.eth.get_block("latest")["timestamp"] + 101)
                tester.mine_block()
                registry.settle(task, 0, 1)
                rounds.append(Gas(n, register, challenge, answer, used(), calldata))
    return Measured(deploy, checkpoint, tuple(rounds))


def rows(clients: Sequence[int] = CLIENTS) -> list[Row]:
    """The same as rows of a report."""
    found = measure(clients)
    made = [
        Row(key="gas.deploy", name="deploy the registry", unit="gas", median=found.deploy),
        Row(key="gas.checkpoint", name="store the first checkpoint", unit="gas", median=found.checkpoint),
    ]
    for item in found.rounds:
        for step in ("register", "challenge", "answer", "settle"):
            made.append(
                Row(
                    key=f"gas.{step}.{item.clients}",
                    name=f"{step}, {item.clients} clients",
                    unit="gas",
                    median=getattr(item, step),
                    derived=getattr(item, step) / item.clients if step == "register" else None,
                    derived_unit="gas per client" if step == "register" else "",
                    note=f"{item.calldata:,} bytes of call data" if step == "register" else "",
                )
            )
    return made
