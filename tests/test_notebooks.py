"""The notebooks of the docs run from their first cell to the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag import Pipeline
from rag.ingestion import IngestReport
from rag.notebook import NotebookProgress
from tests.conftest import ROOT

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "clear the outputs"
    client = nbclient.NotebookClient(
        notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    html = "".join(str(output.get("data", {}).get("text/html", "")) for output in outputs)
    if path.stem == "answers":
        assert "34 minutes" in html and "Prices" in html and "<progress" in html
    assert not [output for output in outputs if output["output_type"] == "error"]


def test_there_are_three_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["answers", "evaluation", "models"]


def test_progress_is_shown_in_a_notebook_only(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates: list[str] = []

    class Display:
        def update(self, html: Any) -> None:
            updates.append(html.data)

    def display(html: Any, *, display_id: bool) -> Display:
        updates.append(html.data)
        return Display()

    pipeline.ingest(folder, progress=NotebookProgress())
    assert not updates
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", display)
    progress = NotebookProgress()
    progress(IngestReport(total=2, read=2, added=2, chunks=3))
    assert updates == ['<progress value="2" max="2"></progress> 2 of 2 documents, 3 chunks']
    progress(1, 4)
    assert len(updates) == 1, "too soon"
    progress(4, 4)
    assert updates[-1] == '<progress value="4" max="4"></progress> 4 of 4 done'
