"""The command itself: one function of ``secure_agg.stats``, its columns, and whom to ask."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console

from secure_agg import stats
from secure_agg.cli.stats.sites import Sites
from secure_agg.cli.terminal.logs import log_to_stderr
from secure_agg.cli.terminal.options import PrivacyDelta, PrivacyEpsilon, PrivacyHonest, PrivacyRounds, asked_privacy
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.stats.question import DEFAULT_RECORDS, FUNCTIONS
from secure_agg.stats.results import Statistic, said
from secure_agg.stats.rules import Rules, column_of

_WIDE: Final = float(1 << 20)
"""The range of a column of which nobody says one: values are then rounded to a millionth."""
_CONDITION: Final = re.compile(r"([^=!<>]+?)\s*(==|!=|<=|>=|<|>)\s*(.+)")


@dataclass(frozen=True)
class _Asked:
    """What the options say of a question."""

    function: str
    columns: Sequence[str]
    ranges: Mapping[str, tuple[float, float]]
    levels: Mapping[str, list[str]]
    edges: Sequence[float]
    q: float
    group: str | None
    words: Mapping[str, Any]
    rules: Rules

    def span(self, name: str) -> tuple[float, float]:
        """A column's range: said, or the owner's, or a wide one."""
        lower, upper = self.ranges.get(name, (None, None))
        rule = self.rules.announced(name)
        if lower is None and rule.lower is None and rule.upper is None:
            return -_WIDE, _WIDE
        return column_of(self.rules, name, lower, upper)

    def names(self, least: int, most: int) -> Sequence[str]:
        if not least <= len(self.columns) <= most:
            words = f"{least}" if least == most else f"{least} or more"
            raise ConfigError(f"{self.function} takes {words} of --column, not {len(self.columns)}")
        return self.columns

    def categories(self, *names: str) -> dict[str, Sequence[str]]:
        known = {name: self.rules.announced(name).levels for name in names}
        found = {name: self.levels.get(name) or list(known[name] or ()) for name in names}
        if missing := [name for name, levels in found.items() if not levels]:
            raise ConfigError(f"say which levels there are: --levels {missing[0]}=one,other")
        return {name: tuple(levels) for name, levels in found.items()}


def _ask(federation: stats.Federation, asked: _Asked) -> Statistic:
    function, words = asked.function, asked.words
    if function == "count":
        asked.names(0, 0)
        return stats.count(federation, **words)
    if function in ("sum", "mean", "variance"):
        (name,) = asked.names(1, 1)
        simple: Callable[..., Statistic] = getattr(stats, function)
        return simple(federation, name, *asked.span(name), **words)
    if function == "quantile":
        (name,) = asked.names(1, 1)
        return stats.quantile(
            federation, name, asked.q, *asked.span(name), step=asked.rules.announced(name).step, **words
        )
    if function == "histogram":
        (name,) = asked.names(1, 1)
        return stats.histogram(federation, name, asked.edges, **words)
    if function == "contingency":
        one, other = asked.names(2, 2)
        return stats.contingency(federation, one, other, asked.categories(one, other), **words)
    if function in ("kaplan_meier", "log_rank"):
        duration, event = asked.names(2, 2)
        levels = asked.categories(asked.group)[asked.group] if asked.group is not None else ()
        if function == "kaplan_meier":
            return stats.kaplan_meier(
                federation, duration, event, asked.edges, group=asked.group, levels=levels, **words
            )
        if asked.group is None:
            raise ConfigError("log_rank compares groups: name their column by --group")
        return stats.log_rank(federation, duration, event, asked.group, levels, asked.edges, **words)
    names = asked.names(2, 64)
    ranges = {name: asked.span(name) for name in names}
    if function == "correlation":
        return stats.correlation(federation, ranges, **words)
    fit = stats.linear_regression if function == "linear_regression" else stats.logistic_regression
    return fit(federation, names[0], names[1:], ranges, **words)


def ask(
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help=f"One of {', '.join(FUNCTIONS)}.")],
    files: Annotated[list[Path], typer.Argument(metavar="CSV…", help="A table of each site; with --url one's own.")],
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="NAME", help="That it takes; repeat: outcome first, duration before event."),
    ] = None,
    span: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="NAME=LOW:HIGH", help="Of a column, announced; else the rules', else ±2^20."),
    ] = None,
    levels: Annotated[
        list[str] | None, typer.Option("--levels", metavar="NAME=A,B", help="Of a categorical column, all there are.")
    ] = None,
    edges: Annotated[
        str | None,
        typer.Option("--edges", metavar="A:B:STEP", help="Of bins, or times: first, last, step; or numbers by commas."),
    ] = None,
    q: Annotated[float, typer.Option("--q", min=0, max=1, metavar="Q", help="Of a quantile.")] = 0.5,
    group: Annotated[str | None, typer.Option("--group", metavar="NAME", help="Column of survival's groups.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="CONDITION", help="Records that count, as in 'age>=50' or 'sex==f'; repeat."),
    ] = None,
    missing: Annotated[str, typer.Option("--missing", metavar="WHAT", help="Values: refuse, or drop.")] = "refuse",
    outside: Annotated[
        str, typer.Option("--outside", metavar="WHAT", help="Out of range: refuse, drop the record, or clip.")
    ] = "refuse",
    weights: Annotated[str | None, typer.Option("--weights", metavar="NAME", help="Column of whole numbers.")] = None,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="FILE", help="What owners allow, TOML: columns, functions, minimum."),
    ] = None,
    records: Annotated[
        int, typer.Option("--records", min=1, metavar="N", help="No site has more; noise is in proportion to it.")
    ] = DEFAULT_RECORDS,
    min_count: Annotated[
        int | None, typer.Option("--min-count", min=1, metavar="N", help="Fewest records of a cell; 5 by default.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Of earlier answers; else statistics.log in the home.")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Of a service: every member asks alike.")
    ] = None,
    home: Annotated[Path | None, typer.Option("--home", metavar="DIR", help="With --url, this member's home.")] = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", metavar="FILE", help="Rounds in this process are appended to it.")
    ] = None,
    task: Annotated[str, typer.Option("--task", metavar="NAME", help="Of these rounds.")] = "statistics",
    privacy_epsilon: PrivacyEpsilon = None,
    privacy_delta: PrivacyDelta = None,
    privacy_rounds: PrivacyRounds = None,
    privacy_honest: PrivacyHonest = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Picture of a histogram or of curves: png, svg, pdf.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """A statistic of all sites' records together: nobody sees a site's share of it.

    Several files are several sites in this process, three at least; with --url and --home each site asks by itself. A
    privacy budget is of all questions in the ledger's task; with --url the home has it, and the options say its limit.
    """
    if function not in FUNCTIONS:
        raise ConfigError(f"there is no function {function!r}: take one of {', '.join(FUNCTIONS)}")
    norm = None if privacy_epsilon is None else 1.0  # a unit that no answer depends on
    privacy = asked_privacy(privacy_epsilon, privacy_delta, norm, privacy_rounds, privacy_honest)
    if url is not None and (privacy_rounds is not None or privacy_honest is not None):
        raise ConfigError("for how many rounds a budget is, and on whom it relies, members' homes have pinned")
    sites = Sites(files, url, home, rules, log, min_count, ledger, task, privacy)
    words = {
        "where": [_condition(text) for text in where or ()],
        "missing": missing,
        "outside": outside,
        "weights": weights,
        "records": records,
    }
    asked = _Asked(
        function=function,
        columns=column or (),
        ranges={name: _pair(text) for name, text in map(_named, span or ())},
        levels={name: text.split(",") for name, text in map(_named, levels or ())},
        edges=_edges(edges) if edges else (),
        q=q,
        group=group,
        words=words,
        rules=sites.owner,
    )
    if bool(asked.edges) != (function in ("histogram", "kaplan_meier", "log_rank")):
        raise ConfigError("--edges are for histogram, kaplan_meier and log_rank, and those need them")
    with log_to_stderr() if url else nullcontext(), sites.opened() as federation:
        result = _ask(federation, asked)
    if plot is not None:
        stats.plot(result, plot)
    document = {"function": function} | said(result)
    emit(document, as_json, lambda console: _show(console, document))


def _show(console: Console, document: Mapping[str, Any]) -> None:
    rows: dict[str, str] = {}
    for key, value in document.items():
        if key == "noises" and document["noise"] == 0:
            continue
        if key in ("matrix", "noises") and isinstance(value, list):
            names = document["columns"]
            pairs = itertools.combinations(range(len(names)), 2)
            what = "" if key == "matrix" else "noise "
            rows |= {f"{what}{names[one]}, {names[other]}": _text(value[one][other]) for one, other in pairs}
        elif key == "counts" and isinstance(value[0], list):
            one, other = document["levels"]
            cells = itertools.product(range(len(one)), range(len(other)))
            rows |= {f"{one[row]}, {other[column]}": _text(value[row][column]) for row, column in cells}
        elif key == "noise" and value is None:
            rows[key] = f"too much to say anything of {'some of them' if document.get('noises') else 'the value'}"
        elif key == "curves":
            rows |= _curves(value, bool(document["noise"]))
        elif isinstance(value, dict):
            rows |= {f"{key} {name}": _text(each) for name, each in value.items()}
        else:
            rows[key] = _text(value)
    show_fields(console, rows)


def _curves(curves: Mapping[str, Any], noisy: bool) -> dict[str, str]:
    """All curves have the same times."""
    rows = {"times": _text(next(iter(curves.values()))["times"])}
    for name, curve in curves.items():
        rows[f"survival {name}"] = _text(curve["survival"])
        if noisy:
            rows[f"noise {name}"] = _text(curve["noise"])
        rows[f"median {name}"] = _text(curve["median"])
    return rows


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(each) for each in value)
    return "–" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)


def _named(text: str) -> tuple[str, str]:
    name, sign, rest = text.partition("=")
    if not (name and sign and rest):
        raise ConfigError(f"{text!r} is not of the form NAME=…")
    return name, rest


def _pair(text: str) -> tuple[float, float]:
    low, sign, high = text.partition(":")
    if not sign:
        raise ConfigError(f"a range is LOW:HIGH, not {text!r}")
    return _float(low), _float(high)


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no number") from None


def _edges(text: str) -> list[float]:
    if ":" not in text:
        return [_float(each) for each in text.split(",")]
    parts = [_float(each) for each in text.split(":")]
    if len(parts) != 3 or not np.isfinite(parts).all() or parts[2] <= 0 or (parts[1] - parts[0]) / parts[2] > 1 << 16:
        raise ConfigError(f"edges are FIRST:LAST:STEP, 65536 at most, not {text!r}")
    first, last, step = parts
    return [first + step * place for place in range(int((last - first) / step + 1e-9) + 1)]


def _condition(text: str) -> tuple[str, str, float | str]:
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"a condition is COLUMN, ==, !=, <, <=, > or >=, and a value, not {text!r}")
    name, operation, value = found.groups()
    try:
        return name, operation, float(value)
    except ValueError:
        return name, operation, value
