"""A second implementation of sparse sessions (section 6), written from docs/specification.md alone.

It goes with `independent_verifier`; everything that it refuses is a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from conformance.independent_verifier import (
    RECORDS,
    check_order,
    check_roster,
    check_signature,
    decode,
    digest,
    encode,
    frame,
    option,
    require,
    root,
    roster_root,
    sha,
)

RECORDS |= {
    "SparseRoll": {"present": "bin", "root": "bin32"},
    "ShownAdvertisement": {"position": "int", "body": "bin", "signature": "bin64"},
    "Shown": {"advertisements": ["ShownAdvertisement"], "path": "bin"},
    "RollCall": {"roll": "SparseRoll", "own": "Shown", "backend": "bin"},
    "ShownSet": {"members": "bin", "root": "bin32", "path": "bin"},
    "Countersigned": {"signers": "bin", "signatures": "bin", "backend": "bin"},
    "SmallerSet": {"root": "bin32", "path": "bin", "backend": "bin"},
    "ShownCharges": {"items": ["Charge"], "shown": "Shown"},
    "SparseExhibit": {"cohort": ["CohortMember"], "roll": "SparseRoll", "shown": "Shown"},
}

LIMIT = 1 << 34


def is_sparse(config: dict[str, Any]) -> bool:
    policy = config["policy"]
    return bool(policy["backend"] == "masking" and config["cohort_size"] > option(policy, "complete_up_to", 128))


def bitmap(names: Iterable[str], cohort: Sequence[str]) -> bytes:
    """Of members, as a number whose lowest bits come first."""
    number = sum(1 << list(cohort).index(name) for name in names)
    return number.to_bytes(-(-len(cohort) // 8), "little")


def members(bits: bytes, cohort: Sequence[str]) -> list[str]:
    require(len(bits) == -(-len(cohort) // 8), "a bitmap of another length")
    number = int.from_bytes(bits, "little")
    require(number < 1 << len(cohort), "a bit of nobody")
    return [name for position, name in enumerate(cohort) if number >> position & 1]


def session_of(context: bytes, present: bytes, top: bytes) -> bytes:
    return digest("sparse-session", context, present, top)


def session(context: bytes, cohort: Sequence[str], items: Sequence[dict[str, Any]]) -> bytes:
    """sid, from all advertisements."""
    filled = {item["name"]: encode("SignedAdvertisement", item) for item in items}
    return session_of(context, bitmap(filled, cohort), root([filled.get(name, b"") for name in cohort]))


def agreed(sid: bytes, survivors: Iterable[str], cohort: Sequence[str], top: bytes) -> bytes:
    """What members of S sign."""
    return frame("agreement", sid, sha(bitmap(survivors, cohort)), top)


def head(leaves: dict[int, bytes], size: int, path: bytes) -> bytes:
    """The root that some leaves and their path lead to."""
    require(len(path) % 32 == 0, "half a hash")
    hashes = [path[i : i + 32] for i in range(0, len(path), 32)]

    def of(begin: int, end: int) -> bytes:
        if not any(begin <= place < end for place in leaves):
            require(bool(hashes), "the path is too short")
            return hashes.pop(0)
        if end - begin == 1:
            return sha(b"\0" + leaves[begin])
        middle = begin + (1 << ((end - begin - 1).bit_length() - 1))
        left = of(begin, middle)
        return sha(b"\1" + left + of(middle, end))

    found = of(0, size)
    require(not hashes, "the path is too long")
    return found


def read_shown(
    context: bytes, cohort: dict[str, bytes], roll: dict[str, Any], shown: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The Advertisements that are shown, by name."""
    names, there = list(cohort), set(members(roll["present"], list(cohort)))
    places = [item["position"] for item in shown["advertisements"]]
    require(places == sorted(set(places)) and all(place < len(names) for place in places), "positions out of order")
    leaves, found = {}, {}
    for item in shown["advertisements"]:
        name = names[item["position"]]
        require(name in there, "somebody who is not there")
        signed = {"name": name, "body": item["body"], "signature": item["signature"]}
        message = frame("message", context, b"advertise", name.encode(), b"", item["body"], b"")
        check_signature(cohort[name], item["signature"], message, f"advertisement of {name}")
        leaves[item["position"]] = encode("SignedAdvertisement", signed)
        found[name] = decode("Advertisement", item["body"], 1024)
    require(head(leaves, len(names), shown["path"]) == roll["root"], "what is shown is not in the session")
    return found


def read_exhibit(
    config: dict[str, Any], context: bytes, data: bytes
) -> tuple[bytes, list[str], dict[str, bytes], dict[str, Any], dict[str, dict[str, Any]]]:
    """Of a proof: sid, U, the cohort, the roll, and what is shown."""
    fields = decode("SparseExhibit", data, LIMIT)
    check_order((item["name"] for item in fields["cohort"]), "the cohort")
    cohort = check_roster([(item["name"], item["public"]) for item in fields["cohort"]])
    require(len(cohort) == config["cohort_size"], "another cohort")
    require(roster_root(cohort) == config["cohort_root"], "another cohort")
    roll = fields["roll"]
    found = read_shown(context, cohort, roll, fields["shown"])
    return (
        session_of(context, roll["present"], roll["root"]),
        members(roll["present"], list(cohort)),
        cohort,
        roll,
        found,
    )
