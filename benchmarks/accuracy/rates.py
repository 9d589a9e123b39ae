"""What a lower sampling rate costs: R peaks and features of the same recordings at 500 Hz and at 100 and 250 Hz.

    python benchmarks/accuracy/rates.py PTBXL500 PTBXL100

Folders of PTB-XL with records500 and records100; the recordings that both have are compared. 250 Hz is made from 500 as
`prepare --fs 250` makes it. R peaks: the beats of 500 Hz that have one within 10 ms at the other rate, and beats that
only one of the two has (none within 150 ms). The first and last 0.2 s are left out, where PTB-XL's two files of a
recording differ, and so is the shift in time between them, which the script prints. What is not the rate's but the
band's doing: the same at 500 Hz after all above 50 Hz was taken away (500 Hz to 100 and back). Features: superclasses
by logistic regression on the 59 columns of II, V1 and V5, patients never split, the difference with its interval over
patients; and the columns themselves.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
from features import PENALTY, SUPERCLASSES, scaled
from sklearn.linear_model import LogisticRegression

import physioclr as pc
from physioclr.data import metadata, wfdb_source
from physioclr.data.resample import resample
from physioclr.train.scores import bootstrap_weights, interval, weighted_auroc_auprc

LEADS = ["II", "V1", "V5"]
EDGE = 0.2  # s
SHOWN = ("rr_median", "rmssd", "pr_median", "qrs_median", "qtc_median", "p_dur_median", "r_amp_median", "t_amp_median",
         "qrs_slope_median", "st_median", "pct_p_absent", "beat_corr_mean")  # fmt: skip


def records(folder: Path, part: str) -> dict[int, str]:
    """ecg_id -> record"""
    found = (name for name in wfdb_source.find_records(folder) if part in name)
    return {int(re.search(r"(\d{5})_[hl]r$", name)[1]): name for name in found}


def matched(want: np.ndarray, got: np.ndarray) -> np.ndarray:
    """|difference| (s) of each wanted time to the nearest one got; infinite where there is none."""
    if not len(got):
        return np.full(len(want), np.inf)
    return np.abs(want[:, None] - got).min(1)


def shift(x500: np.ndarray, x: np.ndarray, fs: float) -> float:
    """Seconds by which x (L, T) at fs runs behind x500: where both, at 500 Hz, differ least in their middle."""
    y, middle = resample(x, fs, 500.0), slice(500, x500.shape[1] - 500)
    at = range(-8, 9)
    differences = [np.abs(y[:, middle.start + d : middle.stop + d] - x500[:, middle]).mean() for d in at]
    return at[int(np.argmin(differences))] / 500


def compare_peaks(name: str, at500: pc.RPeaks, other: pc.RPeaks, fs: float, seconds: float, late: float) -> None:
    near = total = alone = more = 0
    worst, moved = [], 0
    for k in range(len(at500.count)):
        want = at500.index[k, : at500.count[k]] / 500
        got = other.index[k, : other.count[k]] / fs - late
        everything = want, got
        want, got = (t[(t > EDGE) & (t < seconds - EDGE)] for t in everything)
        d = matched(want, everything[1])
        same = d < 0.15
        near, total = near + int((d <= 0.010 + 1e-9).sum()), total + len(want)
        moved += bool((d > 0.010 + 1e-9).any())
        alone, more = alone + int((~same).sum()), more + int((matched(got, everything[0]) >= 0.15).sum())
        worst.append(d[same])
    d = 1000 * np.concatenate(worst)
    print(
        f"{name} (shift {1000 * late:+.0f} ms): {total} beats, {100 * near / total:.3f} % within 10 ms, "
        f"the others in {moved} of {len(at500.count)} recordings; "
        f"mean |difference| {d.mean():.2f} ms, "
        f"99.9 % below {np.quantile(d, 0.999):.1f} ms; {alone} beats only at 500 Hz, {more} only here"
    )


def out_of_fold(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    score = np.zeros(y.shape)
    for f in np.unique(fold):
        train, test = scaled(x[fold != f].astype(np.float64), x[fold == f].astype(np.float64))
        for c in range(y.shape[1]):
            model = LogisticRegression(C=PENALTY, max_iter=2000, class_weight="balanced")
            score[fold == f, c] = model.fit(train, y[fold != f, c]).decision_function(test)
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("high", type=Path)
    parser.add_argument("low", type=Path)
    args = parser.parse_args()
    high, low = records(args.high, "records500"), records(args.low, "records100")
    ids = sorted(set(high) & set(low))
    rows = [metadata.describe(args.high, high[i], []) for i in ids]
    signals = {
        rate: np.stack([wfdb_source.read_record(folder / found[i], folder).millivolts() for i in ids]).astype("f4")
        for rate, folder, found in ((500, args.high, high), (100, args.low, low))
    }
    signals[250] = np.stack([resample(x, 500.0, 250.0) for x in signals[500]])
    peaks = {rate: pc.detect_rpeaks(x, rate) for rate, x in signals.items()}
    print(f"{len(ids)} recordings at both rates")
    for rate in (250, 100):
        late = float(np.median([shift(a, b, rate) for a, b in zip(signals[500], signals[rate], strict=True)]))
        compare_peaks(f"{rate} Hz", peaks[500], peaks[rate], rate, 10.0, late)
    narrow = np.stack([resample(resample(x, 500.0, 100.0), 100.0, 500.0) for x in signals[500]])
    compare_peaks("500 Hz without the band above 50 Hz", peaks[500], pc.detect_rpeaks(narrow, 500), 500, 10.0, 0.0)
    features = {rate: pc.physio_features(x, rate, peaks[rate], lead=LEADS) for rate, x in signals.items()}
    segment = {rate: f.reshape(len(ids), 3, 159)[:, :, 100:].reshape(len(ids), -1) for rate, f in features.items()}

    classes = [row["labels"].get("ptbxl_superclass", []) for row in rows]
    known = np.array([len(c) > 0 for c in classes])
    y = np.array([[s in c for s in SUPERCLASSES] for c in classes], int)[known]
    fold = np.array([row["fold"] for row in rows])[known]
    weight = bootstrap_weights(np.array([row["patient_id"] for row in rows])[known], 1000, seed=0)
    auroc = {}
    for rate, x in segment.items():
        score = out_of_fold(x[known], y, fold)
        auroc[rate] = np.mean([weighted_auroc_auprc(score[:, c], y[:, c] == 1, weight)[0] for c in range(5)], axis=0)
    print(f"\nmacro AUROC of {known.sum()} records, 59 columns of II, V1, V5")
    print(f"  500 Hz  {auroc[500][0]:.4f}")
    for rate in (250, 100):
        d = auroc[rate] - auroc[500]
        least, most = interval(d[1:])
        print(f"  {rate} Hz  {auroc[rate][0]:.4f}, minus 500 Hz {d[0]:+.4f} ({least:+.4f} to {most:+.4f})")
    print("\nlead II: median of the difference from 500 Hz, middle 95 % of it, correlation")
    for name in SHOWN:
        column = pc.FEATURE_NAMES.index(name)
        cells = []
        for rate in (250, 100):
            a, b = features[500][:, column].astype(float), features[rate][:, column].astype(float)
            both = np.isfinite(a) & np.isfinite(b)
            d = (b - a)[both]
            small, large = np.quantile(d, [0.025, 0.975])
            r = np.corrcoef(a[both], b[both])[0, 1]
            cells.append(f"{rate} Hz {np.median(d):+8.3f} ({small:+8.3f} to {large:+8.3f}) r {r:.3f}")
        print(f"  {name:18s} {'   '.join(cells)}")


if __name__ == "__main__":
    main()
