"""What a suite of measurements is; ``benchmarks.__main__`` lists them all."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.results import Report


class UsageError(ValueError):
    """Options that are out of range or contradict each other."""


@dataclass(frozen=True)
class Suite:
    """A named set of measurements with its own options.

    Attributes:
        summary: one line for the help text.
        add_arguments: adds the suite's options to its parser.
        run: measures; raises ``UsageError`` before anything is measured.
        quick: options with which it takes seconds.
    """

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Report]
    quick: tuple[str, ...] = ()


def installed(name: str) -> bool:
    """Whether a module is there, without importing it."""
    return importlib.util.find_spec(name) is not None
