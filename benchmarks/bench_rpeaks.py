"""Speed of R-peak detection on 10 s x 500 Hz records, one core, beside other packages where they are installed.

    taskset -c 1 pytest benchmarks/bench_rpeaks.py --benchmark-enable --benchmark-group-by=group

Every row of a group does the same work: ours takes the records in one call, a peer one after the other. The JSON output
has `us_per_record` for each. The records are those of the shipped sample, repeated, lead II or all leads.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import physioclr as pc
from physioclr import _core

FS, RECORDS = 500, 100
ONE_LEAD = f"one lead, {RECORDS} records of 10 s x 500 Hz"


def sample(records: int) -> np.ndarray:
    """(records, 12, 5000) float32."""
    source = pc.data.sample()
    ecg = np.stack([pc.data.read_record(source.path / name).millivolts() for name in source.record_ids])
    return np.resize(ecg.astype(np.float32), (records, 12, 5000))


@pytest.fixture
def one_thread():
    before = _core.num_threads()
    _core.set_num_threads(1)
    yield
    _core.set_num_threads(before)


def per_record(benchmark, records: int) -> None:
    if benchmark.stats:  # absent when benchmarks are disabled
        benchmark.extra_info["us_per_record"] = round(1e6 * benchmark.stats.stats.median / records, 2)


@pytest.mark.benchmark(group=ONE_LEAD)
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_one_lead(benchmark, one_thread, dtype):
    ecg = (1000 * sample(RECORDS)[:, 1]).astype(dtype)
    found = benchmark(pc.detect_rpeaks, ecg, FS)
    assert found.count.min() > 0
    per_record(benchmark, RECORDS)


@pytest.mark.benchmark(group="12 leads fused, 200 records of 10 s x 500 Hz")
def test_twelve_leads(benchmark, one_thread):
    found = benchmark(pc.detect_rpeaks, sample(200), FS)
    assert found.count.min() > 0
    per_record(benchmark, 200)


@pytest.mark.benchmark(group="one record of 24 h x 360 Hz, all cores")
def test_one_day(benchmark):
    day = np.resize(sample(80)[:, 1], (1, 24 * 3600 * 360))
    benchmark.pedantic(pc.detect_rpeaks, (day, 360), rounds=9, warmup_rounds=1)
    per_record(benchmark, 1)


def peers():
    def sleepecg():
        from sleepecg import detect_heartbeats

        return lambda x: detect_heartbeats(x, FS)

    def anusamalgorithm():
        from AnuSamAlgorithm import find_peak

        return lambda x: find_peak(x, FS)

    def neurokit2():
        import neurokit2

        return lambda x: neurokit2.ecg_peaks(neurokit2.ecg_clean(x, sampling_rate=FS), sampling_rate=FS)

    def xqrs():
        from wfdb.processing import xqrs_detect

        return lambda x: xqrs_detect(x, FS, verbose=False)

    return {f.__name__: f for f in (sleepecg, anusamalgorithm, neurokit2, xqrs)}


@pytest.mark.benchmark(group=ONE_LEAD)
@pytest.mark.parametrize("peer", list(peers()))
@pytest.mark.filterwarnings("ignore")
def test_peer(benchmark, one_thread, peer):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detect = peers()[peer]()
    except ImportError:
        pytest.skip(f"{peer} is not installed")
    records = sample(RECORDS)[:, 1].astype(np.float64)
    benchmark.pedantic(lambda: [detect(x) for x in records], rounds=3, warmup_rounds=1)
    per_record(benchmark, RECORDS)
