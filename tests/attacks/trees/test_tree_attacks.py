"""Attacks on trees: each works against a naive version, written here, and fails against ours.

=============================================  =====================================================================
attack                                         answer
=============================================  =====================================================================
a phantom leaf of a Merkle-sum tree            every commitment opens what its owner signed before any was shown
an edge that reports a forged mean             its vector opens its members' commitments, which they have signed
an edge that chooses its sum after the others  all edges' sessions are in one forest before anything is shown
one client in two edges                        disjoint pins, an auditor's walk, one edge durably
edges under another policy, model or epoch     the forest says which, and no member goes on in another
a record exchanged after it was sealed         its operator is named, with a proof
a record that too few members have verified    a quorum of the edge's members signs it
=============================================  =====================================================================
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import pytest
from support.federation import edit_first, forge, header_of, identity, replace
from support.trees import Forestry

from mpc.ring import P, Vector
from secure_agg.errors import (
    AlreadyReleased,
    BadCommitment,
    ConfigError,
    EdgeFault,
    PolicyViolation,
    SecureAggError,
    TaskSpent,
    TooFewClients,
    Unattributed,
    VerificationError,
    WrongContext,
)
from secure_agg.local.tree_round import LocalEdge, TreeRound
from secure_agg.protocol.config.tree import edge_task
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Opening, Rooted, Signature, decode, encode
from secure_agg.protocol.tree.evidence import TreeEvidence, without_sums
from secure_agg.protocol.tree.forest import Forest
from secure_agg.protocol.tree.record import EdgeRecord, Unsealed, seal_of
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.epochs.change import Change
from secure_agg.roles.memory.bonds import Bonds
from secure_agg.roles.memory.edges import vouch
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.renouncing import Renouncing, renounce_as_client
from secure_agg.roles.tree.auditor import TreeAuditor, check_edge, verify_tree
from secure_agg.roles.tree.faults import wrong_commitment, wrong_seal
from secure_agg.roles.tree.operator import EdgeOperator
from secure_agg.roles.tree.pins import TreeTrust
from secure_agg.roles.trust import TaskTrust
from zk import aggregate, commitment
from zk.aggregate import AggregateStatement
from zk.commitment import Commitment
from zk.parameters import choose

# --- a phantom leaf -------------------------------------------------------------------------------------------------

LENGTH, BITS = 600, 16


def random_vector(rng: np.random.Generator, length: int, top: int) -> Vector:
    return rng.integers(0, top + 1, length, dtype=np.uint32)


def minus(a: Commitment, b: Commitment) -> Commitment:
    return Commitment(((a.elements.astype(np.int64) - b.elements) % P).astype(np.uint32))


Node = tuple[bytes, Commitment, int]
"""Of a Merkle-sum tree as it should be: hash, sum and count of what is below."""


def leaf(made: Commitment) -> Node:
    return hashlib.sha256(b"\0" + made.to_bytes()).digest(), made, 1


def join(left: Node, right: Node) -> Node:
    """Both children's hash, sum and count are hashed: nobody can be shown another sibling."""
    data = b"".join(hashed + total.to_bytes() + count.to_bytes(8, "little") for hashed, total, count in (left, right))
    return hashlib.sha256(b"\1" + data).digest(), commitment.add([left[1], right[1]]), left[2] + right[2]


def climb(made: Commitment, path: list[tuple[bool, Node]]) -> Node:
    node = leaf(made)
    for is_left, sibling in path:
        node = join(sibling, node) if is_left else join(node, sibling)
    return node


