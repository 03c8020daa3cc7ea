"""A kept receipt of an input, on the command line: it shows an exclusion to whoever has pinned the operators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.commands import Run, running
from support.federation import Federation, Tape, edit, header_of, identity, replace

from secure_agg.backends.additive.wire import Collected
from secure_agg.cli.terminal import exits
from secure_agg.protocol.messages import Acceptance, encode
from secure_agg.roles.trust import Trust

OUT, IN = "c004", "c000"


class Round(NamedTuple):
    """A round that left a client out, in files: a receipt of that client, one of another, and who signed it."""

    evidence: Path
    trust: Path
    receipt: Path
    taken: Path
    operator: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``secure-agg ledger exclusion`` in this process."""

    return running(capsys, "ledger", "exclusion")


def dropped_by_the_aggregator() -> Tape:
    """It answers the input with a receipt, and does not take it."""
    tape = Tape.start(Federation(5)).until("masked-input")
    tape.answer_all(but=(OUT,))
    response = tape.answer(OUT)
    accepted = Acceptance(OUT, tape.aggregator.session.commitment_hashes[OUT], header_of(response).bulk_digest)
    tape.client(OUT).receive(tape.aggregator._asking.message(OUT, "receipt", encode(accepted)).data)
    tape.local.silent = {OUT: "consistency"}
    return tape


def dropped_by_one_of_three() -> Tape:
    """A share holder that has signed a receipt claims not to hold the share."""
    tape = Tape.start(Federation(5, backend="additive", options={"aggregators": 3})).until("collect-shares")
    liar = "aggregator-2"
    tape.deliver(
        edit(
            tape.answer(liar),
            identity(liar),
            Collected,
            lambda body: replace(body, accepted=tuple(name for name in body.accepted if name != OUT)),
        )
    )
    tape.answer_all(but=(liar,))
    return tape


@pytest.fixture(scope="module", params=[dropped_by_the_aggregator, dropped_by_one_of_three])
def left_out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Round:
    tape: Tape = request.param()
    tape.advance()
    evidence = tape.finish()
    folder = tmp_path_factory.mktemp("exclusion")
    files = {"evidence": evidence.to_bytes(), "trust.json": tape.federation.trust.to_json().encode()}
    files |= {name: min(tape.client(name).receipts.items())[1] for name in (OUT, IN)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    signer = min(tape.client(OUT).receipts)
    return Round(folder / "evidence", folder / "trust.json", folder / OUT, folder / IN, signer)


def test_a_kept_receipt_shows_who_accepted_what_is_not_in_the_sum(run: Run, left_out: Round) -> None:
    command = (left_out.evidence, left_out.receipt, "--trust", left_out.trust)
    text, machine = run(*command), run(*command, "--json")
    assert (text.code, machine.code) == (exits.OK, exits.OK), text.err
    found: Any = json.loads(machine.out)
    assert (found["outcome"], found["client"], found["operator"]) == ("verified", OUT, left_out.operator)
    assert (found["task"], found["round"], found["attempt"]) == ("task", 0, 0)
    assert text.out.startswith(f"verified: {left_out.operator} accepted the input of {OUT}, and the round's sum is ")
    for key in ("client", "operator", "task", "round", "attempt", "backend", "proved", "not_proved"):
        assert f"{key.replace('_', ' ')} " in text.out
        assert str(found[key]) in text.out


def test_a_receipt_of_who_took_part_or_of_something_else_shows_nothing(
    run: Run, left_out: Round, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(left_out.receipt.read_bytes()[:-1])
    for receipt, said in ((left_out.taken, "it was not left out"), (cut, ""), (left_out.evidence, "")):
        outcome = run(left_out.evidence, receipt, "--trust", left_out.trust)
        assert (outcome.code, outcome.out) == (exits.VERIFICATION_FAILED, "")
        assert said in outcome.err


def test_an_exclusion_is_held_against_pinned_operators(run: Run, left_out: Round, tmp_path: Path) -> None:
    bare = run(left_out.evidence, left_out.receipt)
    assert (bare.code, bare.out) == (exits.USAGE, "")
    assert "--trust" in bare.err
    nobody = tmp_path / "nobody.json"
    nobody.write_text(Trust().to_json())
    assert run(left_out.evidence, left_out.receipt, "--trust", nobody).code == exits.VERIFICATION_FAILED
    missing = run(left_out.evidence, tmp_path / "missing", "--trust", left_out.trust)
    assert (missing.code, "can't be read" in missing.err) == (exits.USAGE, True)
    odd = run(left_out.evidence, left_out.receipt, "--trust", left_out.trust, "--beacon", "xyz")
    assert (odd.code, "not hexadecimal" in odd.err) == (exits.USAGE, True)
