"""A second implementation of the checks of docs/specification.md, written from that file alone.

Section 16 is in ``independent_norm``, 17 in ``independent_renunciation``, 18 in ``independent_epochs``, 19 in
``independent_trees``, 20 in ``buffers.independent_buffers``, 23 in ``privacy.independent_privacy``. It shares nothing
with the product: no module of `mpc`, `zk` or `secure_agg` is imported, records are checked against the tables below
after a generic MessagePack decoding, trees are hashed recursively, and the commitment is evaluated point by point
instead of by a transform. `verify` and `verify_receipt` are the entries; everything that they refuse is a
`ValueError`.

Section numbers are those of the specification.
"""

import base64
import hashlib
import hmac
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import floor, inf, prod
from pathlib import Path
from typing import Any

import conformance.groups.independent_groups as groups
import conformance.norm.independent_norm as norm
import conformance.privacy.independent_privacy as privacy
import msgspec
import numpy as np
from conformance.beacon.independent_beacon import check_beacon, check_source
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PROTOCOL = "secure-agg/2"
P = 2**31 - 10239
N = 512
CURVE = 2**255 - 19


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)


# ---------------------------------------------------------------------------------------------- 1. Conventions


def u64(i: int) -> bytes:
    require(0 <= i < 2**64, f"{i} does not fit 64 bits")
    return i.to_bytes(8, "little")


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def frame(label: str, *parts: bytes) -> bytes:
    items = [PROTOCOL.encode(), label.encode(), *parts]
    return b"".join(u64(len(item)) + item for item in items)


def digest(label: str, *parts: bytes) -> bytes:
    return sha(frame(label, *parts))


