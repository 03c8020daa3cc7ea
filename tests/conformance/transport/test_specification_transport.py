"""What a client of `masking` sends is what the specification says, in either transport, by both implementations."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from conformance import independent_verifier
from conformance.transport import independent_transport as spec
from conformance.transport import vectors

STATED = json.loads(vectors.FILE.read_text("utf-8"))
MASKS = [(bytes.fromhex(mask["key"]), mask["sign"]) for mask in STATED["masks"]]


def test_the_product_makes_the_vectors_again() -> None:
    assert vectors.vectors() == STATED


@pytest.mark.parametrize("case", STATED["cases"], ids=lambda case: str(case["name"]))
def test_the_independent_implementation_makes_the_vectors_again(case: dict[str, Any]) -> None:
    policy = case["policy"]
    policy = policy | {"options": [{"name": name, "value": value} for name, value in policy["options"].items()]}
    lengths = case["lengths"]
    ranges = [(length, top) for length, top in lengths["x"]]
    tops = [top for length, top in ranges for _ in range(length)]
    x = [37 * i % (top + 1) for i, top in enumerate(tops)]
    s = [101 * i % 2 ** spec.mask_bits(policy) for i in range(lengths["s"])]
    side = [i % 4 for i in range(lengths["s'"])]
    for what, masks in (("packed", []), ("sent", MASKS)):
        made = spec.sent(policy, ranges, x, s, side, masks)
        assert len(made) == case["bytes"]
        assert made[:32].hex() == case[what]["first"]
        assert hashlib.sha256(made).hexdigest() == case[what]["sha256"]


@pytest.mark.parametrize(
    ("options", "fits"),
    [({"transport": 1}, True), ({"screening": 1, "transport": 0}, True), ({"screening": 1, "transport": 1}, False)],
)
def test_both_implementations_refuse_the_smallest_transport_with_screening(options: dict[str, int], fits: bool) -> None:
    config = {
        "policy": {
            "backend": "masking", "bits": 6, "commit_packed": False, "max_clients": 10,
            "options": [{"name": name, "value": value} for name, value in options.items()],
        },
        "epoch": 0, "generation": 0, "setup": b"",
    }  # fmt: skip
    if fits:
        independent_verifier.check_backend(config)
        return
    with pytest.raises(ValueError, match="not screened"):
        independent_verifier.check_backend(config)
