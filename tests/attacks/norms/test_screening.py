"""Cheats where inputs are screened: each is named with a proof and left out; the round ends with the others' sum."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.federation import Federation, Tape, bulk_of, edit, forge, header_of, identity, replace
from support.norms.cheats import (
    Bend,
    Screened,
    cancel_with,
    confirm_wrongly,
    cover_for,
    deal_bad_keys,
    deal_bad_seeds,
    flip,
    flip_behind_edge,
    flip_behind_self_mask,
    lie_of_all,
    lie_of_edge,
    report,
    shifted,
    side_of,
)
from support.pace.effort import examples
from support.refusals import ME

from secure_agg.backends.masking import judge, screened
from secure_agg.backends.masking.rules import plan
from secure_agg.backends.masking.wire import (
    Charge,
    Charges,
    Confirmed,
    Disputes,
    OpenedMask,
    Openings,
    Report,
    Screening,
    SignedReport,
)
from secure_agg.errors import (
    AlreadyReleased,
    BadInput,
    BadShare,
    BadSignature,
    DealerFault,
    PolicyViolation,
    SecureAggError,
    StoreError,
    TooFewClients,
)
from secure_agg.protocol.messages import Agreed, decode, encode, signed_bytes

N = 10
ON = {"screening": 1}


def others(*names: str) -> tuple[str, ...]:
    return tuple(name for name in Federation(N).names if name not in names)


def test_honest_clients_are_asked_for_one_round_trip_more_after_their_inputs() -> None:
    played = Screened(Federation(N, options=ON))
    played.play()
    assert played.phases == [
        *("advertise", "share-keys", "confirm-edges", "masked-input", "screen", "consistency", "unmask")
    ]
    assert (played.check_sum(), played.named) == (others(), {})


@pytest.mark.parametrize(
    ("bend", "kind", "phase"),
    [
        (flip, "bad-input", ""),
        (lie_of_all, "bad-input", "dispute"),
        (lie_of_edge(7), "bad-edge", "dispute"),
        (lie_of_edge(0), "bad-edge", "dispute"),
        (flip_behind_edge(7), "bad-edge", "dispute"),
        (flip_behind_edge(0), "bad-edge", "dispute"),
        (flip_behind_self_mask, "bad-self-mask", "excise-1"),
        (deal_bad_seeds, "bad-seed-shares", "excise-1"),
    ],
)
def test_one_cheat_is_named_and_the_sum_is_the_others(bend: Bend, kind: str, phase: str) -> None:
    played = Screened(Federation(N, options=ON), {"c002": (bend,)})
    played.play()
    assert (phase in played.phases) == bool(phase)
    assert played.named == {"c002": kind}
    assert played.check_sum() == others("c002")


def test_two_who_cover_for_each_other_are_taken_out_one_after_the_other() -> None:
    """c002 sends a wrong vector and c005 takes its lie upon itself: their numbers agree until c005 is out."""
    played = Screened(Federation(N, options=ON), {"c002": (flip_behind_edge(5),), "c005": (cover_for(2),)})
    played.play()
    assert played.phases[-2:] == ["excise-1", "excise-2"]
    assert played.named["c005"] == "bad-self-mask"
    assert played.named["c002"] in ("bad-edge", "bad-lost-edge")
    assert played.check_sum() == others("c002", "c005")


def test_what_two_do_to_their_vectors_that_cancels_changes_nothing() -> None:
    """Their vectors add up to what they committed to, which is all that a sum is of."""
    played = Screened(Federation(N, options=ON), {"c002": (cancel_with(5),), "c005": (cancel_with(2),)})
    played.play()
    assert (played.check_sum(), played.named) == (others(), {})


@pytest.mark.parametrize(("bend", "kind"), [(flip, "bad-input"), (flip_behind_self_mask, "bad-self-mask")])
def test_cheats_are_told_from_those_who_cancel(bend: Bend, kind: str) -> None:
    bends = {"c001": (bend,), "c002": (cancel_with(5),), "c005": (cancel_with(2),)}
    played = Screened(Federation(N, options=ON), bends)
    played.play()
    assert (played.check_sum(), played.named) == (others("c001"), {"c001": kind})


@pytest.mark.parametrize("phase", ["share-keys", "confirm-edges", "masked-input", "screen"])
def test_whoever_is_silent_before_the_set_is_signed_is_left_out_and_not_named(phase: str) -> None:
    played = Screened(Federation(N, options=ON), silent={"c003": phase})
    played.play()
    assert (played.check_sum(), played.named) == (others("c003"), {})


@pytest.mark.parametrize("phase", ["dispute", "consistency", "unmask", "excise-1"])
def test_whoever_is_silent_later_is_in_the_sum(phase: str) -> None:
    bends: dict[str, tuple[Bend, ...]] = {"c000": (lie_of_edge(1),), "c007": (flip_behind_self_mask,)}
    played = Screened(Federation(N, options=ON), bends, {"c003": phase})
    played.play()
    assert played.named == {"c000": "bad-edge", "c007": "bad-self-mask"}
    assert played.check_sum() == others("c000", "c007")


def test_whoever_is_silent_in_its_own_dispute_is_out() -> None:
    bends: dict[str, tuple[Bend, ...]] = {"c000": (lie_of_edge(1),)}
    played = Screened(Federation(N, options=ON), bends, {"c000": "dispute"})
    played.play()
    assert (played.check_sum(), played.named) == (others("c000"), {"c000": "bad-edge"})
    both = Screened(Federation(N, options=ON), bends, {"c000": "dispute", "c001": "dispute"})
    both.play()
    assert (both.check_sum(), both.named) == (others("c000", "c001"), {})


def test_a_lie_about_the_mask_with_somebody_who_is_lost_is_proved_by_its_secret() -> None:
    played = Screened(Federation(N, options=ON), {"c002": (flip_behind_edge(6),)}, {"c006": "screen"})
    played.play()
    assert (played.check_sum(), played.named) == (others("c002", "c006"), {"c002": "bad-edge"})


def test_or_by_the_rebuilt_key_of_who_is_lost_if_it_opens_nothing() -> None:
    bends: dict[str, tuple[Bend, ...]] = {"c002": (flip_behind_edge(6),)}
    played = Screened(Federation(N, options=ON), bends, {"c006": "screen", "c002": "unmask"})
    played.play()
    assert (played.check_sum(), played.named) == (others("c002", "c006"), {"c002": "bad-lost-edge"})


def test_a_key_that_can_not_be_rebuilt_is_made_up_for_by_the_masks_own_secrets() -> None:
    """The naive version ends the round: the masks with a lost peer stay in the sum."""
    played = Screened(Federation(N, options=ON), {"c006": (deal_bad_keys,)}, {"c006": "screen"})
    played.play()
    assert (played.check_sum(), played.named) == (others("c006"), {})


def test_who_has_dealt_such_a_key_is_charged_where_a_member_was_silent() -> None:
    played = Screened(Federation(N, options=ON), {"c006": (deal_bad_keys,)}, {"c006": "screen", "c001": "unmask"})
    with pytest.raises(DealerFault, match="shares of its key that came rebuild nothing") as caught:
        played.play()
    assert caught.value.culprit == "c006"
    assert played.named == {"c006": "bad-key-shares"}


def test_cheats_that_are_denied_and_then_silent_do_not_end_the_round() -> None:
    """The others hold too few good shares of c004's seed once it keeps its own to itself: it was left out before."""
    bends: dict[str, tuple[Bend, ...]] = {
        "c002": (flip,),
        "c003": (flip,),
        "c004": (confirm_wrongly(7, 8),),
    }
    played = Screened(Federation(13, options=ON), bends, {"c004": "consistency"})
    played.play()
    assert set(played.check_sum()) == set(Federation(13).names) - {"c002", "c003", "c004"}


