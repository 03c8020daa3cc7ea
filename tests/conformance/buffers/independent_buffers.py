"""Section 20 of the specification, written from it alone, for ``independent_verifier``."""

import math
from itertools import pairwise
from typing import Any

from conformance.independent_verifier import RECORDS, decode, option, require

OPTIONS = {"buffer_honest": (2, 2**32 - 1), "buffer_staleness": (0, 255)}
RECORDS |= {
    "Base": {"number": "int", "record": "bin32", "model": "bin32"},
    "BufferedSet": {"members": ["ChannelKey"], "bases": ["Base"]},
}


def honest(policy: dict[str, Any]) -> int:
    """0 where rounds are not buffered."""
    return option(policy, "buffer_honest", 0)


def check_policy(policy: dict[str, Any]) -> None:
    """In the place of 3·max_corrupt < min_advertised."""
    if not honest(policy):
        require(all(item["name"] not in OPTIONS for item in policy["options"]), "an option of buffered rounds")
        require(3 * policy["max_corrupt"] < policy["min_advertised"], "max_corrupt is too large")
        return
    require(policy["min_clients"] >= policy["max_corrupt"] + honest(policy), "too few honest updates")
    require(policy["cohort_size"] == 0, "a buffered task draws a cohort")


def check_config(config: dict[str, Any]) -> None:
    if honest(config["policy"]):
        require(config["epoch"] == 0, "a buffered round of a later epoch")
        require(any(config["base_model"]), "a buffered round goes on from no model")
        require(option(config["policy"], "level", 0) == 0, "a buffered round of a tree")


def check_bases(config: dict[str, Any], setup: bytes) -> list[dict[str, Any]]:
    bases: list[dict[str, Any]] = decode("BufferedSet", setup, 2**16)["bases"]
    require(bases != [], "no base")
    last, staleness = bases[-1], option(config["policy"], "buffer_staleness", 0)
    numbers = [base["number"] for base in bases]
    require(numbers[0] == max(0, last["number"] - staleness), "too many bases, or too few")
    require(all(one + 1 == other for one, other in pairwise(numbers)), "bases out of order")
    require(len({base["record"] for base in bases}) == len(bases), "two bases have one record")
    for base in bases:
        require(any(base["model"]), "a base has no model")
        require(any(base["record"]) == (base["number"] > 0), "a base follows from no record, or from one too many")
    require(last["model"] == config["base_model"], "the last base is not base_model")
    require(last["record"] == config["previous_record"], "the last base is not of the record before")
    require(last["number"] == 0 or any(config["start_model"]), "a base follows from results, and there is none")
    return bases


def base_of(bases: list[dict[str, Any]], part: bytes, parties: int) -> int:
    """The number of the base that an advertisement names."""
    require(len(part) == 32 * (parties + 2), "the backend part of a buffered round has another length")
    named = [base["number"] for base in bases if base["model"] == part[-32:]]
    require(named != [], "an update is a difference from none of the bases")
    return int(named[-1])


def check_follows(config: dict[str, Any], bases: list[dict[str, Any]], before: list[dict[str, Any]] | None) -> None:
    """The bases of a task's round after those of the round before it; of its first after none."""
    if before is None:
        require([base["number"] for base in bases] == [0], "a task's first round has another base than its first")
        return
    kept = before[1:] if len(before) == option(config["policy"], "buffer_staleness", 0) + 1 else before
    require(bases[:-1] == kept, "another base than the round before had")
    require(bases[-1]["number"] == before[-1]["number"] + 1, "a base of another number than the next")


def share(record: dict[str, Any]) -> float:
    """By what a round's mean is multiplied."""
    return float(record["weight_sum"] / (record["participants"] * record["weight_limit"]))


def weight(limit: int, age: int) -> int:
    """FedBuff's, of an update from a base so many results old."""
    return max(1, round(limit / math.sqrt(1 + age)))
