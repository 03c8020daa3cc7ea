"""What a client has done binds it: across restarts, attempts, views and rounds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.federation import Federation, Tape, edit, identity, replace
from support.refusals import ME, without

from secure_agg.backends.masking.client import MaskingClient
from secure_agg.backends.masking.wire import Edge, Edges, KeyShares, MaskedPart
from secure_agg.errors import (
    AlreadyReleased,
    BadInput,
    LocalProtocolError,
    PolicyViolation,
    StoreError,
    TaskSpent,
    TooFewClients,
    Unattributed,
    VerificationError,
)
from secure_agg.protocol.config import Policy
from secure_agg.protocol.messages import HiddenInput, decode, encode
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.client.client import Client
from secure_agg.roles.memory.results import learn_result
from secure_agg.roles.memory.store import AttemptStore


def rejoined(tape: Tape, name: str, *phases: str) -> Client:
    """The client after a restart, taken through the same requests again."""
    client = tape.federation.client(name)
    start = tape.federation.config().start_model
    client.join(tape.requests["advertise"][name], tape.federation.updates[name], start_model=start)
    for phase in phases:
        client.receive(tape.requests[phase][name])
    return client


def test_one_input_is_never_sent_under_two_sets_of_masks() -> None:
    """The difference of the two would be the masks of the edges left out; a few restarts would strip them all."""
    tape = Tape.start(Federation(10)).until("masked-input")
    request = tape.requests["masked-input"]["c000"]
    first = tape.client("c000").receive(request)
    again = rejoined(tape, "c000", "share-keys")
    with pytest.raises(AlreadyReleased):
        again.receive(edit(request, ME, Edges, without(1, 2)))
    assert again.receive(request) == first, "the same request again is answered with the identical bytes"


@pytest.mark.parametrize("phase", ["share-keys", "masked-input", "consistency"])
def test_a_phase_is_answered_for_one_request_only(phase: str) -> None:
    federation = Federation(10)
    tape = Tape.start(federation).until(phase)
    tape.answer("c000")
    pinned = federation.stores["c000"].get(("c000", "task", 0, 0), f"request of phase {phase}")
    assert pinned is not None


@pytest.mark.parametrize("clients", [*range(3, 40), 100, 128, 1000])
def test_any_two_quorums_of_a_cohort_share_an_honest_member(clients: int) -> None:
    """Whoever advertised in either attempt or view: the count is of the cohort."""
    policy = Policy.default(clients)
    quorum = policy.quorum(clients)
    assert 2 * quorum - clients > policy.max_corrupt
    assert quorum <= policy.min_advertised, "and the policy's losses leave a quorum"


def test_two_attempts_that_run_at_once_cant_both_finish() -> None:
    """Half the clients sign in one attempt, half in the other, a corrupt one in both: neither is a quorum."""
    federation = Federation(5)
    first = Tape.start(federation, {"c003": "advertise"}).until("consistency")
    second = Tape.start(federation, {"c000": "advertise"}, attempt=1).until("consistency")
    for tape, names in ((first, ("c000", "c001")), (second, ("c002", "c003"))):
        for name in names:
            tape.deliver(tape.answer(name))
    with pytest.raises(TaskSpent):
        second.answer("c001")
    with pytest.raises(TaskSpent):
        first.answer("c002")
    assert federation.policy.quorum(5) == 4


def test_an_attempt_joined_before_signing_in_another_goes_no_further() -> None:
    federation = Federation(5)
    first = Tape.start(federation).until("consistency")
    second = Tape.start(federation, attempt=1).until("masked-input")
    first.answer("c000")
    with pytest.raises(TaskSpent):
        second.answer("c000")


def test_an_invented_start_model_does_not_make_a_client_sign_again() -> None:
    """A new name for the old model would let the aggregator sum the same updates twice, once without a client."""
    federation = Federation(5)
    Tape.start(federation).until("consistency").answer_all()
    request = Tape.start(federation, round=1, start_model=b"\x77" * 32).requests["advertise"]["c000"]
    with pytest.raises(PolicyViolation, match="no result"):
        federation.client("c000").join(request, federation.updates["c000"])


def test_a_verified_result_is_a_start_model_without_being_named() -> None:
    federation = Federation(5)
    tape = Tape.start(federation)
    result = tape.finish().result_model
    tape.local.deliver()
    request = Tape.start(federation, round=1, start_model=result).requests["advertise"]["c000"]
    assert federation.client("c000").join(request, federation.updates["c000"])


def test_a_client_that_sat_a_round_out_goes_on_from_its_result_once_it_has_verified_it() -> None:
    federation = Federation(5)
    first = Tape.start(federation).finish()
    second = Tape.start(federation, {"c000": "advertise"}, round=1, start_model=first.result_model).finish()
    request = Tape.start(federation, round=2, start_model=second.result_model).requests["advertise"]["c000"]
    with pytest.raises(PolicyViolation, match="no result"):
        federation.client("c000").join(request, federation.updates["c000"])
    record = Auditor(federation.trust).verify(second).record
    learn_result(federation.stores["c000"], "c000", record)
    assert federation.client("c000").join(request, federation.updates["c000"])


def test_a_client_takes_no_result_over_another_set_than_it_signed() -> None:
    federation = Federation(10)
    tape = Tape.start(federation)
    tape.until("unmask")
    joined = tape.client("c000")._joined
    signed = joined.agreed
    assert signed is not None
    tape.finish()
    result = next(item.data for item in tape.aggregator.results() if item.recipient == "c000")
    joined.agreed = dataclasses.replace(signed, root=bytes(32))
    with pytest.raises(VerificationError, match="another set"):
        tape.client("c000").finish(result)
    joined.agreed = signed
    assert signed.root == tape.client("c000").finish(result).record.participants_root


class Spoiler(MaskingClient):
    """Deals good shares to one peer only."""

    def _share_keys(self) -> KeyShares:
        shares = super()._share_keys()
        return KeyShares(
            tuple(
                edge
                if edge.peer == 0
                else Edge(edge.peer, edge.confirmation, edge.sealed[::-1], edge.mask_hash, edge.seed_hash)
                for edge in shares.edges
            ),
            shares.own_hash,
        )


def deny_all_but(*kept: int):  # type: ignore[no-untyped-def]
    def change(body: HiddenInput) -> HiddenInput:
        part = decode(MaskedPart, body.backend, 1 << 16)
        return replace(body, backend=encode(replace(part, active=kept)))

    return change


def test_a_client_that_denies_its_peers_is_refused_before_it_can_push_them_out() -> None:
    tape = Tape.start(Federation(10)).until("masked-input")
    good = tape.answer("c002")
    for kept in ((), (0,), (0, 1, 3, 4, 5)):
        with pytest.raises(BadInput) as caught:
            tape.deliver(edit(good, identity("c002"), HiddenInput, deny_all_but(*kept)))
        assert caught.value.culprit == "c002"
    tape.deliver(good)
    tape.answer_all(but=("c002",))
    tape.advance()
    assert len(tape.finish().participants) == 10


def test_a_dealer_of_bad_shares_that_drops_out_ends_the_round_before_anybody_signs() -> None:
    """Its mask key could not be rebuilt: nobody is bound to the round, and words prove nothing."""
    federation = Federation(10)
    tape = Tape.start(federation, {"c002": "masked-input"}).until("share-keys")
    tape.client("c002")._joined.side.__class__ = Spoiler
    tape.until("masked-input")
    tape.answer_all()
    with pytest.raises(Unattributed) as caught:
        tape.advance()
    assert (caught.value.culprit, caught.value.phase) == (None, "consistency")
    assert Tape.start(federation, {"c002": "advertise"}, attempt=1).finish()


def test_a_small_round_bears_a_dropout_once_as_many_have_signed_as_must_be_summed() -> None:
    assert len(Tape.start(Federation(3), {"c001": "unmask"}).finish().participants) == 3
    for phase in ("consistency", "unmask"):
        assert len(Tape.start(Federation(4), {"c001": phase}).finish().participants) == 4
    with pytest.raises(TooFewClients, match="2 signed the set, 3 are needed"):
        Tape.start(Federation(3), {"c001": "consistency"}).finish()


def test_an_abandoned_attempt_leaves_no_secret_behind() -> None:
    federation = Federation(5)
    tape = Tape.start(federation).until("masked-input")
    client = tape.client("c000")
    client.abandon()
    assert federation.stores["c000"].get(("c000", "task", 0, 0), "secret") is None
    with pytest.raises(LocalProtocolError):
        client.receive(tape.requests["masked-input"]["c000"])
    with pytest.raises(AlreadyReleased):
        rejoined(tape, "c000")


def test_the_store_is_for_its_owner_alone_and_forgets(tmp_path: Path) -> None:
    path = tmp_path / "attempts.db"
    store = AttemptStore(path)
    store.put(("c", "secret"), "secret", b"a very secret value")
    files = [path, *tmp_path.glob("attempts.db-*")]
    assert all(item.stat().st_mode & 0o077 == 0 for item in files)
    store.forget(("c", "secret"), "secret")
    assert all(b"a very secret value" not in item.read_bytes() for item in tmp_path.iterdir())
    store.close()
    path.chmod(0o644)
    with pytest.raises(StoreError, match="others"):
        AttemptStore(path)
    for bad in (tmp_path / "nowhere" / "attempts.db", tmp_path):
        with pytest.raises(StoreError):
            AttemptStore(bad)
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)
    broken.chmod(0o600)
    with pytest.raises(StoreError):
        AttemptStore(broken)
