"""What an epoch says: everything that parties pin of a task, and how its training goes on.

The place in the chain is not in it. Owners decide over days what changes, rounds go on meanwhile, and each owner
authorises one body for an epoch and no other: a body that named the last record would be stale before it is agreed.
Where the old epoch ends is what its members close, and the record says.
"""

from __future__ import annotations

import functools
from typing import Final

from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import ConfigError
from secure_agg.protocol.config import NO_DIGEST, Policy
from secure_agg.protocol.config.settings import MAX_CLIENTS, within
from secure_agg.protocol.identity import Roster, check_id, is_id_order
from secure_agg.protocol.messages import Wire, decode, encode
from zk.transcript import DIGEST_BYTES, digest

EPOCH_VERSION: Final = 1
GENESIS: Final = "genesis"
"""Mode of epoch 0, which is what parties have pinned before the first round, and no record."""
CONTINUE: Final = "continue"
"""The next round starts from the last result."""
RESTART: Final = "restart"
"""A new training begins, from arrays that the body names."""
_MODES: Final = (GENESIS, CONTINUE, RESTART)
MAX_BODY: Final = 4 << 20
"""Most bytes of a body: some 50,000 members."""
MAX_EPOCH: Final = 2**32
EVALUATION: Final = "-evaluation"
"""Ends the id of the task whose rounds sum metrics only, beside the task that trains: it is under the same epochs."""
MAX_BEACON: Final = 1 << 10


def root_task(task: str) -> str:
    """The task whose epochs a task is under: itself, or the one that it evaluates."""
    return task.removesuffix(EVALUATION) or task


def check_root(task: str) -> None:
    """Refuse a task that has no epochs of its own: what was closed of it would bind nobody.

    Raises:
        ConfigError: it is under those of another.
    """
    if root_task(task) != task:
        raise ConfigError(f"task {task!r} has no epochs of its own: it is under those of {root_task(task)!r}")


class Named(Wire, frozen=True, gc=False):
    """A party with its identity key."""

    name: str
    public: bytes