def root(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162, 2.1.1."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return sha(b"\0" + leaves[0])
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha(b"\1" + root(leaves[:split]) + root(leaves[split:]))


# The fields of the records: "int" is unsigned, "bin32" has 32 bytes, [t] is a list of t, a capital names a record.
RECORDS: dict[str, dict[str, Any]] = {
    "Option": {"name": "str", "value": "option"},
    "Group": {
        "name": "str",
        "kind": "str",
        "bits": "int",
        "clip": "float",
        "weighted": "bool",
        "rotated": "bool",
        "support": ["int"],
        "clip_rule": "str",
    },
    "GroupRecord": {"name": "str", "error_bound": "float", "error_rms": "float", "next_clips": ["int"]},
    "Policy": {
        "backend": "str",
        "options": ["Option"],
        "clip": "float",
        "bits": "int",
        "commit_packed": "bool",
        "max_error": "float",
        "max_weight": "int",
        "weight_scale": "int",
        "weight_span": "int",
        "first_weight": "int",
        "cohort_size": "int",
        "max_clients": "int",
        "min_clients": "int",
        "min_advertised": "int",
        "max_corrupt": "int",
        "max_parameters": "int",
    },
    "RoundConfig": {
        "protocol": "str",
        "task": "str",
        "round": "int",
        "attempt": "int",
        "epoch": "int",
        "generation": "int",
        "draw": "int",
        "start_model": "bin32",
        "base_model": "bin32",
        "instructions": "bin32",
        "previous_record": "bin32",
        "renounced": "bin32",
        "policy": "Policy",
        "weight_limit": "int",
        "shapes": [["int"]],
        "cohort_size": "int",
        "cohort_root": "bin32",
        "beacon": "bin",
        "operators": "bin32",
        "log_key": "bin",
        "witnesses": "bin32",
        "setup": "bin",
    },
    "Advertisement": {"commitment_hash": "bin32", "backend": "bin"},
    "SignedAdvertisement": {"name": "str", "body": "bin", "signature": "bin64"},
    "Signature": {"name": "str", "signature": "bin64"},
    "CohortMember": {"name": "str", "public": "bin32"},
    "Opening": {"name": "str", "commitment": "bin", "nonce": "bin"},
    "SketchedOpening": {
        "name": "str",
        "commitment": "bin",
        "nonce": "bin",
        "sketch": "bin",
        "proof": "bin32",
        "signature": "bin64",
    },
    "ChannelKey": {"name": "str", "identity": "bin32", "channel": "bin32", "signature": "bin64"},
    "AggregatorSet": {"members": ["ChannelKey"]},
    "OpenedShares": {"parties": ["int"], "nonces": "bin"},
    "Evidence": {
        "version": "int",
        "config": "bin",
        "cohort": ["CohortMember"],
        "advertisements": ["SignedAdvertisement"],
        "openings": ["Opening"],
        "agreement": ["Signature"],
        "setup": "bin",
        "attestation": ["Signature"],
        "result_model": "bin32",
    },
    "RoundRecord": {
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
        "weight_limit": "int",
        "weight_sum": "int",
        "weights_lowered": "int",
        "weights_raised": "int",
        "error_bound": "float",
        "next_weight_limit": "int",
        "start_model": "bin32",
        "result_model": "bin32",
        "previous_record": "bin32",
        "evidence": "bin32",
    },
}
# Of later generations, and of rounds with a norm bound.
RECORDS["LaterEvidence"] = RECORDS["Evidence"] | {"renounced": "bin"}
RECORDS["BoundedEvidence"] = RECORDS["Evidence"] | {"openings": ["SketchedOpening"]}
RECORDS["LaterBoundedEvidence"] = RECORDS["LaterEvidence"] | {"openings": ["SketchedOpening"]}
RECORDS["GroupedConfig"] = RECORDS["RoundConfig"] | {"grouping": ["int"], "clips": ["int"]}
RECORDS["GroupedRecord"] = RECORDS["RoundRecord"] | {"groups": ["GroupRecord"]}
RECORDS["GroupedBoundedRecord"] = RECORDS["GroupedRecord"] | {"norm_bound": "float", "norm_factor": "int"}
RECORDS["BoundedRecord"] = RECORDS["RoundRecord"] | {"norm_bound": "float", "norm_factor": "int"}
RECORDS["PrivateRecord"] = RECORDS["RoundRecord"] | privacy.FIELDS


def typed(kind: Any, value: Any, where: str) -> Any:
    """`value` of a generic decoding read as `kind`; records become dictionaries."""
    if isinstance(kind, list):
        require(type(value) is list, f"{where} is no array")
        return [typed(kind[0], item, where) for item in value]
    if kind == "option":  # section 22
        return typed(["Group"] if type(value) is list else "int", value, where)
    if kind in RECORDS:
        fields = RECORDS[kind]
        require(type(value) is list and len(value) == len(fields), f"{where} is no {kind}")
        return {
            name: typed(of, item, f"{where}.{name}") for (name, of), item in zip(fields.items(), value, strict=True)
        }
    if kind == "int":
        require(type(value) is int and value >= 0, f"{where} is no unsigned integer")
    elif kind == "float":
        require(type(value) is float, f"{where} is no float")
    elif kind == "bool":
        require(type(value) is bool, f"{where} is neither true nor false")
    elif kind == "str":
        require(type(value) is str, f"{where} is no text")
    else:
        require(type(value) is bytes, f"{where} is no byte string")
        require(kind == "bin" or len(value) == int(kind[3:]), f"{where} has a wrong length")
    return value


def untyped(kind: Any, value: Any) -> Any:
    if isinstance(kind, list):
        return [untyped(kind[0], item) for item in value]
    if kind == "option":
        return untyped(["Group"], value) if isinstance(value, list) else value
    if kind in RECORDS:
        return [untyped(of, value[name]) for name, of in RECORDS[kind].items()]
    return value


def encode(kind: str, value: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(untyped(kind, value))


def decode(kind: str, data: bytes, limit: int) -> dict[str, Any]:
    require(len(data) <= limit, f"{kind} is too long")
    kind = config_kind(data) if kind == "RoundConfig" else kind
    try:
        plain = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{kind} is no MessagePack: {error}") from None
    value: dict[str, Any] = typed(kind, plain, kind)
    require(encode(kind, value) == data, f"{kind} is not canonical")
    return value


def unpack(data: bytes) -> tuple[bytes, bytes]:
    require(len(data) >= 4, "no header")
    end = 4 + int.from_bytes(data[:4], "little")
    require(end <= len(data), "the header is cut off")
    return data[4:end], data[end:]


def check_id(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError("an id is no UTF-8") from None
    require(1 <= size <= 128, "an id has a wrong length")
    require(unicodedata.normalize("NFC", name) == name, "an id is not in normal form C")
    require(all(map(is_id_character, map(ord, name))), "an id has a character that ids don't have")


@cache
def id_characters() -> list[tuple[int, int]]:
    """The table that section 1 names."""
    path = Path(__file__).parents[2] / "docs" / "vectors" / "ids.json"
    ranges = json.loads(path.read_text("utf-8"))["ranges"].split()
    return [(int(word.split("-")[0], 16), int(word.split("-")[-1], 16)) for word in ranges]


@cache
def is_id_character(point: int) -> bool:
    return any(first <= point <= last for first, last in id_characters())


def check_order(names: Iterable[str], what: str) -> None:
    keys = [name.encode() for name in names]
    require(all(left < right for left, right in pairwise(keys)), f"{what} are out of order")


def check_identity(key: bytes) -> None:
    """An Ed25519 key that is canonical, on the curve and not of small order."""
    number = int.from_bytes(key, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    require(y < CURVE, "an identity key is not canonical")
    d = -121665 * pow(121666, -1, CURVE) % CURVE
    square = (y * y - 1) * pow(d * y * y + 1, -1, CURVE) % CURVE
    x = pow(square, (CURVE + 3) // 8, CURVE)
    if x * x % CURVE != square:
        x = x * pow(2, (CURVE - 1) // 4, CURVE) % CURVE
    require(x * x % CURVE == square, "an identity key is not on the curve")
    require(not (x == 0 and sign), "an identity key is not canonical")
    for _ in range(3):  # three doublings lead to the neutral element exactly from the points of small order
        both = d * x * x * y * y
        x, y = 2 * x * y * pow(1 + both, -1, CURVE) % CURVE, (y * y + x * x) * pow(1 - both, -1, CURVE) % CURVE
    require((x, y) != (0, 1), "an identity key is of small order")


def check_roster(members: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
    for name, key in members:
        check_id(name)
        require(len(key) == 32, "an identity key has a wrong length")
        check_identity(key)
    check_order((name for name, _ in members), "members")
    require(len({key for _, key in members}) == len(members), "an identity key is there twice")
    return dict(members)


def check_signature(key: bytes, signature: bytes, message: bytes, what: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise ValueError(f"{what}: wrong signature") from None


def check_exchange_key(key: bytes) -> None:
    """An X25519 key that is reduced and not of low order (section 7)."""
    x = int.from_bytes(key, "little")
    require(x < CURVE, "a channel or mask key is not reduced")
    z = 1
    for _ in range(3):  # doublings on the u coordinate, which serve the curve and its twist
        square = x * x + 486662 * x * z + z * z
        x, z = (x * x - z * z) ** 2 % CURVE, 4 * x * z * square % CURVE
    require(z != 0, "a channel or mask key is of low order")


# ---------------------------------------------------------------------------------------------- 2. Key streams


def kdf(secret: bytes, label: str, *context: bytes) -> bytes:
    """HKDF-SHA256 with one block of output, written out."""
    require(len(secret) >= 32, "the secret is too short")
    extracted = hmac.digest(b"\0" * 32, secret, "sha256")
    return hmac.digest(extracted, frame(label, *context) + b"\1", "sha256")


def words(key: bytes, stream: int, count: int) -> np.ndarray:
    counter = stream.to_bytes(8, "big") + b"\0" * 8
    data = Cipher(algorithms.AES256(key), modes.CTR(counter)).encryptor().update(b"\0" * (4 * count))
    return np.frombuffer(data, "<u4")


def residues(key: bytes, stream: int, count: int) -> np.ndarray:
    extra = 16
    while True:
        found = words(key, stream, count + extra) & 0x7FFFFFFF
        found = found[found < P]
        if len(found) >= count:
            return found[:count].astype(np.int64)
        extra *= 2


def prg(key: bytes, length: int) -> np.ndarray:
    chunks = [residues(key, c, min(65536, length - 65536 * c)) for c in range(-(-length // 65536))]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.int64)


# ---------------------------------------------------------------------------------------------- 3. Round configuration


OPTIONS = {
    "masking": {"complete_up_to": (0, 1 << 20), "screening": (0, 2), "transport": (0, 1)},
    "plain": {},
    "additive": {"aggregators": (2, 16), "threshold": (2, 16)},
    "crypten": {
        "aggregators": (2, 5),
        "function": (0, 2),
        "norm_bound_milli": (0, 2**32 - 1),
        "trim": (0, 2**32 - 1),
    },
}
"""The backends this verifier knows, each with its options and their least and largest values."""
NORM_OPTIONS = {"norm_excess": (0, 1), "norm_outside": (0, 8), "norm_steps": (1, 2**32 - 1)}
LEVELS = {"masking": (1, 2), "plain": (1, 2), "additive": (2, 2)}
"""Backends that can be in a tree, section 19, with the levels that they can be on."""
HALVING = ("masking", "plain", "additive")
"""Backends whose values can go as two halves, section 4."""
BOUNDING = ("masking", "plain")
"""Backends that have those, too."""
SLACKS = {160: 177, 192: 190, 224: 203, 256: 220, 288: 242, 320: 271, 352: 308, 384: 360, 416: 437, 448: 577}
SLACKS |= {480: 927, 496: 1569, 504: 3179}
"""By bits, in hundredths."""


def check_config(config: dict[str, Any]) -> None:
    check_limits(config)
    check_backend(config)


def check_limits(config: dict[str, Any]) -> None:
    """What holds with every backend."""
    policy = config["policy"]
    require(config["protocol"] == PROTOCOL, "another protocol")
    check_id(config["task"])
    require(config["round"] <= 2**53 and config["attempt"] <= 2**32, "the round or attempt is too large")
    require(config["epoch"] <= 2**32 and config["generation"] <= 2**32, "the epoch or generation is too large")
    require(config["draw"] <= (15 if policy["cohort_size"] else 0), "the draw is out of range")
    require(any(config["renounced"]) == (config["generation"] > 0), "renounced does not go with the generation")
    require(1 <= policy["max_parameters"] <= 2**32, "max_parameters out of range")
    check_order((option["name"] for option in policy["options"]), "options")
    numbers = [item["value"] for item in policy["options"] if item["name"] != "groups"]
    require(all(isinstance(number, int) and number < 2**32 for number in numbers), "an option is out of range")
    grouped = len(numbers) < len(policy["options"])
    require(grouped == ("grouping" in config), "groups in a policy, and none in the configuration, or no groups")
    if grouped:
        require(isinstance(groups.groups(policy), list), "groups are no list")
        groups.check_policy(policy)
        groups.check_config(config)
        for group in groups.groups(policy):
            check_id(group["name"])
    require((4 if option(policy, "halves", 0) else 2) <= policy["bits"] <= 24, "bits out of range")
    require(1e-30 <= policy["clip"] <= 1e30, "clip out of range")
    require(0 < policy["max_error"] < inf, "max_error out of range")
    require(1 <= policy["max_weight"] < 2**32, "max_weight out of range")
    scale, span, first = policy["weight_scale"], policy["weight_span"], policy["first_weight"]
    if scale:
        ranges = 1 <= scale <= 2**16 and 1 <= span <= 2**24 and 1 <= first <= policy["max_weight"]
        require(ranges, "the limits of weights are out of range")
        require(
            any(config["previous_record"]) or config["weight_limit"] == first,
            "the first round has another weight limit",
        )
    else:
        require(span == 0 and first == 0, "limits of weights that are kept")
    require(1 <= config["weight_limit"] <= policy["max_weight"], "weight_limit out of range")
    spread = min(span, policy["max_weight"]) if scale else config["weight_limit"]
    worst = groups.worst_error(policy, spread) if grouped else policy["clip"] / half(policy) * spread
    require(worst <= policy["max_error"], "the means could be too far off")
    least, most, drawn = policy["min_advertised"], policy["max_clients"], policy["cohort_size"]
    require(2 <= policy["min_clients"] <= least <= most, "client limits out of order")
    buffers().check_policy(policy)
    buffers().check_config(config)
    require(drawn == 0 or least <= drawn <= most, "the policy's cohort_size is out of range")
    require(least <= config["cohort_size"] <= most, "cohort_size is out of range")
    shapes = config["shapes"]
    require(len(shapes) > 0, "no array")
    require(all(len(shape) <= 32 for shape in shapes), "an array has too many dimensions")
    require(all(min(shape, default=1) >= 1 for shape in shapes), "an array has a side of 0")
    require(sum(prod(shape) for shape in shapes) <= policy["max_parameters"], "too many parameters")
    require(len(config["beacon"]) <= 64, "the beacon is too long")
    require(bool(config["beacon"]) == (drawn != 0), "a beacon is missing or there is one too many")
    require(len(config["log_key"]) in (0, 32), "the log key has a wrong length")
    require(drawn in (0, config["cohort_size"]), "another cohort_size than the policy draws")
    require(drawn == 0 or config["round"] < 2**16, "no cohort is drawn for so late a round")
    require(len(config["setup"]) in (0, 32), "the digest of the setup has a wrong length")
    require(rank(config) in (3, 4), "no commitment rank is enough")
    if option(policy, "norm_steps", 0):
        require(policy["bits"] >= 3 and not option(policy, "halves", 0), "too few bits for a norm bound, or halves")
        if grouped:
            groups.check_one_grid(policy)
            require(option(policy, "norm_outside", 0) == 0, "norm_outside with groups")
        norm_bound(config, config["weight_limit"])
        norm_bound(config, policy["max_weight"] if scale else 1)
    else:
        require(all(item["name"] not in NORM_OPTIONS for item in policy["options"]), "options of no norm bound")
    operators_sign = policy["backend"] in SHARING
    privacy.check(config, model_size(config), lambda cohort: quorum(cohort, policy), operators_sign)


def buffers() -> Any:
    """Section 20."""
    import conformance.buffers.independent_buffers as found  # which imports this module

    return found


def check_renounced(config: dict[str, Any], header: dict[str, Any], voters: dict[str, bytes]) -> None:
    """Section 17: all aggregators, or as many of G as a complete graph asks for; a sparse one asks for more, which
    `independent_renunciation.sparse` counts.
    """
    import conformance.epochs.independent_renunciation as renunciation  # which imports this module

    require(("renounced" in header) == (config["generation"] > 0), "a certificate goes with a later generation")
    if config["generation"]:
        sharing, corrupt = config["policy"]["backend"] in SHARING, int(config["policy"]["max_corrupt"])
        least = len(voters) if sharing else renunciation.complete(len(voters), corrupt)
        renunciation.check(header["renounced"], config, voters, least)


def norm_bound(config: dict[str, Any], limit: int) -> norm.Bound:
    """Of section 16, for a weight limit."""
    policy = config["policy"]
    least = least_weight({"policy": policy, "weight_limit": limit})
    steps, bits = option(policy, "norm_steps", 0), int(policy["bits"]) - 1
    return norm.Bound(int(policy["max_clients"]), steps, limit, least, bits, limbs(policy), counts(policy))


def norm_factor(config: dict[str, Any]) -> int:
    bound = norm_bound(config, config["weight_limit"])
    slack = next((value for bits, value in SLACKS.items() if 128 + config["policy"]["max_corrupt"] <= bits), 0)
    return -(-slack * (13 + bound.alpha + 12) * 2**bound.kappa // (16 * bound.B))


def sketched(config: dict[str, Any]) -> int:
    """Coordinates of s'; 0 where no norm is bounded."""
    if not option(config["policy"], "norm_steps", 0):
        return 0
    return norm_bound(config, config["weight_limit"]).J * N


def covered(config: dict[str, Any]) -> int:
    """Values whose norm is bounded: all but those of the last arrays."""
    if "grouping" in config:
        return groups.covered(config)
    shapes = config["shapes"]
    inside = max(0, len(shapes) - option(config["policy"], "norm_outside", 0))
    return sum(prod(shape) for shape in shapes[:inside])


def check_backend(config: dict[str, Any]) -> None:
    """The backend's options, and whether it has a setup."""
    policy = config["policy"]
    require(policy["backend"] in OPTIONS, "unknown backend")
    for item in policy["options"]:
        if item["name"] == "groups":
            continue
        known = OPTIONS[policy["backend"]] | (NORM_OPTIONS if policy["backend"] in BOUNDING else {})
        known = known | (privacy.RANGES if policy["backend"] != "crypten" else {})
        known = known | ({"halves": (0, 1)} if policy["backend"] in HALVING else {})
        known = known | (buffers().OPTIONS if policy["backend"] == "additive" else {})
        known = known | ({"level": LEVELS[policy["backend"]]} if policy["backend"] in LEVELS else {})
        least, most = known.get(item["name"], (0, -1))
        require(least <= item["value"] <= most, "an option is unknown or out of range")
    if option(policy, "level", 0):
        require((config["epoch"], config["generation"]) == (0, 0), "a tree has one epoch and one generation")
    if policy["backend"] == "masking" and option(policy, "screening", 0):
        require(not option(policy, "transport", 0), "words of several values are not screened")
    if policy["backend"] == "masking" and option(policy, "screening", 0) == 2:
        tops = [coordinate_top(policy), *map(groups.top, groups.groups(policy))]
        tops += [1 for group in groups.groups(policy) if group["clip_rule"] == "adaptive"]
        one_by_one = all(digits(policy, top)[1] == 1 for top in tops)
        require(option(policy, "norm_steps", 0) > 0 and one_by_one, "no sketches that can be tested")
    if policy["backend"] not in SHARING:
        require(config["setup"] == b"", "these backends have no setup")
    elif policy["backend"] == "additive":
        require(threshold(policy) <= aggregators(policy), "the threshold is too large")
    else:
        check_function(policy)


def option(policy: dict[str, Any], name: str, default: int) -> int:
    options = policy["options"]  # by name, where they are from a trust file
    if isinstance(options, dict):
        options = [{"name": each, "value": value} for each, value in options.items()]
    found = (item["value"] for item in options if item["name"] == name)
    return next((int(value) for value in found if isinstance(value, int)), default)


def mask_bits(policy: dict[str, Any]) -> int:
    return max(coordinate_bits(policy), 10 if policy["max_clients"] <= 2**15 else 8)


def coordinate_bits(policy: dict[str, Any]) -> int:
    return -(-int(policy["bits"]) // (2 if option(policy, "halves", 0) else 1))


def digits(policy: dict[str, Any], top: int | None = None) -> tuple[int, int]:
    """B, and m: how many values, of a range, are committed to as one element."""
    base, count = int(policy["max_clients"]) * (coordinate_top(policy) if top is None else top) + 1, 1
    while policy["commit_packed"] and base ** (count + 1) <= 2**27:
        count += 1
    return base, count


def runs(config: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Of each range of x, in order, how many coordinates it has, B and m. Neighbours with one top are one."""
    policy = config["policy"]
    ranges = [(committed(config), coordinate_top(policy))]
    if "grouping" in config:
        ranges = groups.ranges(config, limbs(policy) + counts(policy))
    joined: list[tuple[int, int]] = []
    for length, top in ranges:
        if joined and joined[-1][1] == top:
            joined[-1] = (joined[-1][0] + length, top)
        elif length:
            joined.append((length, top))
    return [(length, *digits(policy, top)) for length, top in joined]


def several(config: dict[str, Any]) -> bool:
    """Whether several coordinates are committed to as one element."""
    return any(count > 1 for _, _, count in runs(config))


def rank(config: dict[str, Any]) -> int:
    policy = config["policy"]
    width = mask_bits(policy) + (policy["max_clients"] - 1).bit_length()
    if width > 27:
        return 0
    for _, base, count in runs(config):
        if count > 1:
            width = max(width, int(base**count - 1).bit_length())
    columns = N * (-(-elements(config) // N) + 5)
    return 3 if width <= 24 or (width == 25 and columns <= 2**27) else 4


def limbs(policy: dict[str, Any]) -> int:
    return -(-int(policy["max_weight"]).bit_length() // max(coordinate_bits(policy) - 1, 1))


def counts(policy: dict[str, Any]) -> int:
    return 2 if policy["weight_scale"] else 0


def half(policy: dict[str, Any]) -> int:
    """H: what 0 is encoded as; of the main group where there are groups."""
    if groups.groups(policy):
        return groups.half(groups.main(policy))
    return 2 ** (int(policy["bits"]) - 1) - 1


def least_weight(config: dict[str, Any]) -> int:
    """m."""
    span = int(config["policy"]["weight_span"])
    return -(-int(config["weight_limit"]) // span) if config["policy"]["weight_scale"] else 1


def largest(policy: dict[str, Any]) -> int:
    """The most that a coordinate of one client can be."""
    return coordinate_top(policy) + (1 if policy["backend"] == "crypten" else 0)


def coordinate_top(policy: dict[str, Any]) -> int:
    if groups.groups(policy):
        return groups.policy_top(policy)
    return 2 ** coordinate_bits(policy) - 1 if option(policy, "halves", 0) else 2 * half(policy)


def step(policy: dict[str, Any]) -> float:
    """c / H; of the main group where there are groups."""
    return (groups.main(policy)["clip"] if groups.groups(policy) else policy["clip"]) / half(policy)


def values(config: dict[str, Any]) -> int:
    """d: values that are sent; with privacy D."""
    if "grouping" in config:
        return groups.values(config)
    return privacy.padded(model_size(config)) if private(config) else model_size(config)


def check_ranges(x: np.ndarray, added: int, config: dict[str, Any]) -> None:
    """Check 6 of X."""
    policy = config["policy"]
    spans = [(len(x), largest(policy))]
    if "grouping" in config:
        spans = groups.ranges(config, limbs(policy) + counts(policy))
        if policy["backend"] == "crypten":
            spans = [(length, 2 ** most.bit_length() - 1) for length, most in spans]
    first = 0
    for length, most in spans:
        require(int(x[first : first + length].max(initial=0)) <= added * most, "a sum is out of range")
        first += length
    require(first == len(x), "ranges of another length")


def halves(config: dict[str, Any]) -> int:
    return 2 if option(config["policy"], "halves", 0) else 1


def model_size(config: dict[str, Any]) -> int:
    """Elements of all arrays."""
    return sum(prod(shape) for shape in config["shapes"])


def private(config: dict[str, Any]) -> bool:
    return privacy.options(config["policy"]) is not None


def committed(config: dict[str, Any]) -> int:
    """d + L + e."""
    moving = len(config.get("clips", []))
    return values(config) * halves(config) + limbs(config["policy"]) + counts(config["policy"]) + moving


def elements(config: dict[str, Any]) -> int:
    """Elements that values, limbs and counts are committed to as."""
    return sum(-(-length // count) for length, _, count in runs(config))


def vector_length(config: dict[str, Any]) -> int:
    """d + L + e + r."""
    return committed(config) + (rank(config) + 2) * N


def shared_length(config: dict[str, Any]) -> int:
    """Elements that are committed to, with those of the randomness."""
    return elements(config) + (rank(config) + 2) * N


def quorum(cohort: int, policy: dict[str, Any]) -> int:
    if honest := buffers().honest(policy):
        return int(policy["max_corrupt"]) + int(honest)
    return (cohort + int(policy["max_corrupt"])) // 2 + 1


def roster_root(members: dict[str, bytes]) -> bytes:
    ordered = sorted(members.items(), key=lambda member: member[0].encode())
    return root([frame("member", name.encode(), key) for name, key in ordered])


def roster_digest(members: dict[str, bytes]) -> bytes:
    return digest("roster", roster_root(members), u64(len(members)))


def draw(members: dict[str, bytes], size: int, beacon: bytes) -> dict[str, bytes]:
    if size == 0:
        return members
    names = sorted(members, key=lambda name: digest("cohort", beacon, name.encode()))
    return {name: members[name] for name in names[:size]}


# ---------------------------------------------------------------------------------------------- 4. Codec


MARK = -(2.0**100 + 2.0**77)


def encode_value(value: float, weight: int, limit: int, word: int, policy: dict[str, Any]) -> int:
    """u, for the word t. The formula is in float64; what it means is checked in exact fractions in the tests."""
    h, c = half(policy), policy["clip"]
    if value == MARK:
        return h - 1
    y = (min(max(value, -c), c) * (weight / limit)) * (h / c)
    k = floor(y)
    q = k + 1 if (word + 0.5) * 2.0**-32 < y - k else k
    return h + min(max(q, -h), h)


def encode_weight(weight: int, config: dict[str, Any]) -> list[int]:
    """Limbs and counts."""
    policy, limit, least = config["policy"], config["weight_limit"], least_weight(config)
    carried, base = min(max(weight, least), limit), 2 ** (coordinate_bits(policy) - 1)
    digits = [carried // base**i % base for i in range(limbs(policy))]
    return digits + [int(weight > limit), int(weight < least)][: counts(policy)]


def decode_sum(
    total: np.ndarray, n: int, config: dict[str, Any], context: bytes = b"", said: list[dict[str, Any]] | None = None
) -> tuple[np.ndarray, int, tuple[int, int], float]:
    """The means of the values, the sum of the weights, how many were lowered and raised, and the error bound; `said` is
    given what the record says of groups.
    """
    policy, limit, h = config["policy"], int(config["weight_limit"]), half(config["policy"])
    size, base = values(config), 2 ** (coordinate_bits(policy) - 1)
    numbers = [int(x) for x in total[size * halves(config) : len(total) - len(config.get("clips", []))]]
    digits, counted = numbers[: limbs(policy)], numbers[limbs(policy) :]
    weight = sum(digit * base**i for i, digit in enumerate(digits))
    require(n * least_weight(config) <= weight <= n * limit, "the sum of the weights is out of range")
    require(all(count <= n for count in counted), "more weights were limited than there are")
    if "grouping" in config:
        means, error, found = groups.decode(config, total, n, weight, context)
        if said is not None:
            said += found
        return means, weight, (counted[0], counted[1]) if counted else (0, 0), error
    summed = total[:size].astype(np.int64)
    if halves(config) == 2:
        summed = summed + total[size : 2 * size].astype(np.int64) * 2 ** coordinate_bits(policy)
    centred = summed - n * h
    require(limit * (int(np.abs(centred).max()) - n) <= h * weight, "a mean is out of range")
    factor = policy["clip"] * float(limit) / float(h * weight)
    error = policy["clip"] * float(n * limit) / float(h * weight)
    return centred.astype(np.float64) * factor, weight, (counted[0], counted[1]) if counted else (0, 0), error


def model_digest(shapes: Sequence[Sequence[int]], data: np.ndarray) -> bytes:
    sides = b"".join(u64(len(shape)) + b"".join(u64(side) for side in shape) for shape in shapes)
    return digest("model", u64(len(shapes)), sides, sha(data.astype("<f8").tobytes()))


# ---------------------------------------------------------------------------------------------- 5. Commitment


def matrix_key(k: int) -> bytes:
    return digest("commitment-matrix", bytes([k]))


def points() -> np.ndarray:
    """ζ_0 … ζ_511."""
    g = 2
    while pow(psi := pow(g, (P - 1) // 1024, P), N, P) != P - 1:
        g += 1
    return np.array([pow(psi, 2 * int(f"{t:09b}"[::-1], 2) + 1, P) for t in range(N)], np.int64)


def packed(x: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """The elements that x is committed to as, run by run."""
    found, start = [], 0
    for length, base, count in runs(config):
        found.append(as_digits(x[start : start + length], base, count))
        start += length
    return np.concatenate(found)


def pack(x: np.ndarray, policy: dict[str, Any]) -> np.ndarray:
    """The same where x is one run."""
    return as_digits(x, *digits(policy))


def as_digits(x: np.ndarray, base: int, count: int) -> np.ndarray:
    padded = np.concatenate([x, np.zeros(-len(x) % count, np.int64)]).reshape(-1, count)
    return sum((padded[:, i] * base**i for i in range(count)), np.zeros(len(padded), np.int64)) % P


def commit(x: np.ndarray, s: np.ndarray, k: int) -> bytes:
    """The encoded commitment of the coordinates x with the randomness s."""
    require(len(s) == (k + 2) * N, "the randomness has a wrong length")
    x = np.asarray(x, np.int64)
    padded = np.concatenate([x, np.zeros(-len(x) % N, np.int64), np.asarray(s, np.int64)])
    blocks = padded.reshape(-1, N)
    zeta, key = points(), matrix_key(k)
    result = np.zeros((k, N), np.int64)
    matrix = np.zeros((k, N, 16), np.int64)
    for j, block in enumerate(blocks):
        if j % 16 == 0:
            matrix = residues(key, j // 16, k * N * 16).reshape(k, N, 16)
        value = np.zeros(N, np.int64)
        for coefficient in block[::-1].tolist():  # Horner at all points
            value = (value * zeta + coefficient) % P
        result = (result + matrix[:, :, j % 16] * value) % P
    return encode_elements(result)


def encode_elements(elements: np.ndarray) -> bytes:
    return elements.astype("<u4").tobytes()


def decode_elements(data: bytes, count: int, what: str) -> np.ndarray:
    require(len(data) == 4 * count, f"{what} has a wrong length")
    elements = np.frombuffer(data, "<u4").astype(np.int64)
    require(bool((elements < P).all()), f"{what} is not canonical")
    return elements


# ---------------------------------------------------------------------------------------------- 7. Sharing


def share_secret(secret: bytes, coefficients: Sequence[Sequence[int]], holder: int) -> bytes:
    """The share of the holder with index `holder`; coefficients[limb] are those above the constant term."""
    number = int.from_bytes(secret, "little")
    share = b""
    for i in range(9):
        value = 0
        for coefficient in [number >> (29 * i) & (2**29 - 1), *coefficients[i]][::-1]:
            value = (value * (holder + 1) + coefficient) % P
        share += value.to_bytes(4, "little")
    return share


def rebuild_secret(shares: dict[int, bytes]) -> bytes:
    """The secret behind as many shares as the threshold, by holder."""
    number = 0
    for i in range(9):
        limb = 0
        for holder, share in shares.items():
            term = int(decode_elements(share, 9, "a share")[i])
            for other in shares:
                if other != holder:
                    term = term * (other + 1) * pow(other - holder, -1, P) % P
            limb += term
        limb %= P
        require(limb < 2**29, "a limb is too large")
        number |= limb << (29 * i)
    require(number < 2**256, "the secret is too large")
    return number.to_bytes(32, "little")


# ---------------------------------------------------------------------------------------------- 9, 10. Shares

SHARING = ("additive", "crypten")
"""The backends whose aggregators sign the set of participants."""


def aggregators(policy: dict[str, Any]) -> int:
    return option(policy, "aggregators", 3)


def threshold(policy: dict[str, Any]) -> int:
    """How many aggregators' sums make the result."""
    return option(policy, "threshold", aggregators(policy))


def attested(policy: dict[str, Any]) -> bool:
    """Whether the result is no sum."""
    return policy["backend"] == "crypten" and option(policy, "function", 0) != 0


def vouchers(policy: dict[str, Any]) -> int:
    """How many aggregators' signatures bind a round to a set."""
    return (aggregators(policy) + threshold(policy) - 1) // 2 + 1


def check_function(policy: dict[str, Any]) -> None:
    """What `crypten` computes, and with which bounds."""
    function, bound, trim = (option(policy, name, 0) for name in ("function", "norm_bound_milli", "trim"))
    require(policy["max_clients"] <= 64, "too many clients")
    require(policy["weight_scale"] == 0, "these functions keep weights")
    if function == 0:
        require((bound / 1000 / step(policy)) ** 2 >= 1, "no norm bound, or one below a step")
        if groups.groups(policy):
            groups.check_one_grid(policy)
    else:
        require(bound == 0, "a norm bound for another function")
        require(policy["max_weight"] == 1, "an order statistic has no weights")
    if function == 1:
        require(1 <= 2 * trim < policy["min_clients"], "trim is out of range")
    else:
        require(trim == 0, "trim for another function")


def check_size(config: dict[str, Any]) -> None:
    """That the vector is short enough to be shared."""
    policy, length = config["policy"], vector_length(config)
    share = 4 * shared_length(config) if policy["backend"] == "additive" else 8 * length
    require(share <= 2**31 - 17, "a share is too long")
    if policy["backend"] == "crypten":
        size = sum(prod(shape) for shape in config["shapes"])
        require(policy["max_clients"] * (length + 2) + size <= 2**30, "too many shares")
        squares = size * (2 * half(policy)) ** 2
        require(attested(policy) or squares < 2**63, "squared norms may overflow")


def check_setup(config: dict[str, Any], setup: bytes) -> list[dict[str, Any]]:
    """The aggregators of a round, in order."""
    require(config["setup"] == digest("setup", setup), "another setup than the configuration's")
    kind = "BufferedSet" if buffers().honest(config["policy"]) else "AggregatorSet"
    members: list[dict[str, Any]] = decode(kind, setup, 2**16)["members"]
    require(len(members) == aggregators(config["policy"]), "another number of aggregators")
    check_roster([(member["name"], member["identity"]) for member in members])
    for member in members:
        check_exchange_key(member["channel"])
        signed = frame("channel-key", member["name"].encode(), member["channel"])
        check_signature(member["identity"], member["signature"], signed, f"the channel key of {member['name']}")
    require(len({member["channel"] for member in members}) == len(members), "a channel key is there twice")
    return members


def share_hash(context: bytes, client: str, party: int, commitment: bytes, nonce: bytes) -> bytes:
    """h_a."""
    return digest("share-commitment", context, client.encode(), bytes([party]), commitment, nonce)


def shares_hash(context: bytes, client: str, hashes: bytes) -> bytes:
    """D_i."""
    return digest("share-commitments", context, client.encode(), hashes)


def whole_hash(context: bytes, client: str, commitment: bytes) -> bytes:
    """h, which the shares' commitments have to combine to."""
    return digest("whole-commitment", context, client.encode(), commitment)


def interpolate(shares: dict[int, np.ndarray], degree: int, at: int) -> np.ndarray:
    """The value of the polynomial through the first degree + 1 of the `shares`, by party, at `at`."""
    chosen = list(shares)[: degree + 1]
    total = np.zeros(len(shares[chosen[0]]), np.int64)
    for party in chosen:
        factor = 1
        for other in chosen:
            if other != party:
                factor = factor * (at - other - 1) * pow(party - other, -1, P) % P
        total = (total + shares[party] * factor) % P
    return total


def combine(shares: dict[int, np.ndarray], policy: dict[str, Any]) -> np.ndarray:
    """What is shared, after the check that the shares fit together."""
    k, t = aggregators(policy), threshold(policy)
    require(len(shares) >= t, "too few parties revealed their shares' commitments")
    if t == k:
        return np.asarray(sum(shares.values()) % P, np.int64)
    for party in list(shares)[t:]:
        fits = bool((interpolate(shares, t - 1, party + 1) == shares[party]).all())
        require(fits, "the shares' commitments lie on no polynomial")
    return interpolate(shares, t - 1, 0)


def opened_shares(opened: bytes, commitments: bytes, config: dict[str, Any]) -> tuple[dict[int, bytes], list[bytes]]:
    """Of every party that revealed a commitment: the commitment; and their nonces."""
    policy = config["policy"]
    fields, length = decode("OpenedShares", opened, 4096), rank(config) * N * 4
    parties, nonces = fields["parties"], fields["nonces"]
    require(all(left < right for left, right in pairwise(parties)), "parties are out of order")
    require(all(party < aggregators(policy) for party in parties), "there is no such party")
    require(len(nonces) == 32 * len(parties), "the nonces have a wrong length")
    require(len(commitments) == length * len(parties), "the commitments have a wrong length")
    parts = {party: commitments[length * i : length * (i + 1)] for i, party in enumerate(parties)}
    return parts, [nonces[32 * i : 32 * (i + 1)] for i in range(len(parties))]


def open_shares(
    context: bytes, config: dict[str, Any], client: str, hashes: bytes, opened: bytes, commitments: bytes
) -> dict[int, np.ndarray]:
    """The commitments of the parties that revealed them, after the check against the h_a."""
    parts, nonces = opened_shares(opened, commitments, config)
    shares = {}
    for (party, part), nonce in zip(parts.items(), nonces, strict=True):
        expected = hashes[32 * party : 32 * (party + 1)]
        require(share_hash(context, client, party, part, nonce) == expected, "a share is not what was advertised")
        shares[party] = decode_elements(part, rank(config) * N, "the commitment of a share")
    return shares


def kept(policy: dict[str, Any], clients: int) -> int:
    """How many clients' values are in every element of the result."""
    function = option(policy, "function", 0) if policy["backend"] == "crypten" else 0
    count = {0: clients, 1: clients - 2 * option(policy, "trim", 0), 2: 2 - clients % 2}[function]
    require(count >= 1, "nothing is left")
    return count


# ---------------------------------------------------------------------------------------------- 11. Evidence


def check_pins(config: dict[str, Any], cohort: dict[str, bytes], pins: dict[str, Any], beacon: bytes | None) -> None:
    require(config["task"] in pins["tasks"], "the task is not pinned")
    task = pins["tasks"][config["task"]]
    policy = dict(config["policy"])
    policy["options"] = {option["name"]: option["value"] for option in policy["options"]}
    require(policy == task["policy"], "another policy than pinned")
    if config["beacon"] and "beacon" in task:
        check_beacon(task["beacon"], config)
        require(beacon in (None, config["beacon"]), "another beacon than the verifier knows")
    else:
        require(not config["beacon"] or config["beacon"] == beacon, "another beacon than the verifier knows")
    drawn = draw(read_roster(task["roster"]), config["policy"]["cohort_size"], config["beacon"])
    require(cohort == drawn, "another cohort than pinned")
    for field in ("operators", "witnesses"):
        require(config[field] == roster_digest(read_roster(pins[field])), f"other {field} than pinned")
    require(config["log_key"] == bytes.fromhex(pins["log"] or ""), "another log than pinned")


def check_part(policy: dict[str, Any], part: bytes) -> None:
    """The backend's part of an advertisement."""
    if policy["backend"] == "masking":
        require(len(part) == 64, "the backend part has a wrong length")
        channel, mask = part[:32], part[32:]
        check_exchange_key(channel)
        check_exchange_key(mask)
        require(channel != mask, "channel and mask key are the same")
    elif policy["backend"] == "additive":
        require(part != b"" and len(part) % 32 == 0, "the backend part has a wrong length")
    else:
        require(part == b"", "a backend part in a plain round")


def config_kind(data: bytes) -> str:
    """By the number of its fields: those of groups are there or not."""
    return "GroupedConfig" if data[:3] == b"\xdc\x00\x18" else "RoundConfig"


def read_evidence(header: bytes) -> dict[str, Any]:
    """Openings are longer where a norm is bounded, which the configuration in the same record says."""
    try:
        plain = msgspec.msgpack.decode(header)
        config = decode("RoundConfig", plain[1], 2**20)
    except (msgspec.MsgspecError, TypeError, LookupError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"no evidence: {error}") from None
    later = "Later" if config["generation"] else ""
    bounded = "Bounded" if option(config["policy"], "norm_steps", 0) else ""
    return decode(f"{later}{bounded}Evidence", header, 2**30)


def check_signers(signatures: list[dict[str, Any]], keys: dict[str, bytes], signed: bytes, needed: int) -> None:
    """In order, known, right, and as many as needed."""
    check_order((item["name"] for item in signatures), "signers")
    for item in signatures:
        require(item["name"] in keys, "a signer is unknown")
        check_signature(keys[item["name"]], item["signature"], signed, f"signature of {item['name']}")
    require(len(signatures) >= needed, "too few signatures")


@dataclass
class Place:
    """Where in a tree a round is, section 19: an edge, 1, or the top, 2, with what follows from its edges."""

    level: int
    session: Callable[[dict[str, Any], bytes, bytes, bytes], bytes] = lambda *_: b""
    clients: int = 0
    invited: int = 0
    evidence: bytes = b""


def verify(
    evidence: bytes,
    pins: dict[str, Any] | None = None,
    beacon: bytes | None = None,
    claims: Collection[str] | None = None,
    proofs: Collection[bytes] = (),
    place: Place | None = None,
) -> dict[str, Any]:
    """Check evidence in itself and, with `pins` (see `read_trust`), against what the verifier has pinned.

    `place` is where in a tree the round is; by default it is in none.

    `claims` are those that it accepts; by default what is pinned for the task, without pins sums only. `proofs` are
    norm proofs that are at hand.

    Returns:
        The fields of the record that is proved, its `encoding`, `average`, the elements of all arrays in a row, and
        `proofs`, how many norm proofs were checked.
    """
    header_bytes, bulk = unpack(evidence)
    header = read_evidence(header_bytes)
    require(header["version"] == 2, "another version of evidence")
    config = decode("RoundConfig", header["config"], 2**20)
    check_config(config)
    policy = config["policy"]
    context = digest("round-config", header["config"])
    level = place.level if place else 0
    require(option(policy, "level", 0) == level, "a round of a tree, or none of one")

    import conformance.sparse.independent_sparse as sparse  # which imports this module

    # 1, 2
    cohort = check_roster([(member["name"], member["public"]) for member in header["cohort"]])
    if pins is not None:
        check_pins(config, cohort, pins, beacon)
        claims = pins["tasks"][config["task"]]["claims"] if claims is None else claims
    claim = "attested" if attested(policy) else "dp-sum" if private(config) else "sum"
    accepted = ["sum"] if claims is None else claims
    known_as = {claim, "sum"} if claim == "dp-sum" else {claim}
    require(bool(known_as & set(accepted)), f"{claim} is no claim that is accepted")
    require(len(cohort) == config["cohort_size"], "the cohort has another size")
    require(roster_root(cohort) == config["cohort_root"], "another cohort than the configuration's")

    # 3
    advertised: dict[str, bytes] = {}
    parts: dict[str, bytes] = {}
    check_order((item["name"] for item in header["advertisements"]), "advertisements")
    for item in header["advertisements"]:
        name = item["name"]
        require(name in cohort, f"{name} is not in the cohort")
        signed = frame("message", context, b"advertise", name.encode(), b"", item["body"], b"")
        check_signature(cohort[name], item["signature"], signed, f"advertisement of {name}")
        body = decode("Advertisement", item["body"], 1024)
        require(body["commitment_hash"] not in advertised.values(), "a commitment hash is there twice")
        advertised[name] = body["commitment_hash"]
        parts[name] = body["backend"]
        check_part(policy, body["backend"])
    require(len(advertised) >= policy["min_advertised"], "too few advertisements")
    encodings = [encode("SignedAdvertisement", item) for item in header["advertisements"]]
    session = digest("session", context, u64(len(encodings)), root(encodings))
    if sparse.is_sparse(config):
        session = sparse.session(context, list(cohort), header["advertisements"])
    sharing = policy["backend"] in SHARING
    signers, bases, based = cohort, [], {}
    if sharing:
        session = digest("session", context)
        signers = {member["name"]: member["identity"] for member in check_setup(config, header["setup"])}
        bases = buffers().check_bases(config, header["setup"]) if buffers().honest(policy) else []
        check_size(config)
        if pins is not None and pins["operators"]:
            operators = read_roster(pins["operators"])
            known = all(operators.get(name) == key for name, key in signers.items())
            require(known, "an aggregator who is not pinned")
    elif place and level == 1:
        session = place.session(config, context, session, header["setup"])
    else:
        require(header["setup"] == b"", "a part that this backend has not")

    # 4
    k = rank(config)
    total = np.zeros(k * N, np.int64)
    entries: dict[str, bytes] = {}
    seen = set()
    check_order((item["name"] for item in header["openings"]), "openings")
    round_bytes = (config["task"].encode(), u64(config["round"]), u64(config["attempt"]))
    for item in header["openings"]:
        name, commitment = item["name"], item["commitment"]
        require(name in advertised, f"{name} did not advertise")
        if policy["backend"] == "additive":
            shares = open_shares(context, config, name, parts[name], item["nonce"], commitment)
            elements, opened = combine(shares, policy), shares_hash(context, name, parts[name])
            whole = whole_hash(context, name, encode_elements(elements))
            at = 32 * aggregators(policy)
            if bases:
                based[name] = buffers().base_of(bases, parts[name], aggregators(policy))
            signed = parts[name][at : at + 32] if bases else parts[name][at:]
            require(whole == signed, "the shares combine to another commitment")
        else:
            require(len(item["nonce"]) == 32, "a nonce has a wrong length")
            elements = decode_elements(commitment, k * N, f"the commitment of {name}")
            opened = digest("commitment-hash", *round_bytes, name.encode(), commitment, item["nonce"])
        require(opened == advertised[name], f"the opening of {name} is not what was advertised")
        total = (total + elements) % P
        require(encode_elements(elements) not in seen, "a commitment is there twice")
        seen.add(encode_elements(elements))
        entries[name] = opened if sharing else digest("commitment", commitment)
    needed = quorum(config["cohort_size"], policy)
    clients = len(entries)
    require(max(policy["min_clients"], needed) <= clients <= policy["max_clients"], "too few or too many openings")

    # 5
    participants_root = root([frame("survivor", name.encode(), value) for name, value in entries.items()])
    agreed = frame("agreement", session, u64(clients), participants_root)
    if sparse.is_sparse(config):
        agreed = sparse.agreed(session, entries, list(cohort), participants_root)
    require(
        sharing or all(item["name"] in entries for item in header["agreement"]), "a signer is not in the agreed set"
    )
    enough = vouchers(policy) if sharing else max(policy["min_clients"], needed)
    check_signers(header["agreement"], signers, agreed, enough)
    check_renounced(config, header, signers if sharing else cohort)

    if place and level == 1 and not bulk:
        require(header["attestation"] == [], "a part that this backend has not")
        require(not any(header["result_model"]), "an edge tells of its mean")
        return _public(config, context, session, cohort, entries, participants_root, encode_elements(total))

    # 6
    size = values(config)
    count, randomness = committed(config), (k + 2) * N
    require(len(bulk) == 4 * (count + randomness + sketched(config)), "the sums have a wrong length")
    sums = np.frombuffer(bulk, "<u4").astype(np.int64)
    x, t, t_of_sketch = np.split(sums, [count, count + randomness])
    commitment_sum = encode_elements(total)
    if place and level == 2:
        clients = place.clients
    added = kept(policy, clients)
    check_ranges(x, added, config)
    if attested(policy):  # in place of the rest of 6, and 7
        require(bool((t == 0).all()), "randomness in a result that is no sum")
        check_signers(
            header["attestation"], signers, frame("attested", session, participants_root, sha(bulk)), len(signers)
        )
    else:
        require(int(t.max()) <= clients * (2 ** mask_bits(policy) - 1), "a sum of the randomness is out of range")
        require(commit(packed(x, config), t, k) == commitment_sum, "the sums do not open the sum of the commitments")
        require(header["attestation"] == [], "a part that this backend has not")

    # 16
    checked = 0
    if sketched(config):
        bound, at_hand = norm_bound(config, config["weight_limit"]), {sha(proof): proof for proof in proofs}
        for item in header["openings"]:
            name, sketch = item["name"], item["sketch"]
            require(len(sketch) == 4 * ((bound.rho + 1) * N + bound.L + bound.e), "a sketch of another length")
            signed = frame("sketch", session, name.encode(), sketch, item["proof"])
            check_signature(cohort[name], item["signature"], signed, f"sketch of {name}")
            statement = norm.Statement(context, session, name, item["commitment"], sketch, bound)
            norm.parse_elements(sketch)
            if item["proof"] in at_hand:
                norm.verify(statement, at_hand[item["proof"]])
                checked += 1
        inside = covered(config)
        norm.check_sum(
            bound,
            session,
            [item["sketch"] for item in header["openings"]],
            x[:inside].tolist(),
            half(policy),
            x[size:].tolist(),
            t_of_sketch.tolist(),
        )

    if level:
        require(option(policy, "norm_steps", 0) == 0 and policy["cohort_size"] == 0, "no round of a tree")
    if place and level == 1:
        decode_sum(x, added, config)
        require(not any(header["result_model"]), "an edge tells of its mean")
        return _public(config, context, session, cohort, entries, participants_root, commitment_sum)

    # 8
    said: list[dict[str, Any]] = []
    if private(config):
        key = digest("rotation", context, b"values")
        means, weight = privacy.decode(x.tolist(), added, config, model_size(config), key), added
        (lowered, raised), error = (0, 0), privacy.error_bound(config, model_size(config))
    else:
        means, weight, (lowered, raised), error = decode_sum(x, added, config, context, said)
    require(model_digest(config["shapes"], means) == header["result_model"], "another result than stated")

    # 9
    record: dict[str, Any] = {
        "version": 2,
        "claim": claim,
        "task": config["task"],
        "round": config["round"],
        "attempt": config["attempt"],
        "context": context,
        "session": session,
        "cohort_size": place.invited if place else len(cohort),
        "participants": clients,
        "participants_root": participants_root,
        "commitment_sum": commitment_sum,
        "weight_limit": config["weight_limit"],
        "weight_sum": weight,
        "weights_lowered": lowered,
        "weights_raised": raised,
        "error_bound": error,
        "next_weight_limit": min(policy["max_weight"], -(-policy["weight_scale"] * weight // clients)),
        "start_model": config["start_model"],
        "result_model": header["result_model"],
        "previous_record": config["previous_record"],
        "evidence": place.evidence if place else sha(evidence),
    }
    kind = "RoundRecord"
    if said:
        kind, record["groups"] = "GroupedRecord", said
    if sketched(config):
        kind = "GroupedBoundedRecord" if said else "BoundedRecord"
        record["norm_bound"] = option(policy, "norm_steps", 0) * step(policy)
        record["norm_factor"] = norm_factor(config)
    if private(config):
        kind = "PrivateRecord"
        record |= privacy.record_fields(config, model_size(config), digest)
    encoding = encode(kind, record)
    require(len(encoding) <= 65536, "the record is too long")
    return {
        **record,
        "encoding": encoding,
        "average": means,
        "proofs": checked,
        "bases": bases,
        "based": based,
    }


def _public(
    config: dict[str, Any],
    context: bytes,
    session: bytes,
    cohort: dict[str, bytes],
    entries: dict[str, bytes],
    participants_root: bytes,
    commitment_sum: bytes,
) -> dict[str, Any]:
    """What an edge's record says, but for its version, claim and evidence; and its members' keys."""
    return {
        **{name: config[name] for name in ("task", "round", "attempt")},
        "context": context,
        "session": session,
        "cohort_size": len(cohort),
        "participants": len(entries),
        "participants_root": participants_root,
        "commitment_sum": commitment_sum,
        "keys": cohort,
    }


# ---------------------------------------------------------------------------------------------- 12. Ledger


def check_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], head: bytes) -> None:
    """RFC 9162, 2.1.3.2."""
    require(0 <= index < size, "the index is outside the tree")
    node, last, value = index, size - 1, sha(b"\0" + leaf)
    for sibling in path:
        require(last != 0, "the inclusion path is too long")
        if node & 1 or node == last:
            value = sha(b"\1" + sibling + value)
            while not node & 1 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            value = sha(b"\1" + value + sibling)
        node, last = node >> 1, last >> 1
    require(last == 0, "the inclusion path is too short")
    require(value == head, "the leaf is not in the tree")


def unbase64(text: str) -> bytes:
    """Base64 in its one spelling."""
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text, "base64 in another spelling")
    return data


def decimal(text: str) -> int:
    """A number below 2^63 in its one spelling."""
    require(re.fullmatch(r"0|[1-9][0-9]{0,18}", text) is not None and int(text) < 2**63, "not a decimal number")
    return int(text)


def read_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a signed note, and its signature lines as key name, and key id with signature."""
    require(len(note.encode()) <= 2**18, "the note is too long")
    require(not any(c < " " and c != "\n" for c in note), "a control character in a note")
    body, separator, rest = note.rpartition("\n\n")
    require(separator != "" and rest.endswith("\n"), "a note without signatures")
    signatures = []
    for line in rest[:-1].split("\n"):
        dash, name, data = line.split(" ")
        require(dash == "—" and name != "" and "+" not in name, "a malformed signature line")
        require(not any(c.isspace() for c in name), "a space in a key name")
        signatures.append((name, unbase64(data)))
        require(len(signatures[-1][1]) > 4, "a signature line without a signature")
    require(1 <= len(signatures) <= 100, "no signature lines, or too many")
    return body + "\n", signatures


def key_id(name: str, kind: int, key: bytes) -> bytes:
    return sha(name.encode() + b"\n" + bytes([kind]) + key)[:4]


def verify_receipt(
    receipt: bytes, record: bytes, log_key: bytes, origin: str | None = None, witnesses: dict[str, bytes] | None = None
) -> dict[str, Any]:
    """Check that the log with this key has signed a tree that holds the encoded record.

    Returns origin, size and root of the tree, and for each of `witnesses` (name to key) that cosigned it the time.
    """
    require(len(receipt) <= 2**18 + 2**17, "the receipt is too long")
    proof, separator, note = receipt.decode().partition("\n\n")
    header, *lines = proof.split("\n")
    require(header == "c2sp.org/tlog-proof@v1" and separator != "" and lines != [], "another format of receipt")
    if lines[0].startswith("extra "):
        require(1 <= len(unbase64(lines.pop(0)[6:])) <= 2**16, "no extra data, or too much")
    require(lines != [] and lines[0].startswith("index "), "a receipt without an index")
    index, path = decimal(lines[0][6:]), [unbase64(line) for line in lines[1:]]
    require(len(path) <= 63 and all(len(value) == 32 for value in path), "the inclusion path has a wrong length")

    text, signatures = read_note(note)
    name, size, head, *extensions = text[:-1].split("\n")
    require(0 < len(name.encode()) <= 1024 and all(extensions), "a malformed checkpoint")
    require(origin in (None, name), "the checkpoint is of another log")
    tree = {"origin": name, "size": decimal(size), "root": unbase64(head), "cosigned": {}}
    require(len(tree["root"]) == 32, "a root of another length")
    signed = False
    for signer, data in signatures:
        if (signer, data[:4]) == (name, key_id(name, 1, log_key)):
            check_signature(log_key, data[4:], text.encode(), "the checkpoint")
            signed = True
        witness = (witnesses or {}).get(signer)
        if witness is not None and data[:4] == key_id(signer, 4, witness):
            require(len(data) == 76, "a cosignature of another length")
            seconds = int.from_bytes(data[4:12], "big")
            require(1 <= seconds < 2**63, "a cosignature without a time")
            message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
            check_signature(witness, data[12:], message, "a cosignature")
            tree["cosigned"][signer] = max(seconds, tree["cosigned"].get(signer, 0))
    require(signed, "the log has not signed the checkpoint")
    check_inclusion(record, index, tree["size"], path, tree["root"])
    return tree


# ---------------------------------------------------------------------------------------------- 14. Trust file


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    require(len(dict(pairs)) == len(pairs), "a field is there twice")
    return dict(pairs)


def read_roster(keys: dict[str, str]) -> dict[str, bytes]:
    ordered = sorted(keys.items(), key=lambda member: member[0].encode())
    return check_roster([(name, bytes.fromhex(key)) for name, key in ordered])


def read_trust(text: str) -> dict[str, Any]:
    """The pins of a trust file."""
    trust: dict[str, Any] = json.loads(text, object_pairs_hook=unique_fields)
    fields = {"format", "log", "operators", "witnesses", "tasks"}
    require(fields <= set(trust) <= fields | {"origin", "quorum"}, "wrong fields in the trust file")
    require(trust["format"] == "secure-agg-trust/2", "another format of trust file")
    for task in trust["tasks"].values():
        require(set(task) - {"beacon"} == {"policy", "roster", "claims"}, "wrong fields in a pinned task")
        if "beacon" in task:
            check_source(task["beacon"])
            require(task["policy"]["cohort_size"] != 0, "a beacon where no cohort is drawn")
        order = [claim for claim in ("sum", "dp-sum", "attested") if claim in task["claims"]]
        require(bool(order) and task["claims"] == order, "unknown or unordered claims")
        require(set(task["policy"]) == set(RECORDS["Policy"]), "wrong fields in a pinned policy")
    return trust
