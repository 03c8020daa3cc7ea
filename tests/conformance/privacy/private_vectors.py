"""Vectors of section 23: a small round with differential privacy, what its clients drew, and what rounds spend."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from support.federation import identity

from mpc.keystream import derive_key
from secure_agg.local.rounds import LocalRound
from secure_agg.privacy import accounting, skellam
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.codec import PrivateCodec
from secure_agg.protocol.codec.private import GROUP
from secure_agg.protocol.codec.rotation import rotation_key
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.evidence import Evidence, PrivateRecord
from secure_agg.protocol.identity import Roster
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import verify
from secure_agg.roles.client.client import Client
from secure_agg.roles.trust import TaskTrust, Trust

DIRECTORY: Final = Path(__file__).parents[3] / "docs" / "vectors"
EVIDENCE: Final = "private.evidence"
TRUST: Final = "private.trust.json"
VECTORS: Final = "private.json"
NAMES: Final = ("alice", "bob", "Zoë")
SHAPES: Final = ((2, 2), (67,))
VARIANCES: Final = (1, 256, 5000)
SPENDING: Final = ({1024: 1}, {5000: 3}, {2048: 1, 70_000: 40}, {1 << 20: 1000})


def constant(name: str) -> Callable[[int], bytes]:
    """The attempt secret of a client."""
    return lambda size: hashlib.sha256(b"entropy of " + name.encode()).digest()[:size]


def updates() -> dict[str, list[Any]]:
    """Alice's is longer than the norm, and Bob's is nothing."""
    sizes = {"alice": 3.0, "bob": 0.0, "Zoë": 0.02}
    return {name: [size * np.ones((2, 2)), size * np.linspace(-1, 1, 67)] for name, size in sizes.items()}


def play() -> tuple[Evidence, Trust]:
    """The second round of a task's three; the same bytes every time."""
    budget = Privacy(epsilon=8.0, delta=1e-5, norm=1.5, rounds=3)
    policy = Policy.default(3, bits=9, privacy=budget)
    roster, operator = Roster({name: identity(name).public for name in NAMES}), identity("aggregator")
    pins = {"vectors": TaskTrust(roster, policy, frozenset({"dp-sum"}))}
    trust = Trust(pins, Roster({operator.name: operator.public}))
    config = RoundConfig.create(
        task="vectors", round=1, policy=policy, cohort=roster, shapes=SHAPES, operators=trust.operators
    )
    clients = {name: Client(identity(name), trust, entropy=constant(name)) for name in NAMES}
    return LocalRound(Aggregator(operator, config, roster), clients, updates()).run(), trust


def vectors(evidence: Evidence, trust: Trust) -> dict[str, Any]:
    """What an implementation has to come to."""
    config, record = evidence.config, verify(evidence, trust).record
    made, rule = config.mechanism, config.policy.privacy
    if made is None or rule is None or not isinstance(record, PrivateRecord):
        raise AssertionError("the round has privacy")
    clients = {}
    for name, update in updates().items():
        secret, out = constant(name)(32), np.empty(config.layout.committed, dtype=np.uint32)

        def derive(label: str, secret: bytes = secret) -> bytes:
            return derive_key(secret, f"client/{label}", config.context)

        PrivateCodec(config).encode(update, derive, out)
        clients[name] = {"secret": secret.hex(), "values": out.tolist()}
    key = bytes(range(32))
    return {
        "evidence": EVIDENCE,
        "trust": TRUST,
        "sha256": hashlib.sha256(evidence.to_bytes()).hexdigest(),
        "context": config.context.hex(),
        "rotation_key": rotation_key(config.context, GROUP).hex(),
        "numbers": {
            "D": made.padded,
            "L": made.length,
            "squared": made.squared,
            "V": made.variance,
            "A_q": made.value_limit,
            "A_z": made.noise_limit,
        },
        "clients": clients,
        "record": record.to_bytes().hex(),
        "spent": record.spent,
        "privacy": record.privacy.hex(),
        "draws": {
            "key": key.hex(),
            "of": [{"V": v, "first": skellam.draw(v, key, 20).tolist()} for v in VARIANCES],
        },
        "spending": [
            {"rounds": {str(ratio): count for ratio, count in rounds.items()}, "delta": 10**7, "epsilon": 4 * 10**6}
            | {"spent": accounting.spent(rounds, 10**7, 4 * 10**6)}
            for rounds in SPENDING
        ],
    }


def write() -> None:
    """Write the files."""
    evidence, trust = play()
    (DIRECTORY / EVIDENCE).write_bytes(evidence.to_bytes())
    (DIRECTORY / TRUST).write_text(trust.to_json(), "utf-8")
    text = json.dumps(vectors(evidence, trust), indent=1, ensure_ascii=False)
    (DIRECTORY / VECTORS).write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    write()
