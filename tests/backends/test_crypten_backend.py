"""Rounds of backend ``crypten``: numpy's averages, who is accepted, what is refused, and what the evidence shows."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.federation import Federation, assert_is_mean, identity, on_grid
from support.pace.effort import examples
from support.shares.crypten_round import (
    MEDIAN,
    NORM,
    PARTIES,
    TRIMMED,
    Session,
    add,
    expected_middle,
    federation,
    judge,
    limb_at,
    open_letter,
    play,
    put,
    randomness_at,
    sharing,
    value_at,
)

import secure_agg
from mpc.ring import P
from mpc.words import Words
from secure_agg import Ledger
from secure_agg.backends.contract.setup import AggregatorSet
from secure_agg.backends.crypten import compute, rules
from secure_agg.errors import ClippingWarning, ConfigError, TooFewClients, TrustError, VerificationError
from secure_agg.protocol.claims import ATTESTED, CLAIMS, SUM
from secure_agg.protocol.codec import FixedPoint, model_digest
from secure_agg.protocol.config import Option, Policy, RoundConfig
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Signature
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.trust import Trust
from secure_agg.tlog.receipt import Receipt
from zk.parameters import noise_top

FUNCTIONS: Mapping[str, Mapping[str, int]] = {"sum": NORM, "trimmed": TRIMMED, "median": MEDIAN}


def assert_exact(tape: Session, evidence: Evidence, participants: list[str], trim: int | None = None) -> None:
    assert list(evidence.participants) == participants
    where = tape.federation
    if trim is None:
        average = Auditor(where.trust).verify(evidence).average
        weights = dict.fromkeys(where.names, 1)
        assert_is_mean(average, where.updates, weights, evidence.participants, evidence.config)
        return
    expected = expected_middle(where.updates, participants, where.policy, trim)
    average = Auditor(where.trust).verify(evidence).average
    assert all(np.array_equal(got, want) for got, want in zip(average, expected, strict=True))


# --- the average ----------------------------------------------------------------------------------------------


def test_the_norm_bounded_sum_is_numpys_weighted_mean_without_whom_the_bound_leaves_out() -> None:
    rng = np.random.default_rng(3)
    updates: dict[str, list[Any]] = {
        f"c{i}": [rng.normal(size=(4, 5)).astype(np.float32), rng.normal(size=7)] for i in range(6)
    }
    updates["c4"] = [array * 50 for array in updates["c4"]]
    weights = {f"c{i}": 40 + i * i for i in range(6)}
    with pytest.warns(ClippingWarning):
        result = secure_agg.aggregate(updates, weights=weights, backend="crypten", options=NORM)
    assert result.participants == ("c0", "c1", "c2", "c3", "c5")
    assert result.record.claim == SUM
    assert_is_mean(result.average, updates, weights, result.participants, result.evidence.config)
    assert result.record.weight_sum == sum(weights[name] for name in result.participants)


@pytest.mark.parametrize("n", [4, 5])
@pytest.mark.parametrize("options", [TRIMMED, MEDIAN], ids=["trimmed", "median"])
def test_middles_of_even_and_odd_numbers_are_numpys_also_with_ties(options: Mapping[str, int], n: int) -> None:
    rng = np.random.default_rng(n)
    where = federation(options, n)
    where.updates = {
        name: [on_grid(rng.integers(-2, 2, shape).astype(np.float64), where.policy) for shape in where.shapes]
        for name in where.names
    }
    tape = play(where)
    trim = 1 if options is TRIMMED else (n - 1) // 2
    evidence = tape.finish()
    assert_exact(tape, evidence, where.names, trim)
    verified = Auditor(where.trust).verify(evidence)
    assert (verified.record.claim, verified.record.weight_sum) == (ATTESTED, n - 2 * trim)
    if options is MEDIAN:
        step = FixedPoint(where.policy).step
        for i, array in enumerate(verified.average):
            median = np.median(np.stack([where.updates[name][i] for name in where.names]), axis=0)
            assert np.abs(array - median).max() <= step


@pytest.mark.parametrize("options", FUNCTIONS.values(), ids=list(FUNCTIONS))
def test_clients_that_say_nothing_are_left_out_and_everybody_can_check_the_result(options: Mapping[str, int]) -> None:
    where = federation(options)
    tape = Session(where, where.round({"c001": "advertise"}))
    tape.open(tape.aggregator.start())
    evidence = tape.finish()
    assert_exact(tape, evidence, ["c000", "c002", "c003", "c004"], None if options is NORM else 1)
    verified = tape.local.deliver()
    assert set(verified) == set(where.names) - {"c001"}
    for item in verified.values():
        assert item.record == Auditor(where.trust).verify(evidence).record
    assert {tape.client(name).state for name in verified} == {"done"}


@pytest.mark.parametrize("options", FUNCTIONS.values(), ids=list(FUNCTIONS))
def test_rounds_follow_each_other_in_a_ledger_and_pass_its_audit(options: Mapping[str, int], tmp_path: Path) -> None:
    path, updates = tmp_path / "rounds.db", federation().updates
    first = secure_agg.aggregate(updates, backend="crypten", options=options, ledger=path)
    second = secure_agg.aggregate(
        updates, backend="crypten", options=options, ledger=path, dropouts={"c003": "advertise"}
    )
    assert second.record.previous_record == first.record.digest()
    assert [result.record.claim for result in (first, second)] == [SUM if options is NORM else ATTESTED] * 2
    with Ledger(path, read_only=True) as ledger:
        assert ledger.audit().size == 2
        for result in (first, second):
            assert result.receipt is not None
            Receipt.from_bytes(result.receipt.to_bytes()).verify(result.record.to_bytes(), ledger.verifier_key)


# --- who is accepted ------------------------------------------------------------------------------------------

UNIT_STEP: Mapping[str, Any] = {"bits": 8, "clip": 127.0, "max_weight": 70_000}  # one step is exactly 1; three limbs


def vector_of(config: RoundConfig, values: list[int], weight: int = 1) -> list[int]:
    """What an honest client sends, distances from the centre given; every random coordinate at its greatest."""
    layout = config.layout
    around = [127 + value for value in values] + [127] * (layout.values - len(values))
    limbs = [weight >> (7 * i) & 127 for i in range(layout.limbs)]
    return around + limbs + [noise_top(8, config.policy.max_clients)] * layout.randomness


def with_coordinate(vector: list[int], place: int, value: int) -> list[int]:
    return [value % 2**64 if i == place else old for i, old in enumerate(vector)]


def test_exactly_what_an_honest_client_can_send_within_the_bound_is_accepted() -> None:
    where = federation({"norm_bound_milli": 5_000}, policy_changes=UNIT_STEP, shapes=((4,),))
    config = where.config()
    layout = config.layout
    assert layout.limbs == 3
    fine, cases = vector_of(config, []), list[tuple[list[int], bool]]()
    cases += [(vector_of(config, values), True) for values in ([], [5], [-5], [3, 4], [-4, 0, 3])]
    cases += [(vector_of(config, values), False) for values in ([6], [5, 1], [3, 4, 1], [-127], [127, 127, 127, 127])]
    cases += [(vector_of(config, [], weight), 1 <= weight <= 70_000) for weight in (0, 1, 255, 256, 70_000, 70_001)]
    cases += [(vector_of(config, [], weight), False) for weight in (2**17 - 1, 2**17, 2**21 - 1)]
    cases += [(with_coordinate(fine, layout.values, 256), False)]  # a weight in range, from a limb that isn't
    cases += [(with_coordinate(vector_of(config, [], 512), layout.values, -255), False)]
    for place in (0, 3, layout.values, layout.values + 2, layout.committed, layout.total - 1):
        least = 256 if place < layout.committed else noise_top(8, config.policy.max_clients) + 1
        for value in (least, -1, 2**32, 2**63, P, 2 * P, P + fine[place], 2**32 + fine[place], 2**63 + fine[place]):
            cases += [(with_coordinate(fine, place, value), False)]
    for start in range(0, len(cases), 60):
        part = cases[start : start + 60]
        matrix = np.array([vector for vector, _ in part], np.uint64)
        assert judge(config, matrix) == tuple(accepted for _, accepted in part)


@examples(6, 50)
def test_a_verdict_follows_from_the_clients_own_vector(examples: int) -> None:
    @settings(max_examples=examples)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        where = federation({"norm_bound_milli": 9_000}, policy_changes=UNIT_STEP, shapes=((4,),))
        config = where.config()
        layout = config.layout
        near = st.one_of(
            st.integers(-1, 1),
            st.integers(255, 257),
            st.integers(1023, 1025),
            st.sampled_from((P, 2**31, 2**32, 2**63, 2**64 - 1)),
        )
        rows = []
        for _ in range(data.draw(st.integers(1, 8))):
            row = vector_of(
                config, data.draw(st.lists(st.integers(-7, 7), max_size=4)), data.draw(st.integers(0, 70_001))
            )
            for place in data.draw(st.lists(st.integers(0, layout.total - 1), max_size=2)):
                row = with_coordinate(row, place, data.draw(near))
            rows.append(row)

        def honest(row: list[int]) -> bool:
            weight = sum(limb << (7 * i) for i, limb in enumerate(row[layout.values : layout.committed]))
            squared = sum((value - 127) ** 2 for value in row[: layout.values])
            if max(row[layout.committed :]) > noise_top(8, config.policy.max_clients):
                return False
            return max(row[: layout.committed]) < 256 and 1 <= weight <= 70_000 and squared <= 81

        assert judge(config, np.array(rows, np.uint64)) == tuple(map(honest, rows))

    check()


def test_an_update_may_need_a_whole_step_more_than_its_norm_in_each_value() -> None:
    """Rounded away from 0, tiny values are a step off; a step is 1 here, and nothing is further off."""
    policy = Policy.default(3, backend="crypten", bits=8, clip=127.0, options=(Option("norm_bound_milli", 3_999),))
    fixed, out = FixedPoint(policy), np.zeros(4097, np.uint32)
    assert rules.squared_bound(policy) == 15
    for value in (-0.75, 0.75, -1e-12):
        fixed.encode([np.full(4096, value)], 1, bytes(32), out)
        distances = out[:4096].astype(np.int64) - rules.centre(policy)
        assert set(distances.tolist()) <= {0, int(np.copysign(1, value))}


CHEATS: Mapping[str, Mapping[str, Any]] = {
    "values": {
        "c001": put(value_at(0), 1 << 16),
        "c003": put(value_at(12), -1),
        "c006": add(value_at(5), P),
        "c010": add(value_at(5), 1 << 63),
    },
    "weights": {
        "c000": put(limb_at(0), 0),
        "c004": put(limb_at(0), 2),
        "c005": put(limb_at(0), -1),
        "c011": add(limb_at(0), P),
    },
    "randomness": {
        "c002": put(randomness_at(0), 2**64 - 1),
        "c007": put(randomness_at(1), 1 << 32),
        "c008": put(randomness_at(-1), 1 << 63),
        "c009": add(randomness_at(9), 3 * P),
    },
}


@pytest.mark.parametrize("options", [NORM, MEDIAN], ids=["sum", "median"])
@pytest.mark.parametrize("where", CHEATS)
def test_clients_that_share_what_no_honest_client_has_are_left_out(
    where: str, options: Mapping[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A multiple of p keeps the commitment right modulo p, and what is added on top would be in the result."""
    sharing(monkeypatch, CHEATS[where])
    tape = play(federation(options, 12))
    rest = [name for name in tape.federation.names if name not in CHEATS[where]]
    assert_exact(tape, tape.finish(), rest, None if options is NORM else (len(rest) - 1) // 2)


def test_with_fewer_accepted_than_min_clients_nothing_is_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    sharing(monkeypatch, {"c000": put(value_at(0), -1), "c001": put(limb_at(0), 0), "c002": put(value_at(1), -1)})
    tape = play(federation()).until("filter")
    tape.answer_all()
    with pytest.raises(TooFewClients) as caught:
        tape.advance()
    assert (caught.value.phase, tape.phase) == ("consistency", "aborted")


# --- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({}, {}),  # no bound
        ({"norm_bound_milli": 0}, {}),
        ({"norm_bound_milli": 1, "bits": 3}, {}),
        ({**NORM, "trim": 1}, {}),
        ({**NORM, "function": 3}, {}),
        ({**NORM, "aggregators": 1}, {}),
        ({**NORM, "aggregators": 6}, {}),
        ({**NORM, "threshold": 2}, {}),
        ({**NORM, "norm_bound": 20}, {}),
        ({"function": 1}, {}),  # no trim
        ({"function": 1, "trim": 2}, {}),  # of three clients nobody would be left
        ({**TRIMMED, "norm_bound_milli": 1}, {}),
        ({**MEDIAN, "trim": 1}, {}),
        ({**MEDIAN, "norm_bound_milli": 1}, {}),
        (MEDIAN, {"max_weight": 2}),
        (TRIMMED, {"max_weight": 7}),
        (NORM, {"max_clients": 65}),
        ({"norm_bound_milli": 1}, {"clip": 127.0, "bits": 8}),  # below one step
    ],
)
def test_unfit_settings_are_refused(options: dict[str, int], more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        secure_agg.aggregate(federation(n=3).updates, backend="crypten", options=options, **more)


def test_without_options_a_line_says_what_to_add() -> None:
    with pytest.raises(ConfigError) as refused:
        secure_agg.aggregate(federation(n=3).updates, backend="crypten")
    said = str(refused.value)
    assert "\n" not in said
    for options in (r"{'norm_bound_milli': 5000}", r"{'function': 1, 'trim': 1}", r"{'function': 2}"):
        assert options in said
        given = tuple(Option(name, value) for name, value in literal_eval(options).items())
        rules.check(Policy.default(3, backend="crypten", max_weight=1, options=given))  # what it says is taken


@pytest.mark.parametrize(
    ("options", "bits", "size", "why"),
    [
        (NORM, 24, (1 << 15) + 1, "fewer bits"),
        (MEDIAN, 16, 1 << 29, "bytes is above"),
        (MEDIAN, 16, (1 << 28) - 5000, "words of shares"),
    ],
)
def test_a_model_too_large_to_be_computed_on_is_refused_before_anybody_sends(
    options: Mapping[str, int], bits: int, size: int, why: str
) -> None:
    where = federation(options, 5, policy_changes={"bits": bits})
    with pytest.raises(ConfigError, match=why):
        where.aggregator(shapes=((size,),))


def test_a_bound_beyond_what_any_vector_in_range_reaches_bounds_nothing() -> None:
    where = federation({"norm_bound_milli": 2**32 - 1}, policy_changes={"clip": 1e-9}, shapes=((4,),))
    where.updates = {name: [np.full(4, 1e-9)] for name in where.names}
    assert rules.squared_bound(where.policy) == 2**63 - 1
    tape = play(where)
    assert_exact(tape, tape.finish(), where.names)


def test_parties_without_crypten_say_so_before_any_client_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secure_agg.extras.is_there", lambda name: False)
    tape = play(federation())
    with pytest.raises(ConfigError, match="pip install"):
        tape.answer(PARTIES[0])


# --- evidence -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rounds() -> Mapping[str, tuple[Federation, Evidence]]:
    """One finished round of each function; tests alter copies only."""
    found = {}
    for name, options in FUNCTIONS.items():
        tape = play(federation(options))
        found[name] = (tape.federation, tape.finish())
    return found


def changed(evidence: Evidence, **fields: Any) -> Evidence:
    return Evidence(**{name: getattr(evidence, name) for name in evidence.__dataclass_fields__} | fields)


def with_sums(evidence: Evidence, place: int, by: int, addends: int) -> Evidence:
    """Another result with its own right digest, where it decodes at all."""
    sums = evidence.sums.copy()
    sums[place] += np.uint32(by)
    config = evidence.config
    try:
        average, _ = FixedPoint(config.policy).decode(sums[: config.layout.committed], addends, config.shapes)
    except VerificationError:
        return changed(evidence, sums=sums)
    return changed(evidence, sums=sums, result_model=model_digest(average))


def refused(evidence: Evidence, trust: Trust | None, error: type[VerificationError] = VerificationError) -> None:
    for item in (evidence, Evidence.from_bytes(evidence.to_bytes())):
        with pytest.raises(error):
            secure_agg.verify(item, trust, claims=CLAIMS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_evidence_verifies_with_and_without_pins_and_not_with_others(
    name: str, rounds: Mapping[str, tuple[Federation, Evidence]]
) -> None:
    where, evidence = rounds[name]
    again = Evidence.from_bytes(evidence.to_bytes())
    assert again.to_bytes() == evidence.to_bytes()
    assert secure_agg.verify(again, claims=CLAIMS).pinned == frozenset()
    assert secure_agg.verify(again, where.trust).pinned == {"policy", "roster", "operators"}
    tasks, operators = where.trust.tasks, dict(where.trust.operators)
    other = Trust(tasks=tasks, operators=Roster(operators | {PARTIES[2]: identity("aggregator-9").public}))
    refused(evidence, other, TrustError)
    refused(evidence, Trust(tasks=tasks, operators=Roster({**operators, "another": identity("x").public})), TrustError)
    refused(evidence, Trust(tasks=federation({"norm_bound_milli": 1}).trust.tasks, operators=where.trust.operators))


@pytest.mark.parametrize("name", ["trimmed", "median"])
def test_no_altered_attested_round_passes(name: str, rounds: Mapping[str, tuple[Federation, Evidence]]) -> None:
    where, evidence = rounds[name]
    layout, (one, two, three) = evidence.config.layout, evidence.attestation
    addends = rules.addends(where.policy, 5)
    other = rounds["median" if name == "trimmed" else "trimmed"][1]
    signed = [Signature(item.name, identity(item.name).sign(b"something else")) for item in evidence.attestation]
    altered = {
        "a value": with_sums(evidence, 0, 1, addends),
        "the number": with_sums(evidence, layout.values, 1, addends),
        "randomness": with_sums(evidence, -1, 1, addends),
        "the model": changed(evidence, result_model=bytes(32)),
        "no attestation": changed(evidence, attestation=()),
        "one is missing": changed(evidence, attestation=(one, two)),
        "one is there twice": changed(evidence, attestation=(one, two, two)),
        "two are exchanged": changed(evidence, attestation=(one, three, two)),
        "one signs for another": changed(evidence, attestation=(one, two, Signature(three.name, two.signature))),
        "one signs something else": changed(evidence, attestation=(one, two, signed[2])),
        "of another round": changed(evidence, attestation=other.attestation),
        "a member left out": changed(evidence, openings=evidence.openings[1:]),
        "a member renamed": changed(
            evidence,
            openings=(*evidence.openings[:4], msgspec.structs.replace(evidence.openings[4], name="c009")),
        ),
        "an agreement of two": changed(evidence, agreement=evidence.agreement[:2]),
        "no agreement": changed(evidence, agreement=()),
        "no setup": changed(evidence, setup=b""),
        "parties out of order": changed(evidence, setup=_reversed(evidence.setup)),
        "another attempt": changed(evidence, config=msgspec.structs.replace(evidence.config, attempt=1)),
    }
    for what, item in altered.items():
        for trust in (None, where.trust):
            with pytest.raises(VerificationError):
                pytest.fail(f"{what}: {secure_agg.verify(item, trust, claims=CLAIMS)}")


def _reversed(setup: bytes) -> bytes:
    return AggregatorSet(msgspec.msgpack.decode(setup, type=AggregatorSet).members[::-1]).to_bytes()


def test_a_vector_that_all_parties_sign_is_still_checked_for_its_form(
    rounds: Mapping[str, tuple[Federation, Evidence]],
) -> None:
    """All k parties together may say what they like, but not that a mean is out of range or of other clients."""
    where, evidence = rounds["median"]
    session = Auditor(where.trust).verify(evidence).record.session
    layout, top = evidence.config.layout, (1 << where.policy.bits) - 1

    def attested(place: int, value: int) -> Evidence:
        sums = evidence.sums.copy()
        sums[place] = value
        root = Auditor(claims=CLAIMS).verify(evidence).record.participants_root
        message = secure_agg.protocol.agreement.attested_bytes(session, root, sums)
        signed = tuple(Signature(name, identity(name).sign(message)) for name in PARTIES)
        return with_sums(changed(evidence, sums=sums, attestation=signed), 0, 0, 1)

    assert secure_agg.verify(attested(0, 7), where.trust).record.claim == ATTESTED
    for place, value in ((0, top + 1), (layout.values, 0), (layout.values, 2), (layout.committed, 1), (-1, 1)):
        refused(attested(place, value), where.trust)


def test_an_attested_round_cant_pass_as_a_sum_nor_a_sum_as_attested(
    rounds: Mapping[str, tuple[Federation, Evidence]],
) -> None:
    bounded, attested = rounds["sum"][1], rounds["median"][1]
    refused(changed(bounded, attestation=attested.attestation), None)
    refused(changed(attested, config=bounded.config), None)
    refused(changed(bounded, config=attested.config), None)
    refused(changed(bounded, config=attested.config, attestation=attested.attestation), None)
    for evidence in (bounded, attested):
        claim = secure_agg.verify(evidence, claims=CLAIMS).record.claim
        assert claim == (SUM if evidence is bounded else ATTESTED)


# --- secrets --------------------------------------------------------------------------------------------------


def test_seeds_and_pads_differ_between_parties_clients_and_rounds() -> None:
    seen: list[bytes] = []
    for number in range(2):
        tape = play(federation(n=4), round=number).until("collect-shares")
        for data in tape.post.letters.values():
            opened = open_letter(data)
            seen += [opened.key, opened.pad, *([opened.seed] if opened.seed else [])]
    assert len(set(seen)) == len(seen) == 2 * 4 * (3 + 3 + 2)


def test_a_restarted_client_sends_the_identical_letters() -> None:
    tape = play(federation()).until("collect-shares")
    again = tape.federation.client("c000")
    again.join(tape.requests["advertise"]["c000"], tape.federation.updates["c000"])
    for letter in again.outbox:
        assert letter.data == tape.post.letters["c000", letter.recipient]


def test_long_shares_look_uniform_whatever_the_update() -> None:
    """All but one share are a key stream, so what is left of a constant vector has the bits of noise."""
    where = federation(n=3)
    where.updates = {name: [np.zeros(shape, np.float32) for shape in where.shapes] for name in where.names}
    tape = play(where).until("collect-shares")
    longs: list[Words] = [
        np.frombuffer(opened.long, "<u8") for data in tape.post.letters.values() if (opened := open_letter(data)).long
    ]
    assert len(longs) == 3
    for words in longs:
        ones = np.unpackbits(words.view(np.uint8)).mean()
        assert abs(ones - 0.5) < 0.01  # of 160,000 bits: 8 standard deviations
    for one, other in pairwise(longs):
        assert not np.intersect1d(one, other).size


def test_nothing_secret_shows_in_a_repr() -> None:
    tape = play(federation()).until("filter")
    holder = tape.local.holders[PARTIES[0]]
    side = next(iter(holder._rounds.values())).side  # type: ignore[attr-defined]
    shown = repr(side) + repr(side._shares) + repr(side._place) + repr(tape.aggregator._side.__dict__) + repr(holder)
    shown += repr(compute._pool._jobs) + repr(tape.client("c000")._joined.side)
    secrets: list[bytes] = []
    for data in tape.post.letters.values():
        opened = open_letter(data)
        secrets += [opened.key, opened.pad, opened.seed, opened.long[:8]]
    for secret in filter(None, secrets):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
