"""A client whose sketch is of another vector than its commitment: the sum shows that somebody's is, and a second list
of reports whose.
"""

from __future__ import annotations

from typing import Any

import pytest
from conformance.independent_faults import verify_fault
from conformance.independent_verifier import verify as verify_independently
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.federation import Federation, Tape, edit, replace
from support.norms.cheats import (
    LIMIT,
    Bend,
    Screened,
    cover_sketch_for,
    deal_bad_seeds,
    flip,
    flip_behind_edge,
    flip_behind_self_mask,
    lie_of_edge,
    lie_of_edge_again,
    sketch_another,
    sketch_another_behind_edge,
    sketch_another_behind_self_mask,
)
from support.refusals import ME

from secure_agg.backends.masking import screening
from secure_agg.backends.masking.wire import FailedSum
from secure_agg.errors import AlreadyReleased, ConfigError, PolicyViolation, TooFewClients, Unattributed
from secure_agg.protocol.messages import Agreed, decode, encode

CHEAT, VICTIM = "c002", "c001"
AGAIN = "screen-sketches"


def federation(n: int = 5, screening: int = 1, **changes: Any) -> Federation:
    settled = {"bits": 16, "norm_bound": 2000.0, "commit_packed": False} | changes
    return Federation(n, shapes=((3,), (4,)), options={"screening": screening}, policy_changes=settled)


def others(n: int, *names: str) -> tuple[str, ...]:
    return tuple(name for name in Federation(n).names if name not in names)


def check(played: Screened) -> None:
    """By the verifiers that share nothing with the product."""
    evidence = played.tape.aggregator.evidence
    assert evidence is not None
    verify_independently(evidence.to_bytes(), proofs=list(evidence.proofs.values()))
    for proof in played.tape.aggregator.faults:
        assert verify_fault(proof.to_bytes())["culprit"] == proof.culprit


@pytest.mark.parametrize(
    ("bend", "kind", "disputed"),
    [
        (sketch_another, "bad-input", False),
        pytest.param(sketch_another_behind_self_mask, "bad-self-mask", False, marks=pytest.mark.long),
        (sketch_another_behind_edge(4), "bad-edge", True),
    ],
)
def test_whose_sketch_is_of_another_vector_is_named_and_the_sum_is_the_others(
    bend: Bend, kind: str, disputed: bool
) -> None:
    played = Screened(federation(), {CHEAT: (bend,)})
    played.play()
    again = [AGAIN, *(["dispute-sketches"] if disputed else []), "excise-sketches-1"]
    assert played.phases[-1 - len(again) :] == ["unmask", *again]
    assert played.named == {CHEAT: kind}
    assert played.check_sum() == others(5, CHEAT)
    check(played)


def test_without_the_second_list_the_round_ends_and_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The naive version: the sum shows that somebody's sketch is wrong, and no more."""
    monkeypatch.setattr(screening, "sketch_fails", lambda *_: False)
    played = Screened(federation(), {CHEAT: (sketch_another,)})
    with pytest.raises(Unattributed, match="norms are not what was proved") as caught:
        played.play()
    assert (caught.value.culprit, played.named) == (None, {})


def test_an_honest_round_has_no_second_list() -> None:
    played = Screened(federation())
    played.play()
    assert AGAIN not in played.phases
    assert played.check_sum() == others(5)


def test_a_cheat_that_is_silent_when_it_is_asked_ends_the_round_and_an_honest_one_does_not() -> None:
    """Whoever is silent after the sum was opened can't leave it: the difference would be its vector."""
    played = Screened(federation(), {CHEAT: (sketch_another,)}, {CHEAT: AGAIN})
    with pytest.raises(Unattributed, match="who has answered is not shown"):
        played.play()
    assert played.named == {}
    honest = Screened(federation(10), {CHEAT: (sketch_another,)}, {"c004": AGAIN})
    honest.play()
    assert (honest.check_sum(), honest.named) == (others(10, CHEAT), {CHEAT: "bad-input"})


