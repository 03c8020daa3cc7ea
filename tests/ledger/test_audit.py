"""Rounds that were really run, in a ledger: appended only if verified, and verified again by an audit."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace as replace_struct

import secure_agg
from secure_agg import Identity, Ledger, Policy, Result, Roster, TaskTrust
from secure_agg.errors import ConfigError, LedgerDamaged, LedgerRefused, TrustError, VerificationError
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.receipt import Receipt

CLIENTS = ("ann", "bob", "cyd", "dan")
CHECKED = {"policy", "roster", "operators", "log"}


def run_round(ledger: str | Path | Ledger | None, backend: str = "plain", **settings: object) -> Result:
    updates = {name: [np.full((2, 3), i, dtype=np.float32), np.arange(5.0)] for i, name in enumerate(CLIENTS)}
    return secure_agg.aggregate(updates, backend=backend, ledger=ledger, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """A closed ledger of three rounds, and their results."""
    path = tmp_path_factory.mktemp("rounds") / "rounds.db"
    return path, [
        run_round(path),
        run_round(path, dropouts={"dan": "advertise"}),
        run_round(path, task="second"),
    ]


@pytest.fixture
def copy(rounds: tuple[Path, list[Result]], tmp_path: Path) -> Path:
    """A copy of the ledger that a test may damage."""
    shutil.copytree(rounds[0].parent, tmp_path / "copy")
    return tmp_path / "copy" / rounds[0].name


def test_rounds_are_in_the_ledger_with_receipts(rounds: tuple[Path, list[Result]]) -> None:
    path, results = rounds
    with Ledger(path, read_only=True) as ledger:
        assert list(ledger.records()) == [result.record for result in results]
        for index, result in enumerate(results):
            assert result.receipt is not None
            assert result.receipt == ledger.receipt(index, index + 1)
            again = Receipt.from_bytes(result.receipt.to_bytes())
            again.verify(result.record.to_bytes(), ledger.verifier_key)
            assert ledger.evidence(result.record).to_bytes() == result.evidence.to_bytes()
        assert results[1].record.start_model == results[0].record.result_model
        assert results[1].record.previous_record == results[0].record.digest()


def test_an_audit_verifies_every_round_again(rounds: tuple[Path, list[Result]]) -> None:
    path, results = rounds
    with Ledger(path, read_only=True) as ledger:
        assert results[0].receipt is not None
        known = SignedHead.from_note(results[0].receipt.note, ledger.verifier_key)
        report = ledger.audit(known_head=known)
    assert (report.size, report.tasks, report.pinned) == (3, {"default": 2, "second": 1}, CHECKED)
    assert report.evidence_bytes == sum(len(result.evidence.to_bytes()) for result in results)


def test_a_masked_round_enters_an_empty_open_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "rounds.db", origin="example.org/log") as ledger:
        result = run_round(ledger, "masking", dropouts={"bob": "masked-input"})
        assert len(ledger) == 1
        assert result.receipt is not None
        assert result.receipt.checkpoint.origin == "example.org/log"
        assert ledger.audit().pinned == CHECKED


def test_the_audit_of_a_ledger_is_against_the_auditors_own_pins(rounds: tuple[Path, list[Result]]) -> None:
    path, _ = rounds
    with Ledger(path, read_only=True) as ledger:
        trust = ledger.trust
        pinned = trust.tasks["second"]
        strangers = Roster({name: Identity.generate(name).public for name in CLIENTS})
        for changed, message in (
            (TaskTrust(strangers, pinned.policy), r"record 2: .* roster"),
            (TaskTrust(pinned.roster, Policy.default(4, backend="plain", clip=4.0)), r"record 2: .* clip"),
        ):
            with pytest.raises(TrustError, match=message):
                ledger.audit(replace(trust, tasks={**trust.tasks, "second": changed}))
        with pytest.raises(TrustError, match=r"record 2: .* task 'second'"):
            ledger.audit(replace(trust, tasks={"default": trust.tasks["default"]}))
        with pytest.raises(TrustError, match="another key"):
            ledger.audit(replace(trust, log=Identity.generate("log").public))
        with pytest.raises(ConfigError, match="log's public key"):
            ledger.audit(replace(trust, log=None))


def test_unverified_evidence_is_refused_and_nothing_is_written(copy: Path) -> None:
    with Ledger(copy) as ledger:
        before = (ledger.head(), sorted(Path(f"{copy}.evidence").rglob("*")))
        good = ledger.evidence(ledger.record(1))
        sums = good.sums.copy()
        sums[0] ^= 1
        for bad in (
            replace(good, sums=sums),
            replace(good, agreement=good.agreement[:1]),
            replace(good, openings=good.openings[:-1]),
            replace(good, result_model=bytes(32)),
        ):
            with pytest.raises(VerificationError):
                ledger.append(bad)
        with pytest.raises(LedgerRefused, match="already"):
            ledger.append(good)
        with pytest.raises(TrustError):  # a round that binds no ledger, or another one
            ledger.append(run_round(None).evidence)
        assert (ledger.head(), sorted(Path(f"{copy}.evidence").rglob("*"))) == before


def test_a_round_that_does_not_follow_the_last_one_is_refused(copy: Path) -> None:
    with Ledger(copy) as ledger:
        run_round(ledger, round=7)
        head = ledger.head()
        for settings, message in (
            ({"start_model": hashlib.sha256(b"another model").digest()}, "start_model"),
            ({"round": 5}, "not after the task's last round, 7"),
            ({"round": 7}, "already"),
        ):
            with pytest.raises(LedgerRefused, match=message):
                run_round(ledger, **settings)
        assert ledger.head() == head
        run_round(ledger)
        assert ledger.find("default", 8) == 4


def test_a_reader_can_not_append(rounds: tuple[Path, list[Result]]) -> None:
    with Ledger(rounds[0], read_only=True) as ledger, pytest.raises(LedgerRefused, match="reading only"):
        ledger.append(rounds[1][0].evidence)


def test_an_operator_who_appends_a_record_that_its_evidence_does_not_prove_is_found_out(copy: Path) -> None:
    result = run_round(None, task="third")
    roster = Roster({member.name: member.public for member in result.evidence.cohort})
    with Ledger(copy) as ledger:
        trust = ledger.trust
        third = TaskTrust(roster, result.evidence.config.policy)
        # Signed for no ledger, now claimed to be for this one: nothing but the signatures tells.
        config = replace_struct(result.evidence.config, log_key=ledger.log_public, operators=trust.operators.digest())
        evidence = replace(result.evidence, config=config)
        record = replace_struct(result.record, context=config.context, evidence=evidence.digest())
        ledger._append_records([(record, evidence.to_bytes())])
        with pytest.raises(VerificationError, match="record 3: 'ann': a signature does not verify"):
            ledger.audit(replace(trust, tasks={**trust.tasks, "third": third}))


@pytest.mark.parametrize(
    ("field", "value"), [("weight_sum", 5), ("participants", 3), ("result_model", bytes(32)), ("attempt", 1)]
)
def test_an_operator_who_changes_a_field_of_a_record_is_found_out(
    rounds: tuple[Path, list[Result]], tmp_path: Path, field: str, value: object
) -> None:
    """The operator rewrites the history with the log's own key, so that tree and heads are in order."""
    path, results = rounds
    shutil.copytree(f"{path}.keys", tmp_path / f"{path.name}.keys")
    with Ledger(tmp_path / path.name) as forged, Ledger(path, read_only=True) as ledger:
        assert forged.log_public == ledger.log_public
        record = replace_struct(results[0].record, **{field: value})
        forged._append_records([(record, results[0].evidence.to_bytes())])
        with pytest.raises(VerificationError, match=f"record 0 differs from its evidence in {field}"):
            forged.audit(ledger.trust)


def test_evidence_exchanged_for_that_of_another_round_is_noticed(copy: Path) -> None:
    with Ledger(copy, read_only=True) as ledger:
        first, second = (ledger._evidence.locate(ledger.record(index).evidence) for index in (0, 1))
        shutil.copyfile(first, second)
        with pytest.raises(LedgerDamaged, match=r"record 1: .* other content"):
            ledger.audit()


def test_a_file_that_is_not_evidence_is_damage_even_under_its_right_name(copy: Path) -> None:
    data = b"not evidence"
    with Ledger(copy) as ledger:
        last = ledger.last("default")
        assert last is not None
        record = replace_struct(
            last,
            round=last.round + 1,
            start_model=last.result_model,
            previous_record=last.digest(),
            evidence=hashlib.sha256(data).digest(),
        )
        ledger._append_records([(record, data)])
        with pytest.raises(LedgerDamaged, match="no evidence"):
            ledger.evidence(record)
        with pytest.raises(VerificationError, match="record 3: this is no evidence"):
            ledger.audit()
