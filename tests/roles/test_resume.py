"""A client that is another process for every message: over the same store it is the same client."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
import pytest
from support.federation import Federation, Tape, edit, edit_first, forge, identity, replace
from support.refusals import ME, without
from support.shares.additive_round import flipped

from secure_agg.backends.masking.wire import Edges
from secure_agg.errors import (
    AlreadyReleased,
    BadSignature,
    LocalProtocolError,
    SecureAggError,
    TaskSpent,
    UpdateError,
    WrongContext,
)
from secure_agg.protocol.messages import ADVERTISE, Envelope, Statement
from secure_agg.roles.client.client import Client
from secure_agg.roles.memory.store import AttemptStore

Update = Sequence[npt.NDArray[Any]]


class Case(NamedTuple):
    """A backend under test."""

    backend: str
    options: Mapping[str, int] = {}
    clients: int = 5
    norm_bound: float | None = None


CASES = {
    "masking": Case("masking"),
    "screened masking": Case("masking", {"screening": 1}),
    "sparse masking": Case("masking", {"complete_up_to": 0}, 40),
    "plain": Case("plain"),
    "masking, bounded": Case("masking", {"screening": 0}, norm_bound=3.0),
    "screened masking, bounded": Case("masking", {"screening": 1}, norm_bound=3.0),
    "bfv, bounded": Case("bfv", norm_bound=3.0),
    "bfv": Case("bfv"),
    "ckks": Case("ckks"),
    "paillier": Case("paillier", {"modulus_bits": 2048}),
    "committee": Case("paillier", {"modulus_bits": 2048, "holders": 4}),
    "additive": Case("additive", {"aggregators": 3}),
    "crypten": Case("crypten", {"norm_bound_milli": 20_000}),
    "additive 2 of 4": Case("additive", {"aggregators": 4, "threshold": 2}),
}


def federation(name: str) -> Federation:
    case = CASES[name]
    changes = {} if case.norm_bound is None else {"norm_bound": case.norm_bound}
    return Federation(case.clients, backend=case.backend, options=case.options, policy_changes=changes)


def never() -> NoReturn:
    raise AssertionError("what was sent is not made again")


def fixed(name: str) -> Callable[[int], bytes]:
    """An attempt secret that is the same in two rounds, so that they can be compared."""
    return lambda size: hashlib.sha256(name.encode()).digest()[:size]


class Mortal:
    """A client that lives for one message: all that stays is its store's file, and the requests that it answered."""

    def __init__(self, client: Client, path: Path) -> None:
        self.identity, self.trust, self.path = client.identity, client.trust, path
        self.requests: list[bytes] = []
        self.answered: list[str] = []
        self.last: Client | None = None
        self.update: Update = ()

    @property
    def hidden(self) -> bool:
        """Whether the input left: the update is not needed any more."""
        return "masked-input" in self.answered

    def reborn(self, update: Callable[[], Update] | None = None) -> Client:
        client = Client(self.identity, self.trust, store=AttemptStore(self.path))
        client.resume(self.requests, update or (never if self.hidden else lambda: self.update))
        self.last = client
        return client

    @property
    def outbox(self) -> tuple[Envelope, ...]:
        return self.last.outbox if self.last else ()

    @property
    def timings(self) -> Any:
        raise NotImplementedError

    def join(self, request: bytes, update: Update, weight: int = 1, **known: Any) -> bytes:
        self.update = update
        self.last = Client(self.identity, self.trust, store=AttemptStore(self.path), entropy=fixed(self.identity.name))
        answer = self.last.join(request, update, weight, **known)
        self.requests.append(request)
        return answer

    def receive(self, request: bytes) -> bytes | None:
        client = self.reborn()
        phase = client.state
        answer = client.receive(request)
        self.requests.append(request)
        self.answered += [phase] if answer is not None else []
        return answer

    def finish(self, result: bytes) -> Any:
        return self.reborn().finish(result)


def mortal(tape: Tape, name: str, folder: Path) -> Mortal:
    made = Mortal(tape.local.clients[name], folder / f"{name}.db")
    tape.local.clients = {**tape.local.clients, name: made}  # type: ignore[dict-item]
    return made


