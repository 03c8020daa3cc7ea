"""A second implementation of the epochs of docs/specification.md, section 18, written from that section alone.

It goes with `independent_verifier` and shares nothing with the product either. `verify_epoch` takes what is in force,
an epoch's evidence and the task's last record, and gives the leaf and what is in force then; `follow` takes a step in
the place of both, and what was seen last of the ledger; `verify_two_epochs` takes a proof of fault. Everything that is
refused is a `ValueError`. Complete graphs only.
"""

from __future__ import annotations

from typing import Any

from conformance.beacon.independent_beacon import check_source
from conformance.independent_verifier import (
    RECORDS,
    check_backend,
    check_id,
    check_order,
    check_roster,
    check_signature,
    decode,
    digest,
    encode,
    frame,
    option,
    read_roster,
    require,
    roster_root,
    sha,
    u64,
    verify_receipt,
)

ZEROS = bytes(32)
RECORDS["EpochBody"] = {
    "version": "int",
    "task": "str",
    "epoch": "int",
    "previous_epoch": "bin32",
    "roster": ["CohortMember"],
    "policy": "Policy",
    "operators": ["CohortMember"],
    "witnesses": ["CohortMember"],
    "quorum": "int",
    "administrators": ["CohortMember"],
    "threshold": "int",
    "beacon": "bin",
    "mode": "str",
    "base_model": "bin32",
    "name": "str",
}
RECORDS["EpochEvidence"] = {
    "format": "str",
    "body": "bin",
    "authorisations": ["Signature"],
    "acceptances": ["Signature"],
    "closure": "bin",
}
RECORDS["Renunciation"] = {
    "task": "str",
    "epoch": "int",
    "round": "int",
    "draw": "int",
    "cohort_root": "bin32",
    "start_model": "bin32",
    "base_model": "bin32",
    "generation": "int",
    "successor": "bin",
}
RECORDS["Certificate"] = {"version": "int", "statement": "Renunciation", "signatures": ["Signature"]}
RECORDS["EpochRecord"] = {
    "format": "str",
    "task": "str",
    "epoch": "int",
    "previous_record": "bin32",
    "previous_epoch": "bin32",
    "body": "bin32",
    "rounds": "int",
    "generation": "int",
    "renounced": "bin32",
    "start_model": "bin32",
    "base_model": "bin32",
    "next_weight_limit": "int",
    "evidence": "bin32",
}

RECORDS["BeaconSource"] = {
    "scheme": "str",
    "key": "bin96",
    "first": "int",
    "step": "int",
    "genesis": "int",
    "period": "int",
}
RECORDS["Step"] = {"record": "bin", "evidence": "bin", "receipt": "bin", "consistency": ["bin"]}
RECORDS["Steps"] = {"format": "str", "steps": ["Step"]}
RECORDS["Authorised"] = {"task": "str", "previous_epoch": "bin32", "body": "bin32", "signature": "bin64"}
RECORDS["TwoEpochs"] = {
    "format": "str",
    "kind": "str",
    "culprit": "str",
    "public": "bin32",
    "config": "bin",
    "setup": "bin",
    "exhibits": ["bin"],
}


def members(keys: dict[str, bytes]) -> list[dict[str, Any]]:
    return [{"name": name, "public": key} for name, key in keys.items()]


def roster_of(listed: list[dict[str, Any]]) -> dict[str, bytes]:
    return check_roster([(item["name"], item["public"]) for item in listed])


def first(trust: dict[str, Any], task: str) -> dict[str, Any]:
    """What is in force in epoch 0, from a trust file's text as JSON."""
    pins = trust["tasks"][task]
    policy = dict(pins["policy"])
    policy["options"] = [{"name": name, "value": policy["options"][name]} for name in sorted(policy["options"])]
    body = {
        "version": 1,
        "task": task,
        "epoch": 0,
        "previous_epoch": ZEROS,
        "roster": members(read_roster(pins["roster"])),
        "policy": policy,
        "operators": members(read_roster(trust["operators"])),
        "witnesses": members(read_roster(trust["witnesses"])),
        "quorum": trust.get("quorum", 0),
        "administrators": members(read_roster(pins.get("administrators", {}))),
        "threshold": pins.get("threshold", 0),
        "beacon": b"",
        "mode": "genesis",
        "base_model": ZEROS,
        "name": "",
    }
    return body | {"digest": digest("epoch-genesis", encode("EpochBody", body), bytes.fromhex(trust["log"]))}


