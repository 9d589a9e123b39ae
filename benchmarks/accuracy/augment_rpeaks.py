"""Are R peaks where augment says? Two answers, on real records.

python benchmarks/accuracy/augment_rpeaks.py [RECORDS.npy]      # the 80 shipped records, or (B, 12, T) mV at 500 Hz

mapping: without a detector. The 60 ms after each carried peak are laid over the 60 ms after the R peak it came from, in
all leads; the lag of the best fit is the error of the map. (After, as cut "r" joins halves of different beats there.)
refound: detection on the result finds the carried peak within 2 samples. The detector has its own instability: so the
same share for `control`, the untransformed record with only the plan's gain, noise and masks (no time map), or where
the plan has none of these, with Gaussian noise of SD 0.005 mV, the weakest that `Augment` draws by default.
"""

import dataclasses
import sys

import numpy as np

import physioclr as pc
from physioclr.ops.augment.text import TIME_MAPS

FS, EDGE, HALF, LAGS = 500.0, 250, 30, 12  # within half a second of the ends a cut beat may be lost
PLANS = {
    "beat_shuffle, cut r": pc.Augment(beat_shuffle=pc.BeatShuffle(p=1)),
    "beat_shuffle, cut tp": pc.Augment(beat_shuffle=pc.BeatShuffle(p=1, cut="tp")),
    "time_warp": pc.Augment(time_warp=pc.TimeWarp(p=1)),
    "rr_scale": pc.Augment(rr_scale=pc.RrScale(p=1)),
    "crop": pc.Augment(crop=pc.Crop(p=1)),
    "preserving": pc.Augment.preserving(),
    "standard": pc.Augment.standard(),
}


def inner(index, count, samples):
    r = index[:count]
    return r[(r > EDGE) & (r < samples - EDGE)]


def distances(carried, found, samples):
    """Samples from each carried peak to the nearest found one."""
    for b in range(len(carried.count)):
        q = found.index[b, : found.count[b]]
        for k in inner(carried.index[b], carried.count[b], samples):
            yield np.abs(q - k).min() if len(q) else samples


def lag_of(source, r, result, k):
    """The lag at which the result after k looks most like the source after one of its R peaks r, and the misfit."""
    window = np.nan_to_num(source[:, r[:, None] + np.arange(HALF)])  # (leads, peaks, HALF)
    best = None
    for lag in range(-LAGS, LAGS + 1):
        y = np.nan_to_num(result[:, k + lag : k + lag + HALF])[:, None]
        gain = (window * y).sum((0, 2)) / np.maximum((window**2).sum((0, 2)), 1e-12)
        misfit = ((y - gain[:, None] * window) ** 2).sum((0, 2)).min() / max((y**2).sum(), 1e-12)
        if best is None or misfit < best[1]:
            best = lag, misfit
    return best


def main():
    if len(sys.argv) > 1:
        ecg = np.load(sys.argv[1]).astype(np.float32)
    else:
        sample = pc.data.sample()
        ecg = np.stack([pc.data.read_record(sample.path / r).millivolts() for r in sample.record_ids])
        ecg = ecg.astype(np.float32)
    samples, peaks = ecg.shape[-1], pc.detect_rpeaks(ecg, FS)
    print("plan                  peaks |  mapping: within 1, 2  max | refound: in 2  control | lost, yet mapped right")
    for name, plan in PLANS.items():
        still = dataclasses.replace(plan, **dict.fromkeys(TIME_MAPS))
        if still == pc.Augment():
            still = pc.Augment(gaussian_noise=pc.GaussianNoise(p=1, sd=0.005))
        out, carried = pc.augment(ecg, plan, fs=FS, seed=1, rpeaks=peaks)
        d = np.array([*distances(carried, pc.detect_rpeaks(out, FS), samples)])
        same, there = pc.augment(ecg, still, fs=FS, seed=1, rpeaks=peaks)
        control = np.array([*distances(there, pc.detect_rpeaks(same, FS), samples)])
        # The lags on the result without noise and masks: the same time map, because fields draw independently.
        moved = pc.Augment(**{m: getattr(plan, m) for m in TIME_MAPS})
        clean, _ = pc.augment(ecg, moved, fs=FS, seed=1, rpeaks=peaks)
        lags = []
        for b in range(len(ecg)):
            r = peaks.index[b, : peaks.count[b]]
            r = r[r < samples - HALF]
            lags += [lag_of(ecg[b], r, clean[b], k)[0] for k in inner(carried.index[b], carried.count[b], samples)]
        lags = np.abs(lags)
        lost = d > 2
        print(
            f"{name:21s} {len(d):5d} | {np.mean(lags <= 1):13.1%} {np.mean(lags <= 2):7.1%} "
            f"{lags.max():4d} | {np.mean(~lost):13.1%}  {np.mean(control <= 2):7.1%} |"
            f" {np.sum(lost & (lags <= 1)):4d} of {lost.sum()}"
        )


if __name__ == "__main__":
    main()
