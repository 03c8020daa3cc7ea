"""What each control does here, beside the articles that speak of such things: for a controller's own records.

Nothing here says that anything complies with anything. What a control does is what this program does; which duties
there are, whether an article applies, and what is enough, is for who has them. Articles are those of Regulation (EU)
2016/679 (GDPR), of 45 CFR part 164 (HIPAA's rules on security and privacy) and of Regulation (EU) 2024/1689 (AI Act).
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from secure_agg import backends
from secure_agg.preflight.report import Report
from secure_agg.protocol.claims import PROVED

NO_CLAIM: Final = (
    "What each control does, and which articles speak of such things. It claims no compliance: whether an article "
    "applies, and what is enough for it, is for those who have the duty."
)
OFF: Final = "off"
LAWS: Final = ("gdpr", "hipaa", "ai_act")


@dataclass(frozen=True)
class Row:
    """A control.

    Attributes:
        control: its name.
        does: what it does, whatever the policy.
        here: what it comes to under this policy and these pins; ``off`` where it does nothing.
        leaves: what it does not do.
        gdpr: articles.
        hipaa: sections of 45 CFR.
        ai_act: articles.
    """

    control: str
    does: str
    here: str
    leaves: str
    gdpr: str
    hipaa: str
    ai_act: str


@dataclass(frozen=True)
class _Control:
    """A row but for what it comes to."""

    control: str
    does: str
    leaves: str
    gdpr: str
    hipaa: str
    ai_act: str
    here: Callable[[Report], str]


def _hidden(report: Report) -> str:
    if not backends.load(report.subject.policy.backend).trust.hides:
        return OFF
    found = report.figures["quorum"].text
    return f"backend {report.subject.policy.backend}: no sum of fewer than {found} is opened"


def _sums(report: Report) -> str:
    policy = report.subject.policy
    claim = backends.load(policy.backend).result(policy).claim
    return "every round, before it is recorded" if claim in PROVED else "off: results are no sums, operators sign them"


def _norm(report: Report) -> str:
    if report.figures["norm"].value is None:
        return OFF
    factor = report.figures["factor"]
    reach = f"corrupt ones reach {factor.text} times that per head" if factor.value else "no factor is known"
    return f"L2 norm at most {report.figures['norm'].text}; {reach}"


def _private(report: Report) -> str:
    if report.figures["epsilon"].value is None:
        return OFF
    return f"epsilon = {report.figures['epsilon'].text} at delta = {report.figures['delta'].text} after all rounds"


def _ledger(report: Report) -> str:
    pins = report.subject.pins
    if pins is None:
        return "every verified round is a record; whose key is pinned is not known from a policy"
    return "a record for each verified round, under a pinned key" if pins.log else OFF


def _witnesses(report: Report) -> str:
    pins = report.subject.pins
    if pins is None:
        return "not known from a policy"
    return f"{pins.witnessed_by} of {pins.witnesses} pinned witnesses have to cosign" if pins.witnessed_by else OFF


def _members(report: Report) -> str:
    subject = report.subject
    operators = f", {subject.pins.operators} pinned operators" if subject.pins else ""
    return f"{subject.clients} members by their keys{operators}"


def _thresholds(report: Report) -> str:
    return f"{report.figures['dropouts'].text} may be missing, {report.figures['corrupt'].text} corrupt"


def _model(report: Report) -> str:
    party = report.subject.party
    if party is None or party.checks_model is None:
        return "not known from a policy: each home says"
    return "models that do not follow are refused" if party.checks_model else OFF


def _checked(report: Report) -> str:
    return "fits" if report.fits else f"{len(report.broken)} broken"


_CONTROLS: Final = (
    _Control(
        "hidden updates",
        "an update leaves its client masked, shared or encrypted; the aggregator learns sums alone",
        "a mean is no secret; who takes part is seen",
        "5(1)(c), 25(1), 32(1)(a)", "164.312(a)(2)(iv), 164.312(e)(1), 164.502(b)", "15(5)", _hidden,
    ),
    _Control(
        "verified sums",
        "each client commits to its update before it is hidden; the result is proved to be the sum of what was "
        "committed to, exactly, to anybody",
        "not that data or training were honest",
        "5(1)(f), 5(2), 32(1)(b)", "164.312(c)(1), 164.312(c)(2)", "15(4), 15(5)",
        _sums,
    ),
    _Control(
        "ledger",
        "an append-only log of verified rounds: who took part, by which rules, from which model to which; anybody "
        "audits it from scratch",
        "how long it is kept is its owner's to see to; nothing of what was done outside of rounds is in it",
        "5(2), 30", "164.308(a)(1)(ii)(D), 164.312(b), 164.316(b)", "12(1), 12(2), 19(1), 26(6)", _ledger,
    ),
    _Control(
        "receipts and witnesses",
        "a record is shown to be in the log; witnesses cosign that it only grows, each by its own clock",
        "without a quorum of witnesses histories can differ until somebody compares",
        "5(2), 32(1)(b)", "164.312(b), 164.312(c)(2)", "12(1), 19(1)", _witnesses,
    ),
    _Control(
        "identities and pins",
        "every message is signed by a key that everybody has pinned; changes of members, keys and rules are signed by "
        "those whom they concern, and recorded",
        "who stands behind a key is checked by people, by fingerprints",
        "25(1), 32(1)(b)", "164.312(a)(2)(i), 164.312(d), 164.316(b)(2)(iii)", "12(2), 15(5)", _members,
    ),
    _Control(
        "thresholds",
        "a round ends though some fall silent, and hides updates though some are corrupt, up to stated numbers",
        "beyond these numbers it ends without a result, or does not hide",
        "32(1)(b), 32(1)(c)", "164.308(a)(7)", "15(4)", _thresholds,
    ),
    _Control(
        "norm bound",
        "each client proves that its update is short, unseen: influence is bounded",
        "a short update can still be a bad one",
        "32(1)(b)", "164.312(c)(1)", "15(5)", _norm,
    ),
    _Control(
        "differential privacy",
        "clients add noise themselves and keep account: all results together tell little of one client",
        "nobody can see that others add theirs",
        "5(1)(c), 25(1)", "164.308(a)(1)(ii)(B)", "10(5), 15(5)", _private,
    ),
    _Control(
        "proofs of fault and of exclusion",
        "who provably broke the protocol is named by a file that anybody checks; a receipt shows that an input was "
        "accepted and left out",
        "who can't be proved guilty is not named",
        "5(2), 33(5)", "164.308(a)(6)(ii), 164.312(b)", "12(2), 15(5)",
        lambda report: "where the backend can name one: see what it leaves open",
    ),
    _Control(
        "models that follow",
        "a node computes the next model itself from verified means, and refuses others",
        "the first model has to be one that there is reason to trust",
        "5(1)(f), 25(1)", "164.312(c)(1)", "15(5)", _model,
    ),
    _Control(
        "preflight",
        "this report: what is borne, what is bounded, what is left open, and which limits hold",
        "it looks at settings, and not at an organisation",
        "24(1), 32(1)(d), 35(7)", "164.308(a)(1)(ii)(A), 164.308(a)(8)", "9(2)", _checked,
    ),
)  # fmt: skip
"""All of them."""


def records(report: Report) -> tuple[Row, ...]:
    """Every control under what was looked at."""
    return tuple(
        Row(one.control, one.does, one.here(report), one.leaves, one.gdpr, one.hipaa, one.ai_act) for one in _CONTROLS
    )


def document(report: Report) -> dict[str, Any]:
    """The same in JSON types."""
    return {"says": NO_CLAIM, "controls": [asdict(row) for row in records(report)]}


def markdown(report: Report) -> str:
    """The same as a table in Markdown, to be kept with other records."""
    lines = [
        "| control | what it does | here | what it leaves | GDPR | HIPAA, 45 CFR | AI Act |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in records(report):
        cells = (row.control, row.does, row.here, row.leaves, row.gdpr, row.hipaa, row.ai_act)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join((textwrap.fill(NO_CLAIM, 120), "", *lines))
