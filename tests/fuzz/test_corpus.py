"""The corpus of the coverage-guided fuzzers, one input after the other: what once was new to them stays right."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    "script, corpus", [("fuzz_header.py", "header"), ("fuzz_store.py", "store"), ("fuzz_files.py", "files")]
)
def test_every_input_of_the_corpus(script, corpus, monkeypatch):
    targets = []
    guide = SimpleNamespace(
        instrument_all=lambda: None,
        instrument_func=lambda f: f,
        Setup=lambda argv, target: targets.append(target),
        Fuzz=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "atheris", guide)
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(HERE / script), run_name="__main__")
    inputs = sorted((HERE / "corpus" / corpus).iterdir())
    assert len(targets) == 1 and len(inputs) > 4
    for path in inputs:
        data = path.read_bytes()
        for changed in (data, data[: len(data) // 2], data[:-1], data + b"\0", data[:1] + b"\1" + data[2:]):
            targets[0](changed)