@pytest.mark.parametrize(
    ("denied", "phase"),
    [
        ((0, 1, 3, 4, 6, 7, 8, 9), "masked-input"),  # only its partner has shares of its mask key
        ((0, 1), "masked-input"),
        ((0, 1), "screen"),
        ((0, 1), "unmask"),
    ],
)
def test_two_of_whom_one_is_denied_and_both_are_silent_do_not_end_the_round(
    denied: tuple[int, ...], phase: str
) -> None:
    """c005 goes once everybody has signed: the others alone can't rebuild what c002 has dealt to too few of them."""
    silent = {"c002": phase, "c005": "unmask"}
    played = Screened(Federation(N, options=ON), {"c002": (confirm_wrongly(*denied),)}, silent)
    played.play()
    assert (played.check_sum(), played.named) == (others("c002"), {})


def test_on_a_sparse_graph_nobody_masks_with_whom_its_holders_deny() -> None:
    """Of its edges one is left, and nobody else could take its mask off that input."""
    federation = Federation(30, shapes=((4,),), options=ON | {"complete_up_to": 5})
    tape = Tape.start(federation).until("share-keys")
    one = side_of(tape, "c002")._chosen[0]
    bends: dict[str, tuple[Bend, ...]] = {"c002": (confirm_wrongly(*(i for i in range(30) if i != one)),)}
    again = Federation(30, shapes=((4,),), options=ON | {"complete_up_to": 5})
    again.stores = federation.stores
    played = Screened(again, bends, {"c002": "masked-input", f"c{one:03d}": "unmask"})
    played.play()
    assert set(played.check_sum()) == set(again.names) - {"c002"}
    assert played.tape.aggregator.session is not None
    assert not plan(played.tape.aggregator.session).complete


