"""Rounds among k aggregators: exact sums, losses and restarts at every place, and what the shares don't show."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from support.federation import Federation, channel, forge, header_of, identity
from support.shares.additive_round import (
    A1,
    A2,
    A3,
    A4,
    ALL_OF_3,
    TWO_OF_3,
    TWO_OF_4,
    Play,
    assert_exact,
    federation,
    free_holder,
    hash_zero,
    long_holder,
    only,
    open_letter,
    play,
    plus,
    share_of,
)

import secure_agg
from mpc.ring import P, Vector, from_bytes
from mpc.vector_shares import Scheme, add_scaled
from secure_agg.backends.additive import rules, wire
from secure_agg.backends.additive.operator import AdditiveOperator
from secure_agg.backends.contract.setup import AggregatorSet, ChannelKey, read_setup
from secure_agg.errors import (
    AlreadyReleased,
    BadKey,
    BadSignature,
    ConfigError,
    MalformedMessage,
    OperatorLost,
    PolicyViolation,
    RemoteProtocolError,
    SecureAggError,
    TooFewClients,
    WrongContext,
    WrongPhase,
)
from secure_agg.protocol.certificate import setup_digest
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Identity
from secure_agg.protocol.messages import write
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.shareholder import ShareHolder

PHASES = ("begin", "collect-shares", "consistency", "reveal-commitments", "partial-sum")
C000, C001 = "c000", "c001"


# --- the sum --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "t"), [(k, t) for k in range(2, 6) for t in range(2, k + 1)])
def test_any_number_of_aggregators_and_any_threshold_give_the_exact_sum(k: int, t: int) -> None:
    tape = play(federation({"aggregators": k, "threshold": t}, n=4))
    assert_exact(tape, tape.finish(), tape.federation.names)
    assert not tape.aggregator.faults


def test_sixteen_aggregators_give_the_exact_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"aggregator-{i:02d}" for i in range(16))
    monkeypatch.setattr("support.federation.AGGREGATORS", names)
    for threshold in (9, 16):
        tape = play(federation({"aggregators": 16, "threshold": threshold}, n=3))
        assert_exact(tape, tape.finish(), tape.federation.names)


def test_a_whole_round_in_one_call_names_no_fault() -> None:
    updates = federation(n=4).updates
    result = secure_agg.aggregate(updates, backend="additive", aggregators=4, options={"threshold": 2})
    assert (result.participants, result.faults) == (tuple(updates), ())
    assert result.stats["shareholder.partial-sum_s"] > 0


def test_every_client_checks_the_result_and_ends() -> None:
    tape = play(federation(), only("c003", A2, lambda _: None))
    evidence = tape.finish()
    assert "c003" not in evidence.participants
    verified = tape.local.deliver()
    assert set(verified) == set(tape.federation.names), "also who was left out"
    assert {client.state for client in tape.local.clients.values()} == {"done"}


def test_long_shares_are_spread_over_aggregators_by_client_and_round() -> None:
    where = federation(n=3)
    seen = {(name, n): long_holder(where.config(round=n), name) for name in ("a", "b", "c") for n in range(40)}
    assert set(seen.values()) == {A1, A2, A3}
    assert len({tuple(seen[name, n] for n in range(40)) for name in ("a", "b", "c")}) == 3


# --- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"aggregators": 0},
        {"aggregators": 1},
        {"aggregators": 17},
        {"threshold": 1},
        {"threshold": 0},
        {"threshold": 4},
        {"aggregators": 2, "threshold": 3},
        {"aggregator": 3},
        {"aggregators": 6},  # above what one process plays
    ],
)
def test_unfit_settings_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        secure_agg.aggregate(federation(n=3).updates, backend="additive", options=options)


def test_a_model_too_large_to_be_sealed_at_once_is_refused_before_anything_is_allocated() -> None:
    where = Federation(3, backend="additive", policy_changes={"max_parameters": 1 << 30})
    with pytest.raises(ConfigError, match="split the model"):
        where.aggregator(shapes=((1 << 29,),))


def corrupted(**changes: Any) -> AggregatorSet:
    """The set of three aggregators, in which something was changed."""
    members = [ChannelKey.issue(identity(name), channel(name).public) for name in (A1, A2, A3)]
    return AggregatorSet(tuple(changes.get(member.name.replace("-", "_"), member) for member in members))


def key_of(
    name: str, *, owner: str | None = None, public: bytes | None = None, signer: str | None = None
) -> ChannelKey:
    made = ChannelKey.issue(identity(signer or name), public or channel(owner or name).public)
    return ChannelKey(name, identity(owner or name).public, made.channel, made.signature)


SETUPS: Mapping[str, tuple[AggregatorSet, type[RemoteProtocolError]]] = {
    "too few": (AggregatorSet(corrupted().members[:2]), BadKey),
    "out of order": (AggregatorSet(corrupted().members[::-1]), BadKey),
    "one twice": (corrupted(aggregator_3=corrupted().members[1]), BadKey),
    "not pinned": (corrupted(aggregator_3=key_of("aggregator-9")), BadKey),
    "the coordinator": (
        AggregatorSet((ChannelKey.issue(identity("aggregator"), channel("x").public), *corrupted().members[:2])),
        BadKey,
    ),
    "one channel key twice": (corrupted(aggregator_3=key_of(A3, public=channel(A2).public)), BadKey),
    "low order": (corrupted(aggregator_3=key_of(A3, public=bytes(32))), BadKey),
    "not reduced": (corrupted(aggregator_3=key_of(A3, public=b"\xff" * 32)), BadKey),
    "of a wrong length": (corrupted(aggregator_3=key_of(A3, public=bytes(31))), BadKey),
    "signed by another": (corrupted(aggregator_3=key_of(A3, signer=A2)), BadSignature),
    "another identity under a pinned name": (
        corrupted(aggregator_3=ChannelKey.issue(Identity(A3, bytes(32)), channel(A3).public)),
        BadKey,
    ),
}


@pytest.mark.parametrize("what", SETUPS)
def test_an_unfit_set_of_aggregators_is_refused_by_coordinator_client_and_aggregator(what: str) -> None:
    where = federation()
    found, error = SETUPS[what]
    setup = found.to_bytes()
    tape = play(where)
    config = where.config(setup=setup_digest(setup))
    with pytest.raises(error):
        secure_agg.Aggregator(where.operator, config, where.roster, operators=where.trust.operators, setup=setup)
    request = _request(where, config, setup, "advertise", C000)
    with pytest.raises(error):
        where.client(C000).join(request, where.updates[C000])
    with pytest.raises(error):
        tape.local.holders[A1].receive(_request(where, config, setup, "begin", A1))


def _request(where: Federation, config: RoundConfig, setup: bytes, phase: str, recipient: str) -> bytes:
    return write(where.operator, config.context, phase, recipient, config.to_bytes(), setup)


def test_a_setup_other_than_the_configured_one_is_refused() -> None:
    where = federation()
    other = corrupted(aggregator_3=key_of(A3, public=channel("other").public)).to_bytes()
    assert len(read_setup(where.config(setup=setup_digest(other)), other, 3).members) == 3
    with pytest.raises(PolicyViolation, match="configured"):
        read_setup(where.config(), other, 3)
    with pytest.raises(MalformedMessage):
        read_setup(where.config(), where.setup + b"\0", 3)


def test_an_aggregator_that_is_named_with_another_channel_key_or_not_at_all_takes_no_part() -> None:
    tape = play(federation(TWO_OF_4))
    request = tape.requests["begin"][A1]
    for name, key, error in (
        (A1, channel("other"), BadKey),
        ("aggregator-9", channel("aggregator-9"), PolicyViolation),
    ):
        where = tape.federation
        message = forge(request, where.operator, recipient=name)
        with pytest.raises(error) as caught:
            ShareHolder(identity(name), where.trust, key).receive(message)
        assert caught.value.phase == "begin"


# --- lost aggregators -----------------------------------------------------------------------------------------


def lose(tape: Play, losses: Sequence[tuple[str, str]]) -> Evidence:
    """Play to the end; each of the aggregators falls silent at its phase."""
    gone: list[str] = []
    while tape.pending:
        gone += [name for name, phase in losses if phase == tape.phase]
        tape.answer_all(but=tuple(gone))
        tape.advance()
    if tape.aggregator.evidence is None:
        raise AssertionError("no evidence")
    return tape.aggregator.evidence


LATE = PHASES[3:]


@pytest.mark.parametrize(
    ("options", "losses"),
    [
        *((TWO_OF_4, [(A2, phase)]) for phase in PHASES),
        *((TWO_OF_3, [(A3, phase)]) for phase in LATE),
        (TWO_OF_4, [(A1, "begin"), (A4, "reveal-commitments")]),
        (TWO_OF_4, [(A1, "consistency"), (A2, "partial-sum")]),
        (TWO_OF_4, [(A2, "partial-sum"), (A3, "partial-sum")]),
        ({"aggregators": 5, "threshold": 3}, [(A2, "collect-shares"), (A1, "partial-sum")]),
    ],
)
def test_a_threshold_bears_losses_and_the_sum_is_exact(
    options: dict[str, int], losses: Sequence[tuple[str, str]]
) -> None:
    tape = play(federation(options))
    assert_exact(tape, lose(tape, losses), tape.federation.names)


@pytest.mark.parametrize(
    ("options", "losses", "culprit"),
    [
        *((ALL_OF_3, [(A3, phase)], A3) for phase in PHASES),
        *((TWO_OF_3, [(A3, phase)], A3) for phase in PHASES[:3]),
        *((TWO_OF_4, [(A1, phase), (A3, phase)], A1) for phase in PHASES[:3]),
        (TWO_OF_4, [(A1, "begin"), (A4, "consistency")], A4),
        (TWO_OF_4, [(A1, "begin"), (A2, "reveal-commitments"), (A4, "partial-sum")], A4),
        (TWO_OF_3, [(A1, "reveal-commitments"), (A2, "partial-sum")], A2),
    ],
)
def test_more_losses_end_the_round_and_name_phase_and_aggregator(
    options: dict[str, int], losses: Sequence[tuple[str, str]], culprit: str
) -> None:
    tape = play(federation(options))
    with pytest.raises(OperatorLost) as caught:
        lose(tape, losses)
    assert (caught.value.phase, caught.value.culprit) == (losses[-1][1], culprit)
    assert (tape.phase, tape.aggregator.evidence) == ("aborted", None)


# --- the post -------------------------------------------------------------------------------------------------


def test_a_lost_letter_leaves_its_client_out_and_everybody_else_in() -> None:
    for options in (ALL_OF_3, TWO_OF_4):
        where = federation(options)
        config = where.config()
        for aggregator in (long_holder(config, "c003"), free_holder(config, "c003")):
            tape = play(federation(options), only("c003", aggregator, lambda _: None))
            assert_exact(tape, tape.finish(), [name for name in where.names if name != "c003"])


def test_lost_letters_of_too_many_end_the_round() -> None:
    tape = play(federation(), lambda client, aggregator, data: None if client < "c002" and aggregator == A1 else data)
    with pytest.raises(TooFewClients) as caught:
        tape.finish()
    assert caught.value.phase == "consistency"


def test_a_letter_is_taken_once_however_often_it_comes() -> None:
    tape = play(federation(), lambda _client, _aggregator, _data: None).until("collect-shares")
    letters = list(tape.post.letters.items())
    for (client, aggregator), data in reversed(letters):
        first = tape.local.holders[aggregator].receive(data)
        assert tape.local.holders[aggregator].receive(data) == first
        tape.client(client).receive(first)
        tape.client(client).receive(first)
    assert_exact(tape, tape.finish(), tape.federation.names)


def test_a_letter_before_the_round_has_begun_is_not_taken_and_may_come_again() -> None:
    source = play(federation()).until("collect-shares")
    letter = source.post.letters[C000, A1]
    holder = federation().share_holder(A1)
    with pytest.raises(WrongContext) as caught:
        holder.receive(letter)
    assert caught.value.culprit == C000
    holder.receive(source.requests["begin"][A1])
    assert header_of(holder.receive(letter)).phase == "receipt"


@pytest.mark.parametrize("phase", PHASES[2:])
def test_a_letter_that_comes_after_the_shares_were_counted_is_refused(phase: str) -> None:
    tape = play(federation(), only("c004", A1, lambda _: None)).until(phase)
    with pytest.raises(WrongPhase) as caught:
        tape.local.holders[A1].receive(tape.post.letters["c004", A1])
    assert caught.value.culprit == "c004"
    assert "c004" not in tape.finish().participants


@pytest.mark.parametrize("phase", PHASES)
def test_a_request_that_comes_again_is_answered_with_the_same_bytes(phase: str) -> None:
    tape = play(federation()).until(phase)
    for name in (A1, A2, A3):
        first = tape.answer(name)
        assert tape.local.holders[name].receive(tape.requests[phase][name]) == first
        tape.deliver(first)
    tape.advance()
    assert_exact(tape, tape.finish(), tape.federation.names)


@pytest.mark.parametrize("phase", PHASES[1:])
def test_requests_out_of_order_are_refused_and_change_nothing(phase: str) -> None:
    done = play(federation())
    done.finish()
    tape = play(federation()).until(phase)
    for other in PHASES:
        if other != phase and (other, phase) != ("begin", "collect-shares"):  # that one is just answered again
            with pytest.raises(WrongPhase):
                tape.local.holders[A1].receive(done.requests[other][A1])
    assert_exact(tape, tape.finish(), tape.federation.names)
    with pytest.raises(WrongPhase, match="over"):
        tape.local.holders[A1].receive(done.requests["consistency"][A1])


def test_a_late_request_to_begin_an_earlier_attempt_does_not_end_the_round() -> None:
    """A naive aggregator forgets the round that is on: whoever kept an old request could end every round."""
    where = federation()
    old = play(where)
    old.answer_all()
    where.stores = federation().stores
    tape = play(where, attempt=1)
    tape.local.holders = old.local.holders
    tape.until("collect-shares")
    with pytest.raises(WrongContext, match="later"):
        tape.local.holders[A1].receive(old.requests["begin"][A1])
    assert_exact(tape, tape.finish(), where.names)


# --- restarts -------------------------------------------------------------------------------------------------


def restart(tape: Play, name: str) -> None:
    tape.local.holders = {**tape.local.holders, name: tape.federation.share_holder(name)}


@pytest.mark.parametrize("phase", PHASES[1:])
def test_a_restarted_aggregator_says_so_and_gives_nothing_out(phase: str) -> None:
    tape = play(federation()).until(phase)
    restart(tape, A2)
    with pytest.raises(WrongContext, match="restarted"):
        tape.answer(A2)
    tape.answer_all(but=(A2,))
    with pytest.raises(OperatorLost) as caught:
        tape.advance()
    assert caught.value.culprit == A2


@pytest.mark.parametrize("phase", PHASES[1:3])
def test_before_it_has_signed_a_restarted_aggregator_may_begin_again_and_be_sent_the_same_letters(phase: str) -> None:
    tape = play(federation()).until(phase)
    restart(tape, A2)
    holder = tape.local.holders[A2]
    begun = holder.receive(tape.requests["begin"][A2])
    assert begun == tape.responses["begin"][A2]
    for (client, aggregator), letter in tape.post.letters.items():
        if aggregator == A2:
            assert holder.receive(letter) == tape.client(client).receipts[A2]
    if phase == "consistency":
        assert holder.receive(tape.requests["collect-shares"][A2]) == tape.responses["collect-shares"][A2]
    assert_exact(tape, tape.finish(), tape.federation.names)


@pytest.mark.parametrize("phase", PHASES[3:])
def test_after_it_has_signed_a_restarted_aggregator_never_begins_that_round_again(phase: str) -> None:
    tape = play(federation()).until(phase)
    restart(tape, A2)
    with pytest.raises(AlreadyReleased):
        tape.local.holders[A2].receive(tape.requests["begin"][A2])
    again = tape.federation.aggregator(attempt=1)
    request = next(envelope.data for envelope in again.start() if envelope.recipient == A2)
    with pytest.raises(AlreadyReleased):
        tape.local.holders[A2].receive(request)


def test_a_threshold_bears_an_aggregator_that_restarts_after_it_has_signed() -> None:
    tape = play(federation(TWO_OF_3)).until("reveal-commitments")
    restart(tape, A2)
    tape.answer_all(but=(A2,))
    tape.advance()
    assert_exact(tape, tape.finish(), tape.federation.names)


def test_rounds_of_several_tasks_don_t_disturb_each_other() -> None:
    one, other = federation(), federation(task="other")
    trust = one.trust.with_task("other", other.trust.task("other"))
    holders = {name: ShareHolder(identity(name), trust, channel(name)) for name in (A1, A2, A3)}
    tapes = [play(one), play(other)]
    for tape in tapes:
        tape.local.holders = holders
    for _ in range(6):
        for tape in tapes:
            tape.answer_all()
            tape.advance()
    for tape in tapes:
        assert tape.aggregator.evidence is not None
        assert_exact(tape, tape.aggregator.evidence, tape.federation.names)


# --- what is derived, and what is kept ------------------------------------------------------------------------


def test_no_key_seed_or_nonce_is_used_twice() -> None:
    """Not for two aggregators, clients, attempts or rounds: a share made twice would hide two vectors alike."""
    seeds, keys, nonces, streams, ephemerals = [], [], [], [], []
    for number, attempt in ((0, 0), (1, 0), (0, 1)):
        where = federation(TWO_OF_4, n=3)
        tape = play(where, round=number, attempt=attempt).until("collect-shares")
        for (client, aggregator), data in tape.post.letters.items():
            opened = open_letter(data)
            keys.append(opened.key)
            nonces.append(opened.nonce)
            if opened.seed:
                seeds.append(opened.seed)
                streams.append(wire.stream_key(opened.seed, header_of(data).session, client, aggregator))
        letters = {client: open_letter(data).letter for (client, _), data in tape.post.letters.items()}
        ephemerals += [letter.ephemeral for letter in letters.values()]
    for found, count in ((keys, 36), (nonces, 36), (seeds, 9), (streams, 9), (ephemerals, 9)):
        assert len(set(found)) == len(found) == count


def test_the_same_seed_gives_unrelated_shares_for_another_aggregator_client_or_round() -> None:
    seed, sid = bytes(32), bytes(32)
    others = [(b"\1" * 32, "c", "a"), (sid, "d", "a"), (sid, "c", "b"), (sid, "a", "c")]
    keys = {wire.stream_key(seed, *bound) for bound in [(sid, "c", "a"), *others]}
    assert len(keys) == 5
    shared = {wire.share_key(seed, *bound) for bound in [(sid, "c", "a"), *others]}
    assert len(shared | keys) == 10


def reachable(*roots: object) -> Iterator[object]:
    """Everything that an object holds, directly or not."""
    seen: dict[int, object] = {}
    waiting: list[object] = list(roots)
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type) or callable(item):
            continue
        seen[id(item)] = item
        if isinstance(item, memoryview):
            waiting.append(item.obj)
        waiting += gc.get_referents(item)
    yield from seen.values()


def holding(needle: bytes, *roots: object) -> bool:
    """Whether the bytes lie anywhere in what an object holds."""
    return any(
        needle in (item.tobytes() if isinstance(item, np.ndarray) else item)
        for item in reachable(*roots)
        if isinstance(item, bytes | bytearray | np.ndarray)
    )


def test_an_aggregator_keeps_no_share_in_clear_and_after_the_set_is_signed_none_at_all() -> None:
    tape = play(federation()).until("consistency")
    config = tape.federation.config()
    name = long_holder(config, C000)
    holder, letter = tape.local.holders[name], tape.post.letters[C000, name]
    assert isinstance(holder, ShareHolder)
    opened = open_letter(letter)
    share, key = opened.long[400:432], opened.key
    sealed = letter[-100:]
    kept = next(iter(holder._rounds.values())).side
    assert isinstance(kept, AdditiveOperator)
    assert holding(sealed, kept), "to take it out again, should its client stay out"
    assert not holding(share, kept)
    tape.answer_all()
    tape.advance()
    assert not any(holding(secret, kept) for secret in (share, sealed, key))


def test_a_client_keeps_its_long_share_only_until_it_is_sealed() -> None:
    tape = play(federation()).until("collect-shares")
    name = long_holder(tape.federation.config(), C000)
    opened = open_letter(tape.post.letters[C000, name])
    assert not holding(opened.long[400:432], tape.client(C000)._joined.side)


# --- what the shares show -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [ALL_OF_3, TWO_OF_4], ids=["3 of 3", "2 of 4"])
def test_threshold_many_letters_give_the_update_and_all_that_fewer_see_fits_another_too(
    options: dict[str, int],
) -> None:
    """Two clients' vectors can be moved against each other by a vector of hash zero: the shares of t − 1 aggregators,
    all shares' commitments, and all partial sums stay as they are. That no short vector of hash zero can be found is
    the commitment's assumption, and the only thing besides the key streams that secrecy rests on.
    """
    tape = play(federation(options))
    tape.finish()
    config = tape.federation.config()
    scheme = rules.scheme(config.policy)
    length, names = config.layout.hashed, [f"aggregator-{i + 1}" for i in range(scheme.parties)]
    shares = {client: [share_of(tape.post.letters[client, name], length) for name in names] for client in (C000, C001)}

    def rebuilt(of: Sequence[Vector], parties: Sequence[int]) -> list[int]:
        total = np.zeros(length, np.uint32)
        for party, weight in zip(parties, scheme.weights(parties), strict=True):
            add_scaled(total, of[party], weight)
        return total.tolist()

    update = np.concatenate([array.reshape(-1) for array in tape.federation.updates[C000]])
    encoded = (config.policy.top // 2 + np.rint(update / config.policy.step)).astype(int).tolist()
    for parties in combinations(range(scheme.parties), scheme.threshold):
        assert rebuilt(shares[C000], parties)[: len(encoded)] == encoded, "t aggregators together read every update"

    zero = hash_zero(config)
    for corrupt in combinations(range(scheme.parties), scheme.threshold - 1):
        moved = {client: [share.copy() for share in found] for client, found in shares.items()}
        for party in set(range(scheme.parties)) - set(corrupt):
            factor = _multiple(scheme, party, corrupt)
            add_scaled(moved[C000][party], zero, factor)
            add_scaled(moved[C001][party], zero, P - factor)
        for party in range(scheme.parties):
            for client in (C000, C001):
                before, after = shares[client][party], moved[client][party]
                assert np.array_equal(before, after) == (party in corrupt)
                assert rules.linear_hash(config, before) == rules.linear_hash(config, after)
            sums = [plus(found[C000][party], found[C001][party]) for found in (shares, moved)]
            assert np.array_equal(*sums)
        for parties in combinations(range(scheme.parties), scheme.threshold):
            other = plus(np.array(rebuilt(shares[C000], parties), np.uint32), zero)
            assert rebuilt(moved[C000], parties) == other.tolist()


def _multiple(scheme: Scheme, party: int, corrupt: Sequence[int]) -> int:
    """By what a party's share changes if the vector changes by one, and the shares of t − 1 others don't."""
    return scheme.factors(party, corrupt)[0]


def test_a_partial_sum_holds_every_client_of_the_set_and_no_other() -> None:
    tape = play(federation(), only("c003", A1, lambda _: None)).until("partial-sum")
    length = tape.federation.config().layout.hashed
    for name in (A1, A2, A3):
        total = np.zeros(length, np.uint32)
        for client in ("c000", "c001", "c002", "c004"):
            total = plus(total, share_of(tape.post.letters[client, name], length))
        assert from_bytes(memoryview(tape.answer(name))[-4 * length :]).tolist() == total.tolist()


# --- garbage --------------------------------------------------------------------------------------------------


def test_garbage_gives_typed_errors_and_changes_nothing() -> None:
    """Letters, requests and answers with random bytes altered; none stops the round or is taken."""
    rng = np.random.default_rng(3)

    def spoil(data: bytes) -> bytes:
        altered, reach = bytearray(data), len(data) if rng.random() < 0.3 else min(len(data), 600)
        while altered == data:  # two flips of one bit are none
            for position in rng.integers(0, reach, rng.integers(1, 4)):
                altered[position] ^= 1 << int(rng.integers(8))
        return bytes(altered) if rng.random() < 0.8 else bytes(altered[: int(rng.integers(len(altered)))])

    def tried(receive: Any, data: bytes) -> None:
        with pytest.raises(SecureAggError):
            receive(data)

    tape = play(federation(), lambda _client, _aggregator, _data: None).until("collect-shares")
    for (client, aggregator), letter in tape.post.letters.items():
        for _ in range(6):
            tried(tape.local.holders[aggregator].receive, spoil(letter))
        tape.post.post(client, aggregator, letter)
    while tape.pending:
        for name in (A1, A2, A3):
            for _ in range(20):
                tried(tape.local.holders[name].receive, spoil(tape.requests[tape.phase][name]))
            answer = tape.answer(name)
            for _ in range(20):
                tried(tape.aggregator.receive, spoil(answer))
            tape.deliver(answer)
        tape.advance()
    assert tape.aggregator.evidence is not None
    assert_exact(tape, tape.aggregator.evidence, tape.federation.names)
    for holder in tape.local.holders.values():
        assert set(holder.timings.seconds) == {"share", *PHASES}, "nobody makes an aggregator count made-up phases"


@pytest.mark.parametrize("phase", ["collect-shares", "consistency", "partial-sum"])
def test_the_driver_goes_on_without_an_aggregator_that_refuses_if_enough_are_left(phase: str) -> None:
    """One that was restarted answers, but has lost the round."""
    for options, enough in ((TWO_OF_4, True), (ALL_OF_3, False)):
        where = federation(options)
        local = where.round()
        requests = local.aggregator.start()
        while requests and local.aggregator.state != phase:
            local.exchange(requests)
            requests = local.aggregator.advance()
        local.holders = {**local.holders, A2: where.share_holder(A2)}
        if not enough:
            with pytest.raises(WrongContext, match="restarted"):
                local.exchange(requests)
            continue
        while requests:
            local.exchange(requests)
            requests = local.aggregator.advance()
        assert isinstance(local.refusals[A2], WrongContext)
        evidence = local.aggregator.evidence
        assert evidence is not None
        assert Auditor(where.trust).verify(evidence).record.participants == len(where.names)
