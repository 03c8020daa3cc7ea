"""A federation of homes that changes while its server may be serving in another process."""

from __future__ import annotations

from pathlib import Path

from secure_agg.plugins.homes import proposals
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.identity import Identity
from secure_agg.roles.epochs.change import Change
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust


def submit(folder: Path, change: Change, *new: Identity) -> EpochEvidence:
    """Every owner approves, every new key accepts, and the proposal lies in the server's home."""
    with ServerHome.open(folder / "server") as server:
        trust, task = server.trust, server.task
        proposal = proposals.propose(trust, task, change)
        found = []
        for name in trust.task(task).roster:
            with ClientHome.open(folder / "clients" / name) as home:
                found.append(proposals.approve(home, proposal).proposal)
        found += [proposals.sign(AttemptStore(), [key], trust, proposal).proposal for key in new]
        return proposals.submit(server, found)


def join(folder: Path, key: Identity) -> Path:
    """The home of who joins, from what was pinned at first and all epochs since."""
    path = folder / "clients" / key.name
    with ServerHome.open(folder / "server") as server:
        steps, first, task = server.ledger.steps(server.task), server.ledger.trust, server.task
    ClientHome.create(path, key, first, task, epochs=steps).close()
    return path


def audited(folder: Path) -> tuple[int, list[set[str]]]:
    """How many epochs one audit has covered, by the trust file of the beginning, and who took part in each round."""
    trust = Trust.load(folder / "trust.json")
    with ServerHome.open(folder / "server") as server:
        ledger = server.ledger
        report = ledger.audit(trust)
        assert report.verified == len(list(ledger.records()))
        indexes = ledger.indexes(server.task)
        return report.epochs, [set(ledger.evidence(ledger.record(index)).participants) for index in indexes]
