"""Whoever leads rounds wants to choose whom it sums: by the moment, the draw, the ids, or by drawing again.

Each attack works against the naive version, which is written here, and fails against ours. A corrupt member is one
whose update the aggregator knows: with more of them than f in a cohort, quorums share no honest member.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import numpy as np
import pytest
from support.beacons import rehearsal
from support.federation import identity

from secure_agg.beacon.recorded import BeaconFile
from secure_agg.beacon.source import quicknet
from secure_agg.errors import (
    ConfigError,
    SecureAggError,
    TaskSpent,
    TooFewClients,
    TrustError,
)
from secure_agg.local.rounds import LocalRound
from secure_agg.local.staff import Staff, staffed
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.identity import Roster
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.epochs.acts import authorise
from secure_agg.roles.epochs.change import Change, differences
from secure_agg.roles.epochs.floor import Floor
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust
from zk.transcript import digest

CHAIN: Final = rehearsal(range(1, 1200), step=2)
NAMES: Final = tuple(f"c{i:03}" for i in range(40))
OPERATOR: Final = identity("aggregator")
ROSTER: Final = Roster({name: identity(name).public for name in NAMES})
POLICY: Final = Policy.default(len(NAMES), cohort_size=20, corruption_rate=0.05, clip=1.0)
CORRUPT: Final = frozenset(NAMES[:2])
TRUST: Final = Trust({"task": TaskTrust(ROSTER, POLICY, beacon=CHAIN.source)}, Roster({OPERATOR.name: OPERATOR.public}))
UPDATES: Final = {name: [np.full(3, (i - 20) / 64)] for i, name in enumerate(NAMES)}


def configure(number: int, draw: int, pulse: int, trust: Trust = TRUST, **changes: bytes) -> RoundConfig:
    """What an aggregator may sign: a round by whatever pulse."""
    beacon = CHAIN.pulses[pulse].signature
    return Task("task", trust).next_round(((3,),), number=number, draw=draw, attempt=draw, beacon=beacon, **changes)


def play(
    config: RoundConfig, stores: Mapping[str, AttemptStore], silent: Mapping[str, str] | None = None
) -> LocalRound:
    """Lead it; whoever refuses is silent."""
    cohort = TRUST.cohort("task", config.beacon)
    task = Task("task", TRUST)
    clients = {name: Client(identity(name), TRUST, store=stores[name]) for name in cohort}
    return LocalRound(task.lead(OPERATOR, config), clients, UPDATES, silent=silent)


def refusal(config: RoundConfig) -> SecureAggError:
    """What an honest client says to it."""
    local = play(config, {name: AttemptStore() for name in NAMES})
    request = next(iter(local.aggregator.start()))
    with pytest.raises(TrustError, match="not pulse") as refused:
        local.clients[request.recipient].join(request.data, UPDATES[request.recipient])
    return refused.value


def held(pulse: int, corrupt: Iterable[str] = CORRUPT) -> int:
    return len(set(ROSTER.sample(20, CHAIN.pulses[pulse].signature)) & set(corrupt))


# --- the moment, the draw -------------------------------------------------------------------------------------


def test_whoever_picks_the_moment_picks_the_cohort() -> None:
    """Naive: the newest pulse, when the round begins. Of enough of them one draws whom the aggregator wants."""
    corrupt = frozenset(NAMES[::8])  # five, of whom a schedule draws two or three
    wanted = [pulse for pulse in range(1, 600) if held(pulse, corrupt) == len(corrupt)]
    assert wanted
    due = CHAIN.source.number(0, 0)
    for pulse in (*wanted[:3], due + 1, due + 2):
        assert "not pulse 1 " in str(refusal(configure(0, 0, pulse)))
    TRUST.check(configure(0, 0, due))


def test_whoever_picks_the_draw_has_sixteen_and_f_holds_in_all() -> None:
    """Naive: draws without end. One of them holds more than f of a twentieth of the members."""
    names = [f"m{i:04}" for i in range(1000)]
    roster = Roster({name: digest("key", name.encode()) for name in names if _is_key(name)})
    members, corrupt = list(roster), set(list(roster)[::20])
    size = 60
    policy = Policy.default(len(members), cohort_size=size, corruption_rate=0.0)
    expected = len(corrupt) * size / len(members)
    found = [
        len(set(roster.sample(size, CHAIN.pulses[pulse].signature)) & corrupt) for pulse in sorted(CHAIN.pulses)[:160]
    ]
    assert max(found) >= 2 * expected > policy.max_corrupt  # whoever draws until it likes the cohort
    with pytest.raises(ConfigError, match="safe size") as refused:
        Policy.default(len(members), cohort_size=size, corruption_rate=0.05)
    safe = int(str(refused.value).split(": ")[1].split()[0])
    bound = Policy.default(len(members), cohort_size=safe, corruption_rate=0.05).max_corrupt
    pulses = [CHAIN.source.number(number, draw) for number in range(4) for draw in range(16)]
    assert max(len(set(roster.sample(safe, CHAIN.pulses[pulse].signature)) & corrupt) for pulse in pulses) <= bound
    with pytest.raises(ConfigError, match="draw"):
        configure(0, 16, CHAIN.source.number(1, 0))


def _is_key(name: str) -> bool:
    with contextlib.suppress(ConfigError):
        Roster({name: digest("key", name.encode())})
        return True
    return False


def test_a_pulse_of_another_round_or_draw_is_not_replayed() -> None:
    for number, draw in ((1, 0), (0, 1), (3, 7)):
        refusal(configure(0, 0, CHAIN.source.number(number, draw)))
        refusal(configure(number, draw, CHAIN.source.number(0, 0)))


def test_another_key_and_another_spelling_of_the_pulse_are_refused() -> None:
    other = rehearsal(range(1, 3), secret=bytes(31) + b"\x09").pulses[1].signature
    due = CHAIN.pulses[1].signature
    for beacon in (
        other,
        bytes([due[0] ^ 0x20]) + due[1:],  # its negative
        bytes([due[0] & 0x7F]) + due[1:],  # not compressed
        b"\xc0" + bytes(47),  # of all messages, under the key at infinity
        b"\xe0" + bytes(47),
        b"\x80" + bytes(46) + b"\4",  # on the curve, and outside of the group
        due + b"\0",
        due[:47],
    ):
        config = msgspec.structs.replace(configure(0, 0, 1), beacon=beacon)
        with pytest.raises(TrustError):
            TRUST.check(config)


def test_a_cohort_that_the_pulse_does_not_draw_is_refused() -> None:
    wanted = Roster({name: ROSTER[name] for name in NAMES[:20]})
    config = msgspec.structs.replace(configure(0, 0, 1), cohort_root=wanted.root())
    with pytest.raises(TrustError, match="cohort"):
        TRUST.check(config)


def test_auditors_and_operators_refuse_what_the_pulse_does_not_draw() -> None:
    """Clients that look at nothing are not enough: the evidence does not verify, and no operator opens the sum."""
    blind = Trust({"task": TaskTrust(ROSTER, POLICY)}, TRUST.operators)
    config = configure(0, 0, 7, blind)
    cohort = blind.cohort("task", config.beacon)
    clients = {name: Client(identity(name), blind) for name in cohort}
    evidence = _Blind(Task("task", blind).lead(OPERATOR, config), clients, UPDATES).run()
    assert Auditor(blind).verify(evidence, beacon=config.beacon).record.participants == 20
    with pytest.raises(TrustError, match="not pulse 1 "):
        Auditor(TRUST).verify(evidence)
    with pytest.raises(TrustError, match="not pulse 1 "):  # whatever it is told
        Auditor(TRUST).verify(evidence, beacon=config.beacon)


class _Blind(LocalRound):
    """Clients that believe the aggregator."""

    def answer(self, request: object, phase: str) -> bytes | None:
        if phase != "advertise":
            return super().answer(request, phase)  # type: ignore[arg-type]
        name = request.recipient  # type: ignore[attr-defined]
        data = request.data  # type: ignore[attr-defined]
        return self.clients[name].join(data, self.updates[name], beacon=self.aggregator.config.beacon)


@pytest.mark.parametrize("backend", ["additive", "bfv"])
def test_share_holders_and_key_holders_verify_the_pulse(backend: str) -> None:
    options = {"additive": ("aggregator-1", "aggregator-2", "aggregator-3"), "bfv": ("keyholder-1",)}[backend]
    names = NAMES[:6]
    roster = Roster({name: ROSTER[name] for name in names})
    policy = Policy.default(6, backend=backend, cohort_size=4, corruption_rate=0.0, clip=1.0, bits=16)
    operators = Roster({name: identity(name).public for name in (OPERATOR.name, *options)})
    seeing = Trust({"task": TaskTrust(roster, policy, beacon=CHAIN.source)}, operators)
    blind = Trust({"task": TaskTrust(roster, policy)}, operators)
    for pulse in (1, 7):
        task = Task("task", blind)
        plain = task.next_round(((3,),), beacon=CHAIN.pulses[pulse].signature)
        staff = Staff.of(plain, {name: identity(name) for name in options})
        config = staffed(plain, staff.setup)
        clients = {name: Client(identity(name), blind) for name in blind.cohort("task", config.beacon)}
        local = _Blind(task.lead(OPERATOR, config, staff.setup), clients, UPDATES, holders=staff.roles(seeing))
        if pulse == 1:
            assert len(local.run().participants) == 4
            continue
        with pytest.raises(SecureAggError) as refused:
            local.run()
        assert "not pulse 1 " in " ".join(map(str, (refused.value, *local.refusals.values())))


# --- the ids --------------------------------------------------------------------------------------------------


def test_ids_are_ground_by_a_known_pulse_and_not_by_one_to_come() -> None:
    """Naive: members join while pulses are known. One tries ids until each of its own is drawn."""
    known, to_come = CHAIN.pulses[1].signature, CHAIN.pulses[33].signature

    def place(beacon: bytes, name: str) -> bytes:
        return digest("cohort", beacon, name.encode())

    limit = sorted(place(known, name) for name in NAMES)[5]
    ground = [name for name in (f"sybil-{i}" for i in range(400)) if place(known, name) < limit][:10]
    assert len(ground) == 10
    everybody = [*NAMES, *ground]
    drawn = sorted(everybody, key=lambda name: place(known, name))[:20]
    assert set(ground) <= set(drawn)
    later = sorted(everybody, key=lambda name: place(to_come, name))[:20]
    assert len(set(ground) & set(later)) < 8  # of fifty members ten are expected to be four

    # Ours: nobody pins a roster together with a schedule that has begun.
    begun, ahead = quicknet(1000), quicknet(1 << 40)
    with pytest.raises(ConfigError, match="could choose an id"):
        begun.check_ahead(2e9)
    ahead.check_ahead(2e9)
    assert BeaconFile(ahead).source.time(ahead.first)


# --- another beacon, in an epoch ----------------------------------------------------------------------------------

PINNED: Final = quicknet(1 << 30)
NOW: Final = 1_750_000_000.0
"""Pulse 2^30 is some decades after it."""
DRAWING: Final = Trust(
    {"task": TaskTrust(ROSTER, POLICY, beacon=PINNED)},
    Roster({OPERATOR.name: OPERATOR.public}),
    log=identity("log").public,
)


def test_an_epoch_does_not_bring_a_beacon_by_itself() -> None:
    """Naive: a majority replaces quicknet by a chain whose key it has, and so draws whom it wants from then on."""
    pins = DRAWING.task("task")
    floor = Floor.of(pins.policy, len(ROSTER))
    lying = msgspec.structs.replace(PINNED, first=1000, genesis=int(NOW))  # pulses that are out, it says, are to come
    for other in (CHAIN.source, lying):
        body = Change(beacon=other).body(DRAWING, "task")
        assert other.key.hex() in differences(DRAWING, body)["beacon"]
        with pytest.raises(TrustError, match="beacon"):
            floor.check(DRAWING, body)
    floor.check(DRAWING, Change(beacon=quicknet(1 << 31)).body(DRAWING, "task"))
    joining = Change(join={"new": identity("new").public}, beacon=quicknet(1 << 31)).body(DRAWING, "task")
    floor.check(DRAWING, joining)
    whole = Trust({"task": TaskTrust(ROSTER, Policy.default(len(NAMES), clip=1.0))}, log=DRAWING.log)
    with pytest.raises(TrustError, match="beacon"):
        Floor.of(pins.policy, len(ROSTER)).check(whole, Change(policy=POLICY, beacon=PINNED).body(whole, "task"))


def test_a_schedule_that_has_begun_is_not_authorised() -> None:
    """Naive: with the members as they were nobody looks. Of known pulses one is picked that draws the corrupt."""
    store, owner = AttemptStore(), identity(NAMES[0])
    smaller = msgspec.structs.replace(POLICY, cohort_size=19, min_advertised=17, max_corrupt=3)
    begun = Trust({"task": TaskTrust(ROSTER, POLICY, beacon=quicknet(1000))}, log=DRAWING.log)
    for trust, change in ((DRAWING, Change(beacon=quicknet(1000))), (begun, Change(policy=smaller))):
        with pytest.raises(ConfigError, match="was published"):
            authorise(store, owner, trust, change.body(trust, "task"), now=NOW)
    # Another clip changes nobody's draw: the beacon goes on as it was pinned.
    clipped = msgspec.structs.replace(POLICY, clip=0.5)
    authorise(store, owner, begun, Change(policy=clipped).body(begun, "task"), now=NOW)


def test_a_draw_that_would_hold_more_than_f_is_below_the_floor() -> None:
    """Naive: f of a cohort is a fifth of it, so it looks like f of the roster. A draw is not so even."""
    trust = Trust({"task": TaskTrust(ROSTER, Policy.default(len(NAMES), clip=1.0), beacon=None)}, log=DRAWING.log)
    pins = trust.task("task")
    small = msgspec.structs.replace(POLICY, cohort_size=10, min_advertised=8, max_corrupt=2)
    assert small.max_corrupt / small.cohort_size >= 0.2
    with pytest.raises(TrustError, match="may be corrupt"):
        Floor.of(pins.policy, len(ROSTER)).check(trust, Change(policy=small, beacon=PINNED).body(trust, "task"))


# --- again, from one model --------------------------------------------------------------------------------------


def test_a_second_draw_from_one_model_would_give_a_client_away() -> None:
    """A cohort S and then S without v, with corrupt members whose updates are known: the difference is v's update.

    Naive: clients that are drawn again forget what they gave. Ours sit out, in every later draw and round from the
    same model, so that two opened sums over it share no honest update.
    """
    base = digest("model", b"base")
    first = configure(0, 0, CHAIN.source.number(0, 0), base_model=base)
    cohort = set(TRUST.cohort("task", first.beacon))
    second = next(draw for draw in range(1, 16) if len(cohort & _cohort(0, draw)) > 6)
    again = configure(0, second, CHAIN.source.number(0, second), base_model=base)
    both = cohort & _cohort(0, second)

    def join(config: RoundConfig, stores: Mapping[str, AttemptStore], silent: Mapping[str, str]) -> set[str]:
        local = _Based(play(config, stores, silent), base)
        with contextlib.suppress(TooFewClients):
            local.local.run()
        return local.gave

    naive = {name: AttemptStore() for name in NAMES}
    gave = join(first, naive, dict.fromkeys(cohort, "consistency"))
    assert gave == cohort
    forgetful = {name: AttemptStore() for name in NAMES}
    assert both <= join(again, forgetful, {})  # both sums over one model hold them

    stores = {name: AttemptStore() for name in NAMES}
    assert join(first, stores, dict.fromkeys(cohort, "consistency")) == cohort
    assert join(again, stores, {}).isdisjoint(both)
    later = configure(1, 0, CHAIN.source.number(1, 0), base_model=base)
    assert join(later, stores, {}).isdisjoint(cohort)


def _cohort(number: int, draw: int) -> set[str]:
    return set(ROSTER.sample(20, CHAIN.pulses[CHAIN.source.number(number, draw)].signature))


class _Based:
    """A round whose clients train from a model, and sit out where they must."""

    def __init__(self, local: LocalRound, base: bytes) -> None:
        self.local, self.base, self.gave, self.spent = local, base, set[str](), set[str]()
        answer = local.answer

        def based(request: object, phase: str) -> bytes | None:
            name, data = request.recipient, request.data  # type: ignore[attr-defined]
            if phase == "advertise":
                try:
                    return local.clients[name].join(data, UPDATES[name], base_model=base)
                except TaskSpent:
                    self.spent.add(name)
                    return None
            if phase == "masked-input":
                self.gave.add(name)
            return answer(request, phase)  # type: ignore[arg-type]

        local.answer = based  # type: ignore[method-assign]
