"""What lies open in a server's home: who may lay it there, what is kept, and when it is ready."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from support.service.world import NAMES, TASK, World, a_world

from secure_agg.errors import (
    ConfigError,
    MalformedMessage,
    PolicyViolation,
    RequestRepeated,
    TooManyRequests,
    UnknownSender,
    VerificationError,
    WrongContext,
)
from secure_agg.plugins.core.epochs.server import Epochs
from secure_agg.plugins.homes import offers, proposals
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.offers import Offers
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.epoch import EpochBody, EpochEvidence, body
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.protocol.messages import Signature
from secure_agg.roles.epochs import checking
from secure_agg.roles.epochs.change import Change
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.service import gate, wire
from secure_agg.service.epochs.desk import OF_PROPOSALS, Desk
from secure_agg.service.gate import Admitted, Gate, Strangers

EVE = Identity.generate("eve")


class Open:
    """A federation, and what lies open in its server's home."""

    def __init__(self, world: World, home: ServerHome) -> None:
        self.world, self.home, self.offers = world, home, Offers(home)

    def proposal(self, **changes: Any) -> EpochEvidence:
        return proposals.propose(self.home.trust, TASK, Change(**changes))

    def clip(self, clip: float) -> EpochEvidence:
        return self.proposal(policy=msgspec.structs.replace(self.world.policy, clip=clip))

    def signed(self, name: str, proposal: EpochEvidence) -> EpochEvidence:
        with ClientHome.open(self.world.home(name)) as home:
            return proposals.approve(home, proposal).proposal


@pytest.fixture
def there() -> Iterator[Open]:
    with a_world(NAMES, min_clients=2) as world, ServerHome.open(world.server) as home:
        yield Open(world, home)


def test_signatures_are_collected_until_there_are_enough(there: Open) -> None:
    joins = there.proposal(join={EVE.name: EVE.public})
    there.offers.put("ann", joins)
    for name in NAMES[:3]:
        assert not there.home.proposal_path.exists()
        there.offers.put(name, there.signed(name, joins))
    with AttemptStore() as store:
        accepted = proposals.sign(store, [EVE], there.home.trust, joins).proposal
    assert there.offers.accepting()[-1] == Roster({EVE.name: EVE.public})
    offer = there.offers.put(EVE.name, accepted, decides=False)
    assert [item.name for item in offer.proposal.authorisations] == list(NAMES[:3])
    assert there.home.proposal() == offer.proposal  # it lies ready
    (found,) = Offers(there.home).open().values()  # another process sees the same
    assert (found.by, found.proposal) == ("ann", offer.proposal)


def test_nobody_signs_for_another(there: Open) -> None:
    joins = there.proposal(join={EVE.name: EVE.public})
    real = there.signed("bob", joins).authorisations[0]
    for forged in (
        {"authorisations": (Signature("ann", real.signature),)},
        {"authorisations": (real, real)},
        {"authorisations": (Signature(EVE.name, real.signature),)},
        {"acceptances": (Signature(EVE.name, real.signature),)},
        {"closure": b"closed"},
    ):
        with pytest.raises(VerificationError):
            there.offers.put("ann", msgspec.structs.replace(joins, **forged))
    assert there.offers.open() == {}


def test_a_party_has_one_proposal_and_what_others_have_signed_stays(there: Open) -> None:
    first, second, third = there.clip(0.5), there.clip(0.25), there.clip(0.125)
    there.offers.put("ann", there.signed("ann", first))
    there.offers.put("ann", second)
    assert list(there.offers.open()) == [second.says.digest]
    with pytest.raises(WrongContext):
        there.offers.find(first.says.digest)
    there.offers.put("bob", there.signed("bob", second))
    with pytest.raises(PolicyViolation, match="others have signed"):
        there.offers.put("ann", third)
    there.offers.put("cyd", third)
    assert {offer.by for offer in there.offers.open().values()} == {"ann", "cyd"}


def test_who_has_no_say_proposes_nothing_and_another_tasks_epoch_is_none(there: Open) -> None:
    with pytest.raises(PolicyViolation, match="proposes nothing"):
        there.offers.put(EVE.name, there.proposal(join={EVE.name: EVE.public}))
    with a_world(NAMES, clip=0.75) as other, ServerHome.open(other.server) as home, pytest.raises(VerificationError):
        there.offers.put("ann", proposals.propose(home.trust, TASK, Change(leave=frozenset({"dan"}))))


def test_a_key_that_a_proposal_names_takes_nobodys_place(there: Open) -> None:
    """Whoever proposes another key for bob, its own, speaks for bob in nothing but the acceptance of that."""
    mine = there.clip(0.5)
    there.offers.put("bob", mine)
    there.offers.put("ann", there.proposal(rotate={"bob": Identity.generate("bob").public}))
    with pytest.raises(PolicyViolation, match="proposes nothing"):
        there.offers.put("bob", there.clip(0.25), decides=False)
    assert there.offers.find(mine.says.digest).by == "bob"


