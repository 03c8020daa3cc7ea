"""The page in a headless Firefox: what is right turns green, and a byte changed anywhere turns it red."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.explorer.browser import publish
from support.explorer.firefox import FirefoxTab, firefox_tab

import secure_agg
from secure_agg.explorer.serving import SiteServer

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def tab() -> Iterator[FirefoxTab]:
    with firefox_tab() as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tab: FirefoxTab) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "rounds.db"
    secure_agg.aggregate({name: [np.ones(3)] for name in "abc"}, ledger=path)
    return publish(path, path.parent / "public")


def shown(tab: FirefoxTab, folder: Path) -> str:
    """What the page comes to on what a folder publishes; each server is another origin, where nothing was seen yet."""
    with SiteServer((folder,)) as server:
        tab.goto(server.url)
        standing = tab.standing()
        tab.goto("about:blank")
    return standing


def test_a_ledger_is_verified_and_a_byte_changed_in_any_kind_of_file_is_seen(
    tab: FirefoxTab, site: Path, tmp_path: Path
) -> None:
    assert shown(tab, site) == "passed"
    altered = tmp_path / "altered"
    shutil.copytree(site, altered)
    tiles = [altered / "tile" / kind / "000.p" / "1" for kind in ("0", "entries")]
    for file in (altered / "checkpoint", *tiles, next((altered / "evidence").rglob("*.evidence"))):
        data = file.read_bytes()
        middle = len(data) // 2
        file.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        assert shown(tab, altered) == "failed", file.name
        file.write_bytes(data)


def test_a_round_of_a_million_values(tab: FirefoxTab, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    path = tmp_path / "rounds.db"
    secure_agg.aggregate({name: [rng.normal(size=1_000_000)] for name in "abc"}, ledger=path, backend="plain")
    assert shown(tab, publish(path, tmp_path / "public")) == "passed"


def test_it_fits_into_narrow_and_wide_windows_without_scrolling_sideways(tab: FirefoxTab, site: Path) -> None:
    with SiteServer((site,)) as server:
        tab.goto(f"{server.url}#/record/0")
        assert tab.standing() == "passed"
        for width in (360, 768, 1440):
            tab.resize(width, 800)
            assert tab.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        tab.goto("about:blank")
