"""Makes the vectors of a tree, docs/vectors/tree*: two edges of three, fixed identities and secrets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final

from conformance.vector_files import DIRECTORY
from support.trees import Forestry

from secure_agg.local.tree_round import LocalEdge, TreeRound
from secure_agg.protocol.tree.forest import common
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator

TREE, TREE_TRUST, TREE_VECTORS = "tree.evidence", "tree.trust.json", "tree.json"
SIZES: Final = {"north": 3, "south": 3}


def constant(name: str) -> Callable[[int], bytes]:
    """No randomness: what a party would draw."""
    return lambda size: (hashlib.sha256(b"entropy" + name.encode()).digest() * 4)[:size]


def play() -> tuple[Forestry, TreeRound]:
    """The tree, once it is summed."""
    forestry = Forestry(SIZES, shapes=((5,),))
    played = forestry.round()
    edges = {}
    for name, edge in played.edges.items():
        for member, client in list(edge.local.clients.items()):
            role = EdgeClient(client.identity, forestry.tree, name, entropy=constant(member))
            edge.local.clients[member] = role  # type: ignore[index]
        operator = EdgeOperator(edge.operator.identity, forestry.tree, entropy=constant(name))
        edges[name] = LocalEdge(edge.local, operator)
    played = TreeRound(played.top, edges)
    played.run()
    return forestry, played


def files() -> dict[str, bytes]:
    """By name, what they hold."""
    forestry, played = play()
    tree = played.top.tree
    assert tree is not None
    made = {TREE: tree.to_bytes(), TREE_TRUST: forestry.trust.to_json().encode()}
    made |= {f"tree-{name}.evidence": played.top.edges[name].to_bytes() for name in tree.edges}
    verified = played.top.aggregator.verified if played.top.aggregator else None
    assert verified is not None
    values: dict[str, Any] = {
        "evidence": TREE,
        "trust": TREE_TRUST,
        "edges": {
            name: {
                "evidence": f"tree-{name}.evidence",
                "session_of_advertisements": item.session.hex(),
                "session": tree.forest.session(item.session).hex(),
                "record": tree.edges[name].record.to_bytes().hex(),
                "record_digest": tree.edges[name].record.digest().hex(),
                "signed": tree.edges[name].record.signed_bytes().hex(),
                "nonce": tree.edges[name].nonce.hex(),
                "seal": tree.roll.seal(name).hex(),  # type: ignore[union-attr]
            }
            for name, item in ((item.name, item) for item in tree.forest.edges)
        },
        "common": common(tree.top.config).hex(),
        "forest": tree.forest.to_bytes().hex(),
        "forest_digest": tree.forest.digest().hex(),
        "instructions": tree.roll.digest().hex(),
        "record": verified.record.to_bytes().hex(),
        "average": [float(value).hex() for array in verified.average for value in array.ravel()],
    }
    return made | {TREE_VECTORS: (json.dumps(values, indent=1) + "\n").encode()}


def write() -> None:
    """Write the files."""
    for name, data in files().items():
        (DIRECTORY / name).write_bytes(data)