@pytest.mark.parametrize("cheats", [(8, 9), (0, 1)])
def test_cheats_push_out_no_more_than_they_are(cheats: tuple[int, ...]) -> None:
    """Whoever denies, or is denied by, most is out first; of those with as many, whoever comes first."""
    bends: dict[str, tuple[Bend, ...]] = {f"c00{cheat}": (confirm_wrongly(4, 5),) for cheat in cheats}
    played = Screened(Federation(N, options=ON), bends)
    played.play()
    assert len(played.check_sum()) == N - 2
    assert played.named == {}
    assert {error.culprit for error in played.refused.values()} == {None}


def test_whoever_is_denied_by_too_many_to_be_unmasked_is_left_out() -> None:
    """c006 deals good shares to so few that one more silence makes its seed impossible to rebuild."""
    bends: dict[str, tuple[Bend, ...]] = {"c006": (confirm_wrongly(0, 1, 2),)}
    played = Screened(Federation(N, options=ON), bends, {"c003": "screen"})
    played.play()
    assert (played.check_sum(), played.named) == (others("c003", "c006"), {})


@pytest.mark.parametrize("phase", ["share-keys", "confirm-edges", "masked-input", "screen"])
def test_as_many_may_be_silent_as_without_screening(phase: str) -> None:
    """More than may be corrupt: they deny nobody by that."""
    silent = dict.fromkeys(("c001", "c004", "c008"), phase)
    played = Screened(Federation(N, options=ON), silent=silent)
    played.play()
    assert (played.check_sum(), played.named, played.refused) == (others(*silent), {}, {})


def test_a_cheat_whose_key_can_not_be_rebuilt_either_is_taken_out() -> None:
    played = Screened(Federation(N, options=ON), {"c006": (deal_bad_keys, flip_behind_self_mask)})
    played.play()
    assert (played.check_sum(), played.named) == (others("c006"), {"c006": "bad-self-mask"})


