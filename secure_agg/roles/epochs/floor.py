"""What a party takes over by itself: below its floor the owner is asked.

A quorum of owners may decide what it likes, and a majority may be wrong, or bought. Whoever pins a floor gives its data
under nothing weaker because others have voted for it. New keys are counted since its owner has last looked: one at a
time they add up to a majority too.
"""

from __future__ import annotations

from dataclasses import dataclass

from secure_agg.arguments import checked_class
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import ConfigError, TrustError
from secure_agg.protocol.config import Policy
from secure_agg.protocol.epoch import EpochBody
from secure_agg.protocol.identity import Roster


@checked_class
@dataclass(frozen=True, kw_only=True)
class Floor:
    """The least that a party takes part under.

    Attributes:
        backends: that may hide its updates.
        min_clients: fewest whose sum is opened.
        corrupt: least share of the members that may be corrupt: f / |R|, and where cohorts are drawn the largest with
            which a draw holds no more than f, see ``Policy.bearable``.
        least_clip, most_clip: bounds of the clip.
        bits: fewest per value.
        new_keys: largest share of members whose keys were not there when the owner last looked.

    Raises:
        ConfigError: a share is outside [0, 1], or bounds are in the wrong order.
    """

    backends: tuple[str, ...]
    min_clients: int
    corrupt: float
    least_clip: float
    most_clip: float
    bits: int
    new_keys: float

    def __post_init__(self) -> None:
        for name in ("corrupt", "new_keys"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} = {getattr(self, name)!r} is no share, in [0, 1]")
        if not 0 < self.least_clip <= self.most_clip:
            raise ConfigError(f"a clip is within [{self.least_clip!r}, {self.most_clip!r}], which is nothing")

    @staticmethod
    def of(policy: Policy, members: int) -> Floor:
        """The floor of a party that pins no other: the same backend, no fewer clients, at least a fifth that may be
        corrupt or what there is (of drawn cohorts four fifths of that: it changes a little with every member), a clip
        within 16 times, no fewer bits than 8 or what there are, a third of new keys.
        """
        return Floor(
            backends=(policy.backend,),
            min_clients=policy.min_clients,
            corrupt=min(0.2, corrupt_share(policy, members) * (0.8 if policy.cohort_size else 1.0)),
            least_clip=policy.clip / 16,
            most_clip=policy.clip * 16,
            bits=min(8, policy.bits),
            new_keys=1 / 3,
        )

    def check(self, known: Roster, body: EpochBody, beacon: BeaconSource | None = None) -> None:
        """Refuse an epoch that is below this, or whose cohorts another beacon draws: its maker could choose them.

        Args:
            known: the members that the owner has last looked at.
            beacon: by which cohorts are drawn so far, None where none is pinned.

        Raises:
            TrustError: says in what, and what the owner can do.
        """
        policy, members = body.policy, body.members
        new = sum(known.get(name) != key for name, key in members.items())
        share = corrupt_share(policy, len(members))
        backends = ", ".join(map(repr, self.backends))
        drawing = BeaconSource.from_bytes(body.beacon) if body.beacon else None
        drawn_otherwise = bool(policy.cohort_size) and _clock(drawing) != _clock(beacon)
        below = (
            (policy.backend not in self.backends, f"backend {policy.backend!r} is not among {backends}"),
            (policy.min_clients < self.min_clients, f"min_clients is {policy.min_clients}, below {self.min_clients}"),
            (share < self.corrupt - 1e-12, f"{share:.3g} of the members may be corrupt, below {self.corrupt:.3g}"),
            (
                not self.least_clip <= policy.clip <= self.most_clip,
                f"clip is {policy.clip:g}, outside [{self.least_clip:g}, {self.most_clip:g}]",
            ),
            (policy.bits < self.bits, f"{policy.bits} bits are below {self.bits}"),
            (
                new > self.new_keys * len(members) + 1e-9,
                f"{new} of {len(members)} members have keys that the owner has not seen, above {self.new_keys:.3g}",
            ),
            (drawn_otherwise, "cohorts are drawn by a beacon, or by a clock of it, that the owner has not seen"),
        )
        found = [text for wrong, text in below if wrong]
        if found:
            raise TrustError(
                f"epoch {body.epoch} of task {body.task!r} is below what is taken over here without the owner: "
                f"{'; '.join(found)}. Its owner looks at it, and takes it over by 'secure-agg federation approve', as "
                f"{body.digest.hex()}"
            )


def corrupt_share(policy: Policy, members: int) -> float:
    """Of the members, those that may be corrupt."""
    return float(policy.bearable(members))


def _clock(beacon: BeaconSource | None) -> tuple[str, bytes, int, int] | None:
    """Whose pulses they are, and when they are published: a wrong time would let a schedule look unbegun."""
    return None if beacon is None else (beacon.scheme, beacon.key, beacon.genesis, beacon.period)
