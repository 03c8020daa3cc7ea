"""Help for the tests of the anchor: rounds, a log of their records, and chains to register them on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from support.chains.kzg_checks import small, unpack
from support.federation import Federation, Tape, replace
from web3 import Web3

from mpc.ring import P
from secure_agg.errors import LedgerRefused
from secure_agg.ledger.evm.reader import Terms
from secure_agg.ledger.evm.registration import AnchoredRound, Participant
from secure_agg.ledger.evm.registry import Registry, record_fields
from secure_agg.ledger.evm.statement import Entry, add_packed, decode_commitment, member_leaf
from zk import kzg, merkle
from zk.transcript import digest

BOND = 10**15
WINDOW = 1000
RESPONSE = 100
LOG_KEY = bytes(range(32))
ACCOUNTS: list[LocalAccount] = [Account.from_key(number.to_bytes(32, "big")) for number in (1, 2, 3)]
PUBLISHER, WATCHER, STRANGER = ACCOUNTS


@functools.cache
def round_of(n: int = 3, backend: str = "plain", number: int = 0, **policy: Any) -> AnchoredRound:
    """A round that was really run, verified and made ready for the contract."""
    changes = {"round": number} | ({"start_model": bytes([number]) * 32} if number else {})
    federation = Federation(n=n, backend=backend, policy_changes=policy)
    return AnchoredRound.of(Tape.start(federation, **changes).finish())


@dataclass
class Chain:
    """A chain that a test may move forward in time.

    Attributes:
        web3: connection.
        advance: mines a block that many seconds later.
    """

    web3: Web3
    advance: Callable[[int], None]

    def deploy(self, **terms: Any) -> Registry:
        values = {"publisher": PUBLISHER.address, "log_key": LOG_KEY} | terms
        made = Terms(**({"window": WINDOW, "response": RESPONSE, "bond": BOND} | values))
        return Registry.deploy(self.web3, PUBLISHER, made)

    def as_(self, account: LocalAccount, registry: Registry) -> Registry:
        return Registry(self.web3, registry.address, account)

    def balance(self, account: LocalAccount) -> int:
        return self.web3.eth.get_balance(account.address)


@dataclass
class Log:
    """A log of records, without the checks of a ledger: what a dishonest log could hold, too."""

    leaves: list[bytes] = field(default_factory=list)

    def add(self, record: bytes) -> int:
        self.leaves.append(record)
        return len(self.leaves) - 1

    @property
    def root(self) -> bytes:
        return merkle.root(self.leaves)

    def node(self, level: int, position: int) -> bytes:
        return merkle.root(self.leaves[position << level : (position + 1) << level])

    def path(self, index: int) -> tuple[bytes, ...]:
        return merkle.inclusion_proof(index, len(self.leaves), self.node)

    def store(self, registry: Registry) -> None:
        """Bring a contract up to this log."""
        size, root = registry.checkpoint()
        proof = merkle.consistency_proof(size, len(self.leaves), self.node)
        transact(registry, "store_checkpoint", size, root, len(self.leaves), self.root, list(proof))


def transact(registry: Registry, function: str, *arguments: Any, value: int = 0) -> None:
    """Call the contract with arguments that the client would not make up."""
    registry._transact(function, *arguments, value=value)


def anchored(chain: Chain, rounds: Sequence[AnchoredRound], **terms: Any) -> Registry:
    """A contract with these rounds registered, from one log."""
    registry, log = chain.deploy(**terms), Log()
    for item in rounds:
        log.add(item.record.to_bytes())
    log.store(registry)
    for index, item in enumerate(rounds):
        registry.register(item, index, log.path(index))
    return registry


def participant_of(place: int, commitment: bytes) -> tuple[Participant, bytes]:
    """A participant that was made up, and its leaf in the statement."""
    name = f"p{place:04d}"
    return Participant(name, place, commitment, b""), member_leaf(name, digest("commitment", commitment))


def synthetic(n: int, rank: int = 3) -> AnchoredRound:
    """A round of which there is no evidence: as the contract sees it, it is one."""
    rng = np.random.default_rng(n)
    commitments = [made_up_commitment(rng, rank) for _ in range(n)]
    return forged(round_of(), commitments)


def made_up_commitment(rng: np.random.Generator, rank: int) -> bytes:
    return rng.integers(0, P, 512 * rank, dtype=np.uint32).astype("<u4").tobytes()


def forged(item: AnchoredRound, commitments: list[bytes], **changes: Any) -> AnchoredRound:
    """The round with other participants, and a record to match."""
    made = [participant_of(i, commitment) for i, commitment in enumerate(commitments)]
    members = tuple(leaf for _, leaf in made)
    sums = add_packed([decode_commitment(commitment) for commitment in commitments])
    values = {
        "participants": len(commitments),
        "participants_root": merkle.root(members),
        "commitment_sum": unpack(sums),
    } | changes
    return AnchoredRound(replace(item.record, **values), members, tuple(who for who, _ in made))


def refuses(match: str) -> Any:
    return pytest.raises(LedgerRefused, match=match)


# --- everything that a registration can get wrong ---------------------------------------------------------------


@dataclass
class Call:
    """The arguments of ``register``, to be altered."""

    record: list[Any]
    members: int
    entries: list[list[int]]
    sums: list[int]
    index: int
    path: list[bytes]
    opening: bytes

    @staticmethod
    def of(registry: Registry, item: AnchoredRound, index: int, path: Sequence[bytes]) -> Call:
        statement = item.statement
        return Call(
            list(record_fields(item.record)),
            statement.members,
            [entry.words() for entry in statement.entries],
            list(statement.sums),
            index,
            list(path),
            statement.open(registry.domain),
        )

    def send(self, registry: Registry, value: int = BOND) -> None:
        arguments = (self.record, self.members, self.entries, self.sums, self.index, self.path, self.opening)
        transact(registry, "register", *arguments, value=value)


def _field(at: int, value: Callable[[Any], Any]) -> Callable[[Call], None]:
    def alter(call: Call) -> None:
        call.record[at] = value(call.record[at])

    return alter


def _other_point(at: int) -> Callable[[Call], None]:
    def alter(call: Call) -> None:
        other = Entry(call.entries[at][0], kzg.commit([1234]))
        call.entries[at] = other.words()

    return alter


def _not_on_curve(call: Call) -> None:
    call.entries[0][2] ^= 1


def _last_scalar(change: Callable[[int], int]) -> Callable[[Call], None]:
    def alter(call: Call) -> None:
        call.sums[-1] = change(call.sums[-1])

    return alter


def _swap_places(call: Call) -> None:
    first, second = call.entries[:2]
    call.entries[:2] = [[second[0], *first[1:]], [first[0], *second[1:]]]


def _swap_points(call: Call) -> None:
    first, second = call.entries[:2]
    call.entries[:2] = [[first[0], *second[1:]], [second[0], *first[1:]]]


def _set(name: str, value: Callable[[Any], Any]) -> Callable[[Call], None]:
    def alter(call: Call) -> None:
        setattr(call, name, value(getattr(call, name)))

    return alter


def _flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


FIELDS = (
    "task",
    "round",
    "attempt",
    "context",
    "session",
    "cohort_size",
    "participants",
    "participants_root",
    "weight_sum",
    "start_model",
    "result_model",
    "previous_record",
    "evidence",
)

TAMPERINGS: dict[str, Callable[[Call], None]] = {
    **{
        f"record.{name}": _field(at, lambda old: old + 1 if isinstance(old, int) else _flip(old))
        for at, name in enumerate(FIELDS)
    },
    "K_0": _other_point(0),
    "K_1": _other_point(1),
    "K_2": _other_point(2),
    "K_0 off the curve": _not_on_curve,
    "K_0 and K_1 change places": _swap_points,
    "places out of order": _swap_places,
    "a place beyond the members": lambda call: call.entries[-1].__setitem__(0, call.members),
    "an entry fewer": _set("entries", lambda old: old[:-1]),
    "an entry more": _set("entries", lambda old: [*old, old[-1]]),
    "members": _set("members", lambda old: old + 1),
    "fewer members": _set("members", lambda old: old - 1),
    "M": _last_scalar(lambda old: old ^ 1),
    "M with p more in a slot": _last_scalar(lambda old: old + P),
    "M with bits above its slots": _last_scalar(lambda old: old | 1 << 252),
    "a scalar fewer": _set("sums", lambda old: old[:-1]),
    "a scalar more": _set("sums", lambda old: [*old, 0]),
    "index": _set("index", lambda old: old - 1),
    "inclusion proof": _set("path", lambda old: [_flip(old[0]), *old[1:]]),
    "inclusion proof too short": _set("path", lambda old: old[:-1]),
    "inclusion proof too long": _set("path", lambda old: [*old, bytes(32)]),
    "KZG proof of another value": _set("opening", lambda _: small(99)),
    "KZG proof that is no point": _set("opening", _flip),
    "no KZG proof": _set("opening", lambda _: b""),
}
"""Each alters one thing of a good registration."""