def test_a_cheat_that_hides_behind_its_mask_with_somebody_silent_is_not_named_unless_sketches_are_tested_at_once() -> (
    None
):
    """A limit: one word stands against none. The silent peer need not have done anything wrong."""
    cheat: dict[str, tuple[Bend, ...]] = {"c003": (sketch_another_behind_edge(7),)}
    played = Screened(federation(10), cheat, {"c007": AGAIN})
    with pytest.raises(Unattributed, match="who has answered is not shown"):
        played.play()
    assert played.named == {}
    at_once = Screened(federation(10, screening=2), {"c003": (flip_behind_edge(7),)}, {"c007": "screen"})
    at_once.play()
    assert (at_once.named, at_once.check_sum()) == ({"c003": "bad-edge"}, others(10, "c003", "c007"))


def test_where_values_are_packed_sketches_are_not_linear_and_nobody_is_named() -> None:
    played = Screened(federation(bits=8, commit_packed=True), {CHEAT: (sketch_another,)})
    with pytest.raises(Unattributed, match="norms are not what was proved"):
        played.play()
    assert (played.named, AGAIN in played.phases) == ({}, False)


@pytest.mark.long
def test_cheats_of_the_first_list_and_of_the_second_are_taken_out_one_after_the_other() -> None:
    cheats: dict[str, tuple[Bend, ...]] = {"c003": (flip_behind_self_mask,), "c008": (sketch_another,)}
    played = Screened(federation(10), cheats)
    played.play()
    assert played.phases[-3:] == ["excise-1", AGAIN, "excise-sketches-1"]
    assert played.named == {"c003": "bad-self-mask", "c008": "bad-input"}
    assert played.check_sum() == others(10, *cheats)
    check(played)


def test_whoever_covers_for_a_sketch_is_charged_next() -> None:
    cheats: dict[str, tuple[Bend, ...]] = {
        "c003": (sketch_another_behind_edge(7),),
        "c007": (cover_sketch_for(3),),
    }
    played = Screened(federation(10), cheats)
    played.play()
    assert played.named.keys() == cheats.keys()
    assert played.check_sum() == others(10, *cheats)


def test_where_nobody_may_be_corrupt_the_cheat_is_named_and_ends_the_round() -> None:
    played = Screened(federation(3), {CHEAT: (sketch_another,)})
    with pytest.raises(TooFewClients, match="1 clients are proved to cheat"):
        played.play()
    assert played.named == {CHEAT: "bad-input"}


@pytest.mark.long
@pytest.mark.parametrize("silent", [{}, {CHEAT: "screen"}, {CHEAT: "dispute"}, {"c004": "unmask"}])
def test_where_sketches_are_tested_at_once_nothing_is_opened_before_and_silence_helps_nobody(
    silent: dict[str, str],
) -> None:
    played = Screened(federation(10, screening=2), {CHEAT: (sketch_another,)}, silent)
    played.play()
    assert (AGAIN in played.phases, CHEAT in played.check_sum()) == (False, False)
    assert played.named == ({} if silent.get(CHEAT) == "screen" else {CHEAT: "bad-input"})
    check(played)


@pytest.mark.long
def test_where_sketches_are_tested_at_once_the_other_cheats_are_named_as_ever() -> None:
    cheats: dict[str, tuple[Bend, ...]] = {"c003": (flip_behind_self_mask,), "c008": (lie_of_edge(5),)}
    played = Screened(federation(10, screening=2), cheats)
    played.play()
    assert played.named == {"c003": "bad-self-mask", "c008": "bad-edge"}
    assert played.check_sum() == others(10, *cheats)
    check(played)


@pytest.mark.parametrize("changes", [{"bits": 8, "commit_packed": True}, {"norm_bound": None}])
def test_sketches_that_are_none_or_not_linear_can_not_be_tested_at_once(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="screening 2 tests sketches"):
        federation(screening=2, **changes).aggregator()


# --- a malicious aggregator -----------------------------------------------------------------------------------


def asked() -> Tape:
    return Screened(federation(), {CHEAT: (sketch_another,)}).play(until=AGAIN)


def claim(tape: Tape, change: Any) -> bytes:
    def changed(body: Agreed) -> Agreed:
        return replace(body, backend=encode(change(decode(FailedSum, body.backend, LIMIT))))

    return edit(tape.requests[AGAIN][VICTIM], ME, Agreed, changed)


