"""One suite for every backend: the same average, the same evidence, ledger and receipts, the same refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.federation import (
    Federation,
    Tape,
    assert_is_mean,
    bulk_of,
    forge,
    header_of,
    identity,
    names,
    paillier_key,
    threshold_shares,
)
from support.refusals import refused
from support.third_party import SPLIT, installed

import secure_agg
from mpc.paillier import paillier
from mpc.paillier import threshold as threshold_paillier
from mpc.paillier.threshold import KeyShare
from secure_agg import Ledger
from secure_agg.errors import (
    AlreadyReleased,
    BadCommitment,
    BadShare,
    BadSignature,
    ConfigError,
    DuplicateMessage,
    MalformedMessage,
    RemoteProtocolError,
    SecureAggError,
    TooFewClients,
    UnknownSender,
    UpdateError,
    WrongContext,
    WrongPhase,
)
from secure_agg.local.aggregate import Result
from secure_agg.local.rounds import PHASES
from secure_agg.local.staff import KEY_HOLDERS
from secure_agg.protocol.config import Policy
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.messages import Acceptance, decode, letter_digest
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.shareholder import ShareHolder
from secure_agg.tlog.receipt import Receipt

pytestmark = pytest.mark.filterwarnings("ignore::secure_agg.errors.SecureAggWarning")


class Case(NamedTuple):
    """A backend under test."""

    backend: str
    options: Mapping[str, int]
    phases: tuple[str, ...]
    kept_from: tuple[str, ...]  # a client that falls silent at one of these is in the sum all the same
    examples: int
    clients: int = 5
    bits: int = 16
    norm_bound: float | None = None

    def federation(self) -> Federation:
        changes = {"bits": self.bits, "norm_bound": self.norm_bound}
        return Federation(self.clients, backend=self.backend, options=self.options, policy_changes=changes)

    @property
    def operated(self) -> bool:
        """Whether operators keep shares and sign the set; clients speak once."""
        return "begin" in self.phases

    @property
    def left_out_at(self) -> str:
        """The last phase at which a client that falls silent is left out of the sum."""
        return "advertise" if "masked-input" in self.kept_from else "masked-input"

    @property
    def settings(self) -> dict[str, Any]:
        bounded = {} if self.norm_bound is None else {"norm_bound": self.norm_bound}
        return {"backend": self.backend, "options": self.options, "bits": self.bits} | bounded


MASKED = ("advertise", "share-keys", "masked-input", "consistency", "unmask")
SCREENED = ("advertise", "share-keys", "confirm-edges", "masked-input", "screen", "consistency", "unmask")
PLAIN = ("advertise", "masked-input", "consistency")
LONG = 5000.0
OPENED = ("advertise", "consistency", "masked-input", "decrypt")
LATE = ("screen", "dispute", "consistency", "unmask")
SHARED = ("begin", "advertise", "collect-shares", "consistency", "reveal-commitments", "partial-sum")
SPLIT_PHASES = ("begin", "advertise", "collect", "consistency", "sum")
CASES = {
    "masking": Case("masking", {}, MASKED, LATE, examples=10),
    "screened masking": Case(
        "masking",
        {"screening": 1},
        SCREENED,
        LATE[1:],
        examples=8,
    ),
    "screened masking, bounded": Case("masking", {"screening": 1}, SCREENED, LATE[1:], examples=0, norm_bound=LONG),
    "plain": Case("plain", {}, PLAIN, LATE, examples=8),
    "bfv": Case("bfv", {}, OPENED, ("unmask",), examples=4),
    "ckks": Case("ckks", {}, OPENED, ("unmask",), examples=4),
    "paillier": Case("paillier", {"modulus_bits": 2048}, OPENED, ("unmask",), examples=4),
    "committee": Case(
        "paillier", {"modulus_bits": 2048, "holders": 4}, OPENED, ("unmask",), examples=2, clients=4, bits=8
    ),
    "additive": Case("additive", {}, SHARED, PHASES[1:], examples=8),
    "additive 2 of 4": Case("additive", {"aggregators": 4, "threshold": 2}, SHARED, PHASES[1:], examples=6),
    # With a norm that is bounded, and proved, beyond what these updates have.
    "masking, bounded": Case("masking", {"screening": 0}, MASKED, LATE, examples=0, norm_bound=LONG),
    "plain, bounded": Case("plain", {}, PLAIN, LATE, examples=0, norm_bound=LONG),
    "bfv, bounded": Case("bfv", {}, OPENED, ("unmask",), examples=0, norm_bound=LONG),
    "ckks, bounded": Case("ckks", {}, OPENED, ("unmask",), examples=0, norm_bound=LONG),
    "paillier, bounded": Case(
        "paillier", {"modulus_bits": 2048}, OPENED, ("unmask",), examples=0, bits=12, norm_bound=LONG
    ),
    # Of another distribution, with operators of its own.
    "split": Case("split", {"holders": 3}, SPLIT_PHASES, PHASES[1:], examples=8),
    "vault": Case("vault", {}, ("advertise", "masked-input", "consistency", "decrypt"), LATE, examples=8),
}
ALL = list(CASES)
LATER = (pytest.mark.long,)


def is_told_by_another(case: Case, phase: str) -> bool:
    """Whether falling silent there shows nothing that it does not show at another phase of the same case.

    A bounded norm adds something to the input, and nothing to the other phases. A phase that a backend does not have
    stands for the next that it has, or for the end: the first such phase of each kind tells it.
    """
    foreign = [item for item in PHASES if item not in case.phases]
    at_the_end = [item for item in foreign if not set(PHASES[PHASES.index(item) :]) & set(case.phases)]
    before = [item for item in foreign if item not in at_the_end]
    bounded = case.norm_bound is not None and phase not in ("masked-input", "unmask")
    return bounded or phase in before[1:] or phase in at_the_end[1:]


SILENT = [
    pytest.param(name, phase, marks=LATER if is_told_by_another(case, phase) else ())
    for name, case in CASES.items()
    for phase in PHASES
]
HOMOMORPHIC = [name for name in ALL if "decrypt" in CASES[name].phases]


@pytest.fixture(autouse=True, scope="module")
def installed_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Another distribution's backend is found as any that is installed."""
    with installed(SPLIT, tmp_path_factory.mktemp("site")):
        yield


