"""The site: every link leads somewhere, nothing comes from another host, and it can be read on a phone and offline."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import click
import pytest
from support.commands import every_command
from support.explorer.browser import browser, new_page
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
    "statistics.html",
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
_CUT: Final = r"""() => {
  const cut = [], range = document.createRange();
  for (const element of document.querySelectorAll("article td code, article .whole")) {
    const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    for (let node; (node = texts.nextNode());) {
      for (const word of node.data.matchAll(element.matches(".whole") ? /.+/g : /[\w.]+/g)) {
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) cut.push(word[0]);
      }
    }
  }
  return cut;
}"""
"""Names of options, and words of code in tables, that are cut in two."""


def build(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site").resolve()
    done = build("--site-dir", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Parsed(HTMLParser):
    """What a browser fetches for a page, where the page leads, and its parts that can be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.leads: list[str] = []
        self.parts: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.parts.add(of.get("id") or "")
        if tag in ("script", "img", "iframe", "source", "video"):
            self.loaded.append(of.get("src") or "")
        elif tag == "link" and of.get("rel") != "canonical":
            self.loaded.append(of.get("href") or "")
        elif tag == "a":
            self.leads.append(of.get("href") or "")


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Parsed]:
    return {path: Parsed(path.read_text("utf-8")) for path in _pages(site)}


def test_nothing_comes_from_another_host(site: Path, pages: dict[Path, Parsed]) -> None:
    assert len(pages) > 100
    assert [(page.name, each) for page, found in pages.items() for each in found.loaded if _elsewhere(each)] == []
    styles = [path.read_text("utf-8") for path in site.rglob("*.css")]
    assert [found for text in styles for found in re.findall(r"url\(['\"]?(?:https?:)?//[^)]*", text)] == []


def test_everything_that_a_page_loads_or_leads_to_is_there(site: Path, pages: dict[Path, Parsed]) -> None:
    """Also what no Markdown says: menus, and pages that are made."""
    lost = []
    for page, found in pages.items():
        for each in filter(None, {*found.loaded, *found.leads}):
            way, _, part = each.partition("#")
            if _elsewhere(each):
                continue
            there = page if not way else site / unquote(way)[1:] if way[0] == "/" else page.parent / unquote(way)
            there = there.resolve()
            if not there.is_file() or (part and there in pages and unquote(part) not in pages[there].parts):
                lost.append((page.name, each))
    assert lost == []


def test_no_backslash_of_a_table_is_shown(site: Path) -> None:
    """GitHub takes it away in code, and Python's Markdown leaves it."""
    shown = (site / "commands.html").read_text("utf-8")
    assert "demo [<span" in shown
    assert "list|<wbr>show|<wbr>audit" in shown
    assert [page.name for page in _pages(site) if re.search(r"<td>(?:(?!</td>).)*\\\|", page.read_text("utf-8"))] == []


def _elsewhere(address: str) -> bool:
    return re.match(r"(\w+:)?//|mailto:|data:", address) is not None


def test_every_command_and_every_public_name_has_its_place(site: Path) -> None:
    listed = (site / "reference" / "command-line.html").read_text("utf-8")
    names = (site / "reference" / "python.html").read_text("utf-8")
    commands = ["-".join(path) for path in _leaves(every_command(), ("secure-agg",))]
    assert len(commands) > 35
    assert [each for each in commands if f'<h2 id="{each}"' not in listed] == []
    public = [name for name in secure_agg.__all__ if not name.startswith("__")]
    homes = {name: f"{secure_agg._HOMES.get(name, 'secure_agg.errors')}.{name}" for name in public}
    assert [name for name in public if f'id="{homes[name]}"' not in names] == []


FAULTS: Final = {
    "none": ("[there](#one), [here](more/two.md#two), ![seen](seen.svg)", ""),
    "a link": ("[gone](gone.md)", "gone.md"),
    "a link by reference": ("[gone][there]\n\n[there]: more/gone.md", "more/gone.md"),
    "a part of the page": ("[no such part](#two)", "#two"),
    "a part of another page": ("[no such part](more/two.md#one)", "more/two.md#one"),
    "a picture": ("![none](none.svg)", "none.svg"),
    "a page in no menu": ("[lost](more/lost.md)", "more/lost.md"),
    "a page that the menu alone has": ("Nothing.", "more/none.md"),
    "a fault, and nothing is said of it": ("[gone](gone.md)", "leave out --quiet"),
}
"""What a page says, and what of it ends the build."""
_EACH: Final = """
import sys
from mkdocs.__main__ import cli
for at in range(int(sys.argv[1])):
    quiet = ["--quiet"] if at == int(sys.argv[1]) - 1 else []
    try:
        ended = cli(["build", *quiet, "-f", f"{at}/mkdocs.yml"], standalone_mode=False)
    except SystemExit as error:
        ended = error.code
    except Exception as error:
        ended = error
        print(error, file=sys.stderr)
    print(f"@@ {at} {ended or 'built'}", file=sys.stderr, flush=True)
"""
"""Many builds in one process: most of a small one's time is to begin."""


def test_each_fault_ends_the_build_alone(tmp_path: Path) -> None:
    for at, (name, (text, _)) in enumerate(FAULTS.items()):
        docs = tmp_path / str(at) / "docs"
        shutil.copytree(ROOT / "docs" / "site", docs / "site", ignore=shutil.ignore_patterns("__pycache__"))
        pages = {"index": f"# One\n\n{text}\n", "more/two": "# Two\n", "decisions/README": "# Decisions\n"}
        if name == "a page in no menu":
            pages["more/lost"] = "# Lost\n"
        for page, held in pages.items():
            (docs / f"{page}.md").parent.mkdir(exist_ok=True)
            (docs / f"{page}.md").write_text(held)
        (docs / "seen.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
        menu = ["more/two.md", *(["more/none.md"] if name == "a page that the menu alone has" else [])]
        settings = {
            "INHERIT": str(ROOT / "mkdocs.yml"),
            "plugins": [],
            "hooks": ["docs/site/hooks.py"],
            "nav": [{"Start": "index.md"}, {"Guides": menu}],
        }
        (tmp_path / str(at) / "mkdocs.yml").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-c", _EACH, str(len(FAULTS))],
        cwd=tmp_path,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = re.split(r"^@@ \d+ (.*)\n", done.stderr, flags=re.MULTILINE)
    ended = dict(zip(FAULTS, zip(said[::2], said[1::2], strict=False), strict=True))
    for name, (_, fault) in FAULTS.items():
        assert (ended[name][1] == "built") == (not fault), (name, ended[name])
        assert fault in ended[name][0], (name, ended[name])


def test_it_can_be_read_on_a_phone_and_searched_from_a_folder(site: Path) -> None:
    _look(site, LOOKED_AT)


@pytest.mark.long
def test_every_page_can_be_read_on_a_phone(site: Path) -> None:
    _look(site, [path.relative_to(site).as_posix() for path in _pages(site)])


def _look(site: Path, pages: Iterator[str] | list[str] | tuple[str, ...]) -> None:
    with browser() as running:
        page = new_page(running, viewport=PHONE)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in pages:
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], name
            assert page.evaluate(_SEEN) == [], name
            assert page.evaluate(_CUT) == [], name
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
