"""What nothing protects under a policy, by what it and the pins leave open: each with a name, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from secure_agg import backends
from secure_agg.preflight.figures import Measured
from secure_agg.preflight.subject import Subject
from secure_agg.protocol.claims import ATTESTED, finding_of
from secure_agg.protocol.privacy.claim import in_words

_HALF: Final = Fraction(1, 2)


@dataclass(frozen=True)
class Gap:
    """Something that is not protected.

    Attributes:
        name: one or two words, for programs.
        text: for people.
    """

    name: str
    text: str


def gaps(subject: Subject, found: Measured) -> tuple[Gap, ...]:
    """All that is not protected, the gravest first."""
    return tuple(Gap(name, text) for name, text in _found(subject, found))


def _found(subject: Subject, found: Measured) -> Iterator[tuple[str, str]]:
    policy, kind = subject.policy, backends.load(subject.policy.backend)
    yield from _at_home(subject)
    if not kind.trust.hides:
        yield "updates", f"Nothing is hidden: {kind.trust.trusted}"
    else:
        yield "trust", f"Trusted, under backend {kind.name}: {kind.trust.trusted}"
    meaning = finding_of(kind.result(policy).claim, pinned=True)
    yield "honesty", f"Nothing proves {meaning.not_proved}"
    if policy.norm is None:
        weight = subject.weight_limit
        share = weight / (weight + (subject.needed - 1) * policy.least_weight(weight))
        rotated = any(group.rotated for group in policy.vectors)
        far = "" if rotated else f", and moves each value by up to {2 * policy.clip * share:.3g}"
        yield (
            "influence",
            f"No norm is bounded. Of a mean of {subject.needed} clients one that declares weight {weight:,}, where the "
            f"others declare the least, has a share of {100 * share:.3g}%{far}, whatever it has trained",
        )
    if policy.max_weight > 1:
        yield "weights", f"A weight, up to {subject.weight_limit:,}, is what a client says: no proof is of its examples"
    if policy.privacy is None:
        honest = found.figures["honest"].value or 0
        yield (
            "results",
            f"A mean is no secret, and without differential privacy it tells what the sum of {honest:,.0f} honest "
            "clients tells, those that are corrupt knowing their own part; means of many rounds tell more",
        )
    else:
        rule = policy.privacy
        half = rule.spent_if(_HALF, subject.rounds or rule.rounds)
        yield (
            "noise",
            f"That others add their noise is known to nobody: if half of the {rule.honest} clients that are counted on "
            f"leave it out, epsilon is {in_words(half)} after {subject.rounds or rule.rounds} rounds",
        )
        yield "records", "One record at a client is protected as a part of that client, and not more cheaply"
    if not kind.trust.lasting and kind.trust.hides:
        yield "quantum computers", f"Post-quantum: {kind.trust.post_quantum}"
    yield "limits", f"Of backend {kind.name}: {kind.trust.limits}"
    yield (
        "participation",
        "Who takes part, when, with how large a model, and who falls silent is seen by the aggregator",
    )
    yield from _in_the_log(subject)


def _at_home(subject: Subject) -> Iterator[tuple[str, str]]:
    """What a home gives up."""
    party = subject.party
    if party is None:
        return
    if party.keys_together > 1:
        yield (
            "keys",
            f"The private keys of {party.keys_together} members lie in one place: whoever owns it reads every update. "
            "For a real federation each makes its own",
        )
    if party.checks_model is False:
        yield (
            "models",
            "Any model is trained that the server hands out: a crafted one makes the sum show single records",
        )
    elif party.pins_start is False:
        yield "first model", "The first model is the server's choice: no start model is pinned"


def _in_the_log(subject: Subject) -> Iterator[tuple[str, str]]:
    """What pins leave open."""
    pins = subject.pins
    if pins is None:
        yield "pins", "What members pin is not known from a policy: a roster or a ledger's key that differs is a way in"
        return
    if not pins.log:
        yield "history", "No ledger's key is pinned: nobody can tell whether a result is recorded"
    elif not pins.witnessed_by:
        yield (
            "split view",
            "No quorum of witnesses is pinned: the ledger's owner could show two parties two histories, and it comes "
            "out only where they compare",
        )
    if subject.policy.cohort_size and not pins.beacon:
        yield "draws", "Cohorts are drawn and no beacon is pinned: each party has to know the randomness by itself"
    if ATTESTED in pins.claims:
        yield "attested", "Results are accepted that are no sums, and for which only operators' signatures vouch"
