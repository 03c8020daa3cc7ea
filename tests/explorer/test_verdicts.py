"""The page's verdict on what docs/vectors do not hold: other backends, epochs, forged rounds, flipped bits.

Whatever it accepts, the product accepts, and leads to the same record; whatever the product refuses, it refuses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from conformance import independent_verifier as spec
from conformance.verdicts import by_product, rearranged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.epochs import Changing, newer
from support.explorer.browser import publish
from support.explorer.core import Core, CoreRefused, in_node
from support.federation import Federation, identity

import secure_agg
from zk import merkle


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with in_node() as running:
        yield running


def agree(core: Core, evidence: bytes, trust: str | None = None, claims: list[str] | None = None) -> bytes | None:
    """What both find; None where both refuse."""
    product = by_product(evidence, trust, None, claims)
    mine = core.verdict(evidence, trust, None, claims)
    assert mine == (None if isinstance(product, str) else product[0]), product
    return mine


@pytest.mark.parametrize(
    ("clients", "arguments"),
    [
        (4, {"backend": "plain", "weights": [1, 2, 300, 70000], "max_weight": 100_000}),
        (4, {"bits": 20, "max_clients": 64}),
        (3, {"bits": 2, "clip": 1e-30, "weights": [13, 15, 17]}),
        (4, {"bits": 16, "options": {"halves": 1}, "max_clients": 4000}),
        (9, {"dropouts": {8: "share-keys"}, "options": {"complete_up_to": 4}, "max_clients": 512}),
        (4, {"backend": "additive", "options": {"aggregators": 4, "threshold": 3}}),
        (4, {"norm_bound": 2.0, "weights": [3, 100, 7, 65], "weight_scale": 2, "weight_span": 8}),
    ],
    ids=str,
)
def test_rounds_of_every_kind_lead_to_the_product_s_record(core: Core, clients: int, arguments: dict[str, Any]) -> None:
    rng = np.random.default_rng(clients)
    names = [f"client {i} – ÅΩ😀"[: 8 + i] for i in range(clients)]
    scale = min(arguments.get("clip", 8.0), 8.0) / 8
    updates = {name: [scale * rng.normal(size=(7,)), scale * rng.normal(size=(130, 9))] for name in names}
    given_ = dict(arguments)
    if "weights" in given_:
        given_["weights"] = dict(zip(names, given_["weights"], strict=True))
    given_["dropouts"] = {names[i]: phase for i, phase in given_.get("dropouts", {}).items()}
    result = secure_agg.aggregate(updates, **given_)
    said = core("evidence", evidence=result.evidence.to_bytes(), beside=list(result.evidence.proofs.values())[:1])
    assert said["good"], [check for check in said["checks"] if check["state"] != "passed"]
    assert said["encoding"] == result.record.to_bytes()
    assert said["means"] == np.concatenate([array.ravel() for array in result.average]).tobytes()


@pytest.mark.long
def test_a_ledger_s_round_of_an_encrypted_backend_is_verified_like_any_other(core: Core) -> None:
    pytest.importorskip("gmpy2")
    result = secure_agg.aggregate(
        {name: [np.arange(3.0)] for name in "abc"}, backend="paillier", options={"modulus_bits": 2048}
    )
    assert core.verdict(result.evidence.to_bytes()) == result.record.to_bytes()


@pytest.mark.parametrize("backend", ["masking", "plain"])
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bits_are_refused(core: Core, backend: str, data: st.DataObject) -> None:
    _, evidence = made(backend)
    positions = data.draw(st.sets(st.integers(0, 8 * len(evidence) - 1), min_size=1, max_size=3))
    flipped = bytearray(evidence)
    for position in positions:
        flipped[position // 8] ^= 1 << position % 8
    assert core.verdict(bytes(flipped)) is None


_MADE: dict[str, tuple[str, bytes]] = {}


def made(backend: str) -> tuple[str, bytes]:
    """The text of a trust file and a round's evidence."""
    if backend not in _MADE:
        federation = Federation(n=4, backend=backend)
        _MADE[backend] = federation.trust.to_json(), federation.round().run().to_bytes()
    return _MADE[backend]


