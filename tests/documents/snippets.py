"""Documents whose blocks are not run yet."""

from __future__ import annotations

from typing import Final

NOT_RUN: Final[dict[str, str]] = {
    "ARCHITECTURE.md": "quotes the sources, which a test compares",
    "CONTRIBUTING.md": "set-up itself, and the tests themselves",
    "docs/anchor.md": "needs a chain: tests/integration/test_evm_anvil.py has one",
    "docs/deployment.md": "parts of a transport: tests/roles has whole ones",
    "docs/executors.md": "needs a cluster: tests/executing starts one",
    "docs/preflight.md": "homes and policies of the reader's own: tests/cli has some",
    "docs/sampling.md": "asks drand: tests/beacon has a chain of its own",
    "docs/service.md": "hosts that are named for examples: the tutorial has real ones",
    "docs/statistics.md": "hosts that are named for examples, and --url: tests/stats has a service",
}
"""Documents whose other blocks are not run, with the reason. A new document says it before each block."""
