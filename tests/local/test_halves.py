"""Values as two halves: as many bits as anybody asks for, over more clients than whole values allow."""

from __future__ import annotations

import conformance.independent_verifier as other
import msgspec
import numpy as np
import pytest
from support.federation import Federation, assert_is_mean

import secure_agg
from secure_agg import backends
from secure_agg.errors import ConfigError
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.config import Option, Policy
from zk.parameters import choose

MANY = 131_072


def test_sixteen_bits_over_many_clients_go_as_halves_and_are_bound() -> None:
    for clients in (2_048, 2_049, 10_000, MANY):
        policy = Policy.default(clients, bits=16)
        assert policy.halves == (1 if clients <= 2_048 else 2)
        backends.load(policy.backend).check_policy(policy)
    for coordinates, binding in ((20_000, 141), (2_000_000, 135), (20_000_000, 131)):
        found = choose(8, MANY, coordinates)
        assert (found.rank, round(found.binding), round(found.hiding)) == (3, binding, 133)
    assert Policy.default(MANY, bits=8).halves == 1
    assert Policy.default(MANY, bits=16, backend="bfv").halves == 1, "a backend that can't is asked for none"


@pytest.mark.parametrize(
    ("backend", "bits"), [("masking", 16), ("plain", 16), ("plain", 17), ("additive", 16), ("plain", 4)]
)
def test_the_mean_is_the_one_of_whole_values_to_the_bit(backend: str, bits: int) -> None:
    weights = {f"c{i:03d}": 1 + 100 * i for i in range(4)}
    changes = {"bits": bits, "max_weight": 400}
    halved = Federation(4, backend=backend, options={"halves": 1}, policy_changes=changes)
    assert halved.policy.halves == 2
    play = halved.round()
    play.weights = weights
    evidence = play.run()
    found = secure_agg.verify(evidence, halved.trust)
    assert_is_mean(found.average, halved.updates, weights, evidence.participants, evidence.config)
    layout = evidence.config.layout
    assert layout.committed == 2 * layout.values + layout.limbs
    theirs = other.verify(evidence.to_bytes(), other.read_trust(halved.trust.to_json()))
    assert theirs["encoding"] == found.record.to_bytes()
    assert np.array_equal(theirs["average"], np.concatenate([array.ravel() for array in found.average]))


def test_halves_of_an_encoded_value_are_its_own() -> None:
    policy = Policy.default(4, bits=17, options=(Option("halves", 1),))
    whole = msgspec.structs.replace(policy, options=())
    rng, key = np.random.default_rng(3), bytes(32)
    update = [rng.normal(size=70_000), rng.normal(size=(3, 2))]
    values = sum(array.size for array in update)
    plain, split = np.empty(values + 1, np.uint32), np.empty(2 * values + 1, np.uint32)
    FixedPoint(whole).encode(update, 1, key, plain)
    FixedPoint(policy).encode(update, 1, key, split)
    assert np.array_equal(split[:values] + (split[values : 2 * values] << 9), plain[:values])
    assert split.max() <= policy.coordinate_top == 511


def test_halves_are_refused_where_they_make_no_sense() -> None:
    for name in ("bfv", "paillier", "crypten"):
        policy = msgspec.structs.replace(Policy.default(4, backend=name), options=(Option("halves", 1),))
        with pytest.raises(ConfigError):
            backends.load(name).check_policy(policy)
    with pytest.raises(ConfigError, match="halves"):
        Policy.default(4, bits=3, options=(Option("halves", 1),))
    bounded = Policy.default(4, bits=16, norm_bound=1.0, options=(Option("halves", 1),))
    with pytest.raises(ConfigError, match="no norm is bounded"):
        backends.load("masking").check_policy(bounded)


def test_a_tree_of_more_clients_than_sums_of_whole_values_bind() -> None:
    """Few of them speak: what is tried is the room of the sums."""
    updates = {f"h{i}": [np.linspace(-1, 1, 5) * i] for i in range(8)}
    result = secure_agg.aggregate(updates, edges=2, bits=16, max_clients=MANY, backend="plain")
    assert result.tree is not None
    assert result.tree.top.config.policy.halves == 2
    wanted = np.mean([update[0] for update in updates.values()], axis=0)
    assert np.abs(result.average[0] - wanted).max() < result.record.error_bound