def test_other_pins_are_refused_and_unknown_ones_said_to_be(core: Core) -> None:
    trust, evidence = made("plain")
    assert agree(core, evidence, trust) is not None
    changes: list[tuple[str, Any]] = [("clip", 7.5), ("max_corrupt", 0), ("options", {"halves": 0})]
    for name, value in changes:
        pins = json.loads(trust)
        if pins["tasks"]["task"]["policy"][name] == value:
            continue
        pins["tasks"]["task"]["policy"][name] = value
        assert core.verdict(evidence, json.dumps(pins)) is None
    for alter in (
        lambda pins: pins["operators"].clear(),
        lambda pins: pins["tasks"]["task"]["roster"].popitem(),
        lambda pins: pins["tasks"].update(other=pins["tasks"].pop("task")),
    ):
        pins = json.loads(trust)
        alter(pins)
        assert agree(core, evidence, json.dumps(pins)) is None
    pins = json.loads(trust)
    pins["tasks"]["task"]["budget"] = 1
    with pytest.raises(CoreRefused, match="unknown to this page"):
        core.verdict(evidence, json.dumps(pins))
    pins = json.loads(trust)
    pins["tasks"]["task"]["claims"] = ["later"]
    with pytest.raises(CoreRefused, match="unknown to this page"):
        core.verdict(evidence, json.dumps(pins))


def test_what_the_page_does_not_know_is_unknown_and_not_good(core: Core) -> None:
    """A later version's option, or backend: whoever signed it, nothing of it is green."""
    _, evidence = made("plain")
    for policy in ({"options": [{"name": "later", "value": 1}]}, {"backend": "later"}):
        said = core("evidence", evidence=rearranged(evidence, lambda header, policy=policy: later(header, policy)))
        assert not said["good"]
        assert said["checks"][0]["state"] == "unknown"
        assert "unknown to this page" in said["checks"][0]["detail"]
        assert {check["state"] for check in said["checks"][1:]} == {"skipped"}


def later(header: dict[str, Any], policy: dict[str, Any]) -> None:
    config = spec.decode("RoundConfig", header["config"], 2**20)
    config["policy"] |= policy
    header["config"] = spec.encode("RoundConfig", config)


def test_a_record_with_more_fields_is_of_a_later_version(core: Core) -> None:
    """Where later packages may append fields; whatever is shorter is wrong."""
    _, evidence = made("plain")

    def longer(header: dict[str, Any]) -> None:
        fields = msgspec.msgpack.decode(header["config"])
        fields[12].append(1)  # the policy's
        header["config"] = msgspec.msgpack.encode(fields)

    def shorter(header: dict[str, Any]) -> None:
        fields = msgspec.msgpack.decode(header["config"])
        fields[12].pop()
        header["config"] = msgspec.msgpack.encode(fields)

    def listed(header: dict[str, Any]) -> None:
        fields = msgspec.msgpack.decode(header["config"])
        fields[12][1] = [["later", [["a", 1]]]]  # an option whose value is a list
        header["config"] = msgspec.msgpack.encode(fields)

    for change, state in ((longer, "unknown"), (listed, "unknown"), (shorter, "failed")):
        said = core("evidence", evidence=rearranged(evidence, change))
        assert said["checks"][0]["state"] == state, said["checks"][0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "twice"),
        ("[1,]", "no JSON"),
        ('{"a": 01}', "no }"),
        ('"\\ud800', "no text"),
        ("[1] 2", "follows"),
        ("[" * 100, "too deep"),
        ("NaN", "no JSON"),
    ],
)
def test_json_is_read_strictly(core: Core, text: str, reason: str) -> None:
    with pytest.raises(CoreRefused, match=reason):
        core("json", text=text)


def test_numbers_of_json_are_whole_and_in_order(core: Core) -> None:
    found = core("json", text='{"10": 9007199254740993, "9": 1.5, "__proto__": null}')["$map"]
    assert found == [["10", 9007199254740993], ["9", 1.5], ["__proto__", None]]


SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
]
NO_KEYS = {
    **{f"of small order {i}": key for i, key in enumerate(SMALL_ORDER)},
    "its negative": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "not reduced": "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "minus zero": "0100000000000000000000000000000000000000000000000000000000000080",
    "not on the curve": "0200000000000000000000000000000000000000000000000000000000000000",
    "short": "01",
}


@pytest.mark.parametrize("key", NO_KEYS.values(), ids=NO_KEYS)
def test_keys_that_browsers_would_take_are_refused(core: Core, key: str) -> None:
    with pytest.raises(CoreRefused, match="identity key"):
        core("identity", key=bytes.fromhex(key))


