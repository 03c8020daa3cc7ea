"""Trees of rounds: what honest parties get out of them, whatever is on top, and who is lost on the way."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
from support.federation import identity
from support.trees import BEACON, Forestry

from secure_agg import backends
from secure_agg.errors import ConfigError, TooFewClients, TrustError, VerificationError
from secure_agg.local.tree_round import TreeRound
from secure_agg.protocol.config import Option
from secure_agg.protocol.config.tree import EDGE, edge_task
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.tree.evidence import TreeEvidence
from secure_agg.roles.auditor import verify
from secure_agg.roles.tree.auditor import VerifiedTree, verify_tree
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator
from secure_agg.roles.tree.pins import TreeTrust, corrupt_in_edges, draw
from secure_agg.roles.trust import TaskTrust, Trust

SETTINGS = {
    "masking over masking": {},
    "plain over plain": {"backend": "plain", "top_backend": "plain"},
    "additive over masking": {"top_backend": "additive"},
    "additive, packed": {"top_backend": "additive", "policy_changes": {"commit_packed": True, "bits": 8}},
    "screened over masking": {"top_options": {"screening": 1}},
    "masking over plain": {"backend": "plain"},
    "drawn edges": {"drawn": True},
    "weights in two limbs": {"policy_changes": {"bits": 8, "max_weight": 500}},
}


def check(forestry: Forestry, played: TreeRound, tree: TreeEvidence) -> VerifiedTree:
    """As a stranger with the pins: from bytes, with all edges' evidence."""
    edges = [Evidence.from_bytes(item.to_bytes()) for item in played.evidence()]
    again = TreeEvidence.from_bytes(tree.to_bytes())
    return verify_tree(again, edges, forestry.tree, beacon=forestry.beacon or None)


def expected(forestry: Forestry, names: list[str], weights: dict[str, int] | None = None) -> np.ndarray:
    each = [(weights or {}).get(name, 1) for name in names]
    return np.average([forestry.updates[name][0] for name in names], axis=0, weights=each)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_trees_mean_is_that_of_all_its_clients_whatever_is_on_top(setting: str) -> None:
    forestry = Forestry(**SETTINGS[setting])
    weights = {name: 1 + i % 400 for i, name in enumerate(forestry.names)} if "weights" in setting else None
    played = forestry.round(weights=weights)
    tree = played.run()
    found = check(forestry, played, tree)
    assert found.saw_all
    assert found.record.participants == found.record.cohort_size == len(forestry.names)
    assert found.pinned >= {"policy", "roster"}
    assert set(found.commitments) == set(forestry.names)
    wanted = expected(forestry, forestry.names, weights)
    assert np.abs(found.average[0] - wanted).max() < found.record.error_bound
    assert found.record.weight_sum == (sum(weights.values()) if weights else len(forestry.names))
    for verified in played.deliver(tree).values():
        assert verified.record == found.record
        assert not verified.seen


def test_clients_that_drop_out_and_an_edge_that_is_lost_leave_the_others_mean() -> None:
    forestry = Forestry({"north": 5, "south": 11, "west": 5})
    silent = {"south-000": "masked-input", "south-001": "unmask", "north-004": "consistency"}
    played = forestry.round(silent, {"west": "seal"})
    found = check(forestry, played, tree := played.run())
    names = [name for name in forestry.names if name[:4] != "west" and name != "south-000"]
    assert found.record.participants == len(names)
    assert set(found.edges) == {"north", "south"}
    assert np.abs(found.average[0] - expected(forestry, names)).max() < found.record.error_bound
    concluded = played.deliver(tree)
    assert concluded["west-000"].record == found.record, "a client of the lost edge learns the result all the same"


@pytest.mark.parametrize("phase", ["enrol", "seal", "share-keys", "masked-input"])
def test_an_edge_whose_operator_falls_silent_is_missing_from_the_sum(phase: str) -> None:
    forestry = Forestry({"a": 4, "b": 4, "c": 4, "d": 4, "e": 4, "f": 4, "g": 4})
    played = forestry.round(quiet={"d": phase})
    found = check(forestry, played, played.run())
    assert set(found.edges) == set("abcefg")
    assert found.record.participants == 24


