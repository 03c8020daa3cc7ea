"""Documents whose blocks are not run yet."""

from __future__ import annotations

from typing import Final

NOT_RUN: Final[dict[str, str]] = {
    "README.md": "whole targets of make; the tests run all that is in them",
    "docs/algorithms.md": "parts of an app: tests/plugins has whole ones",
    "docs/backends.md": "needs keys that somebody has: tests/local does it with some",
    "docs/cost-model.md": "takes minutes with --calibrate: tests/cli/test_plan.py runs the others",
    "docs/explorer.md": "opens a browser: tests/explorer does",
    "docs/flower.md": "needs a SuperLink: the tutorial has one",
    "docs/install.md": "installs packages: make install-matrix does",
    "docs/numbers.md": "parts of a client's loop, and homes that tests/cli makes",
    "docs/nvflare.md": "needs a workspace: the tutorial has a simulator's",
    "docs/privacy.md": "a hundred clients: tests/local has fewer",
}
"""Documents whose other blocks are not run, with the reason. A new document says it before each block."""

EXAMPLES: Final = "the examples themselves, which have tests, or run for minutes"
