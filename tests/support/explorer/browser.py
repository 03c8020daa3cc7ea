"""A headless Chromium of this machine, and a small ledger that is published with its page."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import secure_agg
from secure_agg.explorer.site import write_site
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import Identity, KeyDirectory
from secure_agg.protocol.messages import ADVERTISE, Advertisement, encode, write

NAMES: Final = ("ada", "bob", "cyn", "Zoë")
ENDED: Final = ", ".join(f"body[data-standing={standing}]" for standing in ("passed", "failed", "unknown"))
MILLISECONDS: Final = 120_000


@functools.cache
def why_no_browser() -> str:
    """Why there is none; empty where there is one."""
    if chromium() is None:
        return "Chromium is not installed"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "the package playwright is not installed"
    return ""


def chromium() -> str | None:
    """The machine's own; none is ever downloaded."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser() -> Iterator[Any]:
    """One that runs; its pages are made by ``new_page``."""
    if reason := why_no_browser():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # No sandbox: tests may run as root, in a container; they open nothing but their own pages.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        running = driver.chromium.launch(executable_path=chromium(), args=arguments, timeout=MILLISECONDS)
        try:
            yield running
        finally:
            running.close()


def new_page(running: Any, **options: Any) -> Any:
    """A page of a context of its own, which waits for whatever it is to wait for as long as a busy machine takes."""
    context = running.new_context(**options)
    context.set_default_timeout(MILLISECONDS)
    return context.new_page()


def standing(page: Any) -> str:
    """What the page has come to, once nothing is being checked any more."""
    page.wait_for_selector(ENDED, timeout=MILLISECONDS)
    found: str = page.get_attribute("body", "data-standing")
    return found


def visit(page: Any, path: str) -> None:
    """Show another view, and wait until it is drawn: its address is there before."""
    page.goto(f"{page.url.split('#')[0]}#/{path}")
    wait_for_view(page, path)


def wait_for_view(page: Any, path: str) -> None:
    page.wait_for_selector(f'body[data-path="{path}"]', timeout=MILLISECONDS)


def make_ledger(folder: Path) -> Path:
    """Three rounds, the last with a norm bound, and a proof that Bob has advertised twice."""
    rng = np.random.default_rng(7)
    path = folder / "rounds.db"
    updates = [{name: [rng.normal(size=(3, 2)), rng.normal(size=4)] for name in NAMES} for _ in range(3)]
    secure_agg.aggregate(updates[0], ledger=path)
    secure_agg.aggregate(updates[1], ledger=path, dropouts={"cyn": "masked-input"})
    secure_agg.aggregate(updates[2], ledger=path, task="bounded", norm_bound=50.0)
    with Ledger(path) as log:
        config = log.evidence(log.record(0)).config
        bob = KeyDirectory(log.keys).find("client", "bob")
        if bob is None:
            raise LookupError("Bob's key is not where it was")
        log.faults.keep([two_advertisements(bob, config)])
    return path


def two_advertisements(member: Identity, config: RoundConfig) -> FaultProof:
    """A proof that a member of `masking` has advertised twice in a round."""
    exhibits = [
        write(member, config.context, ADVERTISE, "", encode(Advertisement(bytes([i]) * 32, bytes(64)))) for i in (1, 2)
    ]
    return FaultProof(
        kind="two-advertisements",
        culprit=member.name,
        public=member.public,
        config=config.to_bytes(),
        setup=b"",
        exhibits=tuple(exhibits),
    )


def publish(path: Path, folder: Path) -> Path:
    """Export a ledger with its page."""
    with Ledger(path, read_only=True) as log:
        log.export(folder)
        write_site(log, folder)
    return folder
