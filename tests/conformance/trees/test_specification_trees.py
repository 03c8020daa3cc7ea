"""Trees by the second implementation: it accepts what ours makes, leads to the same record, and refuses the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import conformance.trees.independent_trees as other
import numpy as np
import pytest
from conformance.independent_verifier import decode, digest, frame, read_trust, u64
from conformance.trees import tree_vectors
from conformance.vector_files import DIRECTORY
from support.trees import BEACON, Forestry

from secure_agg.errors import SecureAggError
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.tree.auditor import verify_tree

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "masking": {},
    "plain": {"backend": "plain", "top_backend": "plain"},
    "additive on top": {"top_backend": "additive"},
    "drawn": {"drawn": True, "backend": "plain"},
    "weights": {"backend": "plain", "policy_changes": {"bits": 8, "max_weight": 500, "weight_scale": 2}},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_stranger_verifies_a_tree_from_the_specification_alone(setting: str) -> None:
    forestry = Forestry(**SETTINGS[setting])
    silent = {"south-001": "masked-input"} if setting == "masking" else None
    played = forestry.round(silent)
    data = played.run().to_bytes()
    edges = [item.to_bytes() for item in played.evidence()]
    pins = read_trust(forestry.trust.to_json())
    ours = verify_tree(TreeEvidence.from_bytes(data), played.evidence(), forestry.tree, beacon=forestry.beacon or None)
    for given, trust in ((edges, pins), (edges[:1], pins), ((), pins), (edges, None)):
        theirs = other.verify_tree(data, given, trust, forestry.beacon if trust else b"")
        assert theirs["encoding"] == ours.record.to_bytes()
        assert len(theirs["seen"]) == len(given)
        assert np.array_equal(theirs["average"], np.concatenate([array.ravel() for array in ours.average]))
    with pytest.raises(ValueError, match="evidence is missing"):
        other.verify_tree(data, edges[1:])


def test_both_refuse_whatever_is_altered() -> None:
    """One byte after the other, of the head and at strides of the rest."""
    forestry = Forestry({"a": 3, "b": 3}, backend="plain", top_backend="plain", shapes=((2,),))
    played = forestry.round()
    data = played.run().to_bytes()
    edges = [item.to_bytes() for item in played.evidence()]
    pins = read_trust(forestry.trust.to_json())
    other.verify_tree(data, edges, pins)
    places = [*range(0, 900, 23), *range(900, len(data), 4001)]
    for place in places:
        forged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(ValueError):
            other.verify_tree(forged, edges, pins)
        with pytest.raises(SecureAggError):
            verify_tree(TreeEvidence.from_bytes(forged), played.evidence(), forestry.tree)
    for place in range(0, len(edges[0]), 997):
        forged = edges[0][:place] + bytes([edges[0][place] ^ 1]) + edges[0][place + 1 :]
        with pytest.raises(ValueError):
            other.verify_tree(data, [forged], pins)
        with pytest.raises(SecureAggError):
            verify_tree(TreeEvidence.from_bytes(data), [Evidence.from_bytes(forged)], forestry.tree)


def _reroster(trust: dict[str, Any]) -> None:
    trust["tasks"]["task/north"]["roster"] |= {"south-000": trust["tasks"]["task/south"]["roster"]["south-000"]}


def _clip(trust: dict[str, Any]) -> None:
    trust["tasks"]["task/north"]["policy"]["clip"] = 4.0


def _room(trust: dict[str, Any]) -> None:
    for task in trust["tasks"].values():
        task["policy"]["max_clients"] = 12


@pytest.mark.parametrize("change", [_reroster, _clip, _room])
def test_pins_that_are_no_tree_are_refused_by_both(change: Callable[[dict[str, Any]], None]) -> None:
    forestry = Forestry(backend="plain", top_backend="plain")
    data = forestry.round().run().to_bytes()
    trust = json.loads(forestry.trust.to_json())
    change(trust)
    with pytest.raises(ValueError):
        other.verify_tree(data, (), trust)


def test_the_drawing_is_the_same() -> None:
    forestry = Forestry(drawn=True)
    pins = read_trust(forestry.trust.to_json())
    for edge in forestry.sizes:
        theirs = other.members(pins, "task", edge, BEACON)["tasks"][f"task/{edge}"]["roster"]
        assert {name: bytes.fromhex(key) for name, key in theirs.items()} == dict(forestry.tree.members(edge, BEACON))


def test_the_vectors_of_a_tree_are_what_is_made_and_what_is_read() -> None:
    stored = {name: (DIRECTORY / name).read_bytes() for name in tree_vectors.files()}
    assert stored == tree_vectors.files()
    values = json.loads(stored[tree_vectors.TREE_VECTORS])
    pins = read_trust(stored[values["trust"]].decode())
    edges = [stored[item["evidence"]] for item in values["edges"].values()]
    found = other.verify_tree(stored[values["evidence"]], edges, pins)
    assert found["encoding"].hex() == values["record"]
    assert [float(value).hex() for value in found["average"]] == values["average"]
    root = bytes.fromhex(values["forest_digest"])
    assert digest("forest", bytes.fromhex(values["forest"])) == root
    for name, item in values["edges"].items():
        given = {field: bytes.fromhex(value) for field, value in item.items() if field != "evidence"}
        assert digest("edge-session", given["session_of_advertisements"], root) == given["session"]
        assert digest("edge-record", given["record"]) == given["record_digest"]
        assert frame("edge-record", given["record_digest"]) == given["signed"]
        committed = decode("EdgeRecord", given["record"], 1 << 16)["commitment_sum"]
        parts = (b"task", u64(0), u64(0), name.encode(), given["record_digest"], committed, given["nonce"])
        assert digest("edge", *parts) == given["seal"]
