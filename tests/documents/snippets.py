"""Documents whose blocks are not run yet."""

from __future__ import annotations

from typing import Final

NOT_RUN: Final[dict[str, str]] = {
    "ARCHITECTURE.md": "quotes the sources, which a test compares",
    "CONTRIBUTING.md": "set-up itself, and the tests themselves",
    "docs/statistics.md": "hosts that are named for examples, and --url: tests/stats has a service",
}
"""Documents whose other blocks are not run, with the reason. A new document says it before each block."""
