"""One binary, several instruction sets (csrc/cpu/isa.h): each gives what the others give, and PHYSIOCLR_ISA limits."""

import os
import subprocess
import sys

import numpy as np
import op_cases
import pytest

import physioclr as pc
from physioclr import _core, _isa
from physioclr.data.resample import every
from physioclr.data.wfdb_source import millivolts, scan
from physioclr.train.dataset import zero_phase

HIGHEST = _isa.NAMES.index(_core.isa()[1])
# What has fused multiply-add where the processor does: the same up to rounding. All else: the same bits.
ROUNDED = ("similarity", "neighbors", "contrastive", "median_distance")


@pytest.fixture(autouse=True)
def back_to_the_highest():
    before = _isa.NAMES.index(_core.isa()[0])
    yield
    _core.testing.limit_isa(before)


def in_each_set(f):
    """The result of f for every set of this processor, by name."""
    results = {}
    for level in range(HIGHEST + 1):
        assert _core.testing.limit_isa(level) == level
        assert _core.isa()[0] == _isa.NAMES[level]
        results[_isa.NAMES[level]] = f()
    return results


@pytest.fixture(scope="module")
def inputs():
    return op_cases.made_up()


@pytest.mark.parametrize("case", op_cases.CASES, ids=lambda case: case.name)
def test_every_op_gives_the_same_in_each_set(case, inputs):
    results = in_each_set(lambda: op_cases.run(case, inputs))
    for name, got in results.items():
        if any(word in op for op in case.ops for word in ROUNDED):
            assert not op_cases.differences(case, got, results["base"]), name
        else:
            for k, (a, b) in enumerate(zip(got, results["base"], strict=True)):
                assert a.numpy().tobytes() == b.numpy().tobytes(), (name, k)


def signals(rng, dtype):
    return rng.normal(size=(13, 5003)).astype(dtype)


LOADING = {
    "decimate float32": lambda rng: every(signals(rng, np.float32), 3),
    "decimate float64": lambda rng: every(signals(rng, np.float64), 5),
    "zero_phase float32": lambda rng: zero_phase(
        signals(rng, np.float32), np.array([0.9, -1.8, 0.9]), np.array([1, -1.8, 0.81]), np.array([-0.9, 0.9]), 100
    ),
    "zero_phase float64": lambda rng: zero_phase(
        signals(rng, np.float64), np.array([0.9, -1.8, 0.9]), np.array([1, -1.8, 0.81]), np.array([-0.9, 0.9]), 100
    ),
    "millivolts": lambda rng: millivolts(
        rng.integers(-32768, 32768, (5, 300_001)).astype(np.int16),
        np.array([0, 17, -1024, 0.5, 2e6]),
        1 / np.array([200, 123.4, 999.99, 200, 1000]),
    ),
    "scan": lambda rng: np.array(scan(rng.integers(-32768, 32768, (4, 70_001)).astype(np.int16), np.arange(4.0))),
}


@pytest.mark.parametrize("name", LOADING)
def test_what_loads_records_gives_the_same_bits(name):
    results = in_each_set(lambda: LOADING[name](np.random.default_rng(3)))
    for other in results.values():
        assert other.tobytes() == results["base"].tobytes()


@pytest.mark.parametrize("code, per_frame", [(80, 1), (80, 3), (212, 1), (212, 2), (212, 7), (16, 12)])
def test_formats_are_decoded_to_the_same_bits(code, per_frame):
    frames = 9001 if code == 212 and per_frame % 2 else 9000
    n = frames * per_frame
    raw = np.random.default_rng(4).integers(0, 256, 2 * n + 64).astype(np.uint8)
    columns = np.array([[k, 1] for k in range(per_frame)], np.int64)

    def decoded():
        out = np.zeros(n, np.int16)
        _core.wfdb_frames(raw.ctypes.data, code, per_frame, frames, columns.ctypes.data, per_frame, out.ctypes.data,
                          0, frames)  # fmt: skip
        return out

    results = in_each_set(decoded)
    for other in results.values():
        assert other.any() and other.tobytes() == results["base"].tobytes()


SAID = "import physioclr; print(physioclr._core.isa()[0], physioclr.info()['instructions'])"


def started(value):
    env = {**os.environ, "PYTHONSAFEPATH": "1", _isa.VARIABLE: value}
    return subprocess.run([sys.executable, "-c", SAID], env=env, text=True, capture_output=True)


@pytest.mark.parametrize("name", _isa.NAMES[: HIGHEST + 1])
def test_the_variable_limits(name):
    done = started(name)
    assert done.returncode == 0 and done.stdout.split()[0] == name and not done.stderr, done.stderr
    assert done.stdout.split()[1] == name and ("limited" in done.stdout) == (name != _core.isa()[1])


def test_an_empty_variable_is_none():
    assert started("").stdout.split()[0] == _core.isa()[1]


def test_an_unknown_set_is_an_error_that_says_what_it_may_be():
    done = started("avx3")
    assert done.returncode != 0
    assert "PHYSIOCLR_ISA is 'avx3'; it must be one of base, avx2, avx512" in done.stderr


def test_a_set_that_the_processor_lacks_is_said(monkeypatch):
    monkeypatch.setattr(_isa._core, "isa", lambda: ("base", "base"))
    with pytest.warns(RuntimeWarning, match="PHYSIOCLR_ISA is 'avx2', which this processor.*use 'base'"):
        _isa.check("avx2")


def test_info_says_the_set():
    assert pc.info()["instructions"].startswith(_core.isa()[0])
