"""``secure-agg bench``: the benchmark suites and their report, which live in a package of their own."""

from __future__ import annotations

from importlib import import_module

import typer

from secure_agg.errors import ConfigError


def bench(context: typer.Context) -> None:
    """Run benchmark suites, or report on them: everything after `bench` goes to `python -m benchmarks`."""
    try:
        run = import_module("benchmarks.__main__").main
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} not installed: run  pip install 'secure-agg[bench]'") from error
    code = run(list(context.args))
    if code:
        raise typer.Exit(code)