@checked_class
class EpochBody(Wire, frozen=True, kw_only=True):
    """All that an epoch says of a task; ``digest`` is what every signature about it is over.

    Attributes:
        version: of the format, 1.
        task: the root task; what belongs to it, its evaluation, is changed with it.
        epoch: from 1; 0 only of what was pinned at first.
        previous_epoch: digest of the epoch before: of its body, or for epoch 0 of its pins.
        roster: the members, in id order.
        policy: of the rounds.
        operators: aggregators, key holders and share holders, in id order.
        witnesses: of the ledger, in id order.
        quorum: how many of them have to have cosigned a checkpoint; 0 where none need have.
        administrators: who authorises the epoch after this one, in id order; nobody where its owners do.
        threshold: how many of them do, more than half; 0 exactly where there are none.
        beacon: the source of public randomness that draws cohorts, in its own encoding; empty where none is pinned.
        mode: ``continue`` or ``restart``; ``genesis`` for epoch 0.
        base_model: with ``restart`` the digest of the arrays that the new training begins from; else zeros.
        name: with ``restart`` what the new training is called; else empty.
    """

    version: int
    task: str
    epoch: int
    previous_epoch: bytes
    roster: tuple[Named, ...]
    policy: Policy
    operators: tuple[Named, ...]
    witnesses: tuple[Named, ...]
    quorum: int
    administrators: tuple[Named, ...]
    threshold: int
    beacon: bytes
    mode: str
    base_model: bytes
    name: str

    def __post_init__(self) -> None:
        check_fields(self)
        if self.version != EPOCH_VERSION:
            raise ConfigError(f"an epoch of version {self.version}, not {EPOCH_VERSION}")
        check_id(self.task)
        check_root(self.task)
        within("epoch", self.epoch, 0, MAX_EPOCH)
        for field in ("previous_epoch", "base_model"):
            if len(getattr(self, field)) != DIGEST_BYTES:
                raise ConfigError(f"{field} has {len(getattr(self, field))} bytes, not {DIGEST_BYTES}")
        if self.mode not in _MODES or (self.mode == GENESIS) != (self.epoch == 0):
            raise ConfigError(f"epoch {self.epoch} has the mode {self.mode!r}")
        if (self.mode == RESTART) != (self.base_model != NO_DIGEST) or (self.mode == RESTART) != bool(self.name):
            raise ConfigError("a new training names its model and itself, and nothing else does")
        if self.name:
            check_id(self.name)
        if (self.epoch == 0) != (self.previous_epoch == NO_DIGEST):
            raise ConfigError(f"epoch {self.epoch} has the previous epoch {self.previous_epoch.hex()}")
        if len(self.beacon) > MAX_BEACON:
            raise ConfigError(f"a beacon's source has {len(self.beacon)} bytes, above {MAX_BEACON}")
        self._check_parties()

    def _check_parties(self) -> None:
        for field in ("roster", "operators", "witnesses", "administrators"):
            if not is_id_order([party.name for party in getattr(self, field)]):
                raise ConfigError(f"the {field} of epoch {self.epoch} are not in id order, each once")
        members, operators = self.members, self.operator_keys  # which check every id and key
        both = [name for name in operators if name in members]
        if both:
            raise ConfigError(f"{both[0]!r} is the id of an operator and of a client of epoch {self.epoch}")
        within("quorum", self.quorum, 0, len(self.witness_keys))
        within("members", len(members), 1, MAX_CLIENTS)
        policy, drawn = self.policy, self.policy.cohort_size
        cohort = drawn or len(members)
        if drawn > len(members) or not policy.min_advertised <= cohort <= policy.max_clients:
            raise ConfigError(
                f"epoch {self.epoch} has {len(members)} members, and its policy is for cohorts of "
                f"{policy.min_advertised} to {policy.max_clients}" + (f", drawn from {drawn} or more" if drawn else "")
            )
        check_threshold(self.administrator_keys, self.threshold)

    def __repr__(self) -> str:
        return (
            f"EpochBody(task={self.task!r}, epoch={self.epoch}, mode={self.mode!r}, members={len(self.roster)}, "
            f"backend={self.policy.backend!r}, digest={self.digest.hex()[:16]}…)"
        )

    def to_bytes(self) -> bytes:
        """The canonical encoding."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> EpochBody:
        """Decode strictly and validate.

        Raises:
            MalformedMessage: not canonical, above 4 MiB, or refused by the validation.
        """
        return decode(EpochBody, data, MAX_BODY)

    @property
    def digest(self) -> bytes:
        """H(body), 32 bytes."""
        return digest("epoch-body", self.to_bytes())

    @property
    def members(self) -> Roster:
        """The roster."""
        return _roster(self.roster)

    @property
    def operator_keys(self) -> Roster:
        """The operators."""
        return _roster(self.operators)

    @property
    def witness_keys(self) -> Roster:
        """The witnesses."""
        return _roster(self.witnesses)

    @property
    def administrator_keys(self) -> Roster:
        """The administrators."""
        return _roster(self.administrators)

    @property
    def start_model(self) -> bytes:
        """What a new training's first round starts from; see ``RoundConfig``."""
        return start_of(self.digest)


def start_of(body: bytes) -> bytes:
    """What the first round of a new training starts from, by H(body)."""
    return digest("epoch-start", body)


def check_threshold(administrators: Roster, threshold: int) -> None:
    """Refuse administrators of whom two halves could authorise two different things.

    Raises:
        ConfigError: says what it has to be.
    """
    least = len(administrators) // 2 + 1 if administrators else 0
    if not least <= threshold <= len(administrators):
        raise ConfigError(
            f"a threshold of {threshold} for {len(administrators)} administrators is outside "
            f"[{least}, {len(administrators)}]"
        )


def named(roster: Roster) -> tuple[Named, ...]:
    """A roster as a body has it."""
    return tuple(Named(name, public) for name, public in roster.items())


@functools.lru_cache(maxsize=16)  # each may be of thousands
def _roster(parties: tuple[Named, ...]) -> Roster:
    return Roster({party.name: party.public for party in parties})


def genesis(body: EpochBody, log: bytes) -> bytes:
    """The digest of epoch 0: of what was pinned before the first round.

    Args:
        body: what was pinned, as a body.
        log: the ledger's key, which no epoch changes.
    """
    return digest("epoch-genesis", body.to_bytes(), log)
