"""An aggregator that is killed in any phase, and started anew over its log, comes to the same set and the same sum."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.federation import Federation, Tape, assert_is_mean, identity
from support.norms.cheats import Bend, Screened, flip_behind_self_mask, lie_of_edge

from secure_agg import backends
from secure_agg.errors import ConfigError, OperatorLost, RemoteProtocolError, StoreError, TooFewClients
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.memory.rounds import RoundLog
from secure_agg.roles.task import Task

CASES: Mapping[str, tuple[str, Mapping[str, int], int]] = {
    "plain": ("plain", {}, 5),
    "masking": ("masking", {}, 5),
    "screened masking": ("masking", {"screening": 1}, 5),
    "sparse masking": ("masking", {"complete_up_to": 0}, 40),
    "additive": ("additive", {}, 4),
    "additive 2 of 4": ("additive", {"aggregators": 4, "threshold": 2}, 4),
    "bfv": ("bfv", {}, 4),
    "paillier": ("paillier", {"modulus_bits": 2048}, 4),
    "committee": ("paillier", {"modulus_bits": 2048, "holders": 4}, 4),
}


def federation(name: str) -> Federation:
    backend, options, clients = CASES[name]
    return Federation(clients, backend=backend, options=options, policy_changes={"bits": 8})


def logged(where: Federation, path: Path) -> Tape:
    """A round whose aggregator keeps a log."""
    tape = Tape(where, where.round())
    config, cohort = where.config(), where.trust.cohort(where.task, b"")
    tape.local.aggregator = Aggregator(
        where.operator, config, cohort, operators=where.trust.operators, setup=where.setup, log=RoundLog(path)
    )
    tape.open(tape.aggregator.again())
    return tape


def killed(tape: Tape, path: Path) -> None:
    """The aggregator's process ends; another reads its log."""
    tape.local.aggregator = Aggregator.resume(tape.federation.operator, RoundLog(path))
    tape.open(tape.aggregator.again())


def check(tape: Tape, evidence: Evidence) -> None:
    where = tape.federation
    average = Auditor(where.trust).verify(evidence).average
    assert_is_mean(average, where.updates, dict.fromkeys(where.names, 1), evidence.participants, evidence.config)


PHASES = [
    (name, phase.name)
    for name in CASES
    for phase in backends.load(CASES[name][0]).phases(federation(name).config())
    if not phase.optional
]