def played(name: str, folder: Path | None, silent: Mapping[str, str] | None = None) -> tuple[Tape, Mortal | None]:
    """A round whose client c001 is mortal, or lives if there is no folder."""
    where = federation(name)
    tape = Tape(where, where.round(silent))
    for who, client in tape.local.clients.items():
        client._entropy = fixed(who)
    dying = mortal(tape, "c001", folder) if folder else None
    tape.open(tape.aggregator.start())
    return tape, dying


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long) if name in ("committee", "sparse masking") else name
        for name in CASES
        if name != "crypten"  # its parties need one process
    ],
)
def test_a_client_may_be_another_process_for_every_message(name: str, tmp_path: Path) -> None:
    living, _ = played(name, None)
    tape, dying = played(name, tmp_path)
    assert dying is not None
    evidence, expected = tape.finish(), living.finish()
    assert evidence.participants == expected.participants == tuple(tape.federation.names)
    assert np.array_equal(evidence.sums, expected.sums)
    if CASES[name].backend not in ("bfv", "ckks"):  # whose ciphertexts, and so hashes, are never the same again
        assert evidence.to_bytes() == expected.to_bytes()
    result = next(item.data for item in tape.aggregator.results() if item.recipient == "c001")
    receipts = dying.reborn().receipts
    assert receipts
    assert dying.finish(result).record.result_model == evidence.result_model


@pytest.mark.parametrize("silent", ["share-keys", "masked-input", "consistency", "unmask"])
def test_it_releases_what_the_round_needs_of_those_who_fell_silent(silent: str, tmp_path: Path) -> None:
    where = Federation(10)
    tape = Tape(where, where.round({"c004": silent}))
    for name in where.names:
        mortal(tape, name, tmp_path)
    tape.open(tape.aggregator.start())
    evidence = tape.finish()
    assert ("c004" in evidence.participants) == (silent in ("consistency", "unmask"))


@pytest.mark.parametrize("name", ["additive", "crypten"])
def test_a_client_that_speaks_once_still_takes_receipts_for_its_letters(name: str, tmp_path: Path) -> None:
    tape, dying = played(name, tmp_path)
    assert dying is not None
    tape.until("advertise").answer_all()
    client = dying.reborn(never)
    assert client.state == "result"
    assert client.outbox == ()
    assert set(client.receipts) == set(tape.federation.share_holder_names)
    dying.requests.append(forge(dying.requests[-1], identity("c000")))
    with pytest.raises(SecureAggError):
        dying.reborn(never)


# --- what it may not be used for ------------------------------------------------------------------------------


@pytest.fixture(name="asked")
def _asked(tmp_path: Path) -> tuple[Tape, Mortal]:
    tape, dying = played("masking", tmp_path)
    assert dying is not None
    return tape.until("unmask"), dying


ALTERED: dict[int, Callable[[bytes], bytes]] = {
    1: lambda data: edit_first(
        data, ME, lambda body: replace(body, advertisements=body.advertisements[:2] + body.advertisements[3:])
    ),
    2: lambda data: edit(data, ME, Edges, without(2)),
    4: lambda data: edit(data, ME, Statement, lambda body: replace(body, entries=body.entries[:4])),
}


@pytest.mark.parametrize("place", ALTERED)
def test_only_a_request_that_was_answered_is_resumed_upon(asked: tuple[Tape, Mortal], place: int) -> None:
    """Also if a pinned operator has signed the other one."""
    _, dying = asked
    dying.requests[place] = ALTERED[place](dying.requests[place])
    with pytest.raises(AlreadyReleased, match="another request"):
        dying.reborn()
    dying.requests[place] = flipped(dying.requests[place], len(dying.requests[place]) - 1)
    with pytest.raises((SecureAggError, BadSignature)):
        dying.reborn()


def test_a_request_that_was_not_answered_is_not_resumed_upon(asked: tuple[Tape, Mortal]) -> None:
    tape, dying = asked
    dying.requests.append(tape.requests["unmask"]["c001"])
    with pytest.raises(LocalProtocolError, match="not answered"):
        dying.reborn()
    dying.requests.pop()
    assert dying.receive(tape.requests["unmask"]["c001"])


def test_what_was_released_is_repeated_in_the_same_bytes(asked: tuple[Tape, Mortal]) -> None:
    tape, dying = asked
    request = tape.requests["unmask"]["c001"]
    released = dying.receive(request)
    assert released
    assert dying.reborn().state == "result"
    assert dying.reborn().receive(request) == released
    dying.requests.pop()  # the journal lost its end; the store did not
    assert dying.reborn().receive(request) == released


