"""``secure-agg bench``: the benchmark suites and their report, which are in a checkout and not in the package."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import typer

from secure_agg import extras
from secure_agg.errors import ConfigError, MissingExtra

CHECKOUT: Final = Path(__file__).parents[2]


def bench(context: typer.Context) -> None:
    """Run benchmark suites, or report on them: everything after `bench` goes to `python -m benchmarks`."""
    if not (CHECKOUT / "benchmarks" / "suite.py").is_file():
        raise ConfigError("the benchmarks are not part of the package: run  pip install -e '.[bench]'  in a checkout")
    if str(CHECKOUT) not in sys.path:  # first: another package of that name is not ours
        sys.path.insert(0, str(CHECKOUT))
        path = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = f"{CHECKOUT}{os.pathsep}{path}" if path else str(CHECKOUT)  # for its processes
    try:
        run = import_module("benchmarks.__main__").main
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name} is not installed: {extras.command('bench')}", extra="bench") from error
    code = run(list(context.args))
    if code:
        raise typer.Exit(code)