def test_whom_a_proposal_names_is_worked_out_once(there: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers are looked up there: six thousand names took a second for each of their requests."""
    there.offers.put("ann", there.proposal(join={EVE.name: EVE.public}))
    assert there.offers.accepting() == [Roster({EVE.name: EVE.public})]

    def again(*_: object) -> dict[str, bytes]:
        raise AssertionError("worked out anew for a stranger's request")

    monkeypatch.setattr(offers, "new_keys", again)
    monkeypatch.setattr(EpochEvidence, "says", property(again))
    assert there.offers.accepting() == [Roster({EVE.name: EVE.public})]


def test_what_is_damaged_or_over_is_removed(there: Open) -> None:
    there.offers.put("ann", there.clip(0.5))
    (path,) = (there.world.server / "offers").glob("*.offer")
    data = path.read_bytes()
    for damaged in (b"", data[:-1], data + b"x", secrets.token_bytes(80)):
        path.write_bytes(damaged)
        assert there.offers.open() == {}
        assert not path.exists()


def test_an_epoch_that_has_begun_and_lies_ready_again_is_taken_away(there: Open) -> None:
    """A server that dies between the epoch's record and the file's removal finds it so."""
    old = there.clip(0.5)
    body = old.says
    again = msgspec.structs.replace(
        old, body=msgspec.structs.replace(body, epoch=0, mode="genesis", previous_epoch=bytes(32)).to_bytes()
    )
    there.home.proposal_path.write_bytes(again.to_bytes())

    def ask(*_: object) -> Iterator[Any]:
        raise AssertionError("nobody is asked for what has begun")

    assert Epochs(there.home).close(ask, bytes(32), lambda: 1.0) is None
    assert not there.home.proposal_path.exists()


def test_a_guest_is_known_by_its_key_and_asks_each_time_anew() -> None:
    server, other = Identity.generate("s"), Identity.generate("eve")
    door = Gate(server, "t", lambda: (Roster({}),), Strangers())
    nonce = secrets.token_bytes(32)
    to = wire.check_greeting(door.greet(nonce, b"c"), nonce, "t", b"c", Roster({"s": server.public}))
    nothing, rosters = bytes(32), [Roster({EVE.name: EVE.public})]

    def ask(who: Identity, counter: int) -> str:
        header = wire.authorize(who, to, "t", "/p", counter, nothing)
        return door.admit_guest(header, "/p", nothing, rosters).name

    assert ask(EVE, 7) == "eve"
    with pytest.raises(RequestRepeated):
        ask(EVE, 7)
    assert ask(EVE, 8) == "eve"
    with pytest.raises(Exception, match="signature"):
        ask(other, 9)
    with pytest.raises(UnknownSender):
        ask(Identity.generate("mal"), 1)
    for number in range(gate.MOST_GUESTS + 5):  # of names that change nothing is kept without end
        door._guests["eve", bytes([*number.to_bytes(4, "big")])] = 1
    ask(EVE, 10)
    assert len(door._guests) <= gate.MOST_GUESTS


def test_a_list_of_proposals_has_one_form() -> None:
    data = wire.list_offers({b"b" * 32: "bob", b"a" * 32: "ann"})
    assert [shown.by for shown in wire.read_offers(data, 2)] == ["ann", "bob"]
    strange = wire.list_offers({b"a" * 32: "ann\x1b[2J"})  # a name goes to terminals
    with pytest.raises(MalformedMessage, match="2 proposals by 1 parties"):  # each has one, whoever serves them
        wire.read_offers(data, 1)
    for bad in (data[:-1], data + b"\0", wire.list_offers({b"short": "ann"}), strange, b""):
        with pytest.raises(Exception, match=r"Listed|proposals"):
            wire.read_offers(bad, 2)


def test_a_proposal_of_thousands_of_keys_is_refused_before_one_is_looked_at(
    there: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty thousand have cost a core for minutes. How long a proposal can be follows from what is in force."""
    says = msgspec.msgpack.decode(there.clip(0.5).body)
    says[EpochBody.__struct_fields__.index("roster")] = [[f"m{n:05d}", bytes(32)] for n in range(10_000)]
    data = msgspec.msgpack.encode(["secure-agg/epoch/1", msgspec.msgpack.encode(says), [], [], b""])
    desk = Desk(there.home)
    assert len(data) < desk.most  # signatures have room: it is the body that has none
    known = body._roster
    monkeypatch.setattr(body, "_roster", lambda all_of: known(all_of) if len(all_of) < 9 else pytest.fail("looked at"))
    with pytest.raises(VerificationError, match="above"):
        desk.propose("ann", data, decides=True)


def test_a_large_proposal_is_hashed_once_and_not_for_each_key(there: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    joins = there.proposal(join={f"m{n}": Identity.generate(f"m{n}").public for n in range(60)})
    count, encode = [0], EpochBody.to_bytes
    monkeypatch.setattr(EpochBody, "to_bytes", lambda self: (count.__setitem__(0, count[0] + 1), encode(self))[1])
    checking.check_signed(there.home.trust, joins)
    assert count[0] < 10


def test_what_is_wrong_with_a_proposal_is_told_from_a_file_of_the_service_s_own(there: Open) -> None:
    """Of the first whoever brings it is told why; of the second nothing, and to ask again."""
    desk, fit = Desk(there.home), there.clip(0.5)
    drawn = msgspec.structs.replace(fit, body=msgspec.structs.replace(fit.says, beacon=b"none").to_bytes())
    with pytest.raises(VerificationError, match="epoch 1"):
        desk.propose("ann", drawn.to_bytes(), decides=True)
    there.home.ledger.trust_path.write_text("{")
    with pytest.raises(ConfigError, match="trust file"):
        desk.propose("ann", fit.to_bytes(), decides=True)


def test_a_key_brings_few_proposals_at_a_time_and_uses_up_none_of_its_names_other_key(there: Open) -> None:
    """Anybody who may propose can propose a key of its own for ann's name: it kept ann from signing anything."""
    desk, key, proposed = Desk(there.home), bytes(32), bytes([1] * 32)
    for _ in range(OF_PROPOSALS[1]):
        desk.count(Admitted("ann", proposed, False))
    with pytest.raises(TooManyRequests) as caught:
        desk.count(Admitted("ann", proposed, False))
    assert 0 < caught.value.seconds <= 1 / OF_PROPOSALS[0]
    assert caught.value.culprit is None
    desk.count(Admitted("ann", key, True))