def test_a_wrong_confirmation_costs_the_edge_and_nobody_else_its_place() -> None:
    """Without screening the honest peer that sends its input second is left out of the sum."""
    bends: dict[str, tuple[Bend, ...]] = {"c000": (confirm_wrongly(7),)}
    played = Screened(Federation(N, options=ON), bends)
    played.play()
    assert (played.check_sum(), played.named, played.refused) == (others(), {}, {})
    plain = Screened(Federation(N), bends)
    plain.play()
    assert plain.check_sum() == others("c007")
    assert plain.refused["c007"].culprit is None


@pytest.mark.parametrize("bend", [flip, flip_behind_self_mask])
def test_more_cheats_than_may_be_corrupt_end_the_round_and_are_named(bend: Bend) -> None:
    cheats = ("c001", "c004", "c008")
    played = Screened(Federation(N, options=ON), dict.fromkeys(cheats, (bend,)))
    with pytest.raises(TooFewClients, match="3 clients are proved to cheat, more than the 2 that may"):
        played.play()
    assert tuple(played.named) == cheats


def test_without_anybody_who_may_be_corrupt_a_cheat_ends_the_round() -> None:
    honest = Screened(Federation(3, options=ON))
    honest.play()
    assert len(honest.check_sum()) == 3
    played = Screened(Federation(3, options=ON), {"c001": (flip_behind_self_mask,)})
    with pytest.raises(TooFewClients, match="1 clients are proved to cheat"):
        played.play()
    assert played.named == {"c001": "bad-self-mask"}


@pytest.mark.parametrize("changes", [{"bits": 8, "commit_packed": True}, {"bits": 8, "commit_packed": False}])
def test_vectors_that_are_committed_to_in_digits_are_screened_in_them(changes: dict[str, Any]) -> None:
    played = Screened(Federation(N, options=ON, policy_changes=changes), {"c002": (flip_behind_self_mask,)})
    played.play()
    assert (played.check_sum(), played.named) == (others("c002"), {"c002": "bad-self-mask"})


@pytest.mark.long
def test_on_a_sparse_graph_cheats_are_named_alike() -> None:
    options = ON | {"complete_up_to": 100}
    federation = Federation(110, shapes=((4,),), options=options, policy_changes={"bits": 12})
    bends: dict[str, tuple[Bend, ...]] = {"c002": (flip_behind_self_mask,), "c030": (flip,)}
    played = Screened(federation, bends)
    tape = played.play()
    assert "choose-peers" in played.phases
    assert played.named == {"c002": "bad-self-mask", "c030": "bad-input"}
    assert len(played.check_sum()) == 108
    assert tape.aggregator.session is not None
    assert not plan(tape.aggregator.session).complete


# --- any mix --------------------------------------------------------------------------------------------------

LATER = ("confirm-edges", "masked-input", "screen", "dispute", "consistency", "unmask", "excise-1")


@st.composite
def mixes(draw: st.DrawFn) -> tuple[dict[str, tuple[Bend, ...]], dict[str, str]]:
    """Up to f cheats of any kind among 13 clients, alone or with each other, and from when on they are silent; somebody
    honest may drop out as well.
    """
    cheats = draw(st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True))
    bends: dict[str, tuple[Bend, ...]] = {}
    silent = {}
    for place, cheat in enumerate(cheats):
        peer = draw(st.integers(0, 12).filter(lambda other, me=cheat: other != me))
        partner = cheats[place - 1] if len(cheats) > 1 else peer
        alone = [flip, flip_behind_self_mask, lie_of_all, deal_bad_seeds, deal_bad_keys, confirm_wrongly(peer)]
        paired = [flip_behind_edge(partner), cover_for(partner), cancel_with(partner), lie_of_edge(peer)]
        chosen = draw(st.lists(st.sampled_from([*alone, *paired]), min_size=1, max_size=2))
        bends[f"c{cheat:03d}"] = tuple(chosen)
        if draw(st.booleans()):
            silent[f"c{cheat:03d}"] = draw(st.sampled_from(LATER))
    dropped = draw(st.integers(0, 12))
    if f"c{dropped:03d}" not in bends and draw(st.booleans()):
        silent[f"c{dropped:03d}"] = draw(st.sampled_from(LATER))
    return bends, silent


