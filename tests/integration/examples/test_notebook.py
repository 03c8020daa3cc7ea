"""The notebook runs from its first cell to its last, in a kernel of its own, and has no outputs of anybody's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.source_tree import ROOT

NOTEBOOK = ROOT / "examples" / "notebook" / "secure-mean.ipynb"


def read() -> Any:
    import nbformat

    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_valid_and_has_no_outputs() -> None:
    import nbformat

    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
            compile(cell.source, NOTEBOOK.name, "exec")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the kernel's own packages, which come and go
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = read()
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "dropouts: 1 client of a round that may be missing, and it still ends, below the limit of 2" in said
    assert "verified: the result is the sum of what the participants committed to, exactly" in said
    assert "2 rounds verified; 2 records" in said
    assert "refused: " in said
