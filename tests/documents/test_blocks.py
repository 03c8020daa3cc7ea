"""What documents show is run: tutorials as they stand, in real processes; guides in scenes made for them."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from documents.blocks import DOCUMENTS, RUNNABLE, Block, blocks
from documents.running import play, run
from documents.scenes import Scene, every_scene
from support.source_tree import ROOT

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


def test_a_scene_surrounds_blocks_and_finds_what_is_not_so(tmp_path: Path) -> None:
    document = tmp_path / "some.md"
    document.write_text(
        "# Some\n\n```console\n# a remark\n$ echo $FROM there.example\nhome here\n```\n\n"
        "```python\nopen('made', 'w').write(str(number + 1))\n```\n\n"
        "```sh\ntest -e made # so\n```\n\n## Other\n\n```console\n$ false\n```\n"
    )
    scene = Scene(
        str(document),
        ("Some",),
        before="$ FROM=nowhere",
        steps={"# a remark": "$ FROM=home"},
        given={"": "number = 2", "open('made', 'w').write(str(number + 1))": "number += 3"},
        after="$ cat made; echo\n6",
        names={"there.example": "here"},
    )
    for place, (each, fault) in enumerate(
        (
            (scene, ""),
            (replace(scene, sections=("Some", "Other")), "ended with 1"),
            (replace(scene, before="$ cd nowhere"), "cd nowhere"),
            (replace(scene, given={"": "number = 3"}), "6\nin"),
            (replace(scene, steps={"gone": "$ true"}), "gone"),
        )
    ):
        work = tmp_path / f"work-{place}"
        work.mkdir()
        with pytest.raises((AssertionError, ValueError), match=fault) if fault else contextlib.nullcontext():
            play(each, work)


def _snippets() -> list[tuple[str, Block]]:
    """All blocks that could be run, of everything but tutorials."""
    return [
        (document.relative_to(ROOT).as_posix(), block)
        for document in DOCUMENTS
        if document.parent != TUTORIALS
        for block in blocks(document)
        if block.language in RUNNABLE
    ]


def test_every_block_is_run_or_says_why_not() -> None:
    unsaid = [
        f"{name}, line {block.line}: {block.first}"
        for name, block in _snippets()
        if not block.skipped and not any(scene.document == name and scene.takes(block) for scene in every_scene())
    ]
    assert unsaid == [], "give it a scene in tests/documents/scenes, or the reason before it: <!-- not run: … -->"


def test_all_code_is_in_blocks() -> None:
    """What is only indented nobody would run: formulas are, in the specification."""
    for document in DOCUMENTS:
        text = re.sub(r"^```.*?^```$", "```", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert re.findall(r"^[ \t]+```.*", text, re.MULTILINE) == [], document.name
        assert document.name == "specification.md" or re.findall(r"\n\n(    .*)", text) == [], document.name


def test_lines_that_a_document_adds_to_an_app_are_in_it() -> None:
    """A block of ``diff`` says in a remark which file it is about: of an example, or of the repository."""
    found = []
    for document in DOCUMENTS:
        for block in (each for each in blocks(document) if each.language == "diff"):
            assert re.match(r" # \S+\.py$", block.first), f"{document.name}, line {block.line}: names no file"
            for line in block.text.splitlines():
                if at := re.match(r" # (\S+\.py)$", line):
                    (held,) = [path.read_text("utf-8") for path in _called(at[1], document.parent)]
                elif line.startswith("+"):
                    assert line[1:].strip() in held, f"{document.name}, line {block.line}: {line}"
                    found.append(line)
    assert len(found) > 15


def _called(path: str, folder: Path) -> list[Path]:
    """A document's own file, beside it, or else those of the repository and of examples."""
    own = folder / path
    return [own] if own.exists() else [*ROOT.glob(path), *(ROOT / "examples").glob(f"*/{path}")]


def test_no_block_is_in_two_scenes_and_another_test_is_there() -> None:
    for name, block in _snippets():
        assert sum(scene.document == name and scene.takes(block) for scene in every_scene()) <= 1, (name, block.first)
    for scene in every_scene():
        assert scene.blocks()
        assert not scene.by or Path(scene.document).name in (ROOT / scene.by).read_text("utf-8")


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(scene, id=str(scene), marks=[pytest.mark.long] if scene.long else [])
        for scene in every_scene()
        if not scene.by
    ],
)
def test_a_guide_does_what_it_says(scene: Scene, tmp_path: Path) -> None:
    for each in scene.needs:
        pytest.importorskip(each)
    work = tmp_path / "work"
    work.mkdir()
    play(scene, work)
