"""A long compilation says what is going on, once, and only where somebody waits."""

import subprocess
import sys
import time

import pytest

from physioclr import _jit


@pytest.fixture
def waiting(monkeypatch):
    monkeypatch.setattr(_jit, "_told", False)
    monkeypatch.setattr(_jit, "SILENT_SECONDS", 0.05)
    monkeypatch.setattr(_jit, "_somebody_waits", lambda: True)


def test_a_long_compilation_is_spoken_of_once(capsys, waiting):
    for _ in range(2):
        with _jit.spoken_of(), _jit.spoken_of():
            time.sleep(0.3)
    err = capsys.readouterr().err
    assert err.count("physioclr: compiling") == 1 and err.count("\n") == 1


def test_a_short_one_is_not(capsys, waiting):
    with _jit.spoken_of():
        pass
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_nor_one_that_nobody_waits_for(capsys, monkeypatch, waiting):
    monkeypatch.setattr(_jit, "_somebody_waits", lambda: False)
    with _jit.spoken_of():
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("before, expected", [
    ("", False), ("import physioclr.cli", True), ("sys.ps1 = '>>> '", True),
    ("sys.ps1 = '>>> '; import multiprocessing as m; m.parent_process = lambda: 1", False),
])  # fmt: skip
def test_who_waits(before, expected):
    code = f"import sys\n{before}\nfrom physioclr import _jit; print(_jit._somebody_waits())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)
