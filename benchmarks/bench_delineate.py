"""Speed of the delineation with the R peaks given, one thread: `pytest benchmarks/bench_delineate.py --benchmark-only`.

Also the time of a first call in a new process whose Numba cache is warm: `python benchmarks/bench_delineate.py`.
"""

import subprocess
import sys

import numpy as np
import pytest

import physioclr as pc
from physioclr import _core

FIRST_CALL = """
import time
import numpy as np, physioclr as pc
x, r = np.zeros((1, 5000), np.float32), np.array([[500, 1000]])
t = time.perf_counter(); pc.delineate(x, 500, r); print(time.perf_counter() - t)
"""


def recordings(records, leads, samples, fs=500):
    """Beats of Gaussian waves with noise, at rates from 55 to 95 per minute."""
    rng = np.random.default_rng(0)
    t = np.arange(samples) / fs
    ecg, peaks = rng.normal(0, 0.01, (records, leads, samples)).astype(np.float32), np.full((records, 40), -1, np.int32)
    for b in range(records):
        beats = np.arange(0.4, samples / fs - 0.4, 60 / rng.uniform(55, 95))
        wave = np.zeros(samples)
        for r in beats:
            for at, sd, height in ((-0.16, 0.02, 0.12), (0, 0.01, 1.0), (0.03, 0.008, -0.2), (0.27, 0.04, 0.3)):
                wave += height * np.exp(-0.5 * ((t - r - at) / sd) ** 2)
        ecg[b] += wave.astype(np.float32)
        peaks[b, : len(beats)] = np.round(beats * fs)
    return ecg, peaks


@pytest.fixture
def one_thread():
    n = _core.num_threads()
    _core.set_num_threads(1)
    yield
    _core.set_num_threads(n)


@pytest.mark.parametrize(
    "records, leads, samples, lead",
    [(256, 1, 5000, 0), (256, 1, 2500, 0), (64, 12, 5000, "all"), (64, 12, 5000, "mean")],
    ids=["1 lead, 10 s", "1 lead, 5 s", "12 leads, 10 s", "mean of 12, 10 s"],
)
def test_delineate(benchmark, one_thread, records, leads, samples, lead):
    ecg, peaks = recordings(records, leads, samples)
    benchmark.group = f"{records} records of {leads} leads x {samples} samples, lead {lead!r}"
    benchmark(pc.delineate, ecg, 500, peaks, lead=lead)
    if benchmark.stats:
        benchmark.extra_info["microseconds per record"] = benchmark.stats.stats.min / records * 1e6
        print(f"\n{benchmark.stats.stats.median / records * 1e6:.1f} us per record")


if __name__ == "__main__":
    for state in ("cold or warm", "warm"):
        run = subprocess.run([sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, check=True)
        print(f"first call, {state} cache: {float(run.stdout):.2f} s")