def test_trees_grow_and_prove_as_ours_do(core: Core) -> None:
    """Consistency and inclusion of all sizes up to 9, and nothing else."""
    leaves = [bytes([i]) * 3 for i in range(9)]
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]

    def node(level: int, place: int) -> bytes:
        return merkle.root(leaves[place << level : (place + 1) << level])

    for size in range(1, 10):
        head = merkle.root(leaves[:size])
        assert core("rootOfHashes", hashes=hashes[:size]) == head
        for index in range(size):
            path = list(merkle.inclusion_proof(index, size, node))
            core("inclusion", leaf=leaves[index], index=index, size=size, path=path, root=head)
            with pytest.raises(CoreRefused):
                core("inclusion", leaf=leaves[index] + b"x", index=index, size=size, path=path, root=head)
        for old in range(1, size):
            proof = list(merkle.consistency_proof(old, size, node))
            before = merkle.root(leaves[:old])
            core("consistency", old=old, oldRoot=before, size=size, root=head, proof=proof)
            for wrong in (proof[:-1], [*proof, proof[-1]], [hashlib.sha256(part).digest() for part in proof]):
                with pytest.raises(CoreRefused):
                    core("consistency", old=old, oldRoot=before, size=size, root=head, proof=wrong)


@pytest.mark.slow
def test_a_published_ledger_with_epochs_is_followed(core: Core, tmp_path: Path) -> None:
    """All kinds of epochs, and rounds under each: from the pins of the beginning, and not from others."""
    task = Changing(tmp_path, 5, administrators=3, min_clients=2)
    task.round()
    task.change(join={"new": identity("new").public}, new={"new": identity("new")})
    task.round()
    task.change(rotate={"m1": newer("m1").public}, new={"m1": newer("m1")})
    task.change(leave=frozenset({"m0"}))
    task.round()
    task.ledger.close()
    folder = publish(task.path, tmp_path / "public")
    own = task.genesis.to_json()
    found = core("open", files=folder, trust=own, seen=None)
    states = {check["number"]: check["state"] for check in found["checks"]}
    assert states["epochs"] == states["chains"] == states["entries"] == "passed", found["checks"]
    rounds = [leaf["index"] for leaf in found["leaves"] if leaf["kind"] == "round"]
    assert len(rounds) == 3
    told = [{check["number"]: check for check in checks} for _, checks in found["epochs"]]
    assert [index for index, _ in found["epochs"]] == [1, 3, 4]
    assert {check["state"] for checks in told for check in checks.values()} == {"passed"}
    for checks, words in zip(
        told, ("members new: new", "members with another key: m1", "members gone: m0"), strict=True
    ):
        assert words in checks["body"]["detail"]
    assert told[0]["authorised"]["detail"].startswith("administrators admin0")
    assert [checks["accepted"]["detail"] for checks in told] == ["new", "m1", "nobody has a new key"]
    for index in rounds:
        said = core("round", index=index)
        assert said["good"], [check for check in said["checks"] if check["state"] == "failed"]
        assert "failed" not in {check["state"] for check in said["checks"]}
    # Without one of the administrators that are pinned, what they signed is a stranger's.
    others = json.loads(own)
    others["tasks"]["task"]["administrators"]["admin0"] = identity("another").public.hex()
    found = core("open", files=folder, trust=json.dumps(others), seen=None)
    assert {check["number"]: check["state"] for check in found["checks"]}["epochs"] == "failed"
    ((_, checks),) = found["epochs"]
    assert [check["state"] for check in checks] == ["failed", *["skipped"] * 4]  # it follows another first epoch
    # Of an epoch's evidence no byte is free.
    first, second = found["leaves"][:2]
    name = second["record"]["evidence"].hex()
    data = (folder / "evidence" / name[:2] / f"{name}.evidence").read_bytes()

    def after(evidence: bytes) -> bytes:
        epochs = [{"evidence": evidence, "last": first["data"]}]
        leaf: bytes = core("epochAfter", trust=own, task="task", epochs=epochs)["leaf"]
        return leaf

    assert after(data) == second["data"]
    for place in range(0, len(data), len(data) // 40):
        with pytest.raises(CoreRefused):
            after(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
