"""The suite of trees measures one client of a tree, and what it measures is what a real tree's client receives."""

from __future__ import annotations

from support.trees import Forestry

from benchmarks.__main__ import SUITES
from benchmarks.trees.world import measure


def test_one_client_of_a_tree_is_measured() -> None:
    found = measure(20, 14, 1, 4)
    assert "trees" in SUITES
    assert (found.clients, found.edges, found.rank, found.signed) == (20, 4, 3, 4 * 4)
    assert 0 < found.beside < 1e6
    assert found.edge_s > 0
    assert found.tree_s.median > 0


def test_made_up_edges_weigh_what_real_ones_do() -> None:
    """But for the length of names."""
    real = Forestry({f"edge-{i:03d}": 5 for i in range(4)}, shapes=((16,),), policy_changes={"bits": 14})
    data = real.round().run().to_bytes()
    assert abs(measure(20, 14, 1, 4).tree_bytes - len(data)) < 600
