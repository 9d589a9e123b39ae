"""T waves that are as tall as the R wave, and beats that look like them."""

import numpy as np
import pytest
from scipy.signal import butter, lfilter

import physioclr as pc
from physioclr import reference

FS, SECONDS = 500, 30
QRS = ((-0.032, 0.009, -0.1), (0.0, 0.011, 1.0), (0.034, 0.01, -0.2))  # centre s, deviation s, mV
RATES = (35, 40, 50, 60, 70, 85, 100, 120, 140)
HEIGHTS = (0.2, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
WIDTHS = (0.02, 0.025, 0.03, 0.04, 0.05, 0.06)


def lead(times, waves, seed=0, noise=0.005):
    """A lead with each of `waves`, (centre, deviation, height), at each time."""
    t = np.arange(SECONDS * FS) / FS
    x = noise * np.random.default_rng(seed).normal(size=len(t))
    for at in times:
        for centre, width, height in waves:
            x += height * np.exp(-0.5 * ((t - at - centre) / width) ** 2)
    return x


def steepest(waves):
    t = np.arange(-1000, 1000) / 2000
    v = sum(h * np.exp(-0.5 * ((t - c) / w) ** 2) for c, w, h in waves)
    return np.abs(np.gradient(v, t)).max()


def beat(rate, height, width):
    """P, QRS and a T wave that ends, 2 deviations after its peak, at the QT interval after Bazett, 0.4 s at 60 per
    minute, but begins after the QRS complex."""
    rr = 60 / rate
    near = min(1, rr / 0.6)
    peak = max(0.4 * np.sqrt(rr) - 0.04 - 2 * width, 0.05 + 1.2 * width)
    return ((-0.17 * near, 0.022 * near, 0.12), *QRS, (peak, width, height))


def found(ecg):
    r = pc.detect_rpeaks(ecg[None].astype(np.float32), FS)
    return r.index[0, : r.count[0]]


def beats_of(rate, seed=1):
    rr = 60 / rate * (1 + 0.02 * np.random.default_rng(seed).normal(size=100))
    times = 0.6 + np.concatenate([[0], np.cumsum(rr)])
    return times[times < SECONDS - 0.7]


@pytest.mark.parametrize("rate", RATES)
def test_a_t_wave_less_than_half_as_steep_as_the_qrs_is_no_beat(rate):
    tried, times = 0, beats_of(rate)
    for height in HEIGHTS:
        for width in WIDTHS:
            waves = beat(rate, height, width)
            if steepest(waves[-1:]) >= 0.5 * steepest(QRS):
                continue
            x, tried = lead(times, waves), tried + 1
            for ecg in (x[None], np.stack([x, -0.5 * x, 0.7 * x])):
                got = found(ecg)
                assert len(got) == len(times), (height, width)
                assert np.abs(got / FS - times).max() < 0.15, (height, width)
    assert tried > 30  # most of the grid


@pytest.mark.parametrize(
    "rate, height, width", [(40, 1.0, 0.025), (60, 0.75, 0.02), (50, 1.25, 0.03), (70, 1.0, 0.025)]
)
def test_reference_agrees(rate, height, width):
    x = lead(beats_of(rate), beat(rate, height, width), noise=0.02)
    for ecg in (x[None], np.stack([x, 0 * x, -0.5 * x])):
        ecg = ecg.astype(np.float32)
        got, (index, _, quality) = pc.detect_rpeaks(ecg[None], FS), reference.detect_rpeaks(ecg[None], FS)
        np.testing.assert_array_equal(got.index, index)
        np.testing.assert_allclose(got.quality, quality, atol=1e-4)


@pytest.mark.parametrize("cutoff", [0.05, 0.5])
def test_the_undershoot_of_a_high_pass_filter_is_no_wave(cutoff):
    for rate, height, width in ((40, 1.0, 0.025), (50, 0.75, 0.02)):
        times = beats_of(rate)
        x = lfilter(*butter(1, cutoff, "high", fs=FS), lead(times, beat(rate, height, width)))
        assert len(found(x[None])) == len(times)


def extrasystoles(every, coupling, rr, height, width):
    """(lead, times of all beats): after each `every`-th beat a ventricular one, with its T wave, and a pause."""
    times, early = [], []
    now = 0.8
    while now < SECONDS - 1.5:
        times.append(now)
        now += rr
        if len(times) % every == 0:
            early.append(times[-1] + coupling)
            now += rr
    waves = ((0, width, height), (0.085, width, -0.5 * height), (0.3, 0.06, -0.3 * height))
    return lead(times, beat(60 / rr, 0.2, 0.05)) + lead(early, waves, noise=0), np.sort(times + early)


@pytest.mark.parametrize("every", [1, 2, 6])
@pytest.mark.parametrize("coupling", [0.3, 0.35, 0.4, 0.45, 0.55])
@pytest.mark.parametrize(
    "height, width, rr",  # the first is 0.47 times as steep as the QRS complex, the others more than half
    [(1.0, 0.025, 1.0), (1.5, 0.025, 0.85), (1.5, 0.03, 0.7), (1.5, 0.03, 1.0), (2.0, 0.03, 0.7), (2.0, 0.03, 1.0)],
)
def test_early_ventricular_beats_stay(every, coupling, height, width, rr):
    x, want = extrasystoles(every, coupling, rr, height, width)
    for ecg in (x[None], np.stack([x, -0.5 * x, 0.7 * x])):
        got = found(ecg)
        assert len(got) == len(want)
        assert np.abs(got / FS - want).max() < 0.15


def test_a_beat_as_smooth_as_a_t_wave_stays_where_most_complexes_have_none():
    x, want = extrasystoles(6, 0.4, 0.85, 0.7, 0.025)  # a third as steep as the QRS complex
    assert len(found(x[None])) == len(want)
