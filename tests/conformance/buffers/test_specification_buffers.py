"""Section 20 against the product: what one takes the other takes, and what one refuses the other refuses.

Refused is what everybody in it has signed: it is made by a product that looks away at one place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import conformance.buffers.independent_buffers as spec_buffers
import conformance.independent_verifier as spec
import numpy as np
import pytest
from conformance.verdicts import fault_verdict, rearranged, verdict
from support.buffered import Buffered, model
from support.federation import Tape, header_of, replace
from support.shares.additive_round import A1, Crooked, cheating, open_letter, plus, reseal, unit

from mpc.ring import Vector
from secure_agg import AttemptStore
from secure_agg.backends.additive import rules
from secure_agg.backends.additive.client import AdditiveClient
from secure_agg.backends.additive.wire import ShareLetter
from secure_agg.errors import DealerFault, LedgerRefused, TooFewClients
from secure_agg.fl.algorithms.buffered import discount
from secure_agg.fl.server_optimizers import discounted
from secure_agg.ledger.chain import check_follows
from secure_agg.protocol.config import NO_DIGEST
from secure_agg.protocol.config.buffer import Base, Bases
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import decode
from secure_agg.roles.auditor import Auditor

WHO = ("c000", "c001", "c002")


@cache
def rounds() -> tuple[Buffered, tuple[Evidence, ...]]:
    """Three rounds, with updates from older bases in the later two."""
    where = Buffered()
    found = []
    for who, older in ((WHO, ()), (("c000", "c003", "c004"), "c003"), (("c000", "c001", "c003"), "c001")):
        where.based = {older: where.bases[0].model} if older else {}
        found.append(where.play(*who))
        where.go_on(found[-1])
    return where, tuple(found)


def test_both_accept_the_rounds_of_the_product_and_read_the_same_bases() -> None:
    where, found = rounds()
    for evidence in found:
        assert verdict(evidence.to_bytes()) == verdict(evidence.to_bytes(), where.trust.to_json()) is not None
        own, other = Auditor(where.trust).verify(evidence), spec.verify(evidence.to_bytes())
        assert other["based"] == own.based
        assert [(b["number"], b["record"], b["model"]) for b in other["bases"]] == [
            (base.number, base.record, base.model) for base in own.bases
        ]
    assert set(own.based.values()) == {1, 2}


def test_both_compute_the_same_step_and_the_same_weights() -> None:
    where, found = rounds()
    record = spec.verify(found[2].to_bytes())
    mean = [np.linspace(-1, 1, 7)]
    own = Auditor(where.trust).verify(found[2]).record
    step = discounted(mean, own.weight_sum, own.participants, own.weight_limit)
    assert np.array_equal(step[0], mean[0] * spec_buffers.share(record))
    assert discounted(mean, 2, 3, 7)[0].tolist() == (mean[0] * (2 / 21)).tolist()
    assert [discount(age, 1024) for age in range(256)] == [spec_buffers.weight(1024, age) for age in range(256)]


def test_both_know_which_bases_a_round_has_after_the_one_before() -> None:
    where, found = rounds()
    before: tuple[Bases | None, list[dict[str, Any]] | None] = (None, None)
    for evidence in found:
        verified, read = Auditor(where.trust).verify(evidence), spec.verify(evidence.to_bytes())
        config = spec.decode("RoundConfig", evidence.config.to_bytes(), 2**20)
        check_follows(evidence.config, verified.bases, verified.record, before[0])
        spec_buffers.check_follows(config, read["bases"], before[1])
        if before[0] is not None and before[1] is not None:
            for own, other in ((None, None), (before[0][:-1] or None, before[1][:-1] or None)):
                with pytest.raises(LedgerRefused):
                    check_follows(evidence.config, verified.bases, verified.record, own)
                with pytest.raises(ValueError, match="base"):
                    spec_buffers.check_follows(config, read["bases"], other)
            crafted = replace(before[0][-1], model=model(66))
            altered = [*before[1][:-1], before[1][-1] | {"model": model(66)}]
            with pytest.raises(LedgerRefused):
                check_follows(evidence.config, verified.bases, verified.record, (*before[0][:-1], crafted))
            with pytest.raises(ValueError, match="base"):
                spec_buffers.check_follows(config, read["bases"], altered)
        before = verified.bases, read["bases"]


@cache
def memories() -> dict[str, bytes]:
    """What clients remember after these rounds."""
    return {name: store.to_bytes() for name, store in rounds()[0].stores.items()}


def after() -> Buffered:
    """The federation after these rounds; its bases are 2 and 3."""
    where, old = Buffered(), rounds()[0]
    where.stores = {name: AttemptStore.of_bytes(pages) for name, pages in memories().items()}
    where.last, where.bases = old.last, old.bases
    return where


# --- what everybody has signed, and nobody may ---------------------------------------------------------------------


def looking_away(patch: pytest.MonkeyPatch) -> None:
    """Nobody checks bases any more."""
    patch.setattr("secure_agg.backends.contract.setup.check_bases", lambda *_, **__: None)
    patch.setattr("secure_agg.roles.client.invitation.choose_base", lambda _s, _c, _t, bases, _m: bases[-1])
    patch.setattr("secure_agg.roles.auditor.auditor.based_on", lambda _: {})


LISTS: dict[str, Callable[[Bases], Bases]] = {
    "one too few": lambda bases: bases[1:],
    "one too many": lambda bases: (Base(1, bytes([7]) * 32, model(1)), *bases),
    "a gap": lambda bases: (Base(1, bytes([7]) * 32, model(1)), bases[1]),
    "another record": lambda bases: (bases[0], replace(bases[1], record=bytes([7]) * 32)),
    "one record twice": lambda bases: (replace(bases[0], record=bases[1].record), bases[1]),
    "no record": lambda bases: (replace(bases[0], record=NO_DIGEST), bases[1]),
    "no model": lambda bases: (replace(bases[0], model=NO_DIGEST), bases[1]),
    "another newest model": lambda bases: (bases[0], replace(bases[1], model=model(66))),
}


@pytest.mark.parametrize("which", LISTS)
def test_both_refuse_bases_that_are_not_the_newest_of_recorded_results(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = after()
    assert [base.number for base in where.bases] == [2, 3]
    with monkeypatch.context() as patch:
        looking_away(patch)
        evidence = where.play(*WHO, bases=LISTS[which](where.bases)).to_bytes()
    assert verdict(evidence) is None
    assert verdict(evidence, where.trust.to_json()) is None


class Elsewhere(AdditiveClient):
    """Signs a model that is none of the bases."""

    def start_from(self, base: bytes) -> None:
        super().start_from(model(66))


class Nowhere(AdditiveClient):
    """Signs no base at all."""

    def start_from(self, base: bytes) -> None:
        return


@pytest.mark.parametrize("how", [Elsewhere, Nowhere])
def test_both_refuse_an_update_that_is_a_difference_from_no_base(
    how: type[AdditiveClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Buffered()
    with monkeypatch.context() as patch:
        looking_away(patch)
        patch.setattr(rules, "check_base", lambda *_, **__: None)
        cheating(patch, how, "c001")
        if how is Nowhere:  # its hashes are shorter by a model
            sizes = lambda config, scheme: (scheme.parties + 1) * 32  # noqa: E731
            patch.setattr(rules, "hashes_bytes", sizes)
            for name in ("c000", "c002"):
                cheating(patch, how, name)
        evidence = where.play(*WHO).to_bytes()
    assert verdict(evidence) is None


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"min_clients": 2}, {}),
        ({"max_corrupt": 2}, {}),
        ({"cohort_size": 5}, {}),
        ({}, {"buffer_staleness": 256}),
        ({}, {"buffer_honest": 1}),
        ({}, {"buffer_honest": None}),
        ({}, {"buffer_honest": None, "buffer_staleness": None}),
        ({}, {"level": 2}),
    ],
    ids=str,
)
def test_both_refuse_a_policy_that_is_none_of_buffered_rounds(
    changes: dict[str, int], options: dict[str, int | None]
) -> None:
    def altered(fields: dict[str, Any]) -> None:
        config = spec.decode("RoundConfig", fields["config"], 2**20)
        named = {item["name"]: item["value"] for item in config["policy"]["options"]} | options
        config["policy"] |= changes
        config["policy"]["options"] = [
            {"name": name, "value": value} for name, value in sorted(named.items()) if value is not None
        ]
        fields["config"] = spec.encode("RoundConfig", config)

    assert verdict(rearranged(rounds()[1][0].to_bytes(), altered)) is None


def test_both_refuse_a_buffered_round_of_a_later_epoch_or_from_no_model() -> None:
    for change in ({"epoch": 1}, {"base_model": NO_DIGEST}):

        def altered(fields: dict[str, Any], change: dict[str, Any] = change) -> None:
            config = spec.decode("RoundConfig", fields["config"], 2**20) | change
            fields["config"] = spec.encode("RoundConfig", config)

        assert verdict(rearranged(rounds()[1][0].to_bytes(), altered)) is None


# --- proofs of fault ------------------------------------------------------------------------------------------------


class Bent(Crooked):
    """One of its shares is not what its own vector leaves."""

    def changed(self, party: int, share: Vector) -> Vector:
        return plus(share, unit(share.size, 0))


def test_both_convict_whoever_splits_badly_in_a_buffered_round(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Buffered()
    cheating(monkeypatch, Bent, "c001")
    tape = Tape.start(where, {"c003": "advertise", "c004": "advertise"})
    with pytest.raises(DealerFault):
        tape.finish()
    (proof,) = tape.aggregator.faults
    assert (proof.kind, proof.culprit) == ("bad-shares", "c001")
    assert fault_verdict(proof.to_bytes(), where.trust.to_json()) == fault_verdict(proof.to_bytes()) == "c001"


def test_both_convict_whoever_names_two_bases_and_nobody_who_names_one() -> None:
    where = after()
    who = {"c003": "advertise", "c004": "advertise"}
    tape = Tape.start(where, who).until("advertise")
    for name in WHO:
        response = tape.local.answer(next(e for e in tape.pending if e.recipient == name), tape.phase)
        assert response is not None
        for letter in tape.local.outbox(name):
            data = letter.data
            if (name, letter.recipient) == ("c001", A1):
                data = reseal(data, hashes=open_letter(data).letter.hashes[:-32] + where.bases[0].model)
            tape.local.holders[letter.recipient].receive(data)
        tape.deliver(response)
    tape.advance()
    with pytest.raises(TooFewClients):
        tape.finish()
    (proof,) = tape.aggregator.faults
    assert (proof.kind, proof.culprit) == ("two-commitments", "c001")
    assert fault_verdict(proof.to_bytes(), where.trust.to_json()) == "c001"
    body = header_of(proof.exhibits[1]).body
    assert decode(ShareLetter, body, 1 << 20).hashes[-32:] == where.bases[0].model
    honest = replace(proof, exhibits=(proof.exhibits[0], tape.local.clients["c001"].outbox[0].data))
    assert fault_verdict(honest.to_bytes(), where.trust.to_json()) is None
