"""``secure-agg ledger anchor``: registers rounds with a contract on a chain; and the chain's part of ``verify``.

The packages that speak to a chain are an extra and slow to import: only a command that needs them does.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from secure_agg import extras
from secure_agg.cli.ledger.rounds import TaskOption, index_of, only_task
from secure_agg.cli.terminal.options import LedgerArgument
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.cli.terminal.progress import progress
from secure_agg.errors import ConfigError, TrustError
from secure_agg.ledger.log import Ledger

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from secure_agg.ledger.evm.reader import OnChain, RegistryReader
    from secure_agg.protocol.evidence import Evidence
    from secure_agg.roles.auditor import Verified
    from secure_agg.roles.trust import Trust

KEY_VARIABLE: Final = "SECURE_AGG_CHAIN_KEY"
_DAY: Final = 86400

RpcOption = Annotated[str, typer.Option("--rpc", metavar="URL", help="JSON-RPC endpoint of the chain.")]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help=f"Private key of the account that pays, in hexadecimal; or set {KEY_VARIABLE}.",
    ),
]
ContractOption = Annotated[
    str | None, typer.Option("--contract", metavar="ADDRESS", help="Of the registry, as its publisher has told you.")
]


def anchor_ledger(
    ledger: LedgerArgument,
    rpc: RpcOption,
    contract: ContractOption = None,
    deploy: Annotated[bool, typer.Option("--deploy", help="Deploy a new contract for this ledger first.")] = False,
    key_file: KeyFileOption = None,
    number: Annotated[int | None, typer.Option("--round", metavar="N", help="Register this round, too.")] = None,
    task: TaskOption = None,
    window: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, help="With --deploy: how long a round can be challenged.")
    ] = 7 * _DAY,
    response: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, help="With --deploy: how long a challenge can be answered.")
    ] = 2 * _DAY,
    bond: Annotated[
        int, typer.Option(metavar="WEI", min=0, help="With --deploy: of each registration and each challenge.")
    ] = 10**17,
    as_json: JsonOption = False,
) -> None:
    """Store the ledger's newest head in a contract on a chain, and register a round with it, under a bond.

    Afterwards anyone may challenge the round for a while. The account pays gas and bond.
    """
    if (contract is None) == (not deploy):
        raise ConfigError("pass --contract ADDRESS, or --deploy to make a new contract")
    extras.require("evm")
    from secure_agg.ledger.evm.node import connect
    from secure_agg.ledger.evm.reader import Terms
    from secure_agg.ledger.evm.registry import Registry

    payer = account(key_file)
    with Ledger(ledger, read_only=True) as log, progress() as bar:
        if number is not None:
            task = only_task(log) if task is None else task
            index_of(log, task, number)
        line = bar.add_task("anchoring", total=2 + (number is not None), note="connecting")
        web3 = connect(rpc)
        if contract is None:
            bar.update(line, note="deploying")
            registry = Registry.deploy(web3, payer, Terms(payer.address, log.log_public, window, response, bond))
            bar.say(f"deployed at {registry.address}")  # whatever happens next
        else:
            registry = Registry(web3, contract, payer)
        bar.update(line, advance=1, note="checkpoint")
        size = registry.store_checkpoint(log)
        bar.update(line, advance=1, note="registration")
        registered = None
        if number is not None and task is not None:
            registered = _chain_document(registry, registry.verify_chain(registry.anchor(log, task, number)))
    document: dict[str, Any] = {
        "contract": registry.address,
        "chain": registry.domain.chain,
        "deployed": deploy,
        "size": size,
        "root": registry.checkpoint()[1].hex(),
        "round": None if registered is None else registered | {"task": task, "round": number},
    }

    def show(console: Console) -> None:
        rows = {
            "contract": f"{registry.address}{', new' if deploy else ''}",
            "chain": str(registry.domain.chain),
            "size": f"{size} rounds, root {document['root']}",
        }
        if registered is not None:
            rows |= {"round": f"{number} of task {task}"} | chain_fields(registered)
        show_fields(console, rows)

    emit(document, as_json, show)


def check_chain(evidence: Evidence, verified: Verified, trust: Trust | None, url: str, contract: str) -> dict[str, Any]:
    """Compare a verified round with what a contract holds of it, for ``secure-agg verify``.

    Raises:
        ConfigError: the extra is missing, or an address can't be one.
        LedgerError: the chain does not answer.
        VerificationError: the contract holds something else, or has struck the round.
        TrustError: it is of another log than the verifier has pinned.
    """
    extras.require("evm")
    from secure_agg.ledger.evm.node import connect
    from secure_agg.ledger.evm.reader import RegistryReader
    from secure_agg.ledger.evm.registration import AnchoredRound

    registry = RegistryReader(connect(url), contract)
    if trust is not None and trust.log is not None and trust.log != registry.terms.log_key:
        raise TrustError(f"the contract at {contract} is of another log than the pinned one")
    return _chain_document(registry, registry.verify_chain(AnchoredRound.of_verified(evidence, verified)))


def chain_fields(found: dict[str, Any]) -> dict[str, str]:
    """What ``verify`` and ``anchor`` show of a registered round."""
    try:
        closes = datetime.fromtimestamp(found["closes"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):  # a node, or a contract that was not deployed as ours, has made it up
        closes = f"second {found['closes']}"
    state = "final" if found["final"] else f"not final, window until {closes}, open challenges: {found['open']}"
    terms = f"window {found['window']} s, response {found['response']} s, bond {found['bond']} wei"
    return {
        "chain": f"{found['contract']} on chain {found['chain']}, {state}",
        "publisher": f"{found['publisher']}, {terms}",
    }


def _chain_document(registry: RegistryReader, found: OnChain) -> dict[str, Any]:
    return {
        "contract": registry.address,
        "chain": registry.domain.chain,
        "registered": found.round.registered,
        "final": found.final,
        "closes": found.closes,
        "open": found.round.open,
        "publisher": registry.terms.publisher,
        "window": registry.terms.window,
        "response": registry.terms.response,
        "bond": registry.terms.bond,
    }


def account(key_file: Path | None) -> LocalAccount:
    """The account that pays, from a file or the environment: a key on a command line is seen by everybody.

    Raises:
        ConfigError: there is no key, it is none, or its file is open to others.
    """
    from eth_account import Account

    if key_file is None:
        secret, where = os.environ.get(KEY_VARIABLE, ""), f"${KEY_VARIABLE}"
        if not secret:
            raise ConfigError(f"an account's key is needed: pass --key-file FILE or set {KEY_VARIABLE}")
    else:
        where = f"key file {key_file}"
        try:
            if key_file.stat().st_mode & 0o077:
                raise ConfigError(f"{where} is open to others: run  chmod 600 {key_file}")
            secret = key_file.read_text()
        except OSError as error:
            raise ConfigError(f"{where} can't be read: {error.strerror}") from error
        except UnicodeDecodeError:
            # Which would tell a byte of the key.
            raise ConfigError(f"{where} holds no private key: it is no text") from None
    try:
        data = bytes.fromhex(secret.strip().removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != 32 or not any(data):
        raise ConfigError(f"{where} holds no private key: 64 hexadecimal digits are expected")
    try:
        made: LocalAccount = Account.from_key(data)
    except Exception:
        # Whatever eth_account says of a key, it is not repeated.
        raise ConfigError(f"{where} holds no private key of the curve secp256k1") from None
    return made


def require_both(chain: str | None, contract: str | None) -> None:
    """Refuse one of ``--chain`` and ``--contract`` without the other.

    Raises:
        ConfigError: it is so.
    """
    if (chain is None) != (contract is None):
        raise ConfigError("--chain URL and --contract ADDRESS go together")
