"""What a party takes over by itself: below its floor the owner is asked.

A quorum of owners may decide what it likes, and a majority may be wrong, or bought. Whoever pins a floor gives its data
under nothing weaker because others have voted for it. New keys are counted since its owner has last looked: one at a
time they add up to a majority too. So are members who have gone: whoever stays is a larger part of those who are left.
And who has to be trusted beside them, to hold keys and shares or to see one history, is the owner's to look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secure_agg import backends
from secure_agg.arguments import checked_class
from secure_agg.beacon.source import BeaconSource
from secure_agg.errors import ConfigError, TrustError
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.privacy import PrivacyRule, most_honest
from secure_agg.protocol.epoch import RESTART, EpochBody
from secure_agg.protocol.habits import habits
from secure_agg.protocol.privacy.claim import in_words
from secure_agg.roles.epochs.influence import loosened
from secure_agg.roles.trust import TaskTrust, Trust

_DRAWN: Final = 0.75
"""Of what a drawn cohort's policy bears a roster that grows bears a little less."""


@checked_class
@dataclass(frozen=True, kw_only=True)
class Floor:
    """The least that a party takes part under.

    Attributes:
        backends: that may hide its updates.
        min_clients: fewest whose sum is opened.
        corrupt: f / |R|, least share of the members that may be corrupt; where cohorts are drawn, the least that a draw
            bears but with probability 2^-60, which is less than f / |G|: see ``Policy.bearable``.
        least_clip, most_clip: bounds of the clip.
        bits: fewest per value.
        new_keys: largest share of members whose keys were not there when the owner last looked, and of those who were
            there that may have gone.

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
        corrupt or what there is (three quarters of that where cohorts are drawn), a clip within 16 times, no fewer bits
        than 8 or what there are, a third of new keys and of members who have gone.
        """
        slack = _DRAWN if policy.cohort_size else 1.0
        return Floor(
            backends=(policy.backend,),
            min_clients=policy.min_clients,
            corrupt=min(0.2, slack * corrupt_share(policy, members)),
            least_clip=policy.clip / 16,
            most_clip=policy.clip * 16,
            bits=min(8, policy.bits),
            new_keys=1 / 3,
        )

    def check_pins(self, pins: TaskTrust) -> None:
        """Refuse to pin a floor that what is in force is below already: its owner would not have joined.

        Raises:
            ConfigError: says in what.
        """
        found = [text for wrong, text in self._rules(pins.policy, len(pins.roster)) if wrong]
        if found:
            raise ConfigError(f"what is pinned in epoch {pins.epoch} is below this floor: {'; '.join(found)}")

    def _rules(self, policy: Policy, members: int) -> tuple[tuple[bool, str], ...]:
        """What of a policy is below this, whatever was before."""
        share, named = corrupt_share(policy, members), ", ".join(map(repr, self.backends))
        return (
            (policy.backend not in self.backends, f"backend {policy.backend!r} is not among {named}"),
            (policy.min_clients < self.min_clients, f"min_clients is {policy.min_clients}, below {self.min_clients}"),
            (share < self.corrupt - 1e-12, f"{share:.3g} of the members may be corrupt, below {self.corrupt:.3g}"),
            (
                not self.least_clip <= policy.clip <= self.most_clip,
                f"clip is {policy.clip:g}, outside [{self.least_clip:g}, {self.most_clip:g}]",
            ),
            (policy.bits < self.bits, f"{policy.bits} bits are below {self.bits}"),
        )

    def check(self, known: Trust, body: EpochBody) -> None:
        """Refuse an epoch that is below this, or whose cohorts another beacon draws: its maker could choose them.

        Args:
            known: what was in force when the owner last looked.

        Raises:
            TrustError: says in what, and what the owner can do.
        """
        policy, members, seen = body.policy, body.members, known.task(body.task).roster
        new = sum(seen.get(name) != key for name, key in members.items())
        gone = sum(name not in members for name in seen)
        drawing = BeaconSource.from_bytes(body.beacon) if body.beacon else None
        drawn_otherwise = bool(policy.cohort_size) and _clock(drawing) != _clock(known.task(body.task).beacon)
        below = (
            *self._rules(policy, len(members)),
            (
                new > self.new_keys * len(members) + 1e-9,
                f"{new} of {len(members)} members have keys that the owner has not seen, above {self.new_keys:.3g}",
            ),
            (drawn_otherwise, "cohorts are drawn by a beacon, or by a clock of it, that the owner has not seen"),
            (
                gone > self.new_keys * len(seen) + 1e-9,
                f"{gone} of the {len(seen)} members that the owner has seen have gone, above {self.new_keys:.3g}",
            ),
            *_operators(known, body),
            *_witnesses(known, body),
            *_privacy(known, body),
            *((True, text) for text in loosened(known.task(body.task).policy, policy)),
            (body.mode == RESTART, f"a new training begins from the model {body.base_model.hex()[:16]}…"),
        )
        found = [text for wrong, text in below if wrong]
        if found:
            raise TrustError(
                f"epoch {body.epoch} of task {body.task!r} is below what is taken over here without the owner: "
                f"{'; '.join(found)}. Its owner looks at it, and takes it over by 'secure-agg federation approve', as "
                f"{body.digest.hex()}"
            )


