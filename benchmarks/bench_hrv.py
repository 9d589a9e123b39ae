"""Heart rate variability from R peaks, beside neurokit2 (and astropy, for its Lomb-Scargle power).

    taskset -c 1 python benchmarks/bench_hrv.py       # us a record, on one thread, and how far the values differ

Records of 10 s, whose LF and HF are undefined, beside neurokit2's hrv_time; and of 300 s, beside hrv_time and
hrv_frequency(psd_method="lomb"). neurokit2 has no batch: it is timed on a few records, one after the other.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

import physioclr as pc

FS, RECORDS, ROUNDS, THEIRS = 500, 256, 9, 8
NAMES = {
    "mean_nn": "MeanNN", "sdnn": "SDNN", "rmssd": "RMSSD", "pnn50": "pNN50", "cvnn": "CVNN", "cvsd": "CVSD",
    "lf_hf": "LFHF",
}  # fmt: skip


def rhythms(seconds: int) -> np.ndarray:
    """(RECORDS, beats) R peaks that breathe and wander, padded with -1."""
    rng = np.random.default_rng(0)
    k = np.arange(2 * seconds)
    rr = rng.uniform(0.6, 1.1, (RECORDS, 1)) * (1 + 0.05 * np.sin(1.5 * k) + 0.03 * np.sin(0.5 * k))
    at = np.cumsum(np.rint((rr + rng.normal(0, 0.01, rr.shape)) * FS), axis=1).astype(np.int64)
    at[at >= seconds * FS] = -1
    return at


def neurokit2(peaks: np.ndarray, seconds: int) -> dict[str, float]:
    import neurokit2 as nk

    r = peaks[peaks >= 0]
    found = dict(nk.hrv_time(r, sampling_rate=FS).iloc[0])
    if seconds >= 300:
        settings = {"psd_method": "lomb", "interpolation_rate": None, "silent": True}
        found |= dict(nk.hrv_frequency(r, sampling_rate=FS, **settings).iloc[0])
    return {ours: float(found[f"HRV_{name}"]) for ours, name in NAMES.items() if f"HRV_{name}" in found}


def compare(seconds: int) -> None:
    peaks = rhythms(seconds)
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ours = pc.hrv(peaks, FS)
        took.append((time.perf_counter() - start) / RECORDS)
    print(f"pc.hrv     {1e6 * statistics.median(took):10.2f} us a record of {seconds} s, {RECORDS} at once")
    try:
        neurokit2(peaks[0], seconds)
    except ImportError as missing:
        print(f"neurokit2  missing: {missing}")
        return
    theirs, slow = [], []
    for row in peaks[:THEIRS]:
        start = time.perf_counter()
        theirs.append(neurokit2(row, seconds))
        slow.append(time.perf_counter() - start)
    ratio = statistics.median(slow) / statistics.median(took)
    print(
        f"neurokit2  {1e6 * statistics.median(slow):10.0f} us, {ratio:.0f} times as long; largest relative differences:"
    )
    differ = {
        n: np.max(np.abs(getattr(ours, n)[:THEIRS] / np.array([one[n] for one in theirs]) - 1)) for n in theirs[0]
    }
    print("           " + ", ".join(f"{name} {d:.0e}" for name, d in differ.items()))


def main() -> None:
    pc.set_num_threads(1)
    for seconds in (10, 300):
        compare(seconds)


if __name__ == "__main__":
    main()
