"""RPeaks.expected_f1: its definition in every library, and that it tells the F1 of noisy recordings."""

import numpy as np
import pytest
import torch
from real_records import MITDB, mitdb

import physioclr as pc


def peaks_of(quality, count, to=np.asarray):
    quality, count = np.asarray(quality, np.float32), np.asarray(count, np.int32)
    return pc.RPeaks(to(np.zeros((len(count), 1), np.int32)), to(count), to(quality))


def test_by_hand():
    """1 / (1 + 0.816 (1.01 - q)^2.685) by logarithms; without a beat nothing has been found."""
    got = peaks_of([0, 0.5, 0.9, 1, 0, 1], [9, 9, 9, 9, 0, 0]).expected_f1()
    want = [1 / (1 + 0.816 * np.exp(2.685 * np.log(1.01 - q))) for q in (0, 0.5, 0.9, 1)]
    assert got.dtype == np.float32 and got.shape == (6,)
    np.testing.assert_allclose(got, [*want, 0, 0], atol=1e-6)
    assert want[0] == pytest.approx(0.544, abs=5e-4) and want[2] == pytest.approx(0.9978, abs=5e-5)


def test_rises_with_quality_and_stays_in_range():
    q = np.linspace(0, 1, 1001)
    got = peaks_of(q, np.ones(1001)).expected_f1()
    assert (np.diff(got) >= 0).all() and (np.diff(got[:900]) > 0).all()
    assert got[0] > 0.5 and got[-1] <= 1


def test_tensors_stay_tensors_also_compiled():
    q, count = np.linspace(0, 1, 50), np.arange(50) % 7
    want, peaks = peaks_of(q, count).expected_f1(), peaks_of(q, count, torch.from_numpy)
    for got in (peaks.expected_f1(), torch.compile(lambda p: p.expected_f1(), fullgraph=True, backend="eager")(peaks)):
        assert isinstance(got, torch.Tensor) and got.dtype == torch.float32
        np.testing.assert_allclose(got.numpy(), want, atol=1e-6)


def test_no_records_and_no_signal():
    assert pc.detect_rpeaks(np.zeros((0, 5000), np.float32), 500).expected_f1().shape == (0,)
    assert (pc.detect_rpeaks(np.zeros((3, 5000), np.float32), 500).expected_f1() == 0).all()


def f1(found, marks, tolerance):
    hits = sum(bool(len(found) and np.abs(found - m).min() <= tolerance) for m in marks)
    return 2 * hits / max(1, len(found) + len(marks))


def test_recordings_in_noise_have_the_f1_it_says(rng):
    """119 and 208 of MIT-BIH in 10 s pieces, with low-pass noise of 0 to 1.6 times the range of the ECG."""
    said, seen = [], []
    for name in MITDB:
        record = mitdb(name)
        x, fs, n = record.ecg[0], record.fs, int(10 * record.fs)
        for noise in np.linspace(0, 1.6, 16):
            shake = np.convolve(rng.standard_normal(len(x) + 13), np.hanning(14), "valid")
            noisy = (x + noise * np.ptp(x) / np.ptp(shake) * shake).astype(np.float32)
            for start in range(0, len(x) - n + 1, n):
                peaks = pc.detect_rpeaks(noisy[None, start : start + n], fs)
                marks = record.beats[(record.beats >= start) & (record.beats < start + n)] - start
                said.append(peaks.expected_f1()[0])
                seen.append(f1(peaks.lists()[0], marks, 0.150 * fs))
    said, seen = np.array(said), np.array(seen)
    good, bad = said > 0.95, said < 0.7
    assert good.sum() >= 20 and bad.sum() >= 20
    assert seen[good].mean() > 0.95
    assert seen[bad].mean() < 0.75
    assert abs(seen.mean() - said.mean()) < 0.08
