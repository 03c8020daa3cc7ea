"""Section 17 of docs/specification.md a second time: certificates of renunciation, and how many have to sign."""

from math import comb, log2
from typing import Any

import conformance.independent_verifier as spec

spec.RECORDS["Renunciation"] = {
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
spec.RECORDS["RenunciationCertificate"] = {"version": "int", "statement": "Renunciation", "signatures": ["Signature"]}
_SAME = ("task", "epoch", "round", "draw", "cohort_root", "start_model", "base_model")


def signed(statement: dict[str, Any]) -> bytes:
    """What is signed."""
    return spec.frame(
        "renounce",
        statement["task"].encode(),
        *(spec.u64(statement[name]) for name in ("epoch", "round", "draw")),
        *(statement[name] for name in ("cohort_root", "start_model", "base_model")),
        spec.u64(statement["generation"]),
        statement["successor"],
    )


def check(data: bytes, config: dict[str, Any], voters: dict[str, bytes], least: int) -> dict[str, Any]:
    """That a certificate precedes a configuration; returns its statement."""
    found = spec.decode("RenunciationCertificate", data, 1 << 28)
    statement = found["statement"]
    spec.require(found["version"] == 1, "another version of a certificate")
    spec.require(config["renounced"] == spec.digest("renunciation", data), "another certificate than is named")
    spec.check_id(statement["task"])
    spec.require(len(statement["successor"]) in (0, 32), "the successor has a wrong length")
    wanted = {name: config[name] for name in _SAME}
    if statement["successor"]:
        wanted |= {"epoch": config["epoch"] - 1} | {name: statement[name] for name in ("round", "draw", "cohort_root")}
    spec.require({name: statement[name] for name in _SAME} == wanted, "the certificate is of something else")
    spec.require(statement["generation"] == config["generation"] - 1, "the certificate is of another generation")
    names = [item["name"] for item in found["signatures"]]
    spec.check_order(names, "signatures of a renunciation")
    spec.require(len(names) >= least > 0, "too few have renounced")
    for item in found["signatures"]:
        spec.require(item["name"] in voters, "a stranger has renounced")
        spec.check_signature(voters[item["name"]], item["signature"], signed(statement), "renunciation")
    return statement


# ------------------------------------------------------------------------------------------------- how many


def complete(members: int, corrupt: int) -> int:
    """On a complete graph."""
    return members + corrupt - ((members + corrupt) // 2 + 1) + 1


def _tail(population: int, marked: int, drawn: int, least: int) -> tuple[int, int]:
    """P[at least ``least`` are marked] as an exact fraction."""
    ways = sum(comb(marked, i) * comb(population - marked, drawn - i) for i in range(least, min(drawn, marked) + 1))
    return ways, comb(population, drawn)


def bound(members: int, corrupt: int, least: int, advertised: int, degree: tuple[int, int]) -> float:
    """log2 of the bound of a sparse graph."""
    quorum, honest = (members + corrupt) // 2 + 1, advertised - corrupt
    marked = members - least + corrupt
    ways, all_ways = _tail(advertised - 1, min(marked, advertised - 1), *degree)
    if not ways:
        return float("-inf")
    choices = comb(honest, min(marked - corrupt, honest)) * comb(honest, quorum - corrupt)
    return log2(choices) + (quorum - corrupt) * (log2(ways) - log2(all_ways))


def sparse(members: int, corrupt: int, u_min: int, degrees: dict[int, tuple[int, int] | None]) -> int:
    """On a sparse graph, whose (k, t_k) for each size that is tried are given."""
    least = complete(members, corrupt)
    for size in sizes(u_min, members):
        degree = degrees[size]
        while degree and least <= members and bound(members, corrupt, least, size, degree) > -40:
            least += 1
    return least


def sizes(u_min: int, members: int) -> list[int]:
    """Of U, that are tried."""
    return sorted({*range(u_min, min(u_min + 4, members)), (u_min + members) // 2, members})
