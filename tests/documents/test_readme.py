"""The README's snippets run, and what the documents name, commands, options, targets and files, is there."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from support.commands import every_command

from benchmarks.__main__ import parsed_by

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_first_snippet_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = {f"arrays_{letter}": [np.full((2, 3), i / 4), np.full(5, -i / 4)] for i, letter in enumerate("abc")}
    space: dict[str, object] = dict(arrays)
    exec(compile(blocks("python")[0], "README.md", "exec"), space)  # noqa: S102
    mean = (117 * 0.25 + 54 * 0.5) / (320 + 117 + 54)
    np.testing.assert_allclose(space["result"].average[1], -mean, atol=1e-2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_snippet_is_python(document: Path) -> None:
    for snippet in blocks("python", document.read_text("utf-8")):
        compile(snippet, document.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def commands(*documents: Path) -> Iterator[tuple[str, list[str]]]:
    """Each command line that documents show, and the words behind ``secure-agg``."""
    for document in documents:
        text = re.sub(r"\\\n\s*", "", document.read_text("utf-8"))  # lines that go on
        for code in re.findall(r"`(secure-agg [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            yield code, code.split()[1:]
        for block in re.findall(r"```\w+\n(.*?)```", text, re.DOTALL):
            for line in re.findall(r"^(?:\$ )?(secure-agg .*?)(?: #.*)?$", block, re.MULTILINE):
                yield line, line.split()[1:]


def named(words: list[str]) -> Iterator[tuple[click.Command, list[str], list[str]]]:
    """The commands that a command line names, where ``list|show`` is two; each with its path and the other words.

    Raises:
        KeyError: there is no such command.
    """
    whole: click.Command = every_command()
    found: list[tuple[click.Command, list[str]]] = [(whole, [])]
    rest = list(words)
    while isinstance(found[0][0], click.Group) and rest and re.match(r"[a-z]", rest[0]):
        names = re.split(r"\\?\|", rest.pop(0))
        groups = [(group, path) for group, path in found if isinstance(group, click.Group)]
        found = [(group.commands[name], [*path, name]) for group, path in groups for name in names]
    for command, path in found:
        yield command, path, rest


@pytest.mark.parametrize(
    ("shown", "words"), sorted(commands(*DOCUMENTS)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_that_is_shown_exists(shown: str, words: list[str]) -> None:
    for command, _, rest in named(words):
        if command.name == "bench":
            continue  # its options are the suites'
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for option in re.findall(r"--[a-z][a-z-]*", " ".join(rest)):
            assert option in known | {"--help"}, shown


def test_every_benchmark_that_is_shown_takes_its_options() -> None:
    """As far as it can be typed: what stands for several commands is left out, and what has changed in the past."""
    today = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]
    text = re.sub(r"\\?\n\s*", " ", "\n".join(document.read_text("utf-8") for document in today))
    text = re.sub(r"<!--.*?-->", "", text)
    shown = set(re.findall(r"(?:-m benchmarks|secure-agg bench|`bench) ([a-z][^`|&\n…\[$]*?)(?= *[`&$])", text))
    assert len(shown) > 20
    for words in sorted(shown):
        parsed_by().parse_args(shlex.split(words))
    for module in set(re.findall(r"-m (benchmarks\.[\w.]+)", text)):
        assert importlib.util.find_spec(module), module


def test_every_command_is_in_the_list_of_commands() -> None:
    def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        if isinstance(command, click.Group):
            for name, below in command.commands.items():
                yield from leaves(below, (*path, name))
        else:
            yield path

    listed = {tuple(path) for _, words in commands(ROOT / "docs" / "commands.md") for _, path, _ in named(words)}
    assert set(leaves(every_command())) - listed == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_installs_can_be_had(document: Path) -> None:
    """There is no release on an index: extras come from a checkout, and by names that exist."""
    text = document.read_text("utf-8")
    assert "pip install 'secure-agg" not in text
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for names in re.findall(r"pip install (?:-e )?'\.\[([^\]]+)\]'", text):
        assert set(names.split(",")) <= set(known)


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        for name in re.findall(r"`make ([a-z-]+)", document.read_text("utf-8")):
            assert name in targets, f"{document.name}: make {name}"