def test_after_a_set_is_signed_no_other_is(asked: tuple[Tape, Mortal]) -> None:
    tape, dying = asked
    request = dying.requests[4]
    del dying.requests[4:]
    assert dying.reborn().receive(request) == tape.responses["consistency"]["c001"]
    smaller = edit(request, ME, Statement, lambda body: replace(body, entries=body.entries[:4]))
    with pytest.raises(AlreadyReleased):
        dying.reborn().receive(smaller)


@pytest.mark.parametrize("name", ["bfv", "paillier"])
def test_a_ciphertext_that_an_aggregator_has_lost_is_made_again_as_it_was(name: str, tmp_path: Path) -> None:
    tape, dying = played(name, tmp_path)
    assert dying is not None
    tape.until("masked-input")
    request = tape.requests["masked-input"]["c001"]
    sent = dying.receive(request)
    assert sent
    assert dying.reborn(lambda: dying.update).receive(request) == sent
    other = [array + 1 for array in dying.update]
    with pytest.raises(AlreadyReleased):
        dying.reborn(lambda: other).receive(request)


@pytest.mark.parametrize("name", ["masking", "plain", "bfv", "paillier"])
def test_another_update_than_was_committed_to_is_refused(name: str, tmp_path: Path) -> None:
    tape, dying = played(name, tmp_path)
    assert dying is not None
    tape.until("masked-input")
    request = tape.requests["masked-input"]["c001"]
    other = [array + 1 for array in dying.update]
    with pytest.raises(AlreadyReleased, match="commitment"):
        dying.reborn(lambda: other).receive(request)
    with pytest.raises(UpdateError):
        dying.reborn(lambda: [dying.update[0]]).receive(request)
    assert dying.receive(request), "nothing left yet, so the right one is still taken"


def test_an_input_that_left_is_made_again_only_as_it_was(tmp_path: Path) -> None:
    tape, dying = played("masking", tmp_path)
    assert dying is not None
    tape.until("masked-input")
    first = tape.answer("c001")
    dying.requests.pop(), dying.answered.pop()
    request = tape.requests["masked-input"]["c001"]
    assert dying.reborn().receive(request) == first
    with pytest.raises(AlreadyReleased):
        dying.reborn().receive(edit(request, ME, Edges, without(2, 3)))


def test_an_ended_attempt_is_not_resumed(asked: tuple[Tape, Mortal]) -> None:
    """Joining once more makes no new secret: under it old requests would have new answers."""
    _, dying = asked
    dying.reborn().abandon()
    with pytest.raises(LocalProtocolError, match="ended"):
        dying.reborn()
    with pytest.raises(AlreadyReleased, match="over"):
        Client(dying.identity, dying.trust, store=AttemptStore(dying.path)).join(dying.requests[0], dying.update)
    with pytest.raises(LocalProtocolError, match="ended"):
        dying.reborn()


def test_an_attempt_that_was_not_joined_is_not_resumed(asked: tuple[Tape, Mortal], tmp_path: Path) -> None:
    _, dying = asked
    stranger = Client(dying.identity, dying.trust, store=AttemptStore(tmp_path / "empty.db"))
    with pytest.raises(LocalProtocolError, match="not joined"):
        stranger.resume(dying.requests, never)
    with pytest.raises(LocalProtocolError):
        stranger.resume([], never)
    with pytest.raises(LocalProtocolError, match="once"):
        dying.reborn().resume(dying.requests, never)
    assert stranger.state == ADVERTISE


def test_another_configuration_of_the_attempt_is_not_resumed(asked: tuple[Tape, Mortal]) -> None:
    _, dying = asked
    other = Tape.start(Federation(5), start_model=b"\1" * 32).requests["advertise"]["c001"]
    dying.requests[0] = other
    with pytest.raises(AlreadyReleased, match="configuration"):
        dying.reborn()
    dying.requests[0] = forge(other, identity("c000"))
    with pytest.raises(SecureAggError):
        dying.reborn()


def test_a_refused_resumption_leaves_the_client_in_no_round(asked: tuple[Tape, Mortal]) -> None:
    _, dying = asked
    client = Client(dying.identity, dying.trust, store=AttemptStore(dying.path))
    broken = [*dying.requests[:2], dying.requests[4]]
    with pytest.raises(SecureAggError):
        client.resume(broken, never)
    assert client.state == ADVERTISE
    client.resume(dying.requests, never)
    assert client.state == "unmask"


