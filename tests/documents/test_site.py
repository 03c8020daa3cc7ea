"""The site: every link leads somewhere, nothing comes from another host, and it can be read on a phone and offline."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import click
import pytest
from support.commands import every_command
from support.explorer.browser import browser
from support.source_tree import ROOT

import secure_agg

pytest.importorskip("mkdocs")
pytestmark = pytest.mark.slow
PHONE: Final = {"width": 360, "height": 740}
LOOKED_AT: Final = (
    "index.html",
    "tutorials/first-round.html",
    "explanation/round.html",
    "reference/command-line.html",
    "specification.html",
    "performance.html",
)
"""Pages of every kind: with drawings, long names, wide tables, formulas."""
_SEEN: Final = """() => [...document.querySelectorAll("article *")].filter(element => {
  if (element.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let around = element.parentElement; around; around = around.parentElement)
    if (getComputedStyle(around).overflowX !== "visible") return false;
  return true;
}).map(element => element.outerHTML.slice(0, 100))"""
"""What reaches beyond the screen, and is in no box that scrolls."""


def build(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build("--site-dir", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Loaded(HTMLParser):
    """What a browser fetches for a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.addresses.append(of.get("src") or "")
        elif tag == "link" and of.get("rel") != "canonical":
            self.addresses.append(of.get("href") or "")


def test_nothing_comes_from_another_host(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): Loaded(path.read_text("utf-8")).addresses for path in _pages(site)}
    assert len(pages) > 100
    assert [(page, each) for page, found in pages.items() for each in found if re.match(r"(\w+:)?//", each)] == []
    styles = [path.read_text("utf-8") for path in site.rglob("*.css")]
    assert [found for text in styles for found in re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", text)] == []


def test_every_command_and_every_public_name_has_its_place(site: Path) -> None:
    listed = (site / "reference" / "command-line.html").read_text("utf-8")
    names = (site / "reference" / "python.html").read_text("utf-8")
    commands = ["-".join(path) for path in _leaves(every_command(), ("secure-agg",))]
    assert len(commands) > 35
    assert [each for each in commands if f'<h2 id="{each}"' not in listed] == []
    public = [name for name in secure_agg.__all__ if not name.startswith("__")]
    homes = {name: f"{secure_agg._HOMES.get(name, 'secure_agg.errors')}.{name}" for name in public}
    assert [name for name in public if f'id="{homes[name]}"' not in names] == []


def test_a_broken_link_ends_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    settings = f"INHERIT: {ROOT / 'mkdocs.yml'}\nplugins: []\nhooks: []\nnav: [index.md]\nextra_css: []\n"
    (tmp_path / "mkdocs.yml").write_text(settings)
    for text, faults in (
        ("# One\n\n[there](#one)\n", ()),
        ("# One\n\n[gone](gone.md), [no such part](#two), ![no picture](none.svg)\n", ("gone.md", "#two", "none.svg")),
    ):
        (docs / "index.md").write_text(text)
        done = build("--config-file", tmp_path / "mkdocs.yml", "--site-dir", tmp_path / "site")
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == (not faults), said
        assert [fault for fault in faults if fault not in said] == []


def test_it_can_be_read_on_a_phone_and_searched_from_a_folder(site: Path) -> None:
    _look(site, LOOKED_AT)


@pytest.mark.long
def test_every_page_can_be_read_on_a_phone(site: Path) -> None:
    _look(site, [path.relative_to(site).as_posix() for path in _pages(site)])


def _look(site: Path, pages: Iterator[str] | list[str] | tuple[str, ...]) -> None:
    with browser() as running:
        page = running.new_page(viewport=PHONE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in pages:
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
            assert page.evaluate(_SEEN) == [], name
        page.goto((site / "index.html").as_uri())
        page.click("label[for=__search]")
        page.locator("input[name=query]").press_sequentially("renounce")
        page.locator(".md-search-result__link").first.wait_for()
        assert [address for address in asked if not address.startswith(("file:", "data:"))] == []


def _pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def _leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _leaves(below, (*path, name))
    elif not command.hidden:
        yield path
