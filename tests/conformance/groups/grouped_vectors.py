"""Vectors of section 22: a round of groups of every kind, what its clients send, and what is refused."""

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
from secure_agg.protocol.codec import FixedPoint
from secure_agg.protocol.codec.rotation import rotation_key
from secure_agg.protocol.codec.support import support, support_key
from secure_agg.protocol.config import Group, Policy, RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Roster
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import verify
from secure_agg.roles.client.client import Client
from secure_agg.roles.trust import TaskTrust, Trust

EVIDENCE: Final = "grouped.evidence"
TRUST: Final = "grouped.trust.json"
VECTORS: Final = "grouped.json"
NAMES: Final = ("alice", "bob", "Zoë")
WEIGHTS: Final = {"alice": 3, "bob": 1, "Zoë": 50}
GROUPS: Final = (
    Group(name="count", kind="count", bits=12, clip=0.0, weighted=False),
    Group(name="moving", bits=4, clip=0.03, clip_rule="adaptive", support=(3, 5)),
    Group(name="pinned", bits=7, clip=2.0),
    Group(name="sparse", bits=8, clip=1.0, support=(1, 7), weighted=False),
    Group(name="turned", bits=6, clip=0.5, rotated=True, support=(1, 2), clip_rule="adaptive"),
    Group(name="ünweighted", bits=10, clip=9.0, rotated=True, weighted=False),
)
SHAPES: Final = ((3, 4), (6,), (5, 5), (40, 3), (81,), (), (65,))
GROUPING: Final = ("count", "moving", "moving", "turned", "ünweighted", "pinned", "sparse")

Fields = dict[str, Any]


def updates() -> dict[str, list[Any]]:
    """Counts are small integers; values have any sign, and some are beyond their clips."""
    found = {}
    for place, name in enumerate(NAMES, 1):
        arrays = [np.cos(place * np.arange(np.prod(shape, dtype=int)).reshape(shape)) / (4 * place) for shape in SHAPES]
        found[name] = [np.arange(12.0).reshape(3, 4) * place, *arrays[1:]]
    return found


def play() -> tuple[Evidence, Trust]:
    """The first round of a task; the same bytes every time."""
    policy = Policy.default(3, groups=GROUPS, max_weight=64, weight_scale=2, weight_span=4, first_weight=8)
    roster, operator = Roster({name: identity(name).public for name in NAMES}), identity("aggregator")
    trust = Trust({"vectors": TaskTrust(roster, policy)}, Roster({operator.name: operator.public}))
    config = RoundConfig.create(
        task="vectors",
        round=0,
        policy=policy,
        cohort=roster,
        shapes=SHAPES,
        operators=trust.operators,
        grouping=tuple([group.name for group in policy.groups].index(name) for name in GROUPING),
    )
    clients = {name: Client(identity(name), trust, entropy=constant(name)) for name in NAMES}
    return LocalRound(Aggregator(operator, config, roster), clients, updates(), WEIGHTS).run(), trust


def refused_configurations(good: bytes) -> dict[str, str]:
    """Each with one thing changed, in its encoding."""

    def group(place: int, **fields: Any) -> Callable[[Fields], object]:
        return lambda config: config["policy"]["options"][0]["value"][place].update(fields)

    def put(name: str, place: int, value: int) -> Callable[[Fields], object]:
        return lambda config: config[name].__setitem__(place, value)

    changes: dict[str, Callable[[Fields], object]] = {
        "groups out of order": lambda config: config["policy"]["options"][0]["value"].reverse(),
        "no groups": lambda config: config["policy"]["options"][0]["value"].clear(),
        "a count with a clip": group(0, clip=1.0),
        "a count that is weighted": group(0, weighted=True),
        "a kind that there is not": group(1, kind="other"),
        "a support with a common divisor": group(1, support=[2, 4]),
        "a support above one": group(1, support=[2, 1]),
        "a rule of clips that there is not": group(1, clip_rule="other"),
        "one bit": group(1, bits=1),
        "bits above the policy's": group(0, bits=13),
        "a clip above the policy's": group(2, clip=19.0),
        "an adaptive clip out of range": group(4, clip=2.0**99 * 1.5),
        "a group without a name": group(1, name=""),
        "halves beside groups": lambda config: config["policy"]["options"].append({"name": "halves", "value": 1}),
        "an array more in the grouping": lambda config: config["grouping"].append(0),
        "a group that there is not": put("grouping", 0, 6),
        "a clip too few": lambda config: config["clips"].pop(),
        "a clip above the largest": put("clips", 0, 12_673),
        "other clips than a task begins with": put("clips", 0, 1),
        "a worse error than the policy allows": lambda config: config["policy"].update(max_error=0.01),
    }
    found = {}
    for what, change in changes.items():
        fields = spec.decode("RoundConfig", good, 1 << 20)
        change(fields)
        found[what] = spec.encode("GroupedConfig", fields).hex()
    return found


def refused(evidence: Evidence) -> dict[str, list[list[Any]]]:
    """What is written over the evidence, at which byte: the sums are at its end, in the layout's order."""
    data, layout = evidence.to_bytes(), evidence.config.layout

    starts = {part.group.name: part.start for part in layout.parts}
    clips = msgspec.msgpack.encode(evidence.config.clips)
    other = msgspec.msgpack.encode((evidence.config.clips[0] + 1, *evidence.config.clips[1:]))
    names = ("count", "pinned", "turned")
    return {f"another sum of {name!r}": moved(evidence, starts[name], 1) for name in names} | {
        "a sum of weights with one more": moved(evidence, layout.values, 1),
        "one more within a clip": moved(evidence, layout.committed - 1, 1),
        "another clip in the configuration": [[data.index(clips), other.hex()]],
        "another group's name in the configuration": [[data.index(b"moving"), b"rowing".hex()]],
    }


def vectors(evidence: Evidence, trust: Trust) -> Fields:
    """What an implementation has to come to."""
    config, verified = evidence.config, verify(evidence, trust)
    codec, clients = FixedPoint.of(config), {}
    for name, update in updates().items():
        secret, out = constant(name)(32), np.empty(config.layout.committed, dtype=np.uint32)
        codec.encode(update, WEIGHTS[name], derive_key(secret, "client/rounding", config.context), out)
        clients[name] = {"secret": secret.hex(), "weight": WEIGHTS[name], "values": out.tolist()}
    parts = []
    for part in config.layout.parts:
        said: Fields = {"name": part.group.name, "start": part.start, "coordinates": part.coordinates}
        if part.group.support != (1, 1):
            key = support_key(config.context, part.group.name)
            said["sent"] = support(key, part.elements, part.sent).tolist()
        if part.group.rotated:
            said["rotation_key"] = rotation_key(config.context, part.group.name).hex()
        parts.append(said)
    return {
        **round_files(evidence, (EVIDENCE, TRUST)),
        "context": config.context.hex(),
        "config": config.to_bytes().hex(),
        "parts": parts,
        "clips": list(config.clips),
        "next_clips": list(verified.record.next_clips),
        "clients": clients,
        "record": verified.record.to_bytes().hex(),
        "average": [float(value).hex() for array in verified.average for value in array.ravel()],
        "refused": refused(evidence),
        "refused_configurations": refused_configurations(config.to_bytes()),
    }


def write() -> None:
    """Write the files."""
    evidence, trust = play()
    write_round(evidence, trust, (EVIDENCE, TRUST, VECTORS), vectors(evidence, trust))


if __name__ == "__main__":
    write()
