"""Large cohorts: clients choose their own neighbours, and everything else stays as it is."""

from __future__ import annotations

from typing import Final

import pytest
from support.federation import Federation, Tape, assert_is_mean, edit, identity, replace

from secure_agg.backends.masking import rules
from secure_agg.backends.masking.wire import Choice, Choosers, Edges
from secure_agg.errors import BadSignature, MalformedMessage, PolicyViolation, TooFewClients

ME = identity("aggregator")
CROWD: Final = 60
"""A graph of so many is planned for six of them to fall silent; below one falls silent at each of five phases."""


def large() -> Federation:
    return Federation(CROWD, shapes=((4,),), options={"complete_up_to": 50}, policy_changes={"bits": 12})


def test_a_round_on_a_sparse_graph_is_exact_with_dropouts_at_every_phase() -> None:
    federation = large()
    phases = ("choose-peers", "share-keys", "masked-input", "consistency", "unmask")
    silent = {f"c{7 * i + 3:03d}": phase for i, phase in enumerate(phases)}
    tape = Tape.start(federation, silent)
    evidence = tape.finish()
    plan = rules.plan(tape.aggregator.session)
    assert not plan.complete
    assert plan.neighbours < CROWD / 2
    kept = tuple(name for name in federation.names if silent.get(name, "unmask") in ("consistency", "unmask"))
    assert evidence.participants == kept
    weights = dict.fromkeys(federation.names, 1)
    assert_is_mean(tape.aggregator.verified.average, federation.updates, weights, kept, evidence.config)


def test_bad_choices_and_relays_are_refused() -> None:
    federation = large()
    tape = Tape.start(federation).until("choose-peers")
    good = tape.answer("c000")
    for change in (
        lambda body: replace(body, peers=body.peers[:-1]),
        lambda body: replace(body, peers=body.peers[::-1]),
        lambda body: replace(body, peers=(0, *body.peers[1:])),
        lambda body: replace(body, peers=(*body.peers[:-1], CROWD)),
    ):
        with pytest.raises(MalformedMessage) as caught:
            tape.deliver(edit(good, identity("c000"), Choice, change))
        assert caught.value.culprit == "c000"
    tape.deliver(good)
    tape.answer_all(but=("c000",))
    tape.advance()

    request = tape.requests["share-keys"]["c000"]

    def not_chosen(body: Choosers) -> Choosers:
        other = next(
            choice
            for i, choice in tape.aggregator._side._choices.items()
            if i and 0 not in tape.aggregator._side._chosen[i]
        )
        return replace(body, choices=tuple(sorted((*body.choices, other), key=lambda c: c.chooser)))

    def unsigned(body: Choosers) -> Choosers:
        return replace(body, choices=(replace(body.choices[0], signature=bytes(64)), *body.choices[1:]))

    def twice(body: Choosers) -> Choosers:
        return replace(body, choices=(body.choices[0], *body.choices))

    for change, error in ((not_chosen, PolicyViolation), (unsigned, BadSignature), (twice, PolicyViolation)):
        with pytest.raises(error):
            tape.client("c000").receive(edit(request, ME, Choosers, change))
    tape.until("masked-input")
    peers = tape.client("c000")._joined.side._chosen

    def withhold(body: Edges) -> Edges:
        return replace(body, edges=tuple(edge for edge in body.edges if edge.peer not in peers[:20]))

    with pytest.raises(TooFewClients):
        tape.client("c000").receive(edit(tape.requests["masked-input"]["c000"], ME, Edges, withhold))


def test_a_cohort_too_small_for_a_sparse_graph_gets_a_complete_one() -> None:
    federation = Federation(3, options={"complete_up_to": 2})
    tape = Tape.start(federation)
    tape.finish()
    assert rules.plan(tape.aggregator.session).complete
