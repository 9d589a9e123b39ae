"""The notebooks of docs/tutorials: their cells run as they stand, with fewer steps, and what is kept is small."""

import importlib.util
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
FEWER = {
    "pretrain_and_probe": {"steps = 60": "steps = 2", "batch_size=32": "batch_size=8", "bootstrap=200": "bootstrap=2"}
}
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def notebooks():
    spec = importlib.util.spec_from_file_location("notebooks", TUTORIALS.parent / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def forms(notebook):
    """What kind of output each code cell has."""
    return [[o["output_type"] for o in c["outputs"]] for c in notebook["cells"] if c["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_tutorial_runs(notebooks, path):
    kept = notebooks.read(path)
    new = notebooks.read(path)
    notebooks.execute(new, FEWER.get(path.stem))
    assert forms(new) == forms(kept)  # it was executed after its last change, and shows the same


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_is_kept(notebooks, path):
    assert len(NOTEBOOKS) == 2 and path.stat().st_size < 400_000
    text, pictures = notebooks.page(notebooks.read(path), path.stem)
    assert len(pictures) >= 3 and all(p.startswith(b"\x89PNG") for p in pictures.values())
    assert all(f"]({name})" in text for name in pictures) and text.count("```python") >= 5
    assert "/tmp/" not in text


def test_a_text_that_no_cell_has_is_an_error(notebooks):
    with pytest.raises(ValueError, match="no cell contains steps = 7"):
        notebooks.execute({"cells": []}, {"steps = 7": "steps = 2"})