@pytest.fixture(autouse=True, scope="module")
def keys_made_once() -> Iterator[None]:
    """Rounds in one call make their own keys; here they are given those that were made before."""

    def deal(threshold: int, members: tuple[str, ...], *, bits: int) -> tuple[None, dict[str, KeyShare]]:
        return None, threshold_shares(threshold, tuple(members))

    threshold_shares(3, KEY_HOLDERS[:4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paillier, "generate", paillier_key)
        patch.setattr(threshold_paillier, "deal", deal)
        yield


@pytest.fixture(params=ALL)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module", params=ALL)
def played(request: pytest.FixtureRequest) -> tuple[Case, Tape, Evidence]:
    """An honest round over all but one client, with everything that was sent; tests alter copies only."""
    found = CASES[request.param]
    tape = Tape.start(found.federation(), {"c003": found.left_out_at})
    return found, tape, tape.finish()


class Kept(NamedTuple):
    """Two rounds of a case in a ledger; in the second one client falls silent."""

    case: Case
    path: Path
    results: tuple[Result, Result]


@pytest.fixture(scope="module", params=ALL)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    case, path = CASES[request.param], tmp_path_factory.mktemp("kept") / "rounds.db"
    first = secure_agg.aggregate(updates_of(4), ledger=path, **case.settings)
    silent = {"c003": case.left_out_at}
    second = secure_agg.aggregate(updates_of(4, seed=1), ledger=path, dropouts=silent, **case.settings)
    return Kept(case, path, (first, second))


def updates_of(n: int, *, shapes: tuple[tuple[int, ...], ...] = ((2, 3), (5,)), seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: [rng.normal(size=shape).astype(np.float32) for shape in shapes] for name in names(n)}


def assert_exact(result: Result, updates: Mapping[str, Any], weights: Mapping[str, int]) -> None:
    assert all(array.dtype == np.float64 for array in result.average)
    assert_is_mean(result.average, updates, weights, result.participants, result.evidence.config)


# --- the average ----------------------------------------------------------------------------------------------


@st.composite
def rounds(draw: st.DrawFn) -> dict[str, Any]:
    """Any shapes, weights, bits, headroom and rounding; as many clients lost as the policy bears."""
    n = draw(st.integers(3, 6))
    bits = draw(st.integers(2, 20))
    policy = Policy.default(n, bits=bits)
    least = max(policy.min_advertised, policy.quorum(n))
    return {
        "n": n,
        "bits": bits,
        "shapes": draw(
            st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)
        ),
        "max_clients": draw(st.sampled_from([None, 16, 40])),
        "clip": draw(st.sampled_from([0.01, 1.0, 8.0])),
        "weights": {name: draw(st.sampled_from([1, 2, 999, 100_000])) for name in names(n)},
        "lost": draw(st.dictionaries(st.sampled_from(names(n)), st.sampled_from(PHASES), max_size=n - least)),
        "seed": draw(st.integers(0, 2**32)),
    }


