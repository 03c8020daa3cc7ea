"""Evidence proves its result to anyone, and nothing that was altered passes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.federation import Federation, Tape, identity

import secure_agg
from secure_agg.errors import MalformedMessage, TrustError, VerificationError
from secure_agg.protocol.codec import FixedPoint, model_digest
from secure_agg.protocol.evidence import CohortMember, Evidence, RoundRecord
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import Opening, Signature, SignedAdvertisement, decode_list
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.trust import TaskTrust, Trust
from zk import commitment

FEDERATION = Federation(5)


@lru_cache(maxsize=2)
def evidence(backend: str = "masking") -> Evidence:
    federation = Federation(5, backend=backend)
    return Tape.start(federation, {"c003": "masked-input"}).finish()


def changed(**fields: Any) -> Evidence:
    whole = evidence()
    values = {name: getattr(whole, name) for name in whole.__dataclass_fields__} | fields
    return Evidence(**values)


def test_evidence_round_trips_and_verifies() -> None:
    data = evidence().to_bytes()
    again = Evidence.from_bytes(data)
    assert again.to_bytes() == data
    verified = secure_agg.verify(again, FEDERATION.trust)
    assert verified.pinned == {"policy", "roster", "operators"}
    assert verified.record.participants == 4
    assert secure_agg.verify(again).pinned == frozenset()


def test_a_record_round_trips_and_names_the_evidence() -> None:
    record = secure_agg.verify(evidence()).record
    assert RoundRecord.from_bytes(record.to_bytes()) == record
    assert record.evidence == evidence().digest()
    assert (
        record.commitment_sum
        == commitment.add(
            [
                commitment.Commitment.from_bytes(opening.commitment, evidence().config.commitment.rank)
                for opening in evidence().openings
            ]
        ).to_bytes()
    )
    for data in (record.to_bytes() + b"\0", record.to_bytes()[:-1], b"", bytes(1 << 17)):
        with pytest.raises(VerificationError):
            RoundRecord.from_bytes(data)


@settings(max_examples=300)
@given(st.data())
def test_no_flipped_bit_of_the_evidence_passes(data: st.DataObject) -> None:
    raw = bytearray(evidence().to_bytes())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(VerificationError):
        secure_agg.verify(Evidence.from_bytes(bytes(raw)), FEDERATION.trust)


@settings(max_examples=100)
@given(st.integers(0, 1 << 16), st.binary(max_size=3))
def test_no_truncated_or_extended_evidence_passes(cut: int, tail: bytes) -> None:
    raw = evidence().to_bytes()
    altered = raw[: cut % len(raw)] + tail
    assume(altered != raw)  # a tail may be what was cut off
    with pytest.raises(VerificationError):
        secure_agg.verify(Evidence.from_bytes(altered))


FLOODS: dict[str, Callable[[], dict[str, Any]]] = {
    "members without keys": lambda: {"cohort": (CohortMember("", b""),) * 1_000_000},
    "empty signatures": lambda: {"agreement": (Signature("", b""),) * 1_000_000},
    "empty attestations": lambda: {"attestation": (Signature("", b""),) * 1_000_000},
    "empty openings": lambda: {"openings": (Opening("", b"", b""),) * 1_000_000},
    "empty advertisements": lambda: {"advertisements": (SignedAdvertisement("", b"", b""),) * 1_000_000},
    "one long entry and many short ones": lambda: {
        "agreement": (Signature("", b""),) * 1_000_000 + (Signature("a", bytes(70_000_000)),)
    },
    "members with keys": lambda: {
        "cohort": tuple(CohortMember(f"{i:x}", bytes(32)) for i in sorted(range(100_000), key="{:x}".format))
    },
}


@pytest.mark.parametrize("what", list(FLOODS))
def test_small_entries_do_not_fill_the_memory(what: str) -> None:
    """An object takes some hundred bytes, and has three on the wire."""
    data = changed(**FLOODS[what]()).to_bytes()
    tracemalloc.start()
    try:
        with pytest.raises(VerificationError):
            secure_agg.verify(Evidence.from_bytes(data))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(data) + (1 << 20)


def test_a_list_is_read_in_its_one_encoding() -> None:
    for count in (0, 1, 15, 16, 1024, 1025, 65535, 65536):
        entries = tuple(CohortMember(str(i), bytes(32)) for i in range(count))
        data = msgspec.msgpack.encode(entries)
        assert decode_list(CohortMember, data, count, 37) == entries
        for bad in (data + b"\0", data[:-1], b"\xdd" + count.to_bytes(4, "big") + data[1:], b""):
            if bad == data:
                continue
            with pytest.raises(MalformedMessage):
                decode_list(CohortMember, bad, count, 37)
        if count:
            with pytest.raises(MalformedMessage, match="at most"):
                decode_list(CohortMember, data, count - 1, 37)


def alter_sum(index: int, by: int = 1) -> Evidence:
    sums = evidence().sums.copy()
    sums[index] += np.uint32(by)
    config = evidence().config
    average, _ = FixedPoint(config.policy).decode(sums[: config.layout.committed], 4, config.shapes)
    return changed(sums=sums, result_model=model_digest(average))


def forged_signatures() -> Evidence:
    first, *rest = evidence().agreement
    return changed(agreement=(Signature(first.name, rest[0].signature), *rest))


ALTERED: dict[str, Callable[[], Evidence]] = {
    "a value of the sum": lambda: alter_sum(0),
    "a random coordinate": lambda: alter_sum(-1),
    "the sum beyond its range": lambda: changed(sums=evidence().sums + np.uint32(1 << 18)),
    "the result's digest": lambda: changed(result_model=bytes(32)),
    "a participant left out": lambda: changed(openings=evidence().openings[1:]),
    "a participant twice": lambda: changed(openings=evidence().openings + evidence().openings[:1]),
    "participants out of order": lambda: changed(openings=evidence().openings[::-1]),
    "an advertisement left out": lambda: changed(advertisements=evidence().advertisements[1:]),
    "advertisements out of order": lambda: changed(advertisements=evidence().advertisements[::-1]),
    "a member of the cohort left out": lambda: changed(cohort=evidence().cohort[1:]),
    "another attempt": lambda: changed(config=msgspec.structs.replace(evidence().config, attempt=1)),
    "too few signatures": lambda: changed(agreement=evidence().agreement[1:2]),
    "no signatures": lambda: changed(agreement=()),
    "a signature twice": lambda: changed(agreement=evidence().agreement[:2] + evidence().agreement[1:2]),
    "somebody else's signature": forged_signatures,
    "an altered nonce": lambda: changed(
        openings=(msgspec.structs.replace(evidence().openings[0], nonce=bytes(32)), *evidence().openings[1:])
    ),
}


@pytest.mark.parametrize("what", ALTERED)
def test_altered_evidence_does_not_pass(what: str) -> None:
    altered = ALTERED[what]()
    with pytest.raises(VerificationError):
        secure_agg.verify(altered)


def test_a_made_up_round_is_consistent_in_itself_and_fails_against_trust() -> None:
    """Why evidence alone proves little: the forger can be every client. Only pins tell."""
    forged = Federation(5, seed=3)
    forged.roster = Roster({name: identity(f"fake-{name}").public for name in forged.names})
    made_up = Tape.start(Federation(6, seed=3)).finish()
    assert secure_agg.verify(made_up).pinned == frozenset()
    with pytest.raises(TrustError):
        secure_agg.verify(made_up, FEDERATION.trust)


@pytest.mark.parametrize(
    "pins",
    [
        Trust(),
        Trust(tasks={"other": FEDERATION.trust.tasks["task"]}, operators=FEDERATION.trust.operators),
        Trust(tasks=FEDERATION.trust.tasks),
        Trust(tasks=FEDERATION.trust.tasks, operators=FEDERATION.trust.operators, log=identity("log").public),
        Trust(
            tasks=FEDERATION.trust.tasks,
            operators=FEDERATION.trust.operators,
            witnesses=Roster({"witness": identity("witness").public}),
        ),
        Trust(
            tasks={"task": TaskTrust(FEDERATION.roster, Federation(5, policy_changes={"clip": 4.0}).policy)},
            operators=FEDERATION.trust.operators,
        ),
    ],
)
def test_evidence_that_contradicts_a_pin_is_refused(pins: Trust) -> None:
    with pytest.raises(TrustError):
        Auditor(pins).verify(evidence())


def test_plain_rounds_are_verified_in_the_same_way() -> None:
    assert secure_agg.verify(evidence("plain")).record.participants == 4


def test_nothing_secret_is_in_the_evidence() -> None:
    federation = Federation(5)
    tape = Tape.start(federation)
    data = tape.finish().to_bytes()
    for name in federation.names:
        secret = federation.stores[name].get((name, "task", 0, 0), "secret")
        assert secret is not None
        assert secret not in data
        assert secret.hex() not in repr(tape.client(name)) + repr(tape.client(name)._joined.side)


def test_a_client_forgets_its_attempt_secret_when_the_round_is_over() -> None:
    federation = Federation(5)
    tape = Tape.start(federation)
    tape.finish()
    tape.local.deliver()
    assert all(federation.stores[name].get((name, "task", 0, 0), "secret") is None for name in federation.names)
