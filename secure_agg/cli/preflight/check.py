"""``secure-agg check``: what a policy bears, costs and leaves open, and which limits it breaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from secure_agg.cli.preflight.shown import show
from secure_agg.cli.terminal import exits
from secure_agg.cli.terminal.documents import privacy_document
from secure_agg.cli.terminal.output import JsonOption, emit
from secure_agg.errors import ConfigError
from secure_agg.planning.coefficients import Coefficients
from secure_agg.preflight import records
from secure_agg.preflight.limits import check_limits
from secure_agg.preflight.report import Report
from secure_agg.preflight.report import check as look
from secure_agg.preflight.settings import policy_of
from secure_agg.preflight.subject import Subject
from secure_agg.protocol.config.presets import PRESETS, preset


def check(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[POLICY|HOME]",
            help="A home of any party, the folder of a federation, a ledger, a trust file, a policy as JSON, or "
            "settings of one in TOML: see docs/preflight.md.",
        ),
    ] = None,
    preset_name: Annotated[
        str | None,
        typer.Option("--preset", metavar="NAME", help=f"Settings for a usual federation: {', '.join(PRESETS)}."),
    ] = None,
    clients: Annotated[
        int | None, typer.Option(metavar="N", help="Members, where what is looked at doesn't say.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="Which of several tasks.")] = None,
    parameters: Annotated[
        int | None, typer.Option(metavar="N", help="Of the model; without them nothing is said of costs.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(metavar="N", help="Of the task, for what they spend of a privacy budget together.")
    ] = None,
    lost: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Of the clients, that fall silent once a round has begun.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=NUMBER",
            help="What has to hold, by the names of the figures that are shown: seconds=60, dropouts=2. One for each.",
        ),
    ] = None,
    coefficients: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `plan --calibrate` has written; else the shipped.")
    ] = None,
    of_records: Annotated[
        bool,
        typer.Option(
            "--records",
            help="What each control does, beside articles of the GDPR, HIPAA and the EU AI Act: a table to keep.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a policy or a home is worth before a round is made: what it bears, costs and leaves open.

    Exit code 5 where a limit is broken, or no round could be; what would do is said.
    """
    report = look(
        _source(source, preset_name, clients),
        clients=clients,
        task=task,
        parameters=parameters,
        rounds=rounds,
        lost=lost,
        limits=_limits(limit or []),
        coefficients=Coefficients.load_file(coefficients) if coefficients is not None else None,
    )
    if of_records:
        # A table in Markdown is for a file, and not wrapped to a terminal.
        emit(records.document(report), as_json, lambda console: console.print(_as_it_is(report), soft_wrap=True))
    else:
        document = _document(report, preset_name)
        emit(document, as_json, lambda console: show(console, report, document))
    if not report.fits:
        raise typer.Exit(exits.LIMIT_BROKEN)


def _as_it_is(report: Report) -> Text:
    """The table of records as it is."""
    return Text(records.markdown(report))


def _source(source: Path | None, preset_name: str | None, clients: int | None) -> Path | Subject:
    if (source is None) == (preset_name is None):
        raise ConfigError("name a policy or a home, or a --preset: one of them")
    if source is not None:
        return source
    if clients is None:
        raise ConfigError("a preset doesn't say of how many clients: --clients N says it")
    return Subject(policy=policy_of(clients, preset_name, {}), clients=clients)


def _limits(given: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        try:
            value = float(text)
        except ValueError:
            equals = ""
        if not equals:
            raise ConfigError(f"--limit {pair!r} is not of the form NAME=NUMBER")
        if name in found:
            raise ConfigError(f"limit {name!r} is given twice")
        found[name] = value
    return check_limits(found)


def _document(report: Report, preset_name: str | None) -> dict[str, Any]:
    policy = report.subject.policy
    document = report.document()
    if preset_name is not None:
        document = {"preset": preset_name, "for": preset(preset_name).text} | document
    if policy.privacy is not None:
        document["privacy"] = privacy_document(policy.privacy, policy.clip)
    return document
