"""Documents are short where they should be, wrapped, numbered without gaps, and point to what is there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from support.source_tree import ROOT

from secure_agg.roles import driver

README: Final = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS: Final = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "zk/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 90


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_links_to_is_there(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}, target


def long_lines(text: str) -> list[str]:
    """Lines above 120 characters that could be shorter: no rows of tables, and no single long word."""
    lines = (line.lstrip() for line in text.splitlines() if len(line) > 120)
    return [line for line in lines if not line.startswith("|") and " " in line]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_are_wrapped(document: Path) -> None:
    assert long_lines(document.read_text("utf-8")) == []


def test_decisions_are_numbered_without_gaps_and_indexed() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    index = (folder / "README.md").read_text("utf-8")
    for number, path in enumerate(files, 1):
        title = path.read_text("utf-8").splitlines()[0]
        assert path.name.startswith(f"{number:04}-")
        assert title.startswith(f"# {number}. ")
        assert f"[{title[2:]}]({path.name})" in index
    assert index.count("](0") == len(files)


def test_sections_of_the_specification_are_numbered_and_exist() -> None:
    text = (ROOT / "docs" / "specification.md").read_text("utf-8")
    numbers = re.findall(r"^## (\S+)\. ", text, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    named = re.findall(r"(?<!RFC \d{4}, )\bsections?\s+(\d+[a-z]?)(?:\s+and\s+(\d+[a-z]?))?(?![.\d]*\.\d)", text)
    assert {number for pair in named for number in pair if number} <= set(numbers)


@pytest.mark.parametrize(("place", "function"), [(0, driver.drive), (1, driver.exchange)])
def test_the_architecture_quotes_the_driver(place: int, function: Callable[..., object]) -> None:
    quoted = re.findall(r"```python\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.DOTALL)[place]
    head, _, body = inspect.getsource(function).split('"""')
    assert head.rstrip() + body.rstrip() == quoted.rstrip()