def test_what_a_lattice_client_encrypted_is_kept_until_the_attempt_ends(tmp_path: Path) -> None:
    """TenSEAL encrypts the same vector to other bytes every time; what the nonce binds has to be sent."""
    tape, dying = played("bfv", tmp_path)
    assert dying is not None
    tape.until("masked-input")
    kept = AttemptStore(dying.path).get(("c001", "task", 0, 0), "made once")
    assert kept is not None
    assert kept in (dying.receive(tape.requests["masked-input"]["c001"]) or b"")
    dying.reborn().abandon()
    assert AttemptStore(dying.path).get(("c001", "task", 0, 0), "made once") is None
    assert all(kept[:64] not in item.read_bytes() for item in tmp_path.iterdir())


def test_a_restarted_lattice_client_that_trained_anew_is_refused(tmp_path: Path) -> None:
    """Or its new commitment would be bound to its old ciphertext."""
    tape, dying = played("bfv", tmp_path)
    assert dying is not None
    tape.answer_all(but=())
    again = Client(dying.identity, dying.trust, store=AttemptStore(dying.path))
    with pytest.raises(AlreadyReleased):
        again.join(dying.requests[0], [array + 1 for array in dying.update])
    again = Client(dying.identity, dying.trust, store=AttemptStore(dying.path))
    assert again.join(dying.requests[0], dying.update) == tape.responses["advertise"]["c001"]


# --- the model that is trained from ---------------------------------------------------------------------------


def test_clients_that_were_shown_different_models_are_in_no_round_together() -> None:
    where = Federation(5)
    shown, other = b"\1" * 32, b"\2" * 32
    asks = Tape.start(where, base_model=shown).requests["advertise"]["c000"]
    with pytest.raises(WrongContext, match="another model"):
        where.client("c000").join(asks, where.updates["c000"], base_model=other)
    with pytest.raises(SecureAggError, match="say which"):
        where.client("c000").join(asks, where.updates["c000"])
    assert where.client("c000").join(asks, where.updates["c000"], base_model=shown)


def test_a_difference_is_not_summed_in_a_round_of_updates_that_are_none() -> None:
    where = Federation(5)
    asks = Tape.start(where).requests["advertise"]["c000"]
    with pytest.raises(WrongContext, match="no model"):
        where.client("c000").join(asks, where.updates["c000"], base_model=b"\1" * 32)


# --- what beside the model was given --------------------------------------------------------------------------


def test_clients_that_were_told_different_things_are_in_no_round_together() -> None:
    where = Federation(5)
    told, other = b"\3" * 32, b"\4" * 32
    asks = Tape.start(where, instructions=told).requests["advertise"]["c000"]
    with pytest.raises(WrongContext, match="other instructions"):
        where.client("c000").join(asks, where.updates["c000"], instructions=other)
    with pytest.raises(SecureAggError, match="say which"):
        where.client("c000").join(asks, where.updates["c000"])
    assert where.client("c000").join(asks, where.updates["c000"], instructions=told)


def test_who_was_told_something_joins_no_round_that_is_bound_to_nothing() -> None:
    where = Federation(5)
    asks = Tape.start(where).requests["advertise"]["c000"]
    with pytest.raises(WrongContext, match="no instructions"):
        where.client("c000").join(asks, where.updates["c000"], instructions=b"\3" * 32)


def test_new_instructions_are_no_new_model_to_sign_for() -> None:
    """Else a server would sum updates of one model twice, once without a client, by telling the others anything new."""
    where = Federation(5)
    shown, told, new = b"\1" * 32, b"\3" * 32, b"\4" * 32
    first = Tape.start(where, base_model=shown, instructions=told).until("consistency")
    first.answer("c000")
    for changes in ({"attempt": 1}, {"round": 1, "start_model": b"\5" * 32}):
        tape = Tape.start(where, base_model=shown, instructions=new, **changes)
        start = tape.aggregator.config.start_model
        with pytest.raises(TaskSpent):
            where.client("c000").join(
                tape.requests["advertise"]["c000"],
                where.updates["c000"],
                start_model=start,
                base_model=shown,
                instructions=new,
            )


def test_a_client_that_has_joined_does_not_join_its_attempt_by_other_instructions() -> None:
    where = Federation(5)
    asks = [Tape.start(where, instructions=bytes([told]) * 32).requests["advertise"]["c000"] for told in (3, 4)]
    assert where.client("c000").join(asks[0], where.updates["c000"], instructions=b"\3" * 32)
    with pytest.raises(AlreadyReleased):
        where.client("c000").join(asks[1], where.updates["c000"], instructions=b"\4" * 32)
