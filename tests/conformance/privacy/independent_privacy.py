"""Section 23 of docs/specification.md, differential privacy, written from that file alone: slow, and shares nothing.

Logarithms are series of fractions, probabilities of Skellam noise a convolution of Poisson's, the transform is the
matrix of its definition. ``independent_verifier`` calls what verifiers do; draws and encoding are for vectors.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from math import isqrt, sqrt
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

RANGES = {
    "privacy_delta": (1, 4 * 10**9),
    "privacy_epsilon": (1, 32 * 10**6),
    "privacy_honest": (1, 1 << 24),
    "privacy_mechanism": (1, 1),
    "privacy_ratio": (1, (1 << 32) - 1),
}
FIELDS = {"mechanism": "str", "epsilon": "int", "delta": "int", "spent": "int", "privacy": "bin32"}
_BITS = 240  # of fixed-point numbers


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


# --------------------------------------------------------------------------------------------------- spending


def exp(x: Fraction) -> Fraction:
    """e^x for 0 ≤ x ≤ 40, to 60 digits, by its series."""
    total, term, k = Fraction(0), Fraction(1), 0
    while term > Fraction(1, 10**60) or k < x:
        total += term
        k += 1
        term = Fraction(round(term * x / k * 2**_BITS), 2**_BITS)
    return total


@cache
def ln(x: Fraction) -> Fraction:
    """By 2^k and the series of artanh: ln y = 2·(t + t³/3 + …), t = (y − 1)/(y + 1)."""
    doublings = 0
    while x > 2:
        x, doublings = x / 2, doublings + 1
    while x < 1:
        x, doublings = x * 2, doublings - 1

    def series(y: Fraction) -> Fraction:
        t = Fraction(round((y - 1) / (y + 1) * 2**_BITS), 2**_BITS)
        power, total, k = t, Fraction(0), 1
        while abs(power) > Fraction(1, 2**220):
            total += power / k
            power, k = Fraction(round(power * t * t * 2**_BITS), 2**_BITS), k + 2
        return 2 * Fraction(round(total * 2**_BITS), 2**_BITS)

    return series(x) + doublings * series(Fraction(2))


def spent(rounds: Mapping[int, int], delta: int, epsilon: int) -> int:
    """Millionths, of rounds by their ``privacy_ratio``."""
    k = sum(rounds.values())
    if not k:
        return 0
    left = Fraction(delta, 10**12) - k * (1 + exp(Fraction(epsilon, 10**6))) / 2**60
    if left <= 0:
        return 2**32 - 1
    found = []
    for a in [*range(2, 129), 256]:
        total = Fraction(0)
        for ratio, count in rounds.items():
            rho = Fraction(ratio, 1024)
            total += count * (a / (2 * rho) + min(Fraction(2 * a + 2, 1168) / rho**2, Fraction(3, 4) / rho))
        found.append(total + ln(Fraction(a - 1, a)) - (ln(left) + ln(Fraction(a))) / (a - 1))
    millionths = max(Fraction(0), min(found)) * 10**6
    return min(2**32 - 1, -(-millionths.numerator // millionths.denominator))


@cache
def most_rounds(ratio: int, delta: int, epsilon: int) -> int:
    low, high = 0, 1 << 20
    while low < high:
        middle = (low + high + 1) // 2
        if spent({ratio: middle}, delta, epsilon) <= epsilon:
            low = middle
        else:
            high = middle - 1
    return low


# --------------------------------------------------------------------------------------------------- numbers


def cut(size: int) -> list[int]:
    """The blocks."""
    found = []
    for block in (4096, 1024, 256, 64):
        while size >= block or (block == 64 and size > 0):
            found.append(block)
            size -= block
    return found


def padded(size: int) -> int:
    return sum(cut(size))


def least(bits: int) -> int:
    """N."""
    return -(-693148 * bits // 10**6)


def root(x: int) -> int:
    """⌈√x⌉."""
    return next(r for r in (isqrt(x), isqrt(x) + 1) if r * r >= x)


def reach(k: int, v: int) -> int:
    return -(-(k + root(-(-(256 * k * k + 18 * k * v) // 256))) // 3)


def options(policy: Mapping[str, Any]) -> dict[str, int] | None:
    found = {item["name"]: item["value"] for item in policy["options"] if item["name"] in RANGES}
    if not found:
        return None
    require(set(found) == set(RANGES), "some options of privacy are missing")
    for name, value in found.items():
        require(RANGES[name][0] <= value <= RANGES[name][1], f"{name} is out of range")
    return found


def numbers(policy: Mapping[str, Any], size: int) -> dict[str, int]:
    """D, L, Δ2² and the rest, of a model of so many values."""
    said, blocks = options(policy), cut(size)
    require(said is not None, "no privacy")
    assert said is not None
    d, half = sum(blocks), 2 ** (policy["bits"] - 1) - 1
    g = (policy["max_clients"] * d).bit_length()

    def of(length: int) -> dict[str, int]:
        squared = min(
            length * length + d + isqrt(4 * length * length * d),
            (4 * length * length + d + 4 * length + isqrt(4 * d)) // 4,
        )
        v = -(-said["privacy_ratio"] * squared * 256 // (1024 * said["privacy_honest"]))
        a_q = root(-(-2 * least(41 + g) * length * length // blocks[-1])) + 1
        return {"D": d, "L": length, "squared": squared, "V": v, "A_q": a_q, "A_z": reach(least(62 + g), v)}

    low = root(4 * d)
    first = of(low)
    require(first["A_q"] + first["A_z"] <= half and first["V"] <= 2**36, "no room for the noise")
    high = max(low, min(half, 2**22))
    while low < high:
        middle = (low + high + 1) // 2
        made = of(middle)
        if made["A_q"] + made["A_z"] <= half and made["V"] <= 2**28:
            low = middle
        else:
            high = middle - 1
    return of(low)


def check(config: Mapping[str, Any], size: int, quorum: Callable[[int], int], operators_sign: bool) -> None:
    """What a configuration with privacy has to be; nothing without."""
    policy = config["policy"]
    said = options(policy)
    if said is None:
        return
    others = {item["name"]: item["value"] for item in policy["options"]}
    require(policy["max_weight"] == 1 and policy["weight_scale"] == 0, "weights beside privacy")
    require("norm_steps" not in others and "level" not in others, "a norm bound or a tree beside privacy")
    require("groups" not in others and "buffer_honest" not in others, "groups or a buffer beside privacy")
    require(others.get("halves", 0) == 0, "halves beside privacy")
    require(said["privacy_delta"] * policy["max_clients"] < 10**12, "delta is no less than one in the clients")
    corrupt, fewest = policy["max_corrupt"], policy["min_clients"]
    for cohort in (policy["max_clients"], config["cohort_size"]):
        signers = 0 if operators_sign else quorum(cohort)
        require(said["privacy_honest"] <= max(fewest, signers) - corrupt, "too few are known to be honest")
    rounds = most_rounds(said["privacy_ratio"], said["privacy_delta"], said["privacy_epsilon"])
    require(config["round"] < rounds, "the budget is spent")
    numbers(policy, size)


def record_fields(config: Mapping[str, Any], size: int, digest: Callable[..., bytes]) -> dict[str, Any]:
    """What a record of such a round has after the fields of any."""
    policy = config["policy"]
    said, made = options(policy), numbers(policy, size)
    assert said is not None
    terms = [
        said["privacy_mechanism"], said["privacy_delta"], said["privacy_epsilon"], said["privacy_ratio"],
        said["privacy_honest"], made["D"], made["L"], made["squared"], made["V"], made["A_q"], made["A_z"],
    ]  # fmt: skip
    return {
        "mechanism": "skellam",
        "epsilon": said["privacy_epsilon"],
        "delta": said["privacy_delta"],
        "spent": spent({said["privacy_ratio"]: config["round"] + 1}, said["privacy_delta"], said["privacy_epsilon"]),
        "privacy": digest("privacy", struct.pack("<d", policy["clip"]), *(t.to_bytes(8, "little") for t in terms)),
    }


# --------------------------------------------------------------------------------------------------- vectors


def words(key: bytes, stream: int, count: int) -> list[int]:
    """32-bit words of a numbered stream, from its beginning."""
    start = stream.to_bytes(8, "big") + bytes(8)
    data = Cipher(algorithms.AES(key), modes.CTR(start)).encryptor().update(bytes(4 * count))
    return list(struct.unpack(f"<{count}I", data))


def hadamard(size: int) -> np.ndarray:
    """By its definition, doubled."""
    matrix = np.array([[1]], dtype=np.int64)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def signs(key: bytes, count: int) -> np.ndarray:
    found: list[int] = []
    for stream in range(-(-count // (32 << 16))):
        for word in words(key, stream, min(1 << 16, -(-(count - 32 * (stream << 16)) // 32))):
            found += [1 - 2 * (word >> bit & 1) for bit in range(32)]
    return np.array(found[:count], dtype=np.int64)


def decode(total: Sequence[int], n: int, config: Mapping[str, Any], size: int, key: bytes) -> np.ndarray:
    """The mean of a summed vector, values and limb; ``key`` is that of the rotation."""
    policy, made = config["policy"], numbers(config["policy"], size)
    require(len(total) == made["D"] + 1 and int(total[-1]) == n, "weights are not 1 each")
    half = 2 ** (policy["bits"] - 1) - 1
    centred = np.array([int(x) - n * half for x in total[:-1]], dtype=np.int64)
    unit, sign, found, start = policy["clip"] / float(made["L"] * n), signs(key, made["D"]), [], 0
    for block in cut(size):
        part = hadamard(block) @ centred[start : start + block] * sign[start : start + block]
        found += [float(int(x)) * (unit / float(isqrt(block))) for x in part]
        start += block
    return np.array(found[:size])


def error_bound(config: Mapping[str, Any], size: int) -> float:
    made = numbers(config["policy"], size)
    return float(sqrt(min(4096, made["D"])) * config["policy"]["clip"] / made["L"])


@cache
def thresholds(v: int) -> tuple[int, list[int]]:
    """R and T_k of V = v/256: Z is the difference of two Poisson variables of mean v/512 each."""
    limit, mean = reach(least(141), v), Fraction(v, 512)
    one, scale = 1 << 320, 1 << 320
    poisson, k = [one], 0
    while poisson[-1] > 0 or k < mean:
        k += 1
        poisson.append(poisson[-1] * mean.numerator // (mean.denominator * k))
    weight = [
        sum(poisson[j + m] * poisson[j] for j in range(len(poisson) - m)) // scale if m < len(poisson) else 0
        for m in range(len(poisson))
    ]
    total = weight[0] + 2 * sum(weight[1:])
    below, found = sum(weight[limit + 1 :]), []
    for j in range(-limit, limit):
        below += weight[abs(j)] if abs(j) < len(weight) else 0
        found.append(min((below << 128) // total, 2**128 - 1))
    return limit, found


def draw(v: int, key: bytes, count: int) -> list[int]:
    """Noise of variance v/256."""
    limit, found = thresholds(v)
    drawn = []
    for i in range(count):
        stream, place = divmod(i, 1 << 15)
        upper, lower = (words(key, s, 2 * place + 2)[-2:] for s in (stream, stream + 2**63))
        uniform = (upper[0] | upper[1] << 32) << 64 | lower[0] | lower[1] << 32
        drawn.append(sum(t <= uniform for t in found) - limit)
    return drawn


def kdf(secret: bytes, label: str, *context: bytes) -> bytes:
    """Section 2: HKDF-SHA256 without a salt, one block."""
    items = [b"secure-agg/2", label.encode(), *context]
    info = b"".join(len(item).to_bytes(8, "little") + item for item in items)
    return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), info + b"\1", "sha256")


def encode(values: Sequence[float], config: Mapping[str, Any], context: bytes, secret: bytes, key: bytes) -> list[int]:
    """A client's values and limb. ``key`` is that of the rotation, ``secret`` the attempt's."""
    policy, made = config["policy"], numbers(config["policy"], len(values))
    x = np.zeros(made["D"])
    x[: len(values)] = values
    norm = sqrt(float((x**2).sum()))
    if norm > policy["clip"]:
        x *= policy["clip"] / norm
    x, y, start = x * signs(key, made["D"]), np.empty(made["D"]), 0
    for block in cut(len(values)):
        y[start : start + block] = hadamard(block) @ x[start : start + block] / isqrt(block)
        start += block
    y *= made["L"] / policy["clip"]
    q = [0] * made["D"]
    rounding = kdf(secret, "client/rounding", context)
    for k in range(64):
        t = [w for s in range(-(-made["D"] >> 16)) for w in words(rounding, 2**32 * k + s, 1 << 16)][: made["D"]]
        tried = [int(np.floor(a)) + ((w + 0.5) * 2.0**-32 < a - np.floor(a)) for a, w in zip(y, t, strict=True)]
        if sum(a * a for a in tried) <= made["squared"]:
            q = tried
            break
    q = [min(max(a, -made["A_q"]), made["A_q"]) for a in q]
    hashed = hashlib.sha256(struct.pack(f"<{len(q)}q", *q)).digest()
    noise = draw(made["V"], kdf(kdf(secret, "client/noise", context), "client/noise", hashed), made["D"])
    half = 2 ** (policy["bits"] - 1) - 1
    limited = [min(max(z, -made["A_z"]), made["A_z"]) for z in noise]
    return [half + a + z for a, z in zip(q, limited, strict=True)] + [1]