@pytest.mark.parametrize("effort", [1, pytest.param(4, marks=LATER)])
@pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=LATER if name == "committee" else ()) for name in ALL if CASES[name].examples]
)
def test_the_average_is_bit_equal_to_numpys_exact_sum(backend: str, effort: int) -> None:
    """Not with a bounded norm, which is in proportion to clip and bits, that are drawn here. A committee takes seconds
    to open a vector, and opens those of the tests below.
    """
    tested = CASES[backend]

    @settings(max_examples=effort * tested.examples, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(rounds())
    def check(case: dict[str, Any]) -> None:
        updates = updates_of(case["n"], shapes=tuple(case["shapes"]), seed=case["seed"])
        result = secure_agg.aggregate(
            updates,
            weights=case["weights"],
            dropouts=case["lost"],
            clip=case["clip"],
            max_clients=case["max_clients"],
            **{**tested.settings, "bits": case["bits"]},
        )
        kept = tuple(name for name in names(case["n"]) if case["lost"].get(name, "unmask") in tested.kept_from)
        assert result.participants == kept
        assert_exact(result, updates, case["weights"])

    check()


@pytest.mark.parametrize("bits", [8, 24])
def test_extreme_values_of_every_client_sum_exactly(case: Case, bits: int) -> None:
    if case is CASES["committee"]:
        pytest.skip("as with one key holder")
    if case.norm_bound and bits > 8:
        pytest.skip("no sketches of so many steps can be summed")
    updates = {name: [np.array([1e30, -1e30, 8.0, -8.0, 0.0, 1e-9 * i])] for i, name in enumerate(names(4))}
    weights = dict.fromkeys(updates, 65535)
    result = secure_agg.aggregate(updates, weights=weights, max_clients=8, **{**case.settings, "bits": bits})
    assert_exact(result, updates, weights)


def test_a_model_of_several_ciphertexts_is_summed_exactly(case: Case) -> None:
    if case is CASES["committee"]:
        pytest.skip("every vector takes several Paillier ciphertexts")
    updates = updates_of(3, shapes=((130, 100), (7,)))
    weights = dict.fromkeys(updates, 1)
    assert_exact(secure_agg.aggregate(updates, **case.settings), updates, weights)


@pytest.mark.parametrize(("case", "phase"), SILENT, indirect=["case"])
def test_one_client_may_fall_silent_at_any_phase(case: Case, phase: str) -> None:
    if case is CASES["committee"]:
        pytest.skip("as with one key holder, and in a ledger")
    updates = updates_of(case.clients)
    weights = {name: 1 + i for i, name in enumerate(updates)}
    result = secure_agg.aggregate(updates, weights=weights, dropouts={"c003": phase}, **case.settings)
    assert result.participants == tuple(name for name in updates if name != "c003" or phase in case.kept_from)
    assert_exact(result, updates, weights)


@pytest.mark.parametrize(("case", "phase"), SILENT, indirect=["case"])
def test_too_many_dropouts_abort_with_the_phase(case: Case, phase: str) -> None:
    if phase in case.kept_from and case.phases[-1] != "unmask":
        pytest.skip("all inputs are in by then")
    if case is CASES["committee"]:
        pytest.skip("as with one key holder")
    updates = updates_of(5)
    with pytest.raises(TooFewClients) as caught:
        secure_agg.aggregate(updates, dropouts=dict.fromkeys(names(3), phase), **case.settings)
    assert caught.value.phase in case.phases


def test_an_unfit_update_is_refused_before_anything_is_sent(case: Case) -> None:
    updates = updates_of(3) | {"c001": [np.full((2, 3), np.nan), np.zeros(5)]}
    with pytest.raises(UpdateError) as caught:
        secure_agg.aggregate(updates, **case.settings)
    assert (caught.value.culprit, caught.value.phase) == ("c001", "advertise")


# --- settings -------------------------------------------------------------------------------------------------


def test_an_unknown_option_is_refused(case: Case) -> None:
    with pytest.raises(ConfigError, match="speed"):
        secure_agg.aggregate(updates_of(3), backend=case.backend, options={**case.options, "speed": 9})


@pytest.mark.parametrize(
    "options",
    [
        {"modulus_bits": 1024},
        {"modulus_bits": 2049},
        {"modulus_bits": 16384},
        {"holders": 0},
        {"holders": -1},
        {"holders": 3, "threshold": 4},
        {"holders": 3, "threshold": 1},
        {"holders": 3, "threshold": 0},
        {"threshold": 2},
        {"holders": 3, "threshold": 2},
        {"modulus_bits": 2048, "holders": 6},
    ],
)
def test_options_that_split_or_size_a_key_badly_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        secure_agg.aggregate(updates_of(3), backend="paillier", options=options)


# --- evidence, ledger, receipts -------------------------------------------------------------------------------


def test_evidence_verifies_with_pins_and_without_and_round_trips(played: tuple[Case, Tape, Evidence]) -> None:
    _, tape, evidence = played
    again = Evidence.from_bytes(evidence.to_bytes())
    assert again.to_bytes() == evidence.to_bytes()
    assert Auditor().verify(again).pinned == frozenset()
    assert Auditor(tape.federation.trust).verify(again).pinned == {"policy", "roster", "operators"}
    assert "c003" not in again.participants


def test_no_flipped_bit_of_the_evidence_passes(played: tuple[Case, Tape, Evidence]) -> None:
    _, tape, evidence = played
    auditor, data, rng = Auditor(tape.federation.trust), evidence.to_bytes(), np.random.default_rng(7)
    for position in (0, 4, len(data) - 1, *rng.integers(0, len(data), 30)):
        altered = bytearray(data)
        altered[position] ^= 1 << int(rng.integers(8))
        with pytest.raises(secure_agg.VerificationError):
            auditor.verify(Evidence.from_bytes(bytes(altered)))


def test_every_client_gets_a_receipt_for_its_input_and_the_checked_result(played: tuple[Case, Tape, Evidence]) -> None:
    case, tape, evidence = played
    for name in evidence.participants:
        client = tape.client(name)
        if case.operated:
            sent = {letter.recipient: letter.data for letter in client.outbox}
            digests = {
                signer: letter_digest(header_of(data).body, header_of(data).bulk_digest)
                for signer, data in sent.items()
            }
        else:
            digests = {"aggregator": header_of(tape.responses["masked-input"][name]).bulk_digest}
        assert client.receipts.keys() == digests.keys()
        for signer, receipt in client.receipts.items():
            accepted = decode(Acceptance, header_of(receipt).body, 1024)
            assert (header_of(receipt).sender, accepted.name) == (signer, name)
            assert accepted.vector_digest == digests[signer]
    results = {envelope.recipient: envelope.data for envelope in tape.aggregator.results()}
    average = Auditor(tape.federation.trust).verify(evidence).average
    verified = tape.client("c000").finish(results["c000"])
    assert all(np.array_equal(got, want) for got, want in zip(verified.average, average, strict=True))


def test_rounds_follow_each_other_in_a_ledger_and_pass_its_audit(kept: Kept) -> None:
    first, second = kept.results
    assert second.record.previous_record == first.record.digest()
    assert (first.record.round, second.record.round) == (0, 1)
    with Ledger(kept.path, read_only=True) as ledger:
        assert ledger.audit().size == 2
        for result in (first, second):
            assert result.receipt is not None
            Receipt.from_bytes(result.receipt.to_bytes()).verify(result.record.to_bytes(), ledger.verifier_key)


def test_rounds_in_a_ledger_are_exact_also_without_a_client_that_falls_silent(kept: Kept) -> None:
    for seed, (result, silent) in enumerate(zip(kept.results, (None, kept.case.left_out_at), strict=True)):
        updates = updates_of(4, seed=seed)
        assert result.participants == tuple(name for name in updates if name != "c003" or silent is None)
        assert_exact(result, updates, dict.fromkeys(updates, 1))


def test_stats_are_flat_and_complete(kept: Kept) -> None:
    case, stats = kept.case, kept.results[0].stats
    wanted = {"client.encode_s", "client.commit_s", "client.protect_s", "aggregator.total_s", "verify_s"}
    wanted |= {"client.upload_bytes", "client.download_bytes", "client.result_bytes"}
    wanted |= {f"aggregator.{phase}_s" for phase in case.phases}
    assert wanted <= stats.keys()
    assert all(type(value) is float and value >= 0 for value in stats.values())
    assert stats[f"client.{'advertise' if case.operated else 'masked-input'}_upload_bytes"] > 2560


# --- secrets --------------------------------------------------------------------------------------------------


def test_nothing_secret_is_shown(played: tuple[Case, Tape, Evidence]) -> None:
    """A role's ``repr`` ends up in logs: it holds no number or text long enough to be a key."""
    _, tape, _ = played
    federation = tape.federation
    shown: list[object] = [tape.aggregator, tape.aggregator._side, *tape.local.clients.values()]
    shown += [client._joined.side for client in tape.local.clients.values() if client._joined]
    shown += [*tape.local.holders.values(), *federation.openers.values()]
    for holder in tape.local.holders.values():
        shown += [item.side for item in holder._rounds.values()] if isinstance(holder, ShareHolder) else []
    for role in shown:
        assert len(repr(role)) < 200
        assert not re.search(r"[0-9a-fA-F]{33}|\\x", repr(role))


def test_no_clients_hidden_vector_is_in_the_evidence(played: tuple[Case, Tape, Evidence]) -> None:
    case, tape, evidence = played
    if case.backend == "plain":
        pytest.skip("hides nothing")
    data = evidence.to_bytes()
    sent = list(tape.responses.get("masked-input", {}).values())
    sent += [letter.data for name in evidence.participants for letter in tape.client(name).outbox]
    vectors = [bulk_of(message) for message in sent if bulk_of(message)]
    assert len(vectors) >= len(evidence.participants) - 1  # who has finished has forgotten its letters
    for hidden in vectors:
        assert not any(hidden[at : at + 32] in data for at in range(128, len(hidden) - 32, 997))


def test_a_restarted_client_sends_the_identical_bytes_or_nothing(case: Case) -> None:
    """What is sent again must not be a second encryption: TenSEAL can't repeat one, so that client has kept it."""
    federation = case.federation()
    tape = Tape.start(federation).until(case.phases[2])
    at = case.phases.index("advertise")
    again, update = federation.client("c000"), federation.updates["c000"]
    first = tape.requests["advertise"]["c000"]
    assert again.join(first, update) == tape.responses["advertise"]["c000"]
    assert again.outbox == tape.client("c000").outbox
    if not case.operated:
        assert again.receive(tape.requests[case.phases[at + 1]]["c000"]) == tape.responses[case.phases[at + 1]]["c000"]
    with pytest.raises(AlreadyReleased):
        federation.client("c000").join(first, [array + 1 for array in update])


# --- bad messages ---------------------------------------------------------------------------------------------


def test_malformed_and_misdirected_messages_are_refused_in_every_phase(case: Case) -> None:
    """One round bears all of them, and ends as if they had not come."""
    tape = Tape.start(case.federation())
    for phase in case.phases:
        refuses_whatever_is_bad(tape.until(phase))
        tape.advance()
    assert tape.finish().participants == tuple(tape.federation.names)


def refuses_whatever_is_bad(tape: Tape) -> None:
    """In the tape's phase, which all have answered afterwards."""
    phase = tape.phase
    sender = {"decrypt": "keyholder-1"}.get(phase, "aggregator-1" if tape.aggregator.asks_operators else "c002")
    good, me = tape.answer(sender), identity(sender)
    cases: list[tuple[bytes, type[RemoteProtocolError] | tuple[type[RemoteProtocolError], ...], str | None]] = [
        (b"", MalformedMessage, None),
        (good[:3], MalformedMessage, None),
        (good[:-1], MalformedMessage, None),
        (good + b"\0", MalformedMessage, None),
        (b"\xff" * len(good), MalformedMessage, None),
        (forge(good, me, version=2), MalformedMessage, sender),
        (forge(good, me, phase="lunch"), WrongPhase, sender),
        (forge(good, me, session=bytes(32)), WrongContext, sender),
        (forge(good, me, recipient="c003"), UnknownSender, sender),
        (forge(good, identity("mallory"), sender="mallory"), UnknownSender, "mallory"),
        (forge(good, identity("c003")), BadSignature, sender),
        (forge(good, None, signature=bytes(64)), BadSignature, sender),
        (forge(good, None, signature=b""), BadSignature, sender),
        (forge(good, me, body=header_of(good).body + b"\0"), MalformedMessage, sender),
        (forge(good, me, bulk=bulk_of(good) + bytes(4)), (MalformedMessage, BadCommitment, BadShare), sender),
    ]
    if header_of(good).body:
        cases.append((forge(good, me, body=b""), MalformedMessage, sender))
    if bulk_of(good):
        cases.append((forge(good, me, bulk=b""), (MalformedMessage, BadCommitment, BadShare), sender))
        cases.append((forge(good, None, bulk=bulk_of(good)[::-1]), BadSignature, sender))
    for message, error, culprit in cases:
        refused(tape, message, error, culprit)  # type: ignore[arg-type]
    tape.deliver(good)
    refused(tape, good, DuplicateMessage, sender)
    tape.answer_all(but=(sender,))


@pytest.mark.parametrize("backend", HOMOMORPHIC)
def test_only_key_holders_are_heard_when_the_sum_is_opened(backend: str) -> None:
    tape = Tape.start(CASES[backend].federation()).until("decrypt")
    good = tape.answer("keyholder-1")
    stolen = forge(good, identity("c000"), sender="c000")
    refused(tape, stolen, UnknownSender, "c000")
    own = forge(good, identity("aggregator"), sender="aggregator")
    refused(tape, own, UnknownSender, "aggregator")


@pytest.mark.parametrize("backend", HOMOMORPHIC)
def test_messages_of_another_attempt_are_refused(backend: str) -> None:
    federation = CASES[backend].federation()
    old = Tape.start(federation).until("masked-input")
    old.answer_all()
    federation.stores = CASES[backend].federation().stores
    tape = Tape.start(federation, attempt=1)
    refused(tape, old.responses["advertise"]["c002"], WrongContext)
    tape.until("masked-input")
    refused(tape, old.responses["masked-input"]["c002"], WrongContext)


def test_requests_that_are_not_for_this_party_or_phase_are_refused_and_lose_nothing(case: Case) -> None:
    tape = Tape.start(case.federation()).until("consistency")
    asked, other = ("aggregator-1", "aggregator-2") if case.operated else ("c000", "c001")
    party = tape.local.holders[asked] if case.operated else tape.client(asked)
    request = tape.requests["consistency"][asked]
    operator = tape.federation.operator
    for altered in (
        tape.requests["consistency"][other],
        forge(request, operator, phase="masked-input"),
        forge(request, operator, session=bytes(32)),
        forge(request, identity("mallory")),
        forge(request, operator, bulk=b"extra"),
        forge(request, operator, body=b""),
        request[:-1],
        request + b"\0",
        b"",
    ):
        with pytest.raises(SecureAggError) as caught:
            party.receive(altered)
        assert isinstance(caught.value, RemoteProtocolError | AlreadyReleased)
    assert party.receive(request)
