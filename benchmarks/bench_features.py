"""R peaks, boundaries and 159 features of 5 s of a 12-lead ECG, beside the steps of the released PhysioCLR code.

    taskset -c 1 python benchmarks/bench_features.py       # the table, per segment, all on one thread
    pytest benchmarks/bench_features.py                    # the same parts under pytest-benchmark

The released code averages the leads, then cleans, detects, delineates (wavelets) and loops over the beats, all with
neurokit2; its steps are re-created here (needs neurokit2; without it those rows are left out). The segments are the two
halves of each record of the shipped sample.
"""

from __future__ import annotations

import itertools
import statistics
import time
import warnings

import numpy as np
import pytest

import physioclr as pc
from physioclr.peers import installed, readable, released

FS = 500.0
ROUNDS = 25


def segments() -> np.ndarray:
    """(160, 12, 2500) float32."""
    sample = pc.data.sample()
    records = [pc.data.read_record(sample.path / name).millivolts() for name in sample.record_ids]
    return np.ascontiguousarray(np.stack(records).reshape(-1, 12, 2, 2500).swapaxes(1, 2).reshape(-1, 12, 2500))


def parts(x: np.ndarray) -> dict[str, tuple[int, object]]:
    """What is timed: name -> (segments a call does, call)."""
    peaks = pc.detect_rpeaks(x, FS)
    timed = {
        "detect_rpeaks, 12 leads": (len(x), lambda: pc.detect_rpeaks(x, FS)),
        "delineate, lead II": (len(x), lambda: pc.delineate(x, FS, peaks)),
        "physio_features, R peaks given": (len(x), lambda: pc.physio_features(x, FS, peaks)),
        "physio_features": (len(x), lambda: pc.physio_features(x, FS)),
        "physio_features, II V1 V5": (len(x), lambda: pc.physio_features(x, FS, lead=["II", "V1", "V5"])),
    }
    if installed("neurokit2"):
        few = itertools.cycle(readable(x, ROUNDS))
        timed["released steps (neurokit2)"] = (1, lambda: released(next(few)))
    return timed


@pytest.fixture(scope="module")
def batch():
    return segments()


SAME = 20  # segments in every row: ours takes them in one call, the released steps one after the other
GROUPS = dict.fromkeys(("physio_features", "released steps (neurokit2)"), "R peaks, waves and features")


@pytest.mark.parametrize(
    "part", ["detect_rpeaks, 12 leads", "delineate, lead II", "physio_features", "released steps (neurokit2)"]
)
@pytest.mark.filterwarnings("ignore")  # neurokit2's
def test_features(benchmark, batch, part):
    timed = parts(batch[:SAME])
    if part not in timed:
        pytest.skip("neurokit2 is not installed")
    before = pc.info()["threads"]
    pc.set_num_threads(1)
    n, call = timed[part]
    benchmark.group = f"{GROUPS.get(part, part)}, {SAME} segments of 12 x 2500"
    try:
        benchmark(lambda: [call() for _ in range(SAME // n)])
    finally:
        pc.set_num_threads(before)


def main() -> None:
    warnings.simplefilter("ignore")  # neurokit2's
    x = segments()
    pc.set_num_threads(1)
    times: dict[str, list[float]] = {}
    timed = parts(x)
    for _ in range(ROUNDS):  # side by side: every part once a round
        for name, (n, call) in timed.items():
            start = time.perf_counter()
            call()
            times.setdefault(name, []).append((time.perf_counter() - start) / n * 1e6)
    print(f"{len(x)} segments of 12 x 2500 samples, one thread, median (least) of {ROUNDS} rounds")
    ours = statistics.median(times["physio_features"])
    for name, t in times.items():
        line = f"  {name:32s} {statistics.median(t):10.1f} us ({min(t):.1f})"
        print(line + (f"   {statistics.median(t) / ours:,.0f} times" if "released" in name else ""))


if __name__ == "__main__":
    main()
