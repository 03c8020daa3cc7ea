"""Groups and compression, section 22 of docs/specification.md, written from it alone: slow, and plain."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from itertools import pairwise
from math import gcd, inf, isqrt, ldexp, prod, sqrt
from typing import Any

import numpy as np

Config = dict[str, Any]
MAX_STEP = 12_672


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


def groups(policy: Config) -> list[Config]:
    """Those of a policy; none where it has no such option."""
    return next((item["value"] for item in policy["options"] if item["name"] == "groups"), [])


def half(group: Config) -> int:
    return 0 if group["kind"] == "count" else 2 ** (int(group["bits"]) - 1) - 1


def top(group: Config) -> int:
    return 2 ** int(group["bits"]) - 1 if group["kind"] == "count" else 2 * half(group)


def policy_top(policy: Config) -> int:
    """The most of any group's, and 2^bits − 2."""
    return max([2 ** int(policy["bits"]) - 2, *map(top, groups(policy))])


def main(policy: Config) -> Config:
    found = groups(policy)
    return next((group for group in found if group["weighted"]), found[0])


@cache
def roots() -> list[float]:
    with localcontext() as exact:
        exact.prec = 60
        return [float(Decimal(2) ** (Decimal(i) / 64)) for i in range(64)]


def clip(k: int) -> float:
    return ldexp(roots()[k % 64], k // 64 - 99)


def first_step(wanted: float) -> int:
    return next(k for k in range(MAX_STEP + 1) if clip(k) >= wanted)


def next_step(k: int, n: int, a: int) -> int:
    g, h, gain = 9, 10, 64
    return min(max(k + (2 * gain * (g * n - a * h) + h * n) // (2 * h * n), 0), MAX_STEP)


def check_policy(policy: Config) -> None:
    found = groups(policy)
    require(1 <= len(found) <= 256, "no groups, or too many")
    names = [group["name"].encode() for group in found]
    require(all(a < b for a, b in pairwise(names)), "groups are not in order")
    for group in found:
        num, den = [*group["support"], 0, 0][:2]
        require(len(group["support"]) == 2, "a support is no fraction")
        require(1 <= num <= den <= 2**16 and gcd(num, den) == 1, "a support is out of range")
        require(group["clip_rule"] in ("pinned", "adaptive"), "an unknown rule of clips")
        if group["kind"] == "count":
            require(1 <= group["bits"] <= 24 and group["clip"] == 0, "a count's bits or clip")
            plain = (group["weighted"], group["rotated"], (num, den), group["clip_rule"])
            require(plain == (False, False, (1, 1), "pinned"), "a count that is more than one")
        else:
            require(group["kind"] == "signed", "an unknown kind of group")
            require(2 <= group["bits"] <= 24, "a group's bits are out of range")
            require(1e-30 <= group["clip"] <= 1e30, "a group's clip is out of range")
            if group["clip_rule"] == "adaptive":
                require(2.0**-99 <= group["clip"] <= 2.0**99, "an adaptive clip is out of range")
    clips = [group["clip"] for group in found if group["kind"] == "signed"]
    require(policy["bits"] == max(2, *(group["bits"] for group in found)), "bits are not the most of any group")
    require(policy["clip"] == max(clips, default=1.0), "the clip is not the most of any group")
    values = {item["name"]: item["value"] for item in policy["options"]}
    require(not values.get("halves") and not values.get("level"), "halves or a tree with groups")


def worst_error(policy: Config, spread: int) -> float:
    signed = [group for group in groups(policy) if group["kind"] == "signed"]
    return max((g["clip"] / half(g) * (spread if g["weighted"] else 1) for g in signed), default=0.0)


def check_one_grid(policy: Config) -> None:
    weighted = [group for group in groups(policy) if group["weighted"]]
    require(len({(group["bits"], group["clip"]) for group in weighted}) == 1, "weighted groups of several grids")
    require(all(group["clip_rule"] == "pinned" for group in groups(policy)), "a norm bound with adaptive clips")


def members(config: Config, index: int) -> list[int]:
    return [array for array, at in enumerate(config["grouping"]) if at == index]


def adaptive(config: Config) -> list[tuple[int, list[int]]]:
    """Of every adaptive clip the group, and its arrays."""
    found: list[tuple[int, list[int]]] = []
    for index, group in enumerate(groups(config["policy"])):
        arrays = members(config, index)
        if group["clip_rule"] == "adaptive" and arrays:
            found += [(index, arrays)] if group["rotated"] else [(index, [array]) for array in arrays]
    return found


def first_clips(config: Config) -> list[int]:
    return [first_step(groups(config["policy"])[index]["clip"]) for index, _ in adaptive(config)]


def check_config(config: Config) -> None:
    found = groups(config["policy"])
    require(len(config["grouping"]) == len(config["shapes"]), "another number of arrays")
    require(all(index < len(found) for index in config["grouping"]), "an array is in no group")
    wanted = len(adaptive(config))
    require(len(config["clips"]) == wanted <= 4096, "another number of adaptive clips")
    require(all(k <= MAX_STEP for k in config["clips"]), "an adaptive clip is out of range")
    require(any(config["previous_record"]) or config["clips"] == first_clips(config), "other first clips")


class Part:
    """The values of one group in a round."""

    def __init__(self, config: Config, index: int, start: int) -> None:
        self.group, self.arrays, self.start = groups(config["policy"])[index], members(config, index), start
        self.sizes = [prod(config["shapes"][array]) for array in self.arrays]
        num, den = self.group["support"]
        self.values = sum(self.sizes)
        self.sent = -(-self.values * num // den)
        self.size = sum(blocks(self.sent)) if self.group["rotated"] else self.sent
        if self.group["clip_rule"] == "adaptive":
            steps = [k for k, (at, _) in zip(config["clips"], adaptive(config), strict=True) if at == index]
            self.clips = [clip(k) for k in steps]
        else:
            self.clips = [self.group["clip"]] * (1 if self.group["rotated"] else len(self.arrays))


def parts(config: Config) -> list[Part]:
    found, start = [], 0
    order = sorted(range(len(groups(config["policy"]))), key=lambda i: not groups(config["policy"])[i]["weighted"])
    for index in order:
        if members(config, index):
            found.append(Part(config, index, start))
            start += found[-1].size
    return found


def values(config: Config) -> int:
    return sum(part.size for part in parts(config))


def covered(config: Config) -> int:
    return sum(part.size for part in parts(config) if part.group["weighted"])


def ranges(config: Config, rest: int) -> list[tuple[int, int]]:
    """Lengths and tops of x; `rest` are limbs and counts."""
    found = [(part.size, top(part.group)) for part in parts(config)]
    return [*found, (rest, policy_top(config["policy"])), (len(config["clips"]), 1)]


def blocks(size: int) -> list[int]:
    found = []
    for block in (4096, 1024, 256):
        found += [block] * (size // block)
        size %= block
    return found + [64] * (-(-size // 64))


def support(config: Config, part: Part, context: bytes) -> list[int]:
    import conformance.independent_verifier as spec  # which imports this module

    if part.sent == part.values:
        return list(range(part.values))
    key = spec.digest("support", context, part.group["name"].encode())
    numbers: list[int] = []
    while len(numbers) < part.values:
        drawn = spec.words(key, len(numbers) >> 15, 2**16).tolist()
        numbers += [drawn[i] + 2**32 * drawn[i + 1] for i in range(0, 2**16, 2)]
    return sorted(sorted(range(part.values), key=lambda i: (numbers[i], i))[: part.sent])


def signs(part: Part, context: bytes) -> list[int]:
    import conformance.independent_verifier as spec

    key = spec.digest("rotation", context, part.group["name"].encode())
    drawn: list[int] = []
    while 32 * len(drawn) < part.size:
        drawn += spec.words(key, len(drawn) >> 16, 2**16).tolist()
    return [-1 if drawn[i // 32] >> (i % 32) & 1 else 1 for i in range(part.size)]


def transform(block: list[int]) -> list[int]:
    """WHT, by its definition."""
    if len(block) == 1:
        return block
    low, high = transform(block[: len(block) // 2]), transform(block[len(block) // 2 :])
    return [a + b for a, b in zip(low, high, strict=True)] + [a - b for a, b in zip(low, high, strict=True)]


def decode(
    config: Config, x: np.ndarray, n: int, weight: int, context: bytes
) -> tuple[np.ndarray, float, list[Config]]:
    """The means one after the other, the largest error bound, and what the record says of each group."""
    means: dict[int, list[float]] = {}
    said: dict[str, Config] = {}
    counted = dict(
        zip([(i, a[0]) for i, a in adaptive(config)], x[len(x) - len(config["clips"]) :].tolist(), strict=True)
    )
    steps = dict(zip(counted, config["clips"], strict=True))
    for part in parts(config):
        group, h, name = part.group, half(part.group), part.group["name"]
        limit, total = (int(config["weight_limit"]), weight) if group["weighted"] else (1, n)
        sums = x[part.start : part.start + part.size].tolist()
        index = groups(config["policy"]).index(group)
        moved = [next_step(steps[at], n, counted[at]) for at in counted if at[0] == index]
        said[name] = {"name": name, "error_bound": 0.0, "error_rms": 0.0, "next_clips": moved}
        if group["kind"] == "count":
            found = [float(value) for value in sums]
        else:
            centred = [value - n * h for value in sums]
            worst = max(map(abs, centred))
            require(limit * (worst - n) <= h * total, "a mean is out of range")
            bound = (max(part.clips) * float(n * limit)) / float(h * total)
            said[name] |= {"error_bound": bound, "error_rms": bound / (2 * sqrt(n))}
            if group["rotated"]:
                found = []
                unit, turn, at = part.clips[0] * float(limit) / float(h * total), signs(part, context), 0
                said[name]["error_bound"] = bound * isqrt(blocks(part.sent)[0])
                for block in blocks(part.sent):
                    turned = transform(centred[at : at + block])
                    found += [turn[at + i] * turned[i] * (unit / isqrt(block)) for i in range(block)]
                    at += block
                found = found[: part.sent]
            else:
                found = []
        chosen = support(config, part, context)
        whole, first, place = np.zeros(part.values), 0, 0
        for number, size in enumerate(part.sizes):
            here = [i for i in chosen if first <= i < first + size]
            for i in here:
                if group["kind"] == "count" or group["rotated"]:
                    whole[i] = found[place]
                else:
                    whole[i] = centred[place] * ((part.clips[number] * float(limit)) / float(h * total))
                place += 1
            first += size
        first = 0
        for array, size in zip(part.arrays, part.sizes, strict=True):
            means[array] = whole[first : first + size].tolist()
            first += size
    in_order = [said[group["name"]] for group in groups(config["policy"]) if group["name"] in said]
    average = np.array([value for array in range(len(config["shapes"])) for value in means[array]])
    return average, max((item["error_bound"] for item in in_order), default=-inf), in_order


def fullness(bits: int) -> float:
    """t."""
    known = [(2, 1.0), (3, 1.5), (4, 2.5), (6, 3.0), (8, 4.0), (24, 8.0)]
    for (low, a), (high, b) in pairwise(known):
        if low <= bits <= high:
            return a + (b - a) * (bits - low) / (high - low)
    raise ValueError("no bits of a group")


def encode(config: Config, arrays: list[np.ndarray], weight: int, secret: bytes, context: bytes) -> list[int]:
    """x of one client."""
    import conformance.independent_verifier as spec

    key, stream, codes, within = spec.kdf(secret, "client/rounding", context), 0, [], {}
    limit, least = int(config["weight_limit"]), spec.least_weight(config)
    carried = min(max(weight, least), limit)

    def rounded(values: list[float], group: Config, c: float) -> list[int]:
        nonlocal stream
        t: list[int] = []
        while len(t) < len(values):
            t += spec.words(key, stream, 2**16).tolist()
            stream += 1
        w, m = (carried, limit) if group["weighted"] else (1, 1)
        grid = {"clip": c, "bits": group["bits"], "options": []}
        return [spec.encode_value(value, w, m, word, grid) for value, word in zip(values, t, strict=False)]

    for part in parts(config):
        group, index = part.group, groups(config["policy"]).index(part.group)
        chosen, first, sent = support(config, part, context), 0, []
        for array, size in zip(part.arrays, part.sizes, strict=True):
            flat = arrays[array].ravel().tolist()
            sent.append([float(flat[i - first]) for i in chosen if first <= i < first + size])
            first += size
        if group["kind"] == "count":
            codes += [int(value) for values in sent for value in values]
        elif group["rotated"]:
            x = [value for values in sent for value in values]
            if group["clip_rule"] == "adaptive":
                rms = sqrt(sum(value * value for value in x) / len(x))
                within[index, part.arrays[0]] = fullness(group["bits"]) * rms <= part.clips[0]
            x, turn, y, at = x + [0.0] * (part.size - len(x)), signs(part, context), [], 0
            for block in blocks(part.sent):
                turned = transform([turn[at + i] * x[at + i] for i in range(block)])  # type: ignore[misc]
                y += [value / isqrt(block) for value in turned]
                at += block
            codes += rounded(y, group, part.clips[0])
        else:
            for array, values, c in zip(part.arrays, sent, part.clips, strict=True):
                if group["clip_rule"] == "adaptive":
                    largest = max(map(abs, values), default=0.0)
                    rms = sqrt(sum(value * value for value in values) / max(1, len(values)))
                    needed = min(largest, (group["bits"] + 2) * rms) if group["bits"] <= 4 else largest
                    within[index, array] = needed <= c
                codes += rounded(values, group, c)
    bits = [int(within[at, members_of[0]]) for at, members_of in adaptive(config)]
    return codes + spec.encode_weight(weight, config) + bits
