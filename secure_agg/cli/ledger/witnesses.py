"""``secure-agg ledger witness``, ``cosign`` and ``fork``: being a witness, asking some, and what they may find."""

from __future__ import annotations

import hashlib
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from secure_agg import files
from secure_agg.cli.terminal import exits
from secure_agg.cli.terminal.options import LedgerArgument
from secure_agg.cli.terminal.output import JsonOption, emit, plain, show_fields, table
from secure_agg.errors import ConfigError, LedgerError
from secure_agg.ledger.log import Ledger
from secure_agg.ledger.witness.fork import MAX_FORK_PROOF, ForkProof
from secure_agg.ledger.witness.gather import SECONDS, WitnessAddress, gather
from secure_agg.ledger.witness.server import WitnessServer
from secure_agg.ledger.witness.state import WitnessState
from secure_agg.ledger.witness.witness import Witness
from secure_agg.protocol.identity import Identity
from secure_agg.tlog.cosignature import WitnessKey
from secure_agg.tlog.note import VerifierKey


def run_witness(
    identity: Annotated[
        Path,
        typer.Option("--identity", metavar="FILE", help="The witness's private key, from «keygen»; for nothing else."),
    ],
    logs: Annotated[
        list[str],
        typer.Option("--log", metavar="VKEY", help="A log to witness, as «ledger list» shows it; repeatable."),
    ],
    state: Annotated[
        Path, typer.Option("--state", metavar="FILE", help="What was cosigned last. Lose it, and forks pass unseen.")
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The witness's name in cosignatures; by default from its key."),
    ] = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Port 0 takes a free one.")
    ] = "127.0.0.1:0",
    as_json: JsonOption = False,
) -> None:
    """Witness logs until SIGTERM or Ctrl-C: cosign every checkpoint that continues the last one (C2SP tlog-witness).

    Prints its URL and its verifier key when it is ready. It speaks plain HTTP: put a reverse proxy before it.
    """
    host, port = _address(listen)
    try:
        key = Identity.load(name or "witness", identity)
    except OSError as error:
        raise ConfigError(f"identity file {identity} can't be read: {error.strerror}") from error
    known = WitnessKey(name or f"witness/{hashlib.sha256(key.public).hexdigest()[:16]}", key.public)
    memory = WitnessState(state, known)
    try:
        witness = Witness(key, map(VerifierKey.parse, logs), memory)
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        with WitnessServer(witness, host, port) as server:
            _announce(server, witness, memory, as_json)
            ended.wait()
    finally:
        memory.close()


def cosign_ledger(
    ledger: LedgerArgument,
    witnesses: Annotated[
        list[str], typer.Option("--witness", metavar="URL=VKEY", help="A witness to ask, and its key; repeatable.")
    ],
    least: Annotated[
        int, typer.Option("--least", metavar="K", min=0, help="Fewer cosignatures than this end with code 3.")
    ] = 1,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="For one answer of a witness.")] = SECONDS,
    as_json: JsonOption = False,
) -> None:
    """Have witnesses cosign the newest checkpoint, and keep their cosignatures in the ledger.

    A witness that is down or refuses is named, and keeps nobody else from answering.
    """
    addresses = [WitnessAddress.parse(text) for text in witnesses]
    if not ledger.is_file():
        raise LedgerError(f"there is no ledger at {ledger}")  # opened for writing, one would be made
    with Ledger(ledger) as log:
        found = gather(log, addresses, seconds=seconds)
    document = {
        "size": found.size,
        "cosigned": found.cosigned,
        "witnesses": [
            {
                "name": outcome.witness.key.name,
                "url": outcome.witness.url,
                "time": outcome.seconds,
                "error": outcome.reason or None,
            }
            for outcome in found.outcomes
        ],
    }

    def show(console: Console) -> None:
        console.print(f"[bold]{found.cosigned} of {len(addresses)} witnesses[/] cosigned {found.size} records")
        rows = table("name", "error")
        for outcome in found.outcomes:
            rows.add_row(plain(outcome.witness.key.name), plain(outcome.reason or "none: cosigned"))
        console.print(rows)

    emit(document, as_json, show)
    if found.cosigned < least:
        raise typer.Exit(exits.PROTOCOL_ABORT)


def verify_fork(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="From a witness, or of «audit --fork-proof».")],
    key: Annotated[str, typer.Option("--key", metavar="VKEY", help="The log's key, as «ledger list» shows it.")],
    as_json: JsonOption = False,
) -> None:
    """Check a proof that a log has signed two histories."""
    log = VerifierKey.parse(key)
    fork = ForkProof.from_bytes(files.read(proof, MAX_FORK_PROOF, "fork proof")).verify(log)
    document = {
        "forked": True,
        "origin": log.name,
        "first": {"size": fork.first.size, "root": fork.first.root.hex()},
        "second": {"size": fork.second.size, "root": fork.second.root.hex()},
        "second_begins_with": fork.root.hex(),
    }

    def show(console: Console) -> None:
        console.print(f"[bold red]forked[/]: {log.name} has signed two histories", soft_wrap=True)
        show_fields(
            console,
            {
                "first": f"{fork.first.size} records, root {fork.first.root.hex()}",
                "second": f"{fork.second.size} records, root {fork.second.root.hex()}",
                "second_begins_with": f"{fork.first.size} records, root {fork.root.hex()}",
            },
        )

    emit(document, as_json, show)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--listen {listen!r} is not of the form HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _announce(server: WitnessServer, witness: Witness, state: WitnessState, as_json: bool) -> None:
    """Say where the witness is, at once, to whoever waits for it at the other end of a pipe."""
    document: dict[str, Any] = {
        "url": server.url,
        "key": str(witness.key),
        "logs": list(witness.origins),
        "state": str(state.path),
        "state_is_new": state.is_new,
    }

    def show(console: Console) -> None:
        show_fields(
            console,
            {
                "url": server.url,
                "key": str(witness.key),
                "logs": ", ".join(witness.origins),
                "state": f"{state.path}, {'new: the first checkpoint is cosigned unseen' if state.is_new else 'kept'}",
            },
        )

    emit(document, as_json, show)
    sys.stdout.flush()
