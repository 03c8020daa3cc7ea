"""What a log that lies would like to see green: everything here fits together under its own key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import conformance.epochs.independent_epochs as epochs
import pytest
from conformance import independent_verifier as spec
from support.epochs import Changing
from support.explorer.browser import publish, two_advertisements
from support.explorer.core import Core, in_node
from support.explorer.lying import leaves_of, lie
from support.federation import identity

from secure_agg.ledger.log import Ledger
from secure_agg.protocol.identity import Roster

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Published:
    """A task with an epoch, published: round, epoch, round.

    Attributes:
        path: of the ledger.
        leaves: its records.
        own: a reader's pins, of the task's beginning.
        rounds: evidence of the two rounds.
        faults: of each round a proof that a member has advertised twice in it.
    """

    path: Path
    leaves: tuple[bytes, ...]
    own: dict[str, Any]
    rounds: tuple[bytes, ...]
    faults: tuple[bytes, ...]


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with in_node() as running:
        yield running


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, core: Core) -> Published:
    task = Changing(tmp_path_factory.mktemp("task"), 4, administrators=1, min_clients=2)
    task.round()
    task.change(administrators=Roster({"new": identity("new").public}), threshold=1, new={"new": identity("new")})
    task.round()
    task.ledger.close()
    with Ledger(task.path) as log:
        evidence = [log.evidence(record) for record in log.records()]
        faults = [two_advertisements(identity("m0"), found.config) for found in evidence]
        log.faults.keep(faults)
    own, leaves = json.loads(task.genesis.to_json()), tuple(leaves_of(task.path))
    rounds = tuple(found.to_bytes() for found in evidence)
    return Published(task.path, leaves, own, rounds, tuple(proof.to_bytes() for proof in faults))


def opened(core: Core, published: Published, folder: Path, leaves: Sequence[bytes], own: dict[str, Any]) -> Any:
    """What the page says of these leaves, which the log has signed."""
    site = lie(published.path, publish(published.path, folder), leaves)
    return core("open", files=site, trust=json.dumps(own), seen=None)


def failed(found: Any) -> dict[str, str]:
    return {check["number"]: check["detail"] for check in found["checks"] if check["state"] == "failed"}


def epoch(leaf: bytes, **changes: Any) -> bytes:
    """An epoch's record with something changed."""
    fields = epochs.decode("EpochRecord", leaf, 65536)
    return epochs.encode("EpochRecord", fields | changes)


def pinned_from_epoch_1(published: Published) -> dict[str, Any]:
    """Pins of a reader who has come later, and never saw the beginning."""
    own: dict[str, Any] = json.loads(json.dumps(published.own))
    record = epochs.decode("EpochRecord", published.leaves[1], 65536)
    own["tasks"]["task"] |= {
        "administrators": {"new": identity("new").public.hex()},
        "threshold": 1,
        "epoch": 1,
        "epoch_digest": record["body"].hex(),
        "closure": record["renounced"].hex(),
    }
    return own


def test_what_is_true_is_green(core: Core, published: Published, tmp_path: Path) -> None:
    found = opened(core, published, tmp_path / "site", published.leaves, published.own)
    assert not failed(found)
    assert all(core("round", index=index)["good"] for index in (0, 2))


@pytest.mark.parametrize("number", [0, 1, 3])
def test_an_epoch_of_no_number_that_follows_is_refused(
    core: Core, published: Published, tmp_path: Path, number: int
) -> None:
    """Nobody has authorised it: where its number is one that is over, nobody would ask for that."""
    last = spec.digest("round-record", published.leaves[2])
    forged = epoch(published.leaves[1], epoch=number, previous_record=last, rounds=2, start_model=b"\1" * 32)
    found = opened(core, published, tmp_path / "site", [*published.leaves, forged], published.own)
    assert list(failed(found)) == ["chains"]


def test_another_epoch_in_the_place_of_the_pinned_one_is_refused(
    core: Core, published: Published, tmp_path: Path
) -> None:
    own = pinned_from_epoch_1(published)
    assert not failed(opened(core, published, tmp_path / "true", published.leaves, own))
    assert core("round", index=2)["good"]
    forged = [published.leaves[0], epoch(published.leaves[1], body=b"\1" * 32)]
    found = opened(core, published, tmp_path / "site", forged, own)
    assert failed(found) == {"epochs": "epoch 1 of task task is another than the pinned one"}


def test_a_round_is_of_the_epoch_whose_pins_it_is_compared_with(core: Core, published: Published) -> None:
    """The members, the policy and so the cohort of both epochs are the same: only the number is another."""
    first, second = published.rounds

    def standing(evidence: bytes, own: dict[str, Any]) -> str:
        checks = core("evidence", evidence=evidence, trust=json.dumps(own))["checks"]
        state: str = next(check["state"] for check in checks if check["number"] == "1")
        return state

    later = pinned_from_epoch_1(published)
    assert standing(first, published.own) == standing(second, later) == "passed"
    assert standing(second, published.own) == "failed"
    assert standing(first, later) == "unknown"  # what was pinned then this reader does not know


def test_a_fault_is_compared_with_what_was_in_force_in_its_round(
    core: Core, published: Published, tmp_path: Path
) -> None:
    """Whichever epoch the reader has pinned: of one that is over only keys are known, as auditors have it."""
    for place, own in enumerate((published.own, pinned_from_epoch_1(published))):
        opened(core, published, tmp_path / str(place), published.leaves, own)
        for proof in published.faults:
            found = core("faultAt", hash=hashlib.sha256(proof).hexdigest())
            assert (found["culprit"], found["pinned"]) == ("m0", True)
    later = pinned_from_epoch_1(published)
    assert core.convicts(published.faults[0], json.dumps(later)) == "m0"
    later["tasks"]["task"]["roster"]["m0"] = identity("another").public.hex()
    assert core.convicts(published.faults[0], json.dumps(later)) is None


def test_nothing_that_a_log_publishes_stands_in_for_what_a_reader_pins(
    core: Core, published: Published, tmp_path: Path
) -> None:
    """Its own trust file beside a reader's, whose roster has somebody else: the reader's is what counts."""
    own = json.loads(json.dumps(published.own))
    own["tasks"]["task"]["roster"]["m0"] = identity("another").public.hex()
    found = opened(core, published, tmp_path / "site", published.leaves, own)
    assert found["own"]
    assert list(failed(found)) == ["epochs"]
    said = {check["number"]: check["state"] for check in core("round", index=0)["checks"]}
    assert said["1"] == "failed"
