"""docs/vectors/transport.json: what a client of `masking` sends, in either transport, by the product."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from mpc import masks
from mpc.masks import Mask
from mpc.ring import Vector
from secure_agg.backends.masking import rules
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import Option, RoundConfig

FILE: Final = Path(__file__).parents[3] / "docs" / "vectors" / "transport.json"
KEYS: Final = tuple((hashlib.sha256(label).digest(), sign) for label, sign in ((b"self", 1), (b"one", 1), (b"two", -1)))
CASES: Final[dict[str, dict[str, Any]]] = {
    "words of 14 values": {"parameters": 1000, "clients": 10, "bits": 2},
    "words of several streams": {"parameters": 140_000, "clients": 100, "bits": 8, "options": {"transport": 1}},
    "words of bounded vectors": {
        "parameters": 1000, "clients": 10, "bits": 6, "options": {"screening": 0}, "norm_bound": 3.0,
    },
    "no shorter as words": {"parameters": 1000, "clients": 100, "bits": 16, "options": {"transport": 1}},
    "elements": {"parameters": 70_000, "clients": 10, "bits": 6, "options": {"transport": 0}},
    "screened": {"parameters": 1000, "clients": 10, "bits": 6, "options": {"screening": 1}, "norm_bound": 3.0},
}  # fmt: skip


def config_of(case: dict[str, Any]) -> RoundConfig:
    """A round's, as ``plan`` has it: of one array, all weights 1."""
    named = tuple(Option(name, value) for name, value in sorted(case.get("options", {}).items()))
    return Setting("masking", **{**case, "options": named}).config


def vector(config: RoundConfig) -> Vector:
    """x[i] = 37·i mod (top + 1), s[i] = 101·i mod 2^b, s'[i] = i mod 4, whatever the coordinates stand for."""
    layout = config.layout
    ranges = ((layout.committed, 37, config.policy.coordinate_top + 1), (layout.sketch, 1, 4))
    noise = (layout.randomness, 101, config.policy.noise_base // config.policy.max_clients + 1)
    parts = (ranges[0], noise, ranges[1])
    return np.concatenate([np.arange(length, dtype=np.uint32) * factor % top for length, factor, top in parts]).astype(
        np.uint32
    )


def vectors() -> dict[str, Any]:
    """The file's content."""
    found: dict[str, Any] = {
        "vector": "x[i] = 37·i mod (Q + 1), s[i] = 101·i mod 2^b, s'[i] = i mod 4",
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
                    "options": {option.name: option.value for option in policy.options},
                    "bits": policy.bits,
                    "commit_packed": policy.commit_packed,
                    "max_clients": policy.max_clients,
                },
                "lengths": {"x": layout.committed, "s": layout.randomness, "s'": layout.sketch},
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
