"""An aggregator that names in the set whom it has kept away from the others, so that fewer are summed than it seems."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from conformance.independent_verifier import verify as verify_independently
from support.federation import Federation, Tape, header_of, identity

from secure_agg.errors import TooFewClients, VerificationError
from secure_agg.protocol.agreement import Agreement, leaf
from secure_agg.protocol.messages import (
    CONSISTENCY,
    Agreed,
    Signature,
    Statement,
    decode,
    encode,
    write,
)
from secure_agg.protocol.session import Session
from secure_agg.protocol.sparse.wire import Countersigned, ShownSet
from secure_agg.roles.aggregator import Aggregator
from secure_agg.roles.auditor import Auditor
from zk.merkle import Tree

ME = identity("aggregator")
UNMASK = "unmask"
GONE = ("c004",)


def federation(**options: int) -> Federation:
    """All five are wanted in every sum, of whom one may be corrupt; t_sig is four."""
    return Federation(5, shapes=((3,),), options=options, policy_changes={"min_clients": 5})


def ask(tape: Tape, session: Session, phase: str, name: str, body: Any) -> bytes:
    answer = tape.client(name).receive(write(ME, session.sid, phase, name, encode(body)))
    assert answer is not None
    return answer


def signed_by(tape: Tape, here: Sequence[str]) -> tuple[Session, list[Signature]]:
    """Signatures of those who are there on a set that is said to be of all."""
    session, openings, rule = tape.aggregator.session, tape.aggregator._gathered.openings, Agreement()
    assert session is not None
    made_up = {name: openings[name].commitment if name in here else b"none" for name in session.members}
    statement = rule.statement(session, made_up)
    tree, near = Tree([leaf(entry) for entry in statement.entries]), session.near
    signatures = []
    for place, name in enumerate(here):
        shown: ShownSet | Statement = statement
        if near is not None:
            shown = ShownSet(near.bits(session.members), tree.root(), b"".join(tree.path(place)))
        answer = ask(tape, session, CONSISTENCY, name, shown)
        signatures.append(decode(Signature, header_of(answer).body, 1 << 12))
    return session, signatures


@pytest.mark.parametrize("options", [{}, {"complete_up_to": 0}])
def test_whoever_is_only_named_in_a_set_does_not_count(
    options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An honest client is called silent before the others have any mask with it, and stands in the set."""

    def opened() -> bool:
        made = federation(**options)
        tape = Tape.start(made, dict.fromkeys(GONE, "share-keys")).until("masked-input")
        here = [name for name in made.names if name not in GONE]
        for name in here:
            tape.deliver(tape.answer(name))
        session, signatures = signed_by(tape, here)
        agreed: Agreed | Countersigned = Agreed(tuple(signatures), b"")
        if session.near is not None:
            joined = b"".join(item.signature for item in signatures)
            agreed = Countersigned(session.near.bits(here), joined, b"")
        return all(ask(tape, session, UNMASK, name, agreed) for name in here)

    monkeypatch.setattr(Aggregator, "_check_present", lambda *_: None)  # ours would end the round
    with monkeypatch.context() as naive:
        naive.setattr(Agreement, "quorum", lambda _, session: session.quorum)
        assert opened(), "four are summed, one of whom may be corrupt"
    with pytest.raises(TooFewClients, match="4 signed the set, 5 are needed"):
        opened()


def test_a_result_that_too_few_have_signed_is_refused() -> None:
    evidence = Tape.start(federation()).finish()
    assert len(Auditor().verify(evidence).average[0]) == 3
    fewer = dataclasses.replace(evidence, agreement=evidence.agreement[:4])
    with pytest.raises(VerificationError, match="4 signed the set, 5 are needed"):
        Auditor().verify(fewer)
    with pytest.raises(ValueError, match="signatures"):
        verify_independently(fewer.to_bytes())


def test_a_round_whose_set_too_few_have_signed_ends() -> None:
    tape = Tape.start(federation()).until(CONSISTENCY)
    tape.answer_all(but=GONE)
    with pytest.raises(TooFewClients, match="4 signed the set, 5 are needed"):
        tape.advance()
