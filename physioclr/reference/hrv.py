"""Heart rate variability, interval by interval, in float64."""

from __future__ import annotations

import numpy as np

from ..ops._types import HRV, rpeaks_index

LF, HF = (0.04, 0.15), (0.15, 0.4)  # Hz
LEAST_PERIODS, LEAST_INTERVALS, OVERSAMPLING = 2, 4, 5
PREMATURE = 0.8


def ectopic_candidates(rpeaks):
    """Whether the interval that ends in each beat is shorter than 0.8 of the mean of the two beside it."""
    out, rr = np.zeros(len(rpeaks), bool), np.diff(rpeaks)
    for k in range(1, len(rr) - 1):
        out[k + 1] = rr[k] < PREMATURE * 0.5 * (rr[k - 1] + rr[k + 1])
    return out


def lomb_scargle(t, y, f):
    """Spectral density at the frequency f: y^2 per Hz, one-sided.

    y is fitted by c + a cos(2 pi f t) + b sin(2 pi f t). What the fit takes from the sum of squares about the mean is
    the power (Zechmeister and Kuerster 2009; astropy's default); times the time span, divided by the number of
    values, it is a density whose integral over a peak is the variance of a sine.
    """
    about_mean = ((y - y.mean()) ** 2).sum()
    x = np.stack([np.ones_like(t), np.cos(2 * np.pi * f * t), np.sin(2 * np.pi * f * t)], axis=1)
    left = ((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum()
    return (t[-1] - t[0]) / len(t) * (about_mean - left)


def band_power(t, y, low, high):
    """The integral of the density over the multiples of 1 / (5 span) in [low, high), by trapezoids."""
    span = t[-1] - t[0] if len(t) else 0.0
    if len(t) < LEAST_INTERVALS or span < LEAST_PERIODS / low:
        return np.nan
    step = 1 / (OVERSAMPLING * span)
    f = np.arange(int(high / step) + 2) * step
    f = f[(f >= low) & (f < high)]
    return np.trapezoid([lomb_scargle(t, y, v) for v in f], f)


def hrv_of_one(rpeaks, fs, exclude_ectopic):
    """(ten numbers, ectopic) of one record, in the order of HRV."""
    ectopic = ectopic_candidates(rpeaks)
    nn, ends = 1000 * np.diff(rpeaks) / fs, rpeaks[1:] / fs
    normal = np.ones(len(nn), bool)
    if exclude_ectopic:
        normal = ~(ectopic[1:] | ectopic[:-1])
    change = np.diff(nn)[normal[1:] & normal[:-1]]
    nn, ends = nn[normal], ends[normal]
    mean = nn.mean() if len(nn) else np.nan
    sdnn = nn.std(ddof=1) if len(nn) > 1 else np.nan
    rmssd = np.sqrt((change**2).mean()) if len(change) else np.nan
    pnn50 = 100 * (np.abs(change) > 50).sum() / len(nn) if len(change) else np.nan
    lf, hf = (band_power(ends, nn, *band) for band in (LF, HF))
    ratio = lf / hf if hf > 0 else np.nan
    return (mean, 60000 / mean, sdnn, rmssd, pnn50, sdnn / mean, rmssd / mean, lf, hf, ratio), ectopic


def hrv(rpeaks, fs, *, exclude_ectopic=False):
    """HRV of float64 arrays; see physioclr.hrv for the meaning of the arguments."""
    rpeaks = np.asarray(rpeaks_index(rpeaks))
    values, ectopic = np.full((10, len(rpeaks)), np.nan), np.zeros(rpeaks.shape, bool)
    for b, row in enumerate(rpeaks):
        there = row[row >= 0].astype(np.float64)
        values[:, b], ectopic[b, : len(there)] = hrv_of_one(there, fs, exclude_ectopic)
    return HRV._make((*values, ectopic))