@pytest.mark.parametrize(("name", "phase"), PHASES)
def test_a_round_is_finished_by_another_process_with_the_same_answers(name: str, phase: str, tmp_path: Path) -> None:
    path = tmp_path / "round.db"
    tape = logged(federation(name), path).until(phase)
    asked = [envelope.recipient for envelope in tape.pending]
    tape.answer_all(but=tuple(asked[len(asked) // 2 :]))
    killed(tape, path)
    if phase == "masked-input" and tape.federation.holder_names:
        assert len(tape.pending) == len(tape.federation.names), "no single ciphertext is written down"
        assert not [event for event in RoundLog(path).events() if event.phase == phase]
    elif name != "committee" or phase != "decrypt":
        assert {envelope.recipient for envelope in tape.pending} == set(asked[len(asked) // 2 :])
    evidence = tape.finish()
    assert evidence.participants == tuple(tape.federation.names)
    check(tape, evidence)
    if name == "committee":  # whose members see all ciphertexts, which are not written down
        return
    killed(tape, path)
    assert tape.aggregator.evidence is not None, "also when it is over: nobody is asked again"
    assert tape.aggregator.evidence.to_bytes() == evidence.to_bytes()


def test_members_who_were_silent_sign_late_and_release(tmp_path: Path) -> None:
    """7 of 10 have to sign, and 7 to release. When too few release, the three who never signed the set are asked for
    that first: the set stays as it was signed.
    """
    path = tmp_path / "round.db"
    where = Federation(10, policy_changes={"bits": 8})
    tape = logged(where, path).until("consistency")
    tape.answer_all(but=("c007", "c008", "c009"))
    tape.advance()
    tape.answer_all(but=("c000", "c001"))
    with pytest.raises(TooFewClients):
        tape.advance()
    killed(tape, path)
    assert (tape.phase, [item.recipient for item in tape.pending]) == ("consistency", ["c007", "c008", "c009"])
    tape.answer_all(but=("c009",))
    tape.advance()
    assert tape.phase == "unmask"
    killed(tape, path)
    assert (tape.phase, [item.recipient for item in tape.pending]) == ("consistency", ["c009"])
    tape.advance()
    assert {item.recipient for item in tape.pending} == {"c000", "c001", "c007", "c008"}
    tape.answer_all(but=("c000",))
    tape.advance()
    evidence = tape.aggregator.evidence
    assert evidence is not None
    assert len(evidence.participants) == 10
    assert len(evidence.agreement) == 9
    check(tape, evidence)


def test_vectors_are_kept_no_longer_than_until_the_set_is_fixed(tmp_path: Path) -> None:
    path = tmp_path / "round.db"
    where = federation("masking")
    tape = logged(where, path).until("consistency")
    assert not [event for event in RoundLog(path).events() if event.whole and event.phase == "masked-input"]
    killed(tape, path)
    check(tape, tape.finish())


def test_a_key_holder_that_comes_back_opens_the_same_set(tmp_path: Path) -> None:
    path = tmp_path / "round.db"
    tape = logged(federation("bfv"), path).until("decrypt")
    with pytest.raises(OperatorLost):
        tape.advance()
    killed(tape, path)
    check(tape, tape.finish())


def test_a_log_is_of_one_round_and_one_aggregator(tmp_path: Path) -> None:
    path = tmp_path / "round.db"
    where = federation("plain")
    logged(where, path)
    with pytest.raises(ConfigError, match="led by 'aggregator'"):
        Aggregator.resume(identity("another"), RoundLog(path))
    with pytest.raises(StoreError, match="another round"):
        Aggregator(
            where.operator, where.config(attempt=1), where.roster, operators=where.trust.operators, log=RoundLog(path)
        )
    with pytest.raises(StoreError, match="no round was begun"):
        Aggregator.resume(where.operator, RoundLog(tmp_path / "empty.db"))


def test_a_log_that_was_altered_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "round.db"
    tape = logged(federation("masking"), path).until("masked-input")
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM events WHERE place = 3")
    with pytest.raises(StoreError):
        killed(tape, path)


@pytest.mark.parametrize(("phase", "bend"), [("dispute", lie_of_edge(1)), ("excise-1", flip_behind_self_mask)])
def test_a_round_that_tests_its_inputs_is_resumed_where_cheats_are_dealt_with(
    phase: str, bend: Bend, tmp_path: Path
) -> None:
    """What was shown in the phases before is shown again, and who is proved to cheat stays so."""
    where = Federation(10, options={"screening": 1})

    def lead(**changes: Any) -> Aggregator:
        log = RoundLog(tmp_path / "round.db")
        return Task(where.task, where.trust).lead(where.operator, where.config(**changes), log=log)

    where.aggregator = lead  # type: ignore[method-assign]
    played = Screened(where, {"c003": (bend,)})
    tape = played.play(until=phase)
    assert tape.phase == phase
    asked = [envelope.recipient for envelope in tape.pending]
    tape.answer_all(but=tuple(asked[len(asked) // 2 :]))
    before = {name: tape.requests[phase][name] for name in asked}
    killed(tape, tmp_path / "round.db")
    assert {item.recipient: item.data for item in tape.pending} == {
        name: before[name] for name in asked[len(asked) // 2 :]
    }
    while tape.pending:
        for name in [item.recipient for item in tape.pending]:
            with contextlib.suppress(RemoteProtocolError):
                tape.deliver(tape.answer(name))
        tape.advance()
    assert "c003" not in played.check_sum()
    assert set(played.named) == {"c003"}
