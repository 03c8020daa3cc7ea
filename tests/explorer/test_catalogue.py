"""Every file of docs/vectors is put to the page's checks, in Node and in Chromium, or stands below with the reason.

`test_vectors` runs each of its tests in both. A file counts as run where a test there names it, or a document that a
test names does.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any, Final

from conformance.vector_files import DIRECTORY

NOT_RUN: Final = {
    "transport.json": "what clients of masking send: only their aggregator sees it, and no evidence has it",
}
TESTS: Final = Path(__file__).with_name("test_vectors.py")


def named(tests: str) -> set[str]:
    """Texts in those functions that ask the core, wherever it runs."""
    functions = [node for node in ast.parse(tests).body if isinstance(node, ast.FunctionDef)]
    asking = [function for function in functions if "core" in {item.arg for item in function.args.args}]
    nodes = [node for function in asking for node in ast.walk(function)]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def texts(document: Any) -> set[str]:
    """All texts in a document."""
    if isinstance(document, str):
        return {document}
    items = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return {text for item in items for text in texts(item)}


def left(folder: Path, tests: str) -> set[str]:
    """Files of a folder that no test asks the core about."""
    files = {file.name for file in folder.iterdir()}
    run = files & named(tests)
    for name in [name for name in run if name.endswith(".json")]:
        run |= files & texts(json.loads((folder / name).read_text("utf-8")))
    return files - run


def test_every_vector_is_run_or_stands_here_with_its_reason() -> None:
    assert left(DIRECTORY, TESTS.read_text("utf-8")) == set(NOT_RUN)


def test_a_new_file_that_nobody_runs_is_seen(tmp_path: Path) -> None:
    for name in ("old.json", "old.evidence", "new.json", "new.evidence"):
        (tmp_path / name).write_text(json.dumps({"file": name.replace("json", "evidence")}), "utf-8")
    tests = 'def test_old(core):\n    document("old.json")\n\ndef test_new():\n    document("new.json")\n'
    assert left(tmp_path, tests) == {"new.json", "new.evidence"}