def _operators(known: Trust, body: EpochBody) -> tuple[tuple[bool, str], ...]:
    """Where operators open sums, who they are and how many it takes is what hides an update."""
    seats = backends.load(body.policy.backend).seats(body.policy)
    if not seats.count:
        return ()
    old = known.task(body.task).policy
    had = backends.load(old.backend).seats(old)
    strangers = [name for name, key in body.operator_keys.items() if known.operators.get(name) != key]
    return (
        (bool(strangers), f"operator {', '.join(map(repr, strangers[:1]))} has a key that the owner has not seen"),
        (
            seats.count < had.count or seats.needed < had.needed,
            f"{seats.needed} of {seats.count} operators open sums, and it was {had.needed} of {had.count}",
        ),
    )


def _privacy(known: Trust, body: EpochBody) -> tuple[tuple[bool, str], ...]:
    """Less noise, a larger budget, or more clients relied on for it than the owner has seen."""
    had, has, before = known.task(body.task).policy.privacy, body.policy.privacy, known.task(body.task)
    if had is None:
        return ()
    if has is None:
        return ((True, "updates are summed without noise, and had differential privacy"),)
    share = _relied_on(has, body.policy, len(body.members))
    known_share = _relied_on(had, before.policy, len(before.roster))
    return (
        (
            has.epsilon > had.epsilon,
            f"the privacy budget is epsilon = {in_words(has.epsilon)}, and it was {in_words(had.epsilon)}",
        ),
        (has.delta > had.delta, "delta of the privacy budget is larger than it was"),
        (
            share > known_share + 1e-9,
            f"{share:.3g} of the honest are relied on for noise, and it was {known_share:.3g}",
        ),
    )


def _relied_on(rule: PrivacyRule, policy: Policy, members: int) -> float:
    """Of the honest in every sum, the share whose noise is counted on. Where operators sign the set there is no quorum
    of clients in it, and a larger roster makes no sum larger.
    """
    quorum = policy.quorum(policy.cohort_size or members) if habits(policy.backend).clients_sign else 0
    return rule.honest / max(1, most_honest(policy.min_clients, quorum, policy.max_corrupt))


def _witnesses(known: Trust, body: EpochBody) -> tuple[tuple[bool, str], ...]:
    """A log that brings its own witnesses has none."""
    if not known.quorum:
        return ()
    new = sum(known.witnesses.get(name) != key for name, key in body.witness_keys.items())
    return (
        (body.quorum < known.quorum, f"{body.quorum} witnesses have to have cosigned, below {known.quorum}"),
        (new >= body.quorum, f"{new} witnesses that the owner has not seen are a quorum of {body.quorum}"),
    )


def corrupt_share(policy: Policy, members: int) -> float:
    """f / |R|, or where cohorts are drawn the share of the roster that a draw bears."""
    return float(policy.bearable(members))


def _clock(beacon: BeaconSource | None) -> tuple[str, bytes, int, int] | None:
    """Whose pulses they are, and when they are published: a wrong time would let a schedule look unbegun."""
    return None if beacon is None else (beacon.scheme, beacon.key, beacon.genesis, beacon.period)
