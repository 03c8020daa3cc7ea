"""Documents whose blocks are not run yet."""

from __future__ import annotations

from typing import Final

NOT_RUN: Final[dict[str, str]] = {
    "ARCHITECTURE.md": "quotes the sources, which a test compares",
    "CONTRIBUTING.md": "set-up itself, and the tests themselves",
    "README.md": "whole targets of make; the tests run all that is in them",
    "docs/anchor.md": "needs a chain: tests/integration/test_evm_anvil.py has one",
    "docs/algorithms.md": "parts of an app: tests/plugins has whole ones",
    "docs/backends.md": "needs keys that somebody has: tests/local does it with some",
    "docs/cost-model.md": "takes minutes with --calibrate: tests/cli/test_plan.py runs the others",
    "docs/deployment.md": "parts of a transport: tests/roles has whole ones",
    "docs/executors.md": "needs a cluster: tests/executing starts one",
    "docs/explorer.md": "opens a browser: tests/explorer does",
    "docs/flower.md": "needs a SuperLink: the tutorial has one",
    "docs/install.md": "installs packages: make install-matrix does",
    "docs/numbers.md": "parts of a client's loop, and homes that tests/cli makes",
    "docs/nvflare.md": "needs a workspace: the tutorial has a simulator's",
    "docs/preflight.md": "homes and policies of the reader's own: tests/cli has some",
    "docs/privacy.md": "a hundred clients: tests/local has fewer",
    "docs/sampling.md": "asks drand: tests/beacon has a chain of its own",
    "docs/service.md": "hosts that are named for examples: the tutorial has real ones",
    "docs/statistics.md": "hosts that are named for examples, and --url: tests/stats has a service",
}
"""Documents whose other blocks are not run, with the reason. A new document says it before each block."""

EXAMPLES: Final = "the examples themselves, which have tests, or run for minutes"
