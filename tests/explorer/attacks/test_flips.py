"""A bit that is another anywhere in a file of any kind, as it is dropped: nothing but its own checks can see it.

What lies in a published ledger is named by its hash as well; of that see `test_tampering`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from conformance.vector_files import DIRECTORY
from support.chance.seeds import SEED, VARIABLE
from support.explorer.core import Core, CoreRefused, in_node

VECTORS: Final = DIRECTORY
ROUNDS: Final = (
    "round", "additive", "bounded", "grouped", "private", "renounced", "screened", "sparse", "tree",
)  # fmt: skip
FAULTS: Final = {"additive.fault": "additive", "screened.fault": "screened", "epochs.fault": "epochs"}
"""By whose pins: without any, the name in a proof is whatever somebody has written beside the key that is proved."""


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with in_node() as running:
        yield running


def data(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def trust_of(name: str) -> str | None:
    found = VECTORS / f"{name}.trust.json"
    return found.read_text("utf-8") if found.exists() else data("round.trust.json").decode()


def flipped(original: bytes, chance: random.Random) -> tuple[int, bytes]:
    """With one bit turned over, anywhere."""
    at = chance.randrange(8 * len(original))
    out = bytearray(original)
    out[at // 8] ^= 1 << at % 8
    return at, bytes(out)


def look(original: bytes, is_good: Callable[[bytes], bool], count: int) -> None:
    """The file is good, and nothing that differs from it by a bit is."""
    assert is_good(original)
    chance = random.Random(f"{SEED} {len(original)}")
    for _ in range(count):
        at, other = flipped(original, chance)
        assert not is_good(other), f"bit {at} of {len(original)} bytes, {VARIABLE}={SEED}"


COUNTS: Final = [pytest.param(3, id="few"), pytest.param(200, id="many", marks=pytest.mark.long)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", ROUNDS)
def test_evidence(core: Core, name: str, count: int) -> None:
    edges = [data(f"tree-{edge}.evidence") for edge in ("north", "south")] if name == "tree" else []
    look(
        data(f"{name}.evidence"), lambda found: core.verdict(found, trust_of(name), beside=edges) is not None, count
    )  # fmt: skip


@pytest.mark.parametrize("count", COUNTS)
def test_the_edges_of_a_tree(core: Core, count: int) -> None:
    north, south, tree = (data(f"{name}.evidence") for name in ("tree-north", "tree-south", "tree"))
    look(north, lambda found: core.verdict(tree, trust_of("tree"), beside=[found, south]) is not None, count)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", FAULTS)
def test_proofs_of_fault(core: Core, name: str, count: int) -> None:
    trust = trust_of(FAULTS[name])
    look(data(name), lambda found: core.convicts(found, trust) is not None, count)


@pytest.mark.parametrize("count", COUNTS)
def test_epochs_to_follow(core: Core, count: int) -> None:
    trust = trust_of("epochs")

    def is_good(found: bytes) -> bool:
        try:
            core("steps", steps=found, trust=trust)
        except CoreRefused:
            return False
        return True

    look(data("epochs.steps"), is_good, count)


@pytest.mark.parametrize("count", COUNTS)
def test_receipts(core: Core, count: int) -> None:
    found: dict[str, Any] = json.loads(data("vectors.json"))
    log = bytes.fromhex(json.loads(data("round.trust.json"))["log"])
    witnesses = [["vectors.example/witness", bytes.fromhex(found["receipt"]["witness"])]]
    given = {"record": bytes.fromhex(found["round"]["record"]), "log": log, "witnesses": witnesses}

    def is_good(receipt: bytes) -> bool:
        """That this witness has seen it: what is a line of nobody's says nothing, and is no error."""
        try:
            return bool(core("receipt", receipt=receipt, **given)["cosigned"])
        except CoreRefused:
            return False

    look(found["receipt"]["receipt"].encode(), is_good, count)
