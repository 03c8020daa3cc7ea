"""Vectors of section 23: a small round with differential privacy, what its clients drew, and what rounds spend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import conformance.independent_verifier as spec
import msgspec
import numpy as np
from conformance.vector_files import constant, moved, round_files, write_round
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

EVIDENCE: Final = "private.evidence"
TRUST: Final = "private.trust.json"
VECTORS: Final = "private.json"
NAMES: Final = ("alice", "bob", "Zoë")
SHAPES: Final = ((2, 2), (67,))
VARIANCES: Final = (1, 256, 5000)
SPENDING: Final = ({1024: 1}, {5000: 3}, {2048: 1, 70_000: 40}, {1 << 20: 1000})


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


def refused(evidence: Evidence) -> dict[str, list[list[Any]]]:
    """What is written over the evidence, at which byte: the sums are at its end, the limb behind the values."""
    data, layout = evidence.to_bytes(), evidence.config.layout

    def option(name: str, value: int) -> list[list[Any]]:
        """Another value of an option, where the configuration has it, in as many bytes."""
        rule = evidence.config.policy.option(name, 0)
        known, other = (msgspec.msgpack.encode([name, number])[1:] for number in (rule, value))
        if len(known) != len(other):
            raise AssertionError("another length")
        return [[data.index(known), other.hex()]]

    rule = evidence.config.policy.privacy
    if rule is None:
        raise AssertionError("the round has privacy")
    return {
        "another sum of a value": moved(evidence, 0, 1),
        "a sum of what is filled up": moved(evidence, layout.values - 1, -1),
        "a limb with one client more": moved(evidence, layout.values, 1),
        "less noise than was pinned": option("privacy_ratio", rule.ratio - 1),
        "a larger budget": option("privacy_epsilon", rule.epsilon + 1),
        "another delta": option("privacy_delta", rule.delta + 1),
    }


def refused_configurations(good: bytes) -> dict[str, str]:
    """Each with something changed, in its encoding."""

    def options(**values: int | None) -> Callable[[dict[str, Any]], object]:
        def change(config: dict[str, Any]) -> None:
            known = {item["name"]: item["value"] for item in config["policy"]["options"]} | values
            config["policy"]["options"] = [
                {"name": name, "value": value} for name, value in sorted(known.items()) if value is not None
            ]

        return change

    def fields(**values: Any) -> Callable[[dict[str, Any]], object]:
        return lambda config: config.update(values)

    def policy(**values: Any) -> Callable[[dict[str, Any]], object]:
        return lambda config: config["policy"].update(values)

    changes: dict[str, Callable[[dict[str, Any]], object]] = {
        "a round beyond the budget": fields(round=3),
        "a weight": fields(weight_limit=2),
        "weights": policy(max_weight=2),
        "bits that have no room for the noise": policy(bits=4),
        "no epsilon": options(privacy_epsilon=0),
        "an epsilon above the most": options(privacy_epsilon=32 * 10**6 + 1),
        "an epsilon that one round exceeds": options(privacy_epsilon=1000),
        "no delta": options(privacy_delta=0),
        "a delta of one in the clients": options(privacy_delta=4 * 10**9 + 1),
        "noise of nobody": options(privacy_honest=0),
        "noise of more than are known to be honest": options(privacy_honest=4),
        "a mechanism that there is not": options(privacy_mechanism=2),
        "no noise": options(privacy_ratio=0),
        "so little noise that no round is within the budget": options(privacy_ratio=1),
        "an option missing": options(privacy_delta=None),
        "halves": options(halves=1),
        "a buffer": options(buffer_honest=2),
        "an edge of a tree": options(level=1),
        "a norm bound": options(norm_steps=3),
    }
    found = {}
    for what, change in changes.items():
        config = spec.decode("RoundConfig", good, 1 << 20)
        change(config)
        found[what] = spec.encode("RoundConfig", config).hex()
    return found


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
        **round_files(evidence, (EVIDENCE, TRUST)),
        "context": config.context.hex(),
        "config": config.to_bytes().hex(),
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
        "refused": refused(evidence),
        "refused_configurations": refused_configurations(config.to_bytes()),
    }


def write() -> None:
    """Write the files."""
    evidence, trust = play()
    write_round(evidence, trust, (EVIDENCE, TRUST, VECTORS), vectors(evidence, trust))


if __name__ == "__main__":
    write()