def total_moved(body: FailedSum) -> FailedSum:
    return replace(body, total=bytes([body.total[0] ^ 1]) + body.total[1:])


def commitment_moved(body: FailedSum) -> FailedSum:
    first = replace(body.inputs[0], commitment=bytes(len(body.inputs[0].commitment)))
    return replace(body, inputs=(first, *body.inputs[1:]))


@pytest.mark.parametrize(
    "change",
    [
        total_moved,
        commitment_moved,
        lambda body: replace(body, total=body.total[4:]),
        lambda body: replace(body, total=b"\xff" * len(body.total)),
        lambda body: replace(body, inputs=body.inputs[1:]),
        lambda body: replace(body, inputs=body.inputs[::-1]),
        lambda body: replace(body, inputs=()),
    ],
)
def test_nobody_reports_on_a_sum_that_it_has_not_seen_fail(change: Any) -> None:
    tape = asked()
    with pytest.raises(PolicyViolation, match="no sum has failed"):
        tape.client(VICTIM).receive(claim(tape, change))
    assert [proof.kind for proof in tape.client(VICTIM).faults] == ["false-claim"]


def test_nobody_reports_on_a_sum_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "sketch_fails", lambda *_: True)  # the aggregator says so of an honest round
    tape = Screened(federation()).play(until=AGAIN)
    monkeypatch.undo()
    with pytest.raises(PolicyViolation, match="no sum has failed"):
        tape.client(VICTIM).receive(tape.requests[AGAIN][VICTIM])


def test_a_second_list_is_answered_once_also_after_a_restart() -> None:
    """The same request is answered with the same bytes, and no other, also after a restart."""
    tape = asked()
    request, another = tape.requests[AGAIN][VICTIM], claim(tape, total_moved)
    answer = tape.client(VICTIM).receive(request)
    assert answer
    assert tape.client(VICTIM).receive(request) == answer
    phases = ("advertise", "share-keys", "confirm-edges", "masked-input", "screen", "consistency", "unmask")
    for answered in (phases, (*phases, AGAIN)):
        again = tape.federation.client(VICTIM)
        again.resume([tape.requests[phase][VICTIM] for phase in answered], lambda: tape.federation.updates[VICTIM])
        assert again.receive(request) == answer
    with pytest.raises(AlreadyReleased):
        again.receive(another)


# --- any mix --------------------------------------------------------------------------------------------------

KINDS: dict[str, Any] = {
    "sketch": lambda peer: sketch_another,
    "self": lambda peer: sketch_another_behind_self_mask,
    "edge": sketch_another_behind_edge,
    "cover": cover_sketch_for,
    "lie": lie_of_edge_again,
    "first": lie_of_edge,
    "flip": lambda peer: flip,
    "seeds": lambda peer: deal_bad_seeds,
}


@st.composite
def mixes(draw: st.DrawFn) -> dict[str, tuple[Bend, ...]]:
    """Two cheats of any kinds among ten, alone or with each other."""
    first, second = draw(st.lists(st.integers(0, 9), min_size=2, max_size=2, unique=True))
    mates = {first: second, second: first}
    kinds = st.sampled_from(sorted(KINDS))
    return {
        f"c{me:03d}": (KINDS[draw(kinds)](draw(st.sampled_from([mate, 5 + (me == 5)]))),) for me, mate in mates.items()
    }


@pytest.mark.slow
@given(mixes())
@settings(max_examples=2, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
def test_a_mix_names_cheats_only_and_ends_with_the_sum_of_the_others(mix: dict[str, tuple[Bend, ...]]) -> None:
    names_cheats_only(mix)


@pytest.mark.long
@given(mixes())
@settings(max_examples=30, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))
def test_any_mix_names_cheats_only_and_ends_with_the_sum_of_the_others(mix: dict[str, tuple[Bend, ...]]) -> None:
    names_cheats_only(mix)


def names_cheats_only(mix: dict[str, tuple[Bend, ...]]) -> None:
    played = Screened(federation(10), mix)
    try:
        played.play()
    finally:
        assert played.named.keys() <= mix.keys()
    left = set(played.check_sum())
    assert left >= set(others(10, *mix))
    assert not left & played.named.keys()
