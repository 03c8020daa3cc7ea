"""What a round's record claims of its result, in the words of every command, and which claims a party accepts.

A *sum* is proved to anybody. What is no sum, like a median, is *attested*: the operators have signed it, and operators
that collude sign whatever they like. Nobody is to take the one for the other, so an attested result is accepted only
where it was asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from secure_agg.errors import ClaimRefused, ConfigError

SUM: Final = "sum"
DP_SUM: Final = "dp-sum"
ATTESTED: Final = "attested"
PROVED: Final = (SUM, DP_SUM)
"""Of results that are the sum of what was committed to: with privacy that holds each client's noise."""
CLAIMS: Final = (SUM, DP_SUM, ATTESTED)
"""All that there are, the strongest first."""
SUMS_ONLY: Final = frozenset({SUM})
"""What is accepted where nothing else was asked for. Who accepts sums accepts them with noise, where the policy that it
has pinned says so: nothing else makes such a result.
"""


@dataclass(frozen=True)
class Finding:
    """What a verification has come to.

    Attributes:
        word: ``verified``, ``attested``, or ``consistent`` where nothing of the verifier's own was compared.
        proved, not_proved: one sentence each, for people.
    """

    word: str
    proved: str
    not_proved: str


VERIFIED: Final = "verified"
CONSISTENT: Final = "consistent"

_HONESTY: Final = "that the participants' data or training was honest: they may commit to anything that is in range"
_MEANINGS: Final = {
    SUM: Finding(VERIFIED, "the result is the sum of what the participants committed to, exactly", _HONESTY),
    DP_SUM: Finding(
        VERIFIED,
        "the result is the sum of what the participants committed to, exactly, and the rules had each add noise to it: "
        "with the noise of the honest ones it tells of one client what the budget allows",
        f"that any client has added its noise: whoever leaves it out weakens all; nor {_HONESTY}",
    ),
    ATTESTED: Finding(
        ATTESTED,
        "all operators of the round have signed the result, and it is in range",
        "that the result is what the clients' updates come to: operators that collude can sign any numbers; "
        f"nor {_HONESTY}",
    ),
}
_WORDS: Final = {
    SUM: "of what the participants committed to: «verify» proves it",
    DP_SUM: "of what the participants committed to, noise for differential privacy in it: «verify» proves the sum",
    ATTESTED: "no sum: nothing vouches for it but the operators' signatures",
}
_UNPINNED: Final = {
    SUM: "the evidence is consistent in itself: its result is the sum of the commitments that it holds",
    DP_SUM: "the evidence is consistent in itself: its result is the sum of the commitments that it holds",
    ATTESTED: "the evidence is consistent in itself: whom it names as operators has signed its result",
}
_MADE_UP: Final = "that any of it happened: nothing is pinned, so anybody could have made it up"
_OWN_NAMES: Final = "who took part: no roster is pinned, the names are those that the evidence gives itself"


def finding_of(claim: str, *, pinned: bool, recorded: bool = False) -> Finding:
    """What a successful verification means.

    Args:
        claim: of the record.
        pinned: whether roster and policy were compared with what the verifier holds itself.
        recorded: whether the round was found in a log, or a contract, that the verifier knows by itself.
    """
    meaning = _MEANINGS[claim]
    if pinned:
        return meaning
    proved = _UNPINNED[claim] + (", and it is recorded where you have looked" if recorded else "")
    return Finding(CONSISTENT, proved, f"{_OWN_NAMES if recorded else _MADE_UP}; nor {meaning.not_proved}")


def words(claim: str) -> str:
    """A claim with its meaning, for where a record is shown and nothing was verified."""
    return f"{claim} ({_WORDS[claim]})"


def check_claims(claims: Iterable[str]) -> frozenset[str]:
    """Claims that somebody accepts, as a set.

    Raises:
        ConfigError: one of them is none, or there are none.
    """
    if isinstance(claims, str):
        raise ConfigError(f"claims are a set of names, not the text {claims!r}")
    try:
        accepted = frozenset(claims)
        unknown = sorted(map(repr, accepted - set(CLAIMS)))
    except TypeError as error:
        raise ConfigError(f"claims are a set of names: {error}") from error
    if unknown:
        raise ConfigError(f"{unknown[0]} is no claim: {', '.join(CLAIMS)}")
    if not accepted:
        raise ConfigError("some claim has to be accepted: sum, or sum and attested")
    return accepted


def in_order(claims: Collection[str]) -> list[str]:
    """These claims, in the order of ``CLAIMS``."""
    return [claim for claim in CLAIMS if claim in claims]


def require_claim(claim: str, accepted: Collection[str], *, task: str, round: int, phase: str | None = None) -> None:
    """Refuse a result that claims something which this party does not accept.

    A sum with noise passes for a sum: that it is one is proved just so.

    Raises:
        ClaimRefused: says what it claims, what is accepted, and how to accept it.
    """
    if claim in accepted or (claim in PROVED and SUM in accepted):
        return
    wanted = tuple(in_order({claim, *accepted}))
    flag = ", --accept-attested on the command line" if claim == ATTESTED else ""
    raise ClaimRefused(
        f"the result of round {round} of task {task!r} is of claim {words(claim)}; accepted here: "
        f"{', '.join(in_order(accepted))}. Who wants it asks for it: claims={wanted!r} in Python{flag}, or "
        f'"claims" of the task in the trust file',
        phase=phase,
    )