def check_body(body: dict[str, Any], before: dict[str, Any]) -> None:
    require(body["version"] == 1, "another version of epoch")
    check_id(body["task"])
    require(not body["task"].endswith("-evaluation") or body["task"] == "-evaluation", "not a root task")
    require((body["task"], body["epoch"]) == (before["task"], before["epoch"] + 1), "not the next epoch of this task")
    require(body["previous_epoch"] == before["digest"], "it follows another epoch")
    parties = {name: roster_of(body[name]) for name in ("roster", "operators", "witnesses", "administrators")}
    require(not set(parties["roster"]) & set(parties["operators"]), "an id of a member and an operator")
    require(body["quorum"] <= len(parties["witnesses"]), "a quorum above the witnesses")
    count, policy, size = len(parties["administrators"]), body["policy"], len(parties["roster"])
    least = count // 2 + 1 if count else 0
    require(least <= body["threshold"] <= count, "a threshold of half or less")
    drawn = policy["cohort_size"]
    require(drawn <= size, "too few to draw from")
    require(policy["min_advertised"] <= (drawn or size) <= policy["max_clients"], "too many or too few members")
    require(body["mode"] in ("continue", "restart"), "an unknown mode")
    restarts = body["mode"] == "restart"
    require((body["base_model"] != ZEROS) == restarts, "a model that is not of a new training")
    require(bool(body["name"]) == restarts, "a name that is not of a new training")
    if restarts:
        check_id(body["name"])
    for rules in (policy, before["policy"]):
        require(option(rules, "level", 0) == 0, "tasks of a tree have no epochs")
        require(option(rules, "buffer_honest", 0) == 0, "a buffered task has one epoch")
    check_backend({"policy": policy, "setup": b""})
    require(drawn != 0 or not body["beacon"], "a beacon that nobody draws by")
    if body["beacon"]:
        source = decode("BeaconSource", body["beacon"], 1 << 10)
        check_source(source | {"key": source["key"].hex()})


def check_all(signatures: list[dict[str, Any]], voters: dict[str, tuple[bytes, bytes]], what: str) -> set[str]:
    """Each by somebody who has a key and a message, in order; returns their names."""
    check_order((item["name"] for item in signatures), what)
    for item in signatures:
        require(item["name"] in voters, f"{what}: a stranger")
        key, message = voters[item["name"]]
        check_signature(key, item["signature"], message, what)
    return {item["name"] for item in signatures}


def quorum(policy: dict[str, Any], size: int) -> int:
    return (size + policy["max_corrupt"]) // 2 + 1


