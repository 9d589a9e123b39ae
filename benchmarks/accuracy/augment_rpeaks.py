"""Are R peaks where augment says? Detection on augmented real records against the carried peaks.

python benchmarks/accuracy/augment_rpeaks.py          # on the 80 records that the package ships
"""

import numpy as np

import physioclr as pc

FS, EDGE = 500.0, 250  # within half a second of the ends a cut beat may be lost
PLANS = {
    "nothing": pc.Augment(),
    "beat_shuffle, cut r": pc.Augment(beat_shuffle=pc.BeatShuffle(p=1)),
    "beat_shuffle, cut tp": pc.Augment(beat_shuffle=pc.BeatShuffle(p=1, cut="tp")),
    "time_warp": pc.Augment(time_warp=pc.TimeWarp(p=1)),
    "rr_scale": pc.Augment(rr_scale=pc.RrScale(p=1)),
    "crop": pc.Augment(crop=pc.Crop(p=1)),
    "preserving": pc.Augment.preserving(),
}


def distances(carried, found, samples):
    """Samples from each carried peak to the nearest found one."""
    for b in range(len(carried.count)):
        r, q = carried.index[b, : carried.count[b]], found.index[b, : found.count[b]]
        for k in r[(r > EDGE) & (r < samples - EDGE)]:
            yield np.abs(q - k).min() if len(q) else samples


def main():
    sample = pc.data.sample()
    ecg = np.stack([pc.data.read_record(sample.path / r).millivolts() for r in sample.record_ids]).astype(np.float32)
    peaks = pc.detect_rpeaks(ecg, FS)
    print("plan                   peaks  within 2 samples  median  90 %  99 %")
    for name, plan in PLANS.items():
        out, carried = pc.augment(ecg, plan, fs=FS, seed=1, rpeaks=peaks)
        d = np.array([*distances(carried, pc.detect_rpeaks(out, FS), ecg.shape[-1])])
        middle = "  ".join(f"{v:5.1f}" for v in np.percentile(d, [50, 90, 99]))
        print(f"{name:22s} {len(d):5d}  {np.mean(d <= 2):16.1%}   {middle}")


if __name__ == "__main__":
    main()
