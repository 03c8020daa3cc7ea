"""Six hospitals, their coordinator and a witness leave what an auditor is to look at: ``python hospitals.py OUT``.

Two rounds go as they should. In the third the coordinator accepts a hospital's update, signs for it, and goes on
without it. In the fourth a hospital hides another update than it has committed to. All keys are made here, which
protects nobody: the auditor in ``audit.py`` sees none of them.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import secure_agg
from mpc.ring import Vector
from secure_agg import Aggregator, Client, Identity, Ledger, Roster, VerifierKey
from secure_agg.backends.contract import Hidden
from secure_agg.ledger.witness.gather import WitnessAddress, gather
from secure_agg.ledger.witness.server import WitnessServer
from secure_agg.ledger.witness.state import WitnessState
from secure_agg.ledger.witness.witness import Witness
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.identity import KeyDirectory
from secure_agg.protocol.messages import RECEIPT, Acceptance, Envelope, Received, encode, write
from secure_agg.roles.driver import Answer
from secure_agg.roles.task import Task
from secure_agg.tlog.cosignature import WitnessKey

HOSPITALS = ("centre", "east", "harbour", "north", "south", "west")
LEFT_OUT, CHEAT = "west", "east"
TASK = "risk"
Hide = Callable[[bytes], Callable[[Vector], tuple[bytes, Hidden]]]
VALUES = 40
INPUT = "masked-input"
LIMIT = 1 << 24


def update(name: str, number: int) -> list[np.ndarray[Any, Any]]:
    """What a hospital's data ask for in a round."""
    return [np.random.default_rng([HOSPITALS.index(name), number]).normal(0, 0.1, VALUES)]


class Careless(LocalRound):
    """A round whose coordinator accepts one hospital's input, answers with a receipt, and does not take it."""

    key: Identity

    def ask(self, phase: str, requests: Sequence[Envelope]) -> Iterator[Answer]:
        """Its key signs, and the input is gone."""
        session = self.aggregator.session
        for answer in super().ask(phase, requests):
            if phase == INPUT and answer.client == LEFT_OUT and session is not None:
                hidden = Received.of(answer.response, LIMIT).header.bulk_digest
                accepted = Acceptance(LEFT_OUT, session.commitment_hashes[LEFT_OUT], hidden)
                self.give(LEFT_OUT, write(self.key, session.sid, RECEIPT, LEFT_OUT, encode(accepted)))
            else:
                yield answer


class Cheated(LocalRound):
    """A round in which one hospital hides another vector than it has committed to."""

    key: Identity

    def answer(self, request: Envelope, phase: str) -> bytes | memoryview | None:
        """As an honest hospital, but for what it hides."""
        if (request.recipient, phase) == (CHEAT, INPUT):
            side: Any = self.clients[CHEAT]._joined.side  # type: ignore[union-attr]  # no way for anybody honest
            side.hide = functools.partial(bent, side.hide)
        return super().answer(request, phase)


def bent(honest: Hide, request: bytes) -> Callable[[Vector], tuple[bytes, Hidden]]:
    """The masking of a client that changes one number after it has masked it."""
    mask = honest(request)

    def change(vector: Vector) -> tuple[bytes, Hidden]:
        part, hidden = mask(vector)
        moved = np.frombuffer(hidden, dtype=np.uint32).copy()
        moved[0] ^= 1
        return part, moved.tobytes()

    return change


def by_hand(
    path: Path, kind: type[Careless | Cheated], role: str, name: str, number: int
) -> dict[str, dict[str, bytes]]:
    """The task's next round, in which somebody does as a class says; what comes of it is in the ledger.

    Args:
        path: of the ledger.
        kind: of round.
        role, name: who misbehaves, and signs for it.
        number: of the round.

    Returns:
        Of each hospital the receipts of its input, by who has signed them.
    """
    with Ledger(path) as ledger:
        trust, keys = ledger.trust, KeyDirectory(ledger.keys)
        config = Task(TASK, trust, ledger.last(TASK)).next_round(((VALUES,),), weight_limit=1)
        clients = {each: Client(keys.get("client", each), trust) for each in HOSPITALS}
        own = keys.get("operator", "aggregator")
        coordinator = Aggregator(own, config, trust.cohort(TASK), operators=trust.operators)
        silent = {LEFT_OUT: "screen"} if kind is Careless else {}
        played = kind(coordinator, clients, {each: update(each, number) for each in HOSPITALS}, silent=silent)
        played.key = keys.get(role, name)
        ledger.append(played.run())
        ledger.faults.keep(coordinator.faults)
        return {each: client.receipts for each, client in clients.items()}


def main(out: Path) -> None:
    """Make everything, and publish it in ``OUT/public``: what the auditor may read."""
    out.mkdir(parents=True)
    public = out / "public"
    path, own = out / "rounds.db", Identity.generate("witness.example")
    witnessing = WitnessKey(own.name, own.public)
    with Ledger(path, origin="hospitals.example/rounds") as ledger:
        pinned = replace(ledger.trust, witnesses=Roster({own.name: own.public}), quorum=1)
        pinned.save(ledger.trust_path)
        log = VerifierKey(ledger.origin, ledger.log_public)
    settings: dict[str, Any] = {"options": {"screening": 1}, "task": TASK, "clip": 1.0}
    for number in range(2):
        updates = {name: update(name, number) for name in HOSPITALS}
        secure_agg.aggregate(updates, ledger=path, **settings)
    with Ledger(path, read_only=True) as ledger:
        early = ledger.checkpoint()  # what the auditor saw at an earlier visit
    receipts = by_hand(path, Careless, "operator", "aggregator", 2)
    by_hand(path, Cheated, "client", CHEAT, 3)

    with (
        Ledger(path) as ledger,
        WitnessServer(Witness(own, [log], WitnessState(out / "witness.db", witnessing)), "127.0.0.1", 0) as server,
    ):
        gather(ledger, [WitnessAddress(server.url, witnessing)])
        ledger.export(public)
        for index in range(len(ledger)):
            (out / f"round-{index}.tlog-proof").write_bytes(ledger.receipt(index).to_bytes())
        for number, proof in enumerate(ledger.faults.proofs()):
            (out / f"{number}.fault").write_bytes(proof)
        shutil.copy(ledger.trust_path, out / "trust.json")
    (out / "earlier.checkpoint").write_bytes(early)
    (out / f"{LEFT_OUT}.receipt").write_bytes(receipts[LEFT_OUT]["aggregator"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