@examples(6, 60)
def test_any_mix_of_cheats_ends_with_the_sum_of_the_others_in_one_attempt(examples: int) -> None:
    settings(max_examples=examples, suppress_health_check=list(HealthCheck))(given(mixes())(ends_with_the_others))()


def ends_with_the_others(mix: tuple[dict[str, tuple[Bend, ...]], dict[str, str]]) -> None:
    bends, silent = mix
    deny = [name for name, chosen in bends.items() if any("confirm_wrongly" in bend.__qualname__ for bend in chosen)]
    played = Screened(Federation(13, options=ON), bends, silent)
    try:
        played.play()
    except TooFewClients:
        assert silent.keys() - bends.keys() or len(deny) > 1, "cheats alone leave enough"
        return
    except DealerFault as error:
        # A mask of one who is charged with somebody silent: the cheat has dealt shares that rebuild nothing, or denials
        # and honest clients who are lost as well leave too few of them.
        assert error.culprit in played.named  # noqa: PT017 - it need not be raised
        assert silent
        bad = any(deal_bad_keys in chosen for chosen in bends.values())
        assert bad or (deny and silent.keys() - bends.keys()), "cheats alone leave enough shares"
        return
    summed, honest = set(played.check_sum()), set(Federation(13).names) - bends.keys() - silent.keys()
    if silent.keys() <= bends.keys():  # cheats alone keep nobody out, but by denying the same client
        assert len(honest - summed) <= (len(deny) if len(deny) > 1 else 0)
    assert played.named.keys() <= bends.keys() - summed


# --- a malicious aggregator -----------------------------------------------------------------------------------

VICTIM = "c001"


def asked(phase: str, bends: dict[str, tuple[Bend, ...]] | None = None) -> Tape:
    """A round whose requests of a phase are out."""
    played = Screened(Federation(N, options=ON), bends or {})
    return played.play(until=phase)


def refused_by(
    tape: Tape,
    request: bytes,
    error: type[SecureAggError] = PolicyViolation,
    match: str | None = None,
    goes_on: bool = True,
) -> None:
    """The victim refuses a request, and answers the true one all the same; or not, where the request convicts whoever
    has signed it.
    """
    with pytest.raises(error, match=match) as caught:
        tape.client(VICTIM).receive(request)
    assert caught.value.culprit in ("aggregator", None)
    if goes_on:
        assert tape.client(VICTIM).receive(tape.requests[tape.phase][VICTIM])
    else:
        with pytest.raises(PolicyViolation, match="answers it no more"):
            tape.client(VICTIM).receive(tape.requests[tape.phase][VICTIM])


@pytest.mark.parametrize(
    "change",
    [
        lambda body: replace(body, inputs=body.inputs[:1] + body.inputs[2:]),
        lambda body: replace(
            body, inputs=tuple(replace(i, value=bytes(32)) if i.client == 1 else i for i in body.inputs)
        ),
        lambda body: replace(body, inputs=body.inputs[::-1]),
        lambda body: replace(body, inputs=(*body.inputs, body.inputs[-1])),
        lambda body: replace(body, inputs=(*body.inputs, replace(body.inputs[-1], client=10))),
    ],
)
def test_a_client_reports_only_about_a_list_that_holds_its_own_input(change: Any) -> None:
    tape = asked("screen")
    refused_by(tape, edit(tape.requests["screen"][VICTIM], ME, Screening, change))


def test_a_client_reports_once_for_one_list_also_after_a_restart() -> None:
    """Two challenges of one input would say no more of it; but its reports would contradict its peers'."""
    tape = asked("screen")
    tape.answer(VICTIM)
    other = edit(tape.requests["screen"][VICTIM], ME, Screening, lambda body: replace(body, inputs=body.inputs[:-1]))
    again, third = tape.federation.client(VICTIM), tape.federation.client(VICTIM)
    requests = [tape.requests[phase][VICTIM] for phase in ("advertise", "share-keys", "confirm-edges", "masked-input")]
    for client in (again, third):
        client.resume(requests, lambda: tape.federation.updates[VICTIM])
    assert again.receive(tape.requests["screen"][VICTIM]) == tape.responses["screen"][VICTIM]
    with pytest.raises(AlreadyReleased):
        third.receive(other)
    with pytest.raises(PolicyViolation, match="answers it no more"):
        tape.client(VICTIM).receive(other)


