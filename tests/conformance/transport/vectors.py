"""docs/vectors/transport.json: what a client of `masking` sends, in either transport, by the product."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from support.federation import identity

from mpc import masks
from mpc.masks import Mask
from mpc.ring import Vector
from secure_agg.backends.masking import rules
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import Group, Option, Policy, RoundConfig
from secure_agg.protocol.identity import Roster
from zk.parameters import noise_top

FILE: Final = Path(__file__).parents[3] / "docs" / "vectors" / "transport.json"
KEYS: Final = tuple((hashlib.sha256(label).digest(), sign) for label, sign in ((b"self", 1), (b"one", 1), (b"two", -1)))
CASES: Final[dict[str, dict[str, Any]]] = {
    "words of 14 values": {"parameters": 1000, "clients": 10, "bits": 2, "options": {}},
    "words of several streams": {"parameters": 140_000, "clients": 100, "bits": 8, "options": {"transport": 1}},
    "words of bounded vectors": {
        "parameters": 1000, "clients": 10, "bits": 6, "options": {"screening": 0}, "norm_bound": 3.0,
    },
    "no shorter as words": {"parameters": 1000, "clients": 100, "bits": 16, "options": {"transport": 1}},
    "elements": {"parameters": 70_000, "clients": 10, "bits": 6, "options": {"transport": 0}},
    "screened": {"parameters": 1000, "clients": 10, "bits": 6, "options": {"screening": 1}, "norm_bound": 3.0},
    "groups as words": {"clients": 10, "groups": (2, 16, 6), "options": {}},
    "groups as elements": {"clients": 10, "groups": (2, 16, 6), "options": {"transport": 0}, "commit_packed": True},
}  # fmt: skip


def config_of(case: dict[str, Any]) -> RoundConfig:
    """A round's, as ``plan`` has it: of one array, all weights 1; or of an array of 500 values for each group."""
    options = tuple(Option(name, value) for name, value in sorted(case["options"].items()))
    if "groups" not in case:
        return Setting("masking", **{**case, "options": options}).config
    groups = [Group(name=f"{i}", bits=bits, clip=1.0) for i, bits in enumerate(case["groups"])]
    packed = case.get("commit_packed", False)
    policy = Policy.default(case["clients"], options=options, groups=groups, commit_packed=packed)
    cohort, count = Roster({f"c{i}": identity(f"c{i}").public for i in range(case["clients"])}), len(groups)
    shapes, grouping = ((500,),) * count, tuple(range(count))
    return RoundConfig.create(task="task", round=0, policy=policy, cohort=cohort, shapes=shapes, grouping=grouping)


def vector(config: RoundConfig) -> Vector:
    """x[i] = 37·i mod (top + 1), s[i] = 101·i mod 2^b, s'[i] = i mod 4, whatever the coordinates stand for."""
    layout = config.layout
    tops = np.repeat([run.top for run in layout.runs], [run.length for run in layout.runs])
    noise = noise_top(config.policy.coordinate_bits, config.policy.max_clients)
    x = np.arange(layout.committed) * 37 % (tops + 1)
    s, side = np.arange(layout.randomness) * 101 % (noise + 1), np.arange(layout.sketch) % 4
    return np.concatenate([x, s, side]).astype(np.uint32)


def vectors() -> dict[str, Any]:
    """The file's content."""
    found: dict[str, Any] = {
        "vector": "x[i] = 37·i mod (top + 1), top being its range's, s[i] = 101·i mod 2^b, s'[i] = i mod 4",
        "masks": [{"key": key.hex(), "sign": sign} for key, sign in KEYS],
        "cases": [],
    }
    for name, case in CASES.items():
        config = config_of(case)
        form, layout = rules.form(config), config.layout
        loaded = form.load(vector(config))
        packed = bytes(form.to_bytes(loaded))
        masks.apply(loaded, [Mask(key, sign) for key, sign in KEYS])
        sent = bytes(form.to_bytes(loaded))
        policy = config.policy
        found["cases"].append(
            {
                "name": name,
                "policy": {
                    "options": {each.name: each.value for each in policy.options if isinstance(each.value, int)},
                    "bits": policy.bits,
                    "commit_packed": policy.commit_packed,
                    "max_clients": policy.max_clients,
                },
                "lengths": {"x": [list(run) for run in layout.runs], "s": layout.randomness, "s'": layout.sketch},
                "bytes": len(sent),
                "packed": {"first": packed[:32].hex(), "sha256": hashlib.sha256(packed).hexdigest()},
                "sent": {"first": sent[:32].hex(), "sha256": hashlib.sha256(sent).hexdigest()},
            }
        )
    return found


def to_json(found: dict[str, Any]) -> str:
    """The text of the file."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def write() -> None:
    """Write it."""
    FILE.write_text(to_json(vectors()), "utf-8")
