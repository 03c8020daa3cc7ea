"""What an aggregator's own requests prove of it where inputs are screened.

The exhibits of a proof, after the advertisements, by its kind:

* ``two-screenings``: two messages in which it shows two lists of accepted inputs, or two sums that have failed.
* ``false-claim``: its list of accepted inputs, and a message that shows a sum as one that has failed, which is not the
  sum of such inputs, or has not failed.
* ``false-charge``: the cohort, of which the configuration names the root, and a message of an excision in which a
  charge proves nothing.

An aggregator that follows the protocol shows one list and one sum in a session, and no charge or failure that it has
not checked by the very same functions. Whoever is asked keeps what it answers, and so has both halves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from secure_agg.backends.contract import Session
from secure_agg.backends.masking import faults, rules, screening
from secure_agg.backends.masking.rules import EXCISE, EXCISE_SKETCHES, SCREEN, SCREEN_SKETCHES
from secure_agg.backends.masking.wire import Charges, Cohort, FailedSum, Screening, ShownCharges
from secure_agg.errors import ConfigError, MalformedMessage, RemoteProtocolError, VerificationError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.evidence import CohortMember
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Roster, is_id_order
from secure_agg.protocol.messages import Agreed, Received, decode, encode
from secure_agg.protocol.sparse.opening import learn
from secure_agg.protocol.sparse.wire import Countersigned, SmallerSet

TWO_SCREENINGS: Final = "two-screenings"
FALSE_CLAIM: Final = "false-claim"
FALSE_CHARGE: Final = "false-charge"
KINDS: Final = (TWO_SCREENINGS, FALSE_CLAIM, FALSE_CHARGE)
KEPT: Final = (SCREEN, SCREEN_SKETCHES)
"""Phases whose requests prove something beside another."""


def prove(session: Session, kind: str, operator: str, public: bytes, *exhibits: bytes) -> FaultProof:
    """A proof for whoever was not in the session. It is checked like any other."""
    return FaultProof(
        kind=kind,
        culprit=operator,
        public=public,
        config=session.config.to_bytes(),
        setup=b"",
        exhibits=(faults.advertised(session), *exhibits),
    )


def accuse(
    session: Session,
    cohort: Mapping[str, bytes],
    operator: str,
    public: bytes,
    kept: Mapping[str, bytes],
    phase: str,
    request: bytes,
) -> Iterator[FaultProof]:
    """What a request may prove of whoever has signed it: proofs that are still to be checked.

    Args:
        cohort: who could have taken part, with identity keys.
        kept: requests that were answered before, by phase.
        request: as it was received.
    """
    if phase in kept and kept[phase] != request:
        yield prove(session, TWO_SCREENINGS, operator, public, kept[phase], request)
    if phase == SCREEN_SKETCHES and SCREEN in kept:
        yield prove(session, FALSE_CLAIM, operator, public, kept[SCREEN], request)
    if phase.startswith(EXCISE):
        members = encode(Cohort(tuple(CohortMember(name, key) for name, key in cohort.items())))
        yield prove(session, FALSE_CHARGE, operator, public, members, request)


def check_proof(config: RoundConfig, proof: FaultProof) -> None:
    """Check that a proof of one of these kinds shows what it says.

    Raises:
        VerificationError: it does not.
    """
    with faults.as_no_proof():
        session = faults.read_session(config, proof)
        if proof.culprit in session.members:
            raise VerificationError("a client shows no lists, sums or charges")
        if len(proof.exhibits) != 3:
            raise VerificationError(f"{len(proof.exhibits)} exhibits, not 3")
        _CHECKS[proof.kind](session, proof.culprit, *proof.exhibits[1:])


def _body(session: Session, name: str, data: bytes, phase: str) -> bytes:
    """What an aggregator has shown in a phase, without the signatures of a set."""
    body = faults.read_message(session, name, data, phase).body
    if phase == SCREEN:
        return body
    if session.near is None:
        return decode(Agreed, body, len(body)).backend
    part = decode(Countersigned, body, len(body)).backend
    return decode(SmallerSet, part, len(part)).backend if phase.startswith(EXCISE) else part


def _two_screenings(session: Session, operator: str, first: bytes, second: bytes) -> None:
    phase = Received.of(first, rules.request_limit(session.config)).header.phase
    if phase not in (KEPT if rules.tests_sketches(session.config) else (SCREEN,)):
        raise VerificationError(f"nothing is shown in phase {phase!r}")
    bodies = [_body(session, operator, data, phase) for data in (first, second)]
    for body in bodies:
        decode(Screening if phase == SCREEN else FailedSum, body, len(body))
    if bodies[0] == bodies[1]:
        raise VerificationError("the two lists, or sums, are one")


def _false_claim(session: Session, operator: str, first: bytes, second: bytes) -> None:
    if not rules.tests_sketches(session.config):
        raise VerificationError("no sketches are tested in this round")
    body = _body(session, operator, first, SCREEN)
    listed = {item.client: item.value for item in decode(Screening, body, len(body)).inputs}
    claim = _body(session, operator, second, SCREEN_SKETCHES)
    try:
        screening.check_failed(session, listed, decode(FailedSum, claim, len(claim)))
    except (VerificationError, MalformedMessage):
        return
    raise VerificationError("the sum is that of the inputs, and has failed")


def _false_charge(session: Session, operator: str, cohort: bytes, request: bytes) -> None:
    members = decode(Cohort, cohort, len(cohort)).members
    names, config = [item.name for item in members], session.config
    keys = {item.name: item.public for item in members}
    try:
        right = is_id_order(names) and (len(keys), Roster(keys).root()) == (config.cohort_size, config.cohort_root)
    except ConfigError as error:
        raise VerificationError(str(error)) from error
    if not right:
        raise VerificationError("the cohort is not the configured one")
    if not keys.keys() >= set(session.members):
        raise VerificationError("somebody who advertised is not in the cohort")
    phase = Received.of(request, rules.request_limit(config)).header.phase
    named = rules.excisions(config) + (rules.excisions(config, EXCISE_SKETCHES) if rules.tests_sketches(config) else ())
    if phase not in named:
        raise VerificationError(f"nobody is charged in phase {phase!r}")
    body = _body(session, operator, request, phase)
    known = replace(session, keys=keys)
    try:
        if session.near is None:
            charges = decode(Charges, body, len(body)).items
        else:  # what speaks for the charges came with them, or nothing does
            known = replace(known, parts={}, commitment_hashes={}, advertisements={})
            shown = decode(ShownCharges, body, len(body))
            learn(known, shown.shown, phase=phase)
            charges = shown.items
        for charge in charges:
            faults.check_charge(known, charge)
    except (VerificationError, RemoteProtocolError):
        return
    raise VerificationError("every charge is proved")


_CHECKS: Final = {TWO_SCREENINGS: _two_screenings, FALSE_CLAIM: _false_claim, FALSE_CHARGE: _false_charge}