def verify_epoch(before: dict[str, Any], data: bytes, last: dict[str, Any] | None) -> tuple[bytes, dict[str, Any]]:
    """
    `before` is what is in force, from `first` or from here. `last` is the task's last record: its `digest`, the number
    `next` of the round after it, its `start_model` (what the next round starts from) and `generation`.
    """
    evidence = decode("EpochEvidence", data, 1 << 24)
    require(evidence["format"] == "secure-agg/epoch/1", "another format")
    body = decode("EpochBody", evidence["body"], 1 << 22)
    check_body(body, before)
    hashed = digest("epoch-body", evidence["body"])
    task = body["task"].encode()

    old = {name: roster_of(before[name]) for name in ("roster", "operators", "administrators")}
    policy, size = before["policy"], len(old["roster"])
    corrupt = (size - 1) // 3 if policy["cohort_size"] else policy["max_corrupt"]
    who, least = (
        (old["administrators"], before["threshold"])
        if before["threshold"]
        else (old["roster"], (size + corrupt) // 2 + 1)
    )
    message = frame("epoch-authorise", task, before["digest"], hashed)
    found = check_all(evidence["authorisations"], {name: (key, message) for name, key in who.items()}, "authority")
    require(len(found) >= least, "too few have authorised it")

    known = {item for keys in old.values() for item in keys.items()}
    new: dict[str, bytes] = {}
    for field in ("roster", "operators", "administrators"):
        for name, key in roster_of(body[field]).items():
            if (name, key) not in known:
                require(new.setdefault(name, key) == key, "two new keys of one name")
    wanted = {name: (key, frame("epoch-accept", task, hashed, name.encode(), key)) for name, key in new.items()}
    require(check_all(evidence["acceptances"], wanted, "acceptance") == set(wanted), "a new key has not accepted")

    start, number = (last["start_model"], last["next"]) if last else (ZEROS, 0)
    generation, renounced, base = 0, ZEROS, ZEROS
    if policy["cohort_size"]:
        require(not evidence["closure"], "nobody closes for drawn cohorts")
    else:
        certificate = decode("Certificate", evidence["closure"], 1 << 24)
        require(certificate["version"] == 1, "another version of certificate")
        said = certificate["statement"]
        base = said["base_model"]
        expected = {
            "task": body["task"],
            "epoch": before["epoch"],
            "round": number,
            "draw": 0,
            "cohort_root": roster_root(old["roster"]),
            "start_model": start,
            "base_model": base,
            "generation": said["generation"],
            "successor": hashed,
        }
        require(said == expected, "another epoch was closed, or elsewhere")
        require(said["generation"] >= (last["generation"] if last else 0), "an earlier generation was closed")
        numbers = (u64(said["epoch"]), u64(number), u64(0))
        signed = frame("renounce", task, *numbers, said["cohort_root"], start, base, u64(said["generation"]), hashed)
        closed = check_all(
            certificate["signatures"], {name: (key, signed) for name, key in old["roster"].items()}, "closure"
        )
        enough = quorum(policy, size)
        if policy["backend"] in ("masking", "plain"):
            enough = max(enough, size + policy["max_corrupt"] - enough + 1)
            if body["mode"] == "continue":
                generation, renounced = said["generation"] + 1, digest("renunciation", evidence["closure"])
        require(len(closed) >= enough, "too few have closed the epoch before")
    restarts = body["mode"] == "restart"
    record = {
        "format": "secure-agg/epoch-record/1",
        "task": body["task"],
        "epoch": body["epoch"],
        "previous_record": last["digest"] if last else ZEROS,
        "previous_epoch": before["digest"],
        "body": hashed,
        "rounds": number,
        "generation": generation,
        "renounced": renounced,
        "start_model": digest("epoch-start", hashed) if restarts else start,
        "base_model": body["base_model"] if restarts else base,
        "next_weight_limit": body["policy"]["first_weight"] if body["policy"]["weight_scale"] else 0,
        "evidence": sha(data),
    }
    return encode("EpochRecord", record), body | {"digest": hashed}


def after_round(leaf: bytes) -> dict[str, Any]:
    """A round's record as `verify_epoch` takes the last one."""
    record = decode("RoundRecord", leaf, 1 << 16)
    return {
        "digest": digest("round-record", leaf),
        "next": record["round"] + 1,
        "start_model": record["result_model"],
        "generation": 0,
    }


def after_epoch(leaf: bytes) -> dict[str, Any]:
    """An epoch's record likewise."""
    record = decode("EpochRecord", leaf, 1 << 16)
    return {
        "digest": digest("epoch-record", leaf),
        "next": record["rounds"],
        "start_model": record["start_model"],
        "generation": record["generation"],
    }


def check_consistency(old: dict[str, Any], new: dict[str, Any], proof: list[bytes]) -> None:
    """RFC 9162, section 2.1.4.2: that one tree begins with the other, each given by `size` and `root`."""
    first, second, path = old["size"], new["size"], list(proof)
    require(first <= second, "an older ledger than was seen")
    if first == second:
        require(old["root"] == new["root"], "two ledgers of one size")
        return
    require(all(len(value) == 32 for value in path), "a hash of another length")
    if first & (first - 1) == 0:
        path.insert(0, old["root"])
    require(path != [], "no proof that the ledger goes on")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for value in path[1:]:
        require(sn != 0, "too long a proof that the ledger goes on")
        if fn & 1 or fn == sn:
            fr, sr = sha(b"\1" + value + fr), sha(b"\1" + value + sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha(b"\1" + sr + value)
        fn, sn = fn >> 1, sn >> 1
    require((fr, sr, sn) == (old["root"], new["root"], 0), "the ledger does not begin with what was seen")


def follow(
    before: dict[str, Any], step: dict[str, Any], log: bytes, origin: str | None, seen: dict[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Section 18, *Following*: what is in force after a step, and what is seen of the ledger then."""
    record = decode("EpochRecord", step["record"], 1 << 16)
    closure = decode("EpochEvidence", step["evidence"], 1 << 24)["closure"]
    said = decode("Certificate", closure, 1 << 24)["statement"] if closure else None
    last = {
        "digest": record["previous_record"],
        "next": said["round"] if said else record["rounds"],
        "start_model": said["start_model"] if said else record["start_model"],
        "generation": 0,
    }
    leaf, after = verify_epoch(before, step["evidence"], last)
    require(leaf == step["record"], "the record is not of its evidence")
    witnesses = roster_of(before["witnesses"])
    tree = verify_receipt(step["receipt"], leaf, log, origin, witnesses)
    require(len(tree["cosigned"]) >= before["quorum"], "too few witnesses have cosigned")
    if seen is not None:
        check_consistency(seen, tree, step["consistency"])
    return after, tree


def read_steps(data: bytes) -> list[dict[str, Any]]:
    """The steps of a file."""
    found = decode("Steps", data, 1 << 28)
    require(found["format"] == "secure-agg/epoch-steps/1", "another format")
    steps: list[dict[str, Any]] = found["steps"]
    return steps


def verify_two_epochs(data: bytes) -> tuple[str, bytes]:
    """A proof of fault of kind `two-epochs`; returns the culprit and its key."""
    proof = decode("TwoEpochs", data, 1 << 20)
    require((proof["format"], proof["kind"]) == ("secure-agg/fault/1", "two-epochs"), "another kind of proof")
    require(proof["config"] == proof["setup"] == b"" and len(proof["exhibits"]) == 2, "something else is shown")
    check_id(proof["culprit"])
    first, second = (decode("Authorised", exhibit, 1 << 20) for exhibit in proof["exhibits"])
    require((first["task"], first["previous_epoch"]) == (second["task"], second["previous_epoch"]), "of two places")
    require(first["body"] != second["body"], "one epoch twice")
    for item in (first, second):
        signed = frame("epoch-authorise", item["task"].encode(), item["previous_epoch"], item["body"])
        check_signature(proof["public"], item["signature"], signed, "an authorisation")
    return proof["culprit"], proof["public"]
