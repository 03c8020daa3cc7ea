"""Section 19 of docs/specification.md a second time: trees. Everything that is refused is a `ValueError`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import conformance.independent_verifier as flat
import msgspec
from conformance.independent_verifier import (
    RECORDS,
    check_order,
    check_signers,
    decode,
    digest,
    encode,
    frame,
    require,
    roster_digest,
    sha,
    u64,
    unpack,
)

RECORDS["EdgeSession"] = {"name": "str", "context": "bin32", "session": "bin32"}
RECORDS["Forest"] = {
    "version": "int",
    "task": "str",
    "round": "int",
    "attempt": "int",
    "instructions": "bin32",
    "common": "bin32",
    "beacon": "bin",
    "edges": ["EdgeSession"],
}
RECORDS["EdgeRecord"] = {
    "version": "int",
    "claim": "str",
    "task": "str",
    "round": "int",
    "attempt": "int",
    "context": "bin32",
    "session": "bin32",
    "cohort_size": "int",
    "participants": "int",
    "participants_root": "bin32",
    "commitment_sum": "bin",
    "evidence": "bin32",
}
RECORDS["SealedEdge"] = {"name": "str", "seal": "bin32"}
RECORDS["Roll"] = {"forest": "bin32", "edges": ["SealedEdge"]}
RECORDS["Unsealed"] = {"record": "bin", "nonce": "bin32", "signatures": ["Signature"]}
RECORDS["ListedEdge"] = {"name": "str", "unsealed": "bin"}
RECORDS["TreeHeader"] = {"tag": "str", "forest": "bin", "roll": "Roll", "edges": ["ListedEdge"]}

ROUND_FIELDS = (
    "protocol", "round", "attempt", "epoch", "generation", "draw", "start_model", "base_model", "previous_record",
    "renounced", "weight_limit", "shapes", "log_key", "witnesses",
)  # fmt: skip
POLICY_FIELDS = (
    "clip", "bits", "commit_packed", "max_error", "max_weight", "weight_scale", "weight_span", "first_weight",
    "max_clients", "max_parameters",
)  # fmt: skip


def common(config: dict[str, Any]) -> bytes:
    fields = [config[name] for name in ROUND_FIELDS] + [config["policy"][name] for name in POLICY_FIELDS]
    return digest("tree-common", msgspec.msgpack.encode(fields))


def read_forest(data: bytes) -> dict[str, Any]:
    forest = decode("Forest", data, 2**20)
    require(forest["version"] == 1, "another version of a forest")
    flat.check_id(forest["task"])
    check_order((edge["name"] for edge in forest["edges"]), "edges")
    require(2 <= len(forest["edges"]) <= 256 and len(forest["beacon"]) <= 64, "too many edges, or a long beacon")
    values = [edge[name] for edge in forest["edges"] for name in ("context", "session")]
    require(len(set(values)) == len(values), "a context or session is there twice")
    return forest


def planted(config: dict[str, Any], context: bytes, own: bytes, data: bytes) -> bytes:
    """The sid of an edge, from what its advertisements make and the forest."""
    forest = read_forest(data)
    mine = [edge for edge in forest["edges"] if edge["context"] == context]
    require(len(mine) == 1 and mine[0]["session"] == own, "the edge is not in its forest")
    require("/" not in mine[0]["name"], "an edge's id has a slash")
    require(config["task"] == f"{forest['task']}/{mine[0]['name']}", "the forest is another tree's")
    same = all(forest[name] == config[name] for name in ("round", "attempt", "instructions"))
    require(same and forest["common"] == common(config), "the forest is of other rounds")
    return digest("edge-session", own, digest("forest", data))


def members(pins: dict[str, Any], task: str, edge: str, beacon: bytes) -> dict[str, Any]:
    """The pins of one edge, as if it were all there is."""
    tasks, operators = pins["tasks"], pins["tasks"][task]["roster"]
    drawn = tasks.get(f"{task}/*")
    require((drawn is not None) == (beacon != b""), "a beacon where edges are fixed, or none where they are drawn")
    if drawn is None:
        found = tasks[f"{task}/{edge}"]
    else:
        names = sorted(drawn["roster"], key=lambda name: digest("edge-draw", beacon, name.encode()))
        edges = sorted(operators, key=str.encode)
        least, more = divmod(len(names), len(edges))
        at = edges.index(edge)
        start = at * least + min(at, more)
        part = names[start : start + least + (at < more)]
        found = drawn | {"roster": {name: drawn["roster"][name] for name in part}}
    return pins | {"tasks": {f"{task}/{edge}": found}, "operators": {edge: operators[edge]}}


def check_tree(pins: dict[str, Any], task: str) -> None:
    """Nobody is in it twice, and all its policies are of one sum."""
    top = pins["tasks"][task]
    require("/*" not in task, "no tree")
    names = ["*"] if f"{task}/*" in pins["tasks"] else list(top["roster"])
    ids, keys = list(top["roster"]), list(top["roster"].values())
    for name in names:
        edge = pins["tasks"][f"{task}/{name}"]
        ids += list(edge["roster"])
        keys += list(edge["roster"].values())
        require(edge["policy"]["options"].get("level") == 1, "an edge that is none")
        same = all(edge["policy"][field] == top["policy"][field] for field in POLICY_FIELDS)
        require(same, "policies that are not of one sum")
    require(len(set(ids)) == len(ids) and len(set(keys)) == len(keys), "somebody is in the tree twice")
    require(len(ids) - len(top["roster"]) <= top["policy"]["max_clients"], "more members than sums have room for")


def verify_tree(
    evidence: bytes, edges: Sequence[bytes] = (), pins: dict[str, Any] | None = None, beacon: bytes = b""
) -> dict[str, Any]:
    """Check a tree's evidence with as many edges' as are there; `seen` of what is returned are those."""
    raw, bulk = unpack(evidence)
    header = decode("TreeHeader", raw, 2**30)
    require(header["tag"] == "secure-agg/tree/1", "no evidence of a tree")
    forest = read_forest(header["forest"])
    root = digest("forest", header["forest"])
    task = forest["task"]
    listed = {item["name"]: decode("Unsealed", item["unsealed"], 2**30) for item in header["edges"]}
    check_order((item["name"] for item in header["edges"]), "edges")
    records = {name: decode("EdgeRecord", item["record"], 2**16) for name, item in listed.items()}
    if pins is not None:
        check_tree(pins, task)
        require(forest["beacon"] == beacon, "another beacon than the verifier knows")

    # The top, with the commitments that records hold.
    top_raw, sums = unpack(bulk)
    top = decode("Evidence", top_raw, 2**30)
    for opening in top["openings"]:
        known = records[opening["name"]]["commitment_sum"] if opening["name"] in records else b""
        require(opening["commitment"] != known, "a commitment is there twice")
        opening["commitment"] = opening["commitment"] or known
    whole = encode("Evidence", top)
    config = decode("RoundConfig", top["config"], 2**20)
    numbers = [records[name]["participants"] for name in listed]
    invited = sum(record["cohort_size"] for record in records.values())
    place = flat.Place(2, clients=sum(numbers), invited=invited, evidence=sha(evidence))
    top_pins = None if pins is None else pins | {"tasks": {task: pins["tasks"][task]}}
    found = flat.verify(len(whole).to_bytes(4, "little") + whole + sums, top_pins, place=place)
    require(list(listed) == [opening["name"] for opening in top["openings"]], "records of other edges than the sum's")

    # Forest and roll.
    same = all(forest[name] == config[name] for name in ("task", "round", "attempt"))
    require(same and forest["common"] == common(config), "the forest is of other rounds")
    roll = header["roll"]
    check_order((item["name"] for item in roll["edges"]), "the roll")
    require(roll["forest"] == root, "the roll is of another forest")
    require(config["instructions"] == digest("edge-roll", encode("Roll", roll)), "another roll than configured")
    seals = {item["name"]: item["seal"] for item in roll["edges"]}
    entries = {item["name"]: item for item in forest["edges"]}

    seen = {}
    for data in edges:
        config_of = decode("RoundConfig", decode("Evidence", unpack(data)[0], 2**30)["config"], 2**20)
        name = config_of["task"].removeprefix(f"{task}/")
        require(name in listed and name not in seen, "evidence of no edge of the sum, or a second")
        part_pins = None if pins is None else members(pins, task, name, beacon)
        part = flat.verify(data, part_pins, place=flat.Place(1, session=planted))
        require(decode("Evidence", unpack(data)[0], 2**30)["setup"] == header["forest"], "another forest")
        operator = {member["name"]: member["public"] for member in top["cohort"]}[name]
        require(config_of["operators"] == roster_digest({name: operator}), "another operator")
        keys = part.pop("keys")
        public = unpack(data)[0]
        published = len(public).to_bytes(4, "little") + public
        made = {"version": 1, "claim": "edge", **part, "evidence": sha(published)}
        require(encode("EdgeRecord", made) == listed[name]["record"], "the edge's evidence leads to another record")
        seen[name] = (keys, config_of)
    everybody = [member["name"] for member in top["cohort"]] + [name for keys, _ in seen.values() for name in keys]
    keyring = [member["public"] for member in top["cohort"]] + [k for keys, _ in seen.values() for k in keys.values()]
    require(len(set(everybody)) == len(everybody) and len(set(keyring)) == len(keyring), "somebody is in it twice")

    numbers_of = (u64(forest["round"]), u64(forest["attempt"]))
    for name, item in listed.items():
        record, entry = records[name], entries[name]
        require((record["version"], record["claim"]) == (1, "edge"), "no record of an edge")
        record_digest = digest("edge-record", item["record"])
        committed = record["commitment_sum"]
        seal = digest("edge", task.encode(), *numbers_of, name.encode(), record_digest, committed, item["nonce"])
        require(seals.get(name) == seal, "another record than was sealed")
        require(record["task"] == f"{task}/{name}", "the record of another edge")
        where = (record["round"], record["attempt"], record["context"], record["session"])
        sid = digest("edge-session", entry["session"], root)
        require(where == (forest["round"], forest["attempt"], entry["context"], sid), "a record of another round")
        if pins is not None:
            edge_pins = members(pins, task, name, beacon)["tasks"][f"{task}/{name}"]
            keys, policy = flat.read_roster(edge_pins["roster"]), edge_pins["policy"]
        else:
            require(name in seen, "nothing is pinned, and an edge's evidence is missing")
            keys, policy = seen[name][0], seen[name][1]["policy"]
        needed = flat.quorum(len(keys), policy)
        require(record["cohort_size"] == len(keys), "another number of members")
        require(max(policy["min_clients"], needed) <= record["participants"] <= len(keys), "too few are summed")
        check_signers(item["signatures"], keys, frame("edge-record", record_digest), needed)
        if config["policy"]["backend"] != "additive":
            require(committed == next(o["commitment"] for o in top["openings"] if o["name"] == name), "another sum")
    total = [
        flat.decode_elements(record["commitment_sum"], flat.rank(config) * flat.N, "C_j") for record in records.values()
    ]
    require(flat.encode_elements(sum(total) % flat.P) == found["commitment_sum"], "the records are of another sum")
    return {**found, "seen": sorted(seen)}