def disputing(tape: Tape, *reports: SignedReport) -> bytes:
    return edit(tape.requests["dispute"][VICTIM], ME, Disputes, lambda body: replace(body, reports=reports))


def test_a_mask_is_opened_only_where_its_peer_has_signed_another_number() -> None:
    """The naive version opens the masks of honest pairs: with all of them an input lies open."""
    tape = asked("dispute", {"c000": (lie_of_edge(1),)})
    header = header_of(tape.responses["screen"]["c005"])
    honest = SignedReport(5, header.body, header.signature)
    refused_by(tape, disputing(tape, honest), match="has reported what this client has")

    tape = asked("dispute", {"c000": (lie_of_edge(1),)})
    said = decode(Report, header_of(tape.responses["screen"]["c005"]).body, 1 << 20)
    lie = encode(shifted(said, {1: 1}))
    refused_by(tape, disputing(tape, SignedReport(5, lie, header.signature)), BadSignature)

    tape = asked("dispute", {"c000": (lie_of_edge(1),)})
    signed = signed_bytes(
        tape.aggregator.session.sid, "screen", "c005", "", other := encode(replace(said, root=bytes(32)))
    )
    two_lists = SignedReport(5, other, identity("c005").sign(signed))
    refused_by(tape, disputing(tape, two_lists), match="about other inputs")


def test_whoever_opens_another_secret_than_was_confirmed_is_silent() -> None:
    tape = asked("dispute", {"c000": (lie_of_edge(1),)})
    lie = edit(
        tape.answer("c000"),
        identity("c000"),
        Openings,
        lambda body: replace(body, masks=(OpenedMask(1, bytes(32)),)),
    )
    with pytest.raises(BadShare) as caught:
        tape.deliver(lie)
    assert caught.value.culprit == "c000"


def charging(tape: Tape, *charges: Charge) -> bytes:
    """What an aggregator that has a quorum's signatures asks of the victim."""
    request = tape.requests["excise-1"][VICTIM]
    return edit(request, ME, Agreed, lambda body: replace(body, backend=encode(Charges(charges))))


def test_nobody_is_taken_out_without_a_proof() -> None:
    """The naive version opens whomever the aggregator names: both the seed and the mask key of an honest client."""
    cheat: dict[str, tuple[Bend, ...]] = {"c003": (flip_behind_self_mask,)}
    tape = asked("excise-1", cheat)
    true = decode(Charges, decode(Agreed, header_of(tape.requests["excise-1"][VICTIM]).body, 1 << 20).backend, 1 << 20)
    (charge,) = true.items
    assert charge.culprit == 3
    kept = tape.aggregator._side._screened
    honest = Charge(
        "bad-self-mask",
        2,
        (kept.judge.report(2), kept._seeds(frozenset({2}), tape.aggregator._side._released, {})[2]),
    )
    refused_by(tape, charging(tape, honest), match="a charge proves nothing", goes_on=False)
    for charges in (
        (honest, charge),
        (replace(charge, culprit=4),),
        (replace(charge, kind="bad-mood"),),
        (replace(charge, exhibits=()),),
        (charge, charge),
        (),
        (replace(charge, culprit=1),),
        (replace(charge, culprit=77),),
    ):
        tape = asked("excise-1", cheat)
        convicted = bool(charges)  # also by charges that were proved in another session
        refused_by(tape, charging(tape, *charges), goes_on=not convicted)
        assert [proof.kind for proof in tape.client(VICTIM).faults] == (["false-charge"] if convicted else [])