def test_an_edge_with_too_few_members_is_lost_and_a_tree_with_too_few_edges_is_none() -> None:
    forestry = Forestry()
    silent = {name: "advertise" for edge in ("north", "west") for name in forestry.members[edge][:2]}
    played = forestry.round(silent)
    with pytest.raises(TooFewClients, match="1 edges enrolled"):
        played.run()
    assert isinstance(played.edges["north"].lost, TooFewClients)


def test_rounds_of_a_tree_follow_each_other() -> None:
    forestry = Forestry()
    played = forestry.round()
    first = check(forestry, played, tree := played.run())
    played.deliver(tree)
    forestry.last = first.record
    again = forestry.round()
    second = check(forestry, again, tree := again.run())
    assert len(again.deliver(tree)) == len(forestry.names)
    assert (second.record.round, second.record.previous_record) == (1, first.record.digest())
    assert second.record.start_model == first.record.result_model


def test_without_pins_all_edges_are_needed_and_with_pins_none() -> None:
    forestry = Forestry()
    played = forestry.round()
    tree = played.run()
    assert verify_tree(tree, played.evidence()).pinned == frozenset()
    with pytest.raises(VerificationError, match="nothing is pinned"):
        verify_tree(tree, played.evidence()[:2])
    light = verify_tree(tree, trust=forestry.tree)
    assert not light.saw_all
    assert light.tree_text.startswith("0 of 3 edges")
    assert light.vouched == frozenset(forestry.sizes)
    assert "1 of 3" in verify_tree(tree, played.evidence()[:1], forestry.tree).tree_text


def test_neither_a_top_nor_an_edge_passes_as_a_round_of_its_own() -> None:
    forestry = Forestry()
    played = forestry.round()
    tree = played.run()
    whole = played.edges["north"].aggregator.evidence
    assert whole is not None
    for evidence, trust in ((tree.top, forestry.tree.top), (whole, forestry.tree.edge("north"))):
        with pytest.raises(VerificationError, match="of a tree"):
            verify(evidence, trust)


def test_what_is_published_of_an_edge_holds_neither_its_sum_nor_a_digest_of_it() -> None:
    forestry = Forestry()
    played = forestry.round()
    tree = played.run()
    secret = played.edges["north"].aggregator.evidence
    assert secret is not None
    assert secret.sums.size
    for item in (*played.evidence(), tree):
        assert secret.sums[:4].tobytes() not in item.to_bytes()
    assert all(item.sums.size == 0 and not any(item.result_model) for item in played.evidence())


# --- pins -----------------------------------------------------------------------------------------------------------


def _with(forestry: Forestry, **tasks: TaskTrust) -> Trust:
    changed = {edge_task(forestry.task, name): pins for name, pins in tasks.items()}
    return dataclasses.replace(forestry.trust, tasks=dict(forestry.trust.tasks) | changed)


def test_pins_that_would_count_somebody_twice_or_add_up_no_sum_are_refused() -> None:
    forestry = Forestry()
    north = forestry.trust.task("task/north")
    twice = {**dict(north.roster), "south-000": identity("south-000").public}
    key = {**dict(north.roster), "other": identity("south-000").public}
    operator = {**dict(north.roster), "other": identity("west").public}
    for roster in (twice, key, operator):
        with pytest.raises(ConfigError, match="twice"):
            TreeTrust(_with(forestry, north=TaskTrust(Roster(roster), north.policy)), "task")
    changed = msgspec.structs.replace(north.policy, clip=4.0)
    with pytest.raises(ConfigError, match="another clip"):
        TreeTrust(_with(forestry, north=TaskTrust(north.roster, changed)), "task")
    flat = msgspec.structs.replace(north.policy, options=())
    with pytest.raises(ConfigError, match="no option level"):
        TreeTrust(_with(forestry, north=TaskTrust(north.roster, flat)), "task")
    tasks = {name: pins for name, pins in forestry.trust.tasks.items() if name != "task/north"}
    missing = dataclasses.replace(forestry.trust, tasks=tasks)
    with pytest.raises(TrustError, match="task/north"):
        TreeTrust(missing, "task")
    with pytest.raises(TrustError, match="no edge"):
        forestry.tree.edge("east")
    with pytest.raises(ConfigError, match="slash"):
        edge_task("task", "a/b")