def test_a_phantom_leaf_of_a_merkle_sum_tree_makes_any_mean_pass() -> None:
    """Seven honest clients, each of whom checks its own path to the root. The eighth leaf is nobody's: what it commits
    to nobody knows, and it needs no opening, since the sum has one."""
    setting = choose(BITS, 8, LENGTH)
    rng, top = np.random.default_rng(7), (1 << BITS) - 2
    length = commitment.randomness_length(setting.rank)
    honest = [
        commitment.commit(random_vector(rng, LENGTH, top), random_vector(rng, length, 1023), setting.rank)
        for _ in range(7)
    ]
    wanted = np.full(LENGTH, 3 * top, dtype=np.uint32)  # any sum that is in range
    noise = random_vector(rng, length, 1023)
    phantom = minus(commitment.commit(wanted, noise, setting.rank), commitment.add(honest))
    leaves = [leaf(made) for made in (*honest, phantom)]
    fours = [join(leaves[i], leaves[i + 1]) for i in range(0, 8, 2)]
    twos = [join(fours[0], fours[1]), join(fours[2], fours[3])]
    root = join(*twos)
    for i, made in enumerate(honest):
        path = [(bool(i & 1), leaves[i ^ 1]), (bool(i & 2), fours[i // 2 ^ 1]), (bool(i & 4), twos[i // 4 ^ 1])]
        assert climb(made, path)[0] == root[0], "every honest client finds its own leaf below the root"
    total = aggregate.check(AggregateStatement(setting, top, (root[1],), wanted, noise, root[2]))
    assert total == root[1], "and the root's sum opens to what the aggregator has made up"

    # Ours: the phantom has to be somebody's, whose hash of it was signed before any of the others was shown.
    forestry = Forestry()
    played = forestry.round()
    tree = played.run()
    whole = played.evidence()[0]
    openings = list(whole.openings)
    rest = commitment.add([Commitment.from_bytes(o.commitment, whole.config.commitment.rank) for o in openings[:-1]])
    forged = minus(Commitment.from_bytes(tree.edges["north"].record.commitment_sum, rest.rank), rest)
    other = Opening(openings[-1].name, minus(forged, rest).to_bytes(), openings[-1].nonce)
    altered = dataclasses.replace(whole, openings=(*openings[:-1], other))
    with pytest.raises(VerificationError, match="does not open the hash signed for it"):
        verify_tree(tree, [altered], forestry.tree)


# --- forged means ---------------------------------------------------------------------------------------------------


def naive_hierarchy(reports: Mapping[str, tuple[np.ndarray, int]]) -> np.ndarray:
    """What hierarchical averaging is everywhere: each region reports a mean and a count, and the centre believes it."""
    return np.average([mean for mean, _ in reports.values()], axis=0, weights=[count for _, count in reports.values()])


class Forger(EdgeOperator):
    """An edge's operator that takes part with another vector than its members' sum, and a commitment of its choice."""

    shift = 1000
    recommit = False
    chosen: Commitment | None = None

    def _commit(self, entry: Any, side: Any, update: Any, weight: int) -> Any:
        evidence = self._own()[0]
        vector = evidence.sums.copy()
        vector[0] += self.shift
        layout, setting = entry.config.layout, entry.config.commitment
        made = Commitment.from_bytes(self._own()[1].commitment_sum, setting.rank)
        if self.recommit:
            values, noise = vector[: layout.committed], vector[layout.committed :]
            made = commitment.commit(setting.pack(values), noise, setting.rank)
        made = self.chosen or made
        entry.attempt.commit(made.to_bytes())
        joining = side.join(made, entry.attempt.derive("commitment-nonce"), vector)
        entry.attempt.bind(joining.nonce)
        return vector, made.to_bytes(), joining


def with_forger(forestry: Forestry, name: str = "south", **how: Any) -> TreeRound:
    played = forestry.round()
    forger = Forger(identity(name), forestry.tree, store=forestry.stores[name])
    for key, value in how.items():
        setattr(forger, key, value)
    edges = dict(played.edges)
    edges[name] = LocalEdge(edges[name].local, forger)
    return dataclasses.replace(played, edges=edges)


def test_a_forged_edge_mean_passes_where_centres_believe_means() -> None:
    reports = {"north": (np.zeros(3), 4), "south": (np.full(3, 1e6), 5), "west": (np.zeros(3), 4)}
    assert naive_hierarchy(reports).max() > 1e5


@pytest.mark.parametrize("top", ["masking", "plain"])
def test_a_forged_edge_sum_with_a_commitment_of_its_own_names_its_operator(top: str) -> None:
    forestry = Forestry(top_backend=top)
    played = with_forger(forestry, recommit=True)
    with pytest.raises(BadCommitment) as caught:
        played.run()
    assert caught.value.culprit == "south"
    assert played.top.aggregator is not None
    (proof,) = played.top.aggregator.faults
    again = FaultProof.from_bytes(proof.to_bytes())
    assert Auditor(forestry.tree.top).verify_fault(again) == "south"


def test_a_forged_edge_sum_with_a_commitment_of_its_own_is_named_by_share_holders_too() -> None:
    forestry = Forestry(top_backend="additive")
    played = with_forger(forestry, recommit=True)
    with pytest.raises(EdgeFault) as caught:
        played.run()
    assert caught.value.culprit == "south"
    assert played.top.aggregator is not None
    (proof,) = played.top.aggregator.faults
    assert Auditor(forestry.tree.top).verify_fault(proof) == "south"


def test_a_forged_edge_sum_under_its_members_commitment_passes_nowhere() -> None:
    """With masking the sum shows that somebody has lied, and not who; with shares, or screened, who."""
    with pytest.raises(Unattributed):
        with_forger(Forestry()).run()
    played = with_forger(forestry := Forestry(top_backend="additive"))
    assert set(played.run().edges) == {"north", "west"}
    assert played.top.aggregator is not None
    (proof,) = played.top.aggregator.faults
    assert Auditor(forestry.tree.top).verify_fault(proof) == "south"


def test_a_forged_edge_sum_is_taken_out_where_the_top_is_screened() -> None:
    sizes = dict.fromkeys("abcdefg", 4)
    forestry = Forestry(sizes, top_options={"screening": 1})
    assert forestry.policy.max_corrupt >= 1
    played = with_forger(forestry, "d")
    tree = played.run()
    assert set(tree.edges) == set("abcefg")


def test_members_do_not_sign_a_sum_that_is_not_theirs() -> None:
    forestry = Forestry()
    played = forestry.round()
    played.fix()
    edge = played.edges["north"]
    aggregator = edge.aggregator
    aggregator.plant(played.forest)
    requests = aggregator.advance()
    while requests:
        edge.local.exchange(requests)
        requests = aggregator.advance()
    envelope = next(iter(aggregator.results()))
    assert aggregator.evidence is not None
    sums = aggregator.evidence.sums.copy()
    sums[0] += 1
    client = edge.local.clients[envelope.recipient]
    for forged in (
        dataclasses.replace(aggregator.evidence, sums=sums),
        without_sums(aggregator.evidence),
        dataclasses.replace(aggregator.evidence, result_model=hashlib.sha256(b"guess").digest()),
    ):
        with pytest.raises(VerificationError):
            client.vouch(forge(envelope.data, identity("north"), bulk=forged.to_bytes()))
    aggregator.vouch(client.vouch(envelope.data))


# --- a sum that is chosen after the others' --------------------------------------------------------------------------


def test_an_edge_that_knows_the_others_sums_before_it_commits_makes_any_mean_pass() -> None:
    """Without the forest: the operators' commitments to their records are all fixed before any is shown, and it does
    not help. One corrupt member of each honest edge knows the edge's C_j by then, since members verify it."""
    forestry = Forestry()
    played = forestry.round()
    tree = played.run()
    config, rank = tree.top.config, tree.top.config.commitment.rank
    layout, setting, n = config.layout, config.commitment, tree.participants
    known = [Commitment.from_bytes(tree.edges[name].record.commitment_sum, rank) for name in ("north", "south")]
    wanted = tree.top.sums.copy()
    wanted[:13] = n * config.policy.top  # whatever the last edge likes
    values, noise = wanted[: layout.committed], wanted[layout.committed :]
    last = minus(commitment.commit(setting.pack(values), noise, rank), commitment.add(known))
    statement = AggregateStatement(setting, config.policy.top, (*known, last), values, noise, n)
    assert aggregate.check(statement), "the naive check on the total passes"

    # With it: what a wholly corrupt edge shows has to open hashes that were in the forest before north and south spoke.
    whole = played.evidence()[2]
    first, *others = whole.openings
    share = minus(last, commitment.add([Commitment.from_bytes(o.commitment, rank) for o in others]))
    chosen = dataclasses.replace(whole, openings=(Opening(first.name, share.to_bytes(), first.nonce), *others))
    with pytest.raises(VerificationError, match="does not open the hash signed for it"):
        check_edge(chosen, None)


def test_an_edge_that_comes_after_the_forest_is_in_no_sum() -> None:
    """Its members would have to commit after others have shown; so it is another forest, and another session."""
    forestry = Forestry()
    played = forestry.round(quiet={"west": "enrol"})
    played.fix()
    late = played.edges["west"].aggregator
    with pytest.raises(WrongContext, match="not in it"):
        late.plant(played.forest)
    # In league with whoever leads the top, it makes a forest of its own for itself.
    entries = Forest.from_bytes(played.forest).edges
    own = replace(Forest.from_bytes(played.forest), edges=(*entries, late.enrol()))
    late.plant(own.to_bytes())
    west = played.edges["west"]
    requests = late.advance()
    while requests:
        west.local.exchange(requests)
        requests = late.advance()
    played.vouch(west)
    tree, record = played_with(played), late.record
    assert record is not None
    nonce = bytes(32)
    seal = seal_of("task", "west", record, nonce)
    edges = {**tree.edges, "west": Unsealed(record, nonce, late.vouched())}
    roll = replace(tree.roll, edges=(*tree.roll.edges, type(tree.roll.edges[0])("west", seal)))
    with pytest.raises(VerificationError):
        TreeAuditor(forestry.tree).verify(dataclasses.replace(tree, edges=edges, roll=roll))


def played_with(played: TreeRound) -> TreeEvidence:
    played.sum_edges()
    return played.sum_top()


def test_edges_that_were_shown_different_forests_are_in_no_tree_together() -> None:
    forestry = Forestry()
    played = forestry.round()
    played.fix()
    forest = Forest.from_bytes(played.forest)
    north = played.edges["north"]
    north.aggregator.plant(replace(forest, edges=forest.edges[:2]).to_bytes())
    requests = north.aggregator.advance()
    while requests:
        north.local.exchange(requests)
        requests = north.aggregator.advance()
    played.vouch(north)
    assert north.aggregator.evidence is not None
    with pytest.raises(WrongContext) as caught:
        played.top.seal(north.operator.seal(north.aggregator.evidence, north.aggregator.vouched()))
    assert caught.value.culprit == "north"


# --- who is in it ---------------------------------------------------------------------------------------------------


def test_one_client_in_two_edges_would_be_counted_twice() -> None:
    """Its bonds by edge's task miss it; pins refuse it, it refuses itself, and so does whoever walks the tree."""
    forestry = Forestry()
    shared = dict(forestry.tree.members("south")) | {"north-000": identity("north-000").public}
    naive = object.__new__(TreeTrust)  # pins that nobody has looked at
    south = forestry.trust.task("task/south")
    tasks = dict(forestry.trust.tasks)
    tasks["task/south"] = TaskTrust(Roster(shared), south.policy)
    trust = dataclasses.replace(forestry.trust, tasks=tasks)
    with pytest.raises(ConfigError, match="twice"):
        TreeTrust(trust, "task")
    object.__setattr__(naive, "trust", trust)
    object.__setattr__(naive, "task", "task")
    forestry.tree = naive
    played = forestry.round()
    with pytest.raises(AlreadyReleased, match="another edge of"):
        played.run()
    # With a store that forgets, the round goes through; the walk finds it.
    for edge in (played := forestry.round(attempt=1)).edges.values():
        for client in edge.local.clients.values():
            client._store = AttemptStore()
    with pytest.raises(Unattributed, match="in the tree twice"):
        played.run()


CHANGES: Mapping[str, Mapping[str, Any]] = {
    "another start model": {"start_model": b"s" * 32},
    "another base model": {"base_model": b"b" * 32},
    "another round": {"number": 3},
    "another attempt": {"attempt": 1},
    "other instructions": {"instructions": b"i" * 32},
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_edge_of_another_model_or_round_is_in_no_forest_with_the_others(change: str) -> None:
    forestry = Forestry()
    played = forestry.round()
    edges = dict(played.edges)
    edges["north"] = forestry.edge("north", **CHANGES[change])
    played = dataclasses.replace(played, edges=edges)
    with pytest.raises(SecureAggError) as caught:
        played.run()
    assert isinstance(caught.value, WrongContext | PolicyViolation)


def test_a_member_goes_on_in_no_forest_of_another_policy() -> None:
    """The forest says what all edges have in common; an aggregator that plants another is refused by its members."""
    forestry = Forestry()
    played = forestry.round()
    played.fix()
    edge = played.edges["north"]
    other = replace(Forest.from_bytes(played.forest), common=hashlib.sha256(b"another clip").digest())
    with pytest.raises(PolicyViolation):
        edge.aggregator.plant(other.to_bytes())
    edge.aggregator.plant(played.forest)
    requests = edge.aggregator.advance()
    client = edge.local.clients[requests[0].recipient]

    def plant(listed: Any) -> Any:
        rooted = decode(Rooted, listed.backend, 1 << 20)
        return replace(listed, backend=encode(Rooted(other.to_bytes(), rooted.backend)))

    with pytest.raises(SecureAggError) as caught:
        client.receive(edit_first(requests[0].data, identity("north"), plant))
    assert caught.value.culprit == "north"


def test_a_tree_has_one_epoch_and_one_generation() -> None:
    forestry = Forestry()
    config, trust = forestry.edge_config("north"), forestry.tree.trust
    for changes in ({"epoch": 1}, {"generation": 1, "renounced": b"r" * 32}):
        with pytest.raises(ConfigError, match="a tree has no later ones"):
            msgspec.structs.replace(config, **changes)
    edge, member = forestry.tree.edge("north"), next(iter(forestry.tree.members("north")))
    asking = Renouncing(identity("north"), config, Roster(forestry.tree.members("north")), edge.operators)
    request = next(each.data for each in asking.requests() if each.recipient == member)
    with pytest.raises(PolicyViolation, match="no later generation") as caught:
        renounce_as_client(identity(member), edge, AttemptStore(), request)
    assert caught.value.culprit == "north"
    pinned = dataclasses.replace(trust, log=identity("log").public)
    with pytest.raises(ConfigError, match="a tree is pinned once"):
        Change(rotate={"south": identity("another").public}).body(pinned, forestry.tree.task)


def test_an_input_that_was_given_in_one_draw_into_edges_is_given_in_no_other() -> None:
    forestry = Forestry(drawn=True)
    member = next(iter(forestry.tree.members("north", forestry.beacon)))
    config, store = forestry.edge_config("north"), AttemptStore()
    Bonds(store, member, config).give(phase="masked-input")
    Bonds(store, member, msgspec.structs.replace(config, attempt=1)).give(phase="masked-input")
    for changes in ({"cohort_root": b"r" * 32}, {"task": edge_task(forestry.tree.task, "south")}):
        with pytest.raises(TaskSpent, match="has given its update in another"):
            Bonds(store, member, msgspec.structs.replace(config, attempt=2, **changes)).give(phase="masked-input")


# --- records and seals ----------------------------------------------------------------------------------------------


def exchange_record(forestry: Forestry, change: Callable[[Unsealed], Unsealed]) -> tuple[TreeRound, SecureAggError]:
    """A round in which south's operator shows something else than it sealed."""
    played = forestry.round()

    def unseal(edge: LocalEdge) -> bytes:
        data = edge.operator.unseal()
        if edge.operator.identity.name != "south":
            return data
        body = change(Unsealed.from_bytes(header_of(data).body)).to_bytes()
        return forge(data, identity("south"), body=body)

    played.unseal = unseal
    with pytest.raises(SecureAggError) as caught:
        played.run()
    return played, caught.value


def test_a_record_that_was_exchanged_after_it_was_sealed_names_its_operator() -> None:
    forestry = Forestry()

    def more(item: Unsealed) -> Unsealed:
        return dataclasses.replace(item, record=replace(item.record, participants=item.record.participants - 1))

    played, error = exchange_record(forestry, more)
    assert isinstance(error, PolicyViolation)
    assert error.culprit == "south"
    (proof,) = played.top.faults
    assert Auditor(forestry.tree.top).verify_fault(FaultProof.from_bytes(proof.to_bytes())) == "south"


def test_no_honest_operator_is_named_by_what_it_has_signed() -> None:
    """Its own messages, put together as proofs of either fault, prove nothing."""
    forestry = Forestry()
    played = forestry.round()
    played.run()
    aggregator = played.top.aggregator
    assert aggregator is not None
    assert played.roll is not None
    config, public = aggregator.config, identity("south").public
    shown = played.top.shown["south"].header
    tree = played.top.tree
    assert tree is not None
    item = next(item for item in tree.top.advertisements if item.name == "south")
    opening = next(item for item in tree.top.openings if item.name == "south")
    for proof in (
        wrong_seal(config, public, played.roll, shown),
        wrong_commitment(config, public, item, opening, shown),
        wrong_commitment(config, public, item, Opening("south", opening.commitment, bytes(32)), shown),
        _with_another_roll(config, public, played, shown),
    ):
        with pytest.raises(VerificationError):
            Auditor(forestry.tree.top).verify_fault(proof)


def _with_another_roll(config: Any, public: bytes, played: TreeRound, shown: Any) -> FaultProof:
    """A roll that the configuration does not name."""
    assert played.roll is not None
    entries = tuple(replace(edge, seal=bytes(32)) for edge in played.roll.edges)
    return wrong_seal(config, public, replace(played.roll, edges=entries), shown)


def test_a_record_that_too_few_members_have_signed_is_refused() -> None:
    forestry = Forestry()
    _, error = exchange_record(forestry, lambda item: dataclasses.replace(item, signatures=item.signatures[1:]))
    assert isinstance(error, PolicyViolation)
    assert "3 members" in str(error)
    assert error.culprit == "south"
    forestry = Forestry()
    played = forestry.round()
    tree = played.run()
    for change in (
        lambda item: dataclasses.replace(item, signatures=item.signatures[1:]),
        lambda item: dataclasses.replace(item, signatures=(item.signatures[0],) * 3),
        lambda item: dataclasses.replace(item, signatures=tuple(Signature(s.name, bytes(64)) for s in item.signatures)),
    ):
        edges = {**tree.edges, "south": change(tree.edges["south"])}
        with pytest.raises(VerificationError):
            TreeAuditor(forestry.tree).verify(dataclasses.replace(tree, edges=edges), played.evidence())


def test_an_edge_whose_members_do_not_sign_is_lost() -> None:
    forestry = Forestry()
    played = forestry.round()
    vouch = played.vouch
    played.vouch = lambda edge: None if edge.operator.identity.name == "south" else vouch(edge)
    tree = played.run()
    assert set(tree.edges) == {"north", "west"}
    assert isinstance(played.edges["south"].lost, TooFewClients)


def test_a_member_signs_one_record_in_a_round_of_its_tree() -> None:
    forestry = Forestry()
    played = forestry.round()
    played.run()
    config = forestry.edge_config("north")
    for name in forestry.members["north"]:
        with pytest.raises(AlreadyReleased):
            vouch(forestry.stores[name], name, config, hashlib.sha256(b"another record").digest())


def test_nothing_is_shown_before_it_is_time() -> None:
    forestry = Forestry()
    played = forestry.round()
    played.fix()
    edge = played.edges["north"]
    with pytest.raises(SecureAggError):
        edge.aggregator.advance()  # no forest
    with pytest.raises(SecureAggError):
        edge.operator.unseal()  # nothing sealed
    played.sum_edges()
    with pytest.raises(SecureAggError):
        edge.operator.unseal()  # the top's session is not fixed


def test_a_client_believes_no_tree_that_tells_something_else_of_its_edge() -> None:
    """A wholly corrupt edge signs what it likes; a member that has signed another record refuses the tree."""
    forestry = Forestry()
    played = forestry.round()
    tree = played.run()
    client = played.edges["north"].local.clients["north-000"]
    record = tree.edges["north"].record
    client.record = replace(record, participants=record.participants - 1)
    with pytest.raises(VerificationError, match="another record"):
        client.conclude(tree.to_bytes())


@functools.cache
def finished_round() -> tuple[Forestry, TreeRound]:
    """A tree that hides nothing, for tests that only look at what is public of it."""
    forestry = Forestry(backend="plain", top_backend="plain")
    played = forestry.round()
    played.run()
    return forestry, played


FIELDS = [name for name in EdgeRecord.__struct_fields__ if name not in ("version", "claim")]


@pytest.mark.parametrize("field", FIELDS)
def test_whatever_is_changed_in_a_record_is_noticed_by_whoever_pins_its_members(field: str) -> None:
    forestry, played = finished_round()
    tree = played.top.tree
    assert tree is not None
    record = tree.edges["west"].record
    value = getattr(record, field)
    changed = (
        value + 1 if isinstance(value, int) else value[:-1] + type(value)(b"\0" if isinstance(value, bytes) else "x")
    )
    edges = {**tree.edges, "west": dataclasses.replace(tree.edges["west"], record=replace(record, **{field: changed}))}
    with pytest.raises(SecureAggError):
        TreeAuditor(forestry.tree).verify(dataclasses.replace(tree, edges=edges))


def test_evidence_of_a_tree_is_decoded_strictly() -> None:
    tree = finished_round()[1].top.tree
    assert tree is not None
    data = tree.to_bytes()
    assert TreeEvidence.from_bytes(data).to_bytes() == data
    assert TreeEvidence.is_one(data)
    with pytest.raises(VerificationError, match="evidence of a round"):
        TreeEvidence.from_bytes(tree.top.to_bytes())
    with pytest.raises(VerificationError, match="evidence of a tree"):
        Evidence.from_bytes(data)
    for cut in (data[:-1], data + b"\0", data[:40], b""):
        with pytest.raises(VerificationError):
            TreeEvidence.from_bytes(cut)
