"""Memory that a thread asks for in vain is a MemoryError, and the process goes on: no exception leaves its thread."""

import subprocess
import sys
import textwrap

import pytest

SETUP = """
import os, resource, sys
import numpy as np, physioclr as pc
pc.set_num_threads(2)
x = np.zeros((4, 1, 3_000_000), np.float32)
x[:] = np.random.default_rng(0).normal(0, 0.1, x.shape[-1])
peaks = np.tile(np.arange(100, 1000, 40), (4, 1))
def short_of_memory(f, small, room):
    want = small()
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + room, before[1]))
    try:
        f()
    except MemoryError as e:
        print("MemoryError", e)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    for a, b in zip(want, small()):
        np.testing.assert_array_equal(a, b)
"""
CASES = {
    "delineate": "run = lambda n, t: pc.delineate(x[:n, :, :t], 50.0, peaks[:n], lead=0)",
    "physio_features": "run = lambda n, t: [pc.physio_features(x[:n, :, :t], 500.0, peaks[:n], lead=0)]",
    "detect_rpeaks": "run = lambda n, t: pc.detect_rpeaks(x[:n, :, :t], 50.0, max_beats=99)[:2]",
    "decimate": """
        taps, out = np.ones(41, np.float32), {t: np.empty((4, t // 2), np.float32) for t in (40_000, 3_000_000)}
        def run(n, t):  # the phases of a lead take as much as the lead
            y = np.ascontiguousarray(x[:n, 0, :t])
            pc._core.decimate_float32(-1, 0, x=y, taps=taps, down=2, out=out[t])
            return [out[t][:, :9].copy()]""",
    "zero_phase": """
        one, out = np.array([1.0, 0.0, 0.0]), {t: np.empty((4, t), np.float32) for t in (40_000, 3_000_000)}
        def run(n, t):  # and the filter in double precision as much as two of them
            y = np.ascontiguousarray(x[:n, 0, :t])
            pc._core.zero_phase_float32(-1, 0, x=y, b=one, a=one, state=one[1:], pad=9, out=out[t])
            return [out[t][:, :9].copy()]""",
}
ROOM = 8_000_000  # bytes beyond what is in use (the threads run already): less than the scratch of one record


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc")
@pytest.mark.parametrize("op", CASES)
def test_want_of_memory(op):
    code = (
        SETUP
        + textwrap.dedent(CASES[op])
        + f"\nshort_of_memory(lambda: run(4, 3_000_000), lambda: run(4, 40_000), {ROOM})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-800:]
    assert done.stdout.startswith("MemoryError") and op in done.stdout, (done.stdout, done.stderr[-800:])