def test_more_members_than_sums_have_room_for_are_refused() -> None:
    forestry = Forestry()
    tasks = {
        name: TaskTrust(pins.roster, msgspec.structs.replace(pins.policy, max_clients=12))
        for name, pins in forestry.trust.tasks.items()
    }
    with pytest.raises(ConfigError, match="13 members"):
        TreeTrust(dataclasses.replace(forestry.trust, tasks=tasks), "task")


def test_backends_say_where_in_a_tree_they_can_be() -> None:
    forestry = Forestry()
    policy = forestry.tree.policy("north")
    for name, fits in (("masking", True), ("plain", True), ("additive", False), ("bfv", False), ("crypten", False)):
        changed = msgspec.structs.replace(policy, backend=name)
        if fits:
            backends.load(name).check_policy(changed)
        else:
            with pytest.raises(ConfigError):
                backends.load(name).check_policy(changed)
    backends.load("additive").check_policy(msgspec.structs.replace(forestry.policy, backend="additive"))
    screened = msgspec.structs.replace(policy, options=(Option("level", EDGE), Option("screening", 1)))
    with pytest.raises(ConfigError, match="not screened"):
        backends.load("masking").check_policy(screened)


def test_members_are_drawn_evenly_by_what_nobody_could_foresee() -> None:
    names = [f"m{i}" for i in range(11)]
    edges = ("a", "b", "c")
    found = draw(names, edges, BEACON)
    assert [len(found[edge]) for edge in edges] == [4, 4, 3]
    assert sorted(name for members in found.values() for name in members) == sorted(names)
    assert found == draw(names[::-1], edges, BEACON) != draw(names, edges, BEACON[::-1])


def test_drawn_edges_hold_few_corrupt_members_with_a_stated_probability() -> None:
    """f = 29 of an edge of 100 may be corrupt: 3 % of 10,000 never come to that, 5 % do, and take edges of 134."""
    assert corrupt_in_edges(10_000, 300, 100) <= 29 < corrupt_in_edges(10_000, 500, 100)
    assert corrupt_in_edges(10_000, 500, 75) <= 39


def test_a_beacon_that_is_not_ones_own_is_refused() -> None:
    forestry = Forestry(drawn=True)
    played = forestry.round()
    tree = played.run()
    with pytest.raises(TrustError, match="beacon"):
        verify_tree(tree, trust=forestry.tree, beacon=BEACON[::-1])
    with pytest.raises(TrustError, match="beacon"):
        verify_tree(tree, trust=forestry.tree)


def test_a_member_and_an_operator_in_new_processes_go_on_as_they_were() -> None:
    """Over the same stores: the member answers what is left of its edge's round, the operator seals what it sealed."""
    forestry = Forestry(backend="plain", top_backend="plain")
    played = forestry.round()
    played.fix()
    edge, name = played.edges["north"], "north-001"
    aggregator, asked = (
        edge.aggregator,
        [edge.aggregator._asking.requests(edge.aggregator.phases[0], None, [name])[0].data],
    )
    aggregator.plant(played.forest)
    requests = aggregator.advance()
    while requests:
        asked += [request.data for request in requests if request.recipient == name]
        edge.local.exchange(requests)
        requests = aggregator.advance()
    again = EdgeClient(identity(name), forestry.tree, "north", store=forestry.stores[name])
    again.resume(asked, lambda: forestry.updates[name])
    edge.local.clients[name] = again
    played.vouch(edge)
    assert aggregator.evidence is not None
    first = edge.operator.seal(aggregator.evidence, aggregator.vouched())
    operator = EdgeOperator(identity("north"), forestry.tree, store=forestry.stores["north"])
    assert operator.seal(aggregator.evidence, aggregator.vouched()) == first
    played.edges["north"].operator = operator
    played.top.seal(first)
    for other in ("south", "west"):
        part = played.edges[other]
        part.aggregator.plant(played.forest)
        requests = part.aggregator.advance()
        while requests:
            part.local.exchange(requests)
            requests = part.aggregator.advance()
        played.vouch(part)
        assert part.aggregator.evidence is not None
        played.top.seal(part.operator.seal(part.aggregator.evidence, part.aggregator.vouched()))
    tree = played.sum_top()
    assert check(forestry, played, tree).record.participants == 13
    assert name in played.deliver(tree)
