"""The guide to a chain: on a node of our own, with two accounts that have something on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from documents.scenes import Scene
from support.chains.anvil import anvil, ask

_SHOWN: Final = "http://127.0.0.1:8545"
_ACCOUNTS: Final = {
    "publisher": (1, "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"),
    "watcher": (2, "0x2B5AD5c4795c026514f8317c7a215E218DcCD6cF"),
}
"""Private keys, and the addresses that follow from them."""


@contextlib.contextmanager
def _chain(folder: Path) -> Iterator[Mapping[str, str]]:
    with anvil() as url:
        for name, (key, address) in _ACCOUNTS.items():
            path = folder / f"{name}.key"
            path.write_text(f"{key:064x}\n")
            path.chmod(0o600)
            ask(url, "anvil_setBalance", address, hex(10**20))
        yield {_SHOWN: url}


_LATER: Final = f"""
$ for call in '"evm_increaseTime", "params": [700000]' '"evm_mine", "params": []'; do curl -sf {_SHOWN} \\
    -H 'Content-Type: application/json' -d '{{"jsonrpc": "2.0", "id": 1, "method": '"$call"'}}'; done
"""

SCENES: Final = (
    Scene(
        "docs/anchor.md",
        before="""
$ python -c "
import numpy
from secure_agg import Ledger, aggregate
for _ in range(2):
    aggregate({name: [numpy.full(3, 0.1)] for name in ('ann', 'bob', 'cyd')}, ledger='rounds.db', backend='plain')
with Ledger('rounds.db', read_only=True) as ledger:
    path = ledger.evidence_path(ledger.record(1))
open('round.evidence', 'wb').write(path.read_bytes())"
""",
        steps={
            "$ secure-agg ledger dispute round.evidence --rpc $chain --contract $contract --key-file publisher.key "
            "--act release": _LATER
        },
        world=_chain,
        needs=("web3", "py_arkworks_bls12381"),
        long=True,
    ),
)
