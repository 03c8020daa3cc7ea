"""A chain's node: how it is reached, how a transaction gets mined, and its errors as this package's.

The one module that imports web3, which raises Python's recursion limit for the whole process, beyond what the stack
holds: deeply nested JSON would then end the process instead of raising an error. The limit is put back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from secure_agg import extras

extras.require("evm")
_RECURSION: Final = sys.getrecursionlimit()

from eth_account.signers.local import LocalAccount  # noqa: E402
from requests.exceptions import RequestException  # noqa: E402
from web3 import Web3  # noqa: E402
from web3.exceptions import ContractLogicError, TimeExhausted, Web3Exception  # noqa: E402

sys.setrecursionlimit(_RECURSION)

from secure_agg.errors import ConfigError, LedgerError, LedgerRefused  # noqa: E402

__all__ = ["LocalAccount", "Web3", "connect", "errors", "send"]

TIMEOUT: Final = 300.0
"""Seconds in which a transaction has to be mined."""
MAX_FEE: Final = 10**17
"""Most wei that a transaction may cost besides its bond, 0.1 ether: the node names the price, and might name any."""


@contextmanager
def errors(doing: str) -> Iterator[None]:
    """What is done inside raises this package's errors.

    Raises:
        LedgerRefused: the contract reverts, with its reason.
        LedgerError: whatever else goes wrong between here and the chain.
    """
    try:
        yield
    except ContractLogicError as error:
        raise LedgerRefused(f"{doing}: the contract refuses: {error.message or error}") from error
    except TimeExhausted as error:
        raise LedgerError(f"{doing}: not mined within {TIMEOUT:.0f} seconds") from error
    except (Web3Exception, RequestException, ValueError, OSError) as error:
        raise LedgerError(f"{doing}: {error}") from error
    except (TypeError, KeyError, AttributeError) as error:
        # web3 does not check of what type the values in an answer are.
        raise LedgerError(f"{doing}: the node's answer can't be read: {error}") from error


def connect(url: str) -> Web3:
    """A chain's JSON-RPC endpoint.

    Raises:
        ConfigError: not an address of one.
        LedgerError: nobody answers.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no http(s) address of a chain's JSON-RPC endpoint")
    web3 = Web3(Web3.HTTPProvider(url))
    with errors(f"chain at {urlsplit(url).hostname}"):  # a path may hold a provider's key
        web3.eth.chain_id  # noqa: B018 - asks
    return web3


def send(web3: Web3, account: LocalAccount, doing: str, call: Any, value: int) -> Any:
    """Sign and send a transaction, and wait until it is mined.

    Args:
        doing: for errors.
        call: of a contract's function, or its constructor.
        value: wei that go with it.

    Returns:
        The transaction's receipt.

    Raises:
        LedgerRefused: the contract reverts, or the node asks for more than ``MAX_FEE``.
        LedgerError: see ``errors``.
    """
    with errors(doing):
        nonce = web3.eth.get_transaction_count(account.address, "pending")
        transaction = call.build_transaction({"from": account.address, "nonce": nonce, "value": value})
        price = transaction.get("maxFeePerGas", transaction.get("gasPrice", 0))
        if transaction["gas"] * price > MAX_FEE:
            raise LedgerRefused(
                f"{doing}: at the node's price it may cost {transaction['gas'] * price} wei, above {MAX_FEE}"
            )
        signed = account.sign_transaction(transaction)
        mined = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction), TIMEOUT)
    if mined["status"] != 1:
        raise LedgerRefused(f"{doing}: the transaction was mined and has failed")
    return mined