def test_who_is_taken_out_is_asked_for_once() -> None:
    """The same request is answered with the same bytes, and no other, also after a restart."""
    tape = asked("excise-1", {"c003": (flip_behind_self_mask,)})
    request = tape.requests["excise-1"][VICTIM]
    answer = tape.client(VICTIM).receive(request)
    assert answer
    assert tape.client(VICTIM).receive(request) == answer
    true = decode(Charges, decode(Agreed, header_of(request).body, 1 << 20).backend, 1 << 20)
    another = charging(tape, *(replace(charge, culprit=4) for charge in true.items))
    phases = ("advertise", "share-keys", "confirm-edges", "masked-input", "screen", "consistency", "unmask")
    for answered in (phases, (*phases, "excise-1")):
        again = tape.federation.client(VICTIM)
        again.resume([tape.requests[phase][VICTIM] for phase in answered], lambda: tape.federation.updates[VICTIM])
        assert again.receive(request) == answer
    with pytest.raises(AlreadyReleased):
        again.receive(another)


def test_a_client_masks_no_edge_that_it_has_not_accepted() -> None:
    tape = asked("masked-input", {"c000": (confirm_wrongly(1),)})
    more = edit(
        tape.requests["masked-input"][VICTIM], ME, Confirmed, lambda body: replace(body, peers=(0, *body.peers))
    )
    refused_by(tape, more, match="each one accepted")


def test_a_round_that_ends_before_anybody_is_known_names_nobody() -> None:
    tape = Tape.start(Federation(N, options=ON))
    with pytest.raises(TooFewClients):
        tape.advance()
    assert tape.aggregator.faults == ()


def lie_of_every_edge(side: Any) -> None:
    """Its numbers explain its input: the masks' lies cancel in the one for the self mask."""

    def change(me: Any, request: bytes, said: Report) -> Report:
        own = sum(-1 if me._me < peer else 1 for peer in said.peers)
        return shifted(said, {None: own} | dict.fromkeys(said.peers, 1))

    report(side, change)


def test_where_not_all_disputes_fit_in_a_message_the_other_ends_open_their_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judge, "_REPORT_BYTES", 20_000)  # 3 reports to a message
    played = Screened(Federation(N, options=ON), {"c004": (lie_of_every_edge,)})
    played.play()
    assert (played.check_sum(), played.named) == (others("c004"), {"c004": "bad-edge"})
    monkeypatch.setattr(judge, "_REPORT_BYTES", 100_000)  # none
    played = Screened(Federation(N, options=ON), {"c004": (lie_of_every_edge,)})
    played.play()
    assert (played.check_sum(), played.named) == (others("c004"), {})


def test_charges_that_do_not_fit_in_one_message_are_made_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(screened, "header_limit", lambda clients: 64)
    cheats = {"c004": (flip_behind_self_mask,), "c008": (deal_bad_seeds,)}
    played = Screened(Federation(N, options=ON), cheats)
    played.play()
    assert played.phases[-2:] == ["excise-1", "excise-2"]
    assert played.named == {"c004": "bad-self-mask", "c008": "bad-seed-shares"}
    assert played.check_sum() == others("c004", "c008")


def test_an_input_that_can_not_be_kept_or_added_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = asked("masked-input")
    good = tape.answer(VICTIM)
    with pytest.raises(BadInput):
        tape.deliver(forge(good, identity(VICTIM), bulk=b"\xff" * len(bulk_of(good))))
    kept = tape.aggregator._side._screened.inputs

    class Full:
        seek = flush = staticmethod(lambda *_: None)

        def write(self, _: object) -> None:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(kept, "_file", Full())
        with pytest.raises(StoreError, match="No space left"):
            tape.deliver(good)
    assert kept.items == {}
    assert not tape.aggregator._side._sum.total.any()
    tape.deliver(good)
    tape.answer_all(but=(VICTIM,))
    tape.advance()
    assert tape.finish().participants == others()
