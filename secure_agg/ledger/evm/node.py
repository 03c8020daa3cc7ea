"""A chain's node: how it is reached, how a transaction gets mined, and its errors as this package's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from eth_account.signers.local import LocalAccount
from requests.exceptions import RequestException
from web3 import Web3
from web3.exceptions import ContractLogicError, TimeExhausted, Web3Exception

from secure_agg.errors import ConfigError, LedgerError, LedgerRefused

TIMEOUT: Final = 300.0
"""Seconds in which a transaction has to be mined."""


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


def connect(url: str) -> Web3:
    """A chain's JSON-RPC endpoint.

    Raises:
        ConfigError: not an address of one.
        LedgerError: nobody answers.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url!r} is no http(s) address of a chain's JSON-RPC endpoint")
    web3 = Web3(Web3.HTTPProvider(url))
    with errors(f"chain at {url}"):
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
        LedgerRefused, LedgerError: see ``errors``.
    """
    with errors(doing):
        nonce = web3.eth.get_transaction_count(account.address, "pending")
        transaction = call.build_transaction({"from": account.address, "nonce": nonce, "value": value})
        signed = account.sign_transaction(transaction)
        mined = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction), TIMEOUT)
    if mined["status"] != 1:
        raise LedgerRefused(f"{doing}: the transaction was mined and has failed")
    return mined
