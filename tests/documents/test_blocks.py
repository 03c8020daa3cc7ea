"""What documents show is run: tutorials as they stand, in real processes; of the rest each block says why not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import pytest
from documents.blocks import DOCUMENTS, RUNNABLE, Block, blocks
from documents.running import run
from documents.snippets import EXAMPLES, NOT_RUN, RUN
from support.source_tree import ROOT

from secure_agg.errors import SecureAggWarning

TUTORIALS: Final = ROOT / "docs" / "tutorials"
SHORT: Final = ("first-round",)
"""Those that take a few seconds; all others are in the long tests."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_short_tutorial_does_what_it_says(name: str, tmp_path: Path) -> None:
    _follow(name, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted({path.stem for path in TUTORIALS.glob("*.md")} - set(SHORT)))
def test_a_tutorial_does_what_it_says(name: str, tmp_path: Path) -> None:
    _follow(name, tmp_path)


def _follow(name: str, folder: Path) -> None:
    work = folder / "work"
    work.mkdir()
    run(TUTORIALS / f"{name}.md", work)


@pytest.mark.parametrize(
    ("shown", "fault"),
    [
        ("$ echo one\none\n", ""),
        ("$ echo one\ntwo\n", "two"),
        ("$ echo one; false\n", "ended with 1"),
        ("$ false\n$ true\n", "ended with 1"),
        ("$ echo 'a\nb'\na\nb\n", ""),
        ("$ for x in 1 2; do\n  echo $x\ndone\n2\n", ""),
        ("$ one=1 && cd /\n$ echo $one $PWD\n1 /\n", ""),
        ("$ echo in the long run\nin … run\n", ""),
        ("$ exit 3\n", "has not ended"),
    ],
)
def test_what_is_not_as_shown_is_found(shown: str, fault: str, tmp_path: Path) -> None:
    document = tmp_path / "some.md"
    document.write_text(f"# Some\n\n```console\n{shown}```\n", "utf-8")
    work = tmp_path / "work"
    work.mkdir()
    if not fault:
        return run(document, work)
    with pytest.raises(AssertionError, match=fault):
        run(document, work)
    return None


def test_marks_and_files_of_blocks(tmp_path: Path) -> None:
    document = tmp_path / "some.md"
    document.write_text(
        '```python title="a.py"\nprint(6)\n```\n\n<!-- ends with 4 -->\n```console\n$ python a.py\n6\n$ (exit 4)\n```\n'
        "\n<!-- not run: it would take a year -->\n```console\n$ sleep 31557600\n```\n"
    )
    work = tmp_path / "work"
    work.mkdir()
    run(document, work)
    assert [block.skipped for block in blocks(document)] == ["", "", "it would take a year"]
    document.write_text("<!-- whatever -->\n```console\n$ true\n```\n")
    with pytest.raises(ValueError, match="whatever"):
        blocks(document)


def _snippets() -> list[tuple[str, Block]]:
    """All blocks that could be run, of everything but tutorials."""
    return [
        (document.relative_to(ROOT).as_posix(), block)
        for document in DOCUMENTS
        if document.parent != TUTORIALS
        for block in blocks(document)
        if block.language in RUNNABLE
    ]


def test_of_every_block_that_is_not_run_it_is_said_why() -> None:
    unsaid = [
        f"{name}, line {block.line}: {block.text.splitlines()[0]}"
        for name, block in _snippets()
        if not block.skipped
        and (name, block.text.splitlines()[0]) not in RUN
        and not NOT_RUN.get(name, EXAMPLES if name.startswith("examples/") else "")
    ]
    assert unsaid == [], "put the reason before it: <!-- not run: … -->"


@pytest.mark.parametrize(("document", "first"), RUN, ids=lambda value: value[:20])
def test_a_snippet_runs_as_it_stands(
    document: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = [block.text for name, block in _snippets() if (name, block.text.splitlines()[0]) == (document, first)]
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": "snippet"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecureAggWarning)
        exec(compile(RUN[document, first], "before", "exec"), space)  # noqa: S102
        exec(compile(text, document, "exec"), space)  # noqa: S102
