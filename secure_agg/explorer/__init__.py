"""The explorer: a page that shows a ledger, and verifies it in the reader's own browser.

The page is one HTML file, built from ``explorer/`` in the repository and kept here as data, so that only Python is
needed to use it. ``site`` writes it beside a published ledger, ``serving`` serves both on this machine.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).with_name("page.html")
"""The built page."""


def digest() -> str:
    """SHA-256 of the page, in hexadecimal: what a page that somebody else serves has to have to be this one."""
    return hashlib.sha256(PAGE.read_bytes()).hexdigest()
