"""``secure-agg ledger dispute``: looks at a round that is registered on a chain, challenges it, answers for it, and has
bonds paid out.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from secure_agg import extras, files
from secure_agg.cli.ledger.anchor import KeyFileOption, RpcOption, account
from secure_agg.cli.terminal.options import TrustOption
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError, LedgerRefused, VerificationError
from secure_agg.ledger.evidence_store import MAX_EVIDENCE
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.trust import Trust

if TYPE_CHECKING:
    from secure_agg.ledger.evm.registration import AnchoredRound
    from secure_agg.ledger.evm.registry import Registry


class Act(StrEnum):
    """What is sent to the contract."""

    CHALLENGE = "challenge"
    ANSWER = "answer"
    SETTLE = "settle"
    RELEASE = "release"
    WITHDRAW = "withdraw"


def dispute_round(
    evidence: Annotated[Path, typer.Argument(metavar="EVIDENCE", help="The round's evidence.")],
    rpc: RpcOption,
    contract: Annotated[
        str, typer.Option("--contract", metavar="ADDRESS", help="Of the registry, as its publisher has told you.")
    ],
    act: Annotated[
        Act | None,
        typer.Option(
            "--act",
            help="Challenge an entry; answer all open challenges; settle those whose time is over, which strikes the "
            "round; release the bond of a final round; withdraw what the account is owed. Without it, only look.",
        ),
    ] = None,
    participant: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="With --act challenge: this entry; by default one that can't stand it."),
    ] = None,
    trust: TrustOption = None,
    key_file: KeyFileOption = None,
    from_block: Annotated[
        int, typer.Option(metavar="N", min=0, help="At or before the registration: nodes limit how far they search.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare what a contract holds of a round with its evidence, and dispute it or stand up for it.

    The evidence is verified first. A challenge and an answer cost gas, a challenge a bond, too: see docs/anchor.md.
    """
    if participant is not None and act is not Act.CHALLENGE:
        raise ConfigError("--participant names the entry to challenge: pass --act challenge")
    extras.require("evm")
    from secure_agg.ledger.evm.node import connect
    from secure_agg.ledger.evm.registration import AnchoredRound
    from secure_agg.ledger.evm.registry import Registry

    bundle = Evidence.from_bytes(files.read(evidence, MAX_EVIDENCE, "evidence file"))
    round = AnchoredRound.of(bundle, Trust.load(trust) if trust else None)
    payer = account(key_file) if act is not None else None
    registry = Registry(connect(rpc), contract, payer)
    sent = _send(registry, round, act, participant, from_block)
    task, number = round.record.task, round.record.round
    held = registry.get_round(task, number)
    fault = None if held.struck else registry.find_fault(round, from_block=from_block)
    document: dict[str, Any] = {
        "contract": registry.address,
        "chain": registry.domain.chain,
        "task": task,
        "round": number,
        "struck": held.struck,
        "released": held.released,
        "model": _given_out(registry, task, number),
        "open": list(registry.open_challenges(task, number, from_block=from_block)),
        "fault": fault,
        "sent": sent,
        "owed": None if payer is None else registry.credit(payer.address),
    }

    def show(console: Console) -> None:
        console.print(_verdict(document))
        rows = {
            "contract": f"{registry.address} on chain {registry.domain.chain}",
            "round": f"{number} of task {task}",
            "open": ", ".join(map(str, document["open"])) or "no challenge",
            "model": document["model"] or "not given out: not final, or struck",
        }
        if act is not None:
            rows |= {"sent": ", ".join(sent) or "nothing", "owed": f"{document['owed']} wei"}
        show_fields(console, rows)

    emit(document, as_json, show)


def _send(
    registry: Registry, round: AnchoredRound, act: Act | None, participant: int | None, from_block: int
) -> list[str]:
    """Do what was asked for; returns what was sent, a few words each.

    Raises:
        LedgerRefused: there is nothing to challenge, or the contract refuses; says why.
    """
    task, number = round.record.task, round.record.round
    if act is None:
        return []
    if act is Act.CHALLENGE:
        index = registry.find_fault(round, from_block=from_block) if participant is None else participant
        if index is None:
            raise LedgerRefused("every entry stands a challenge by this evidence; --participant names one")
        registry.challenge(task, number, index)
        return [f"challenge {index}"]
    if act is Act.RELEASE:
        registry.release(task, number)
        return ["release"]
    if act is Act.WITHDRAW:
        registry.withdraw()
        return ["withdraw"]
    sent = []
    for index in registry.open_challenges(task, number, from_block=from_block):
        if act is Act.ANSWER:
            registry.answer(round, index)
        else:
            registry.settle(task, number, index)
        sent.append(f"{act} {index}")
    return sent


def _given_out(registry: Registry, task: str, number: int) -> str | None:
    """The digest of the model that other contracts are given; None as long as they are given none."""
    try:
        return registry.get_model(task, number).hex()
    except VerificationError:
        return None


def _verdict(document: dict[str, Any]) -> str:
    if document["struck"]:
        return "[bold red]struck[/]: a challenge was not answered"
    if document["fault"] is not None:
        return f"[bold red]wrong[/]: entry {document['fault']} can't stand a challenge by this evidence"
    return "[bold green]stands[/]: every entry stands a challenge by this evidence"
