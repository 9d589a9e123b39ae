"""What the features know: PTB-XL superclasses by logistic regression, and medians where the diagnosis says enough.

    python benchmarks/accuracy/features.py DATA

DATA holds PTB-XL (ptbxl_database.csv and records500 at its top or in ptbxl/) and perhaps LUDB (ludb/). The scores are
pooled over nine folds (strat_fold 1-9, patients never split), columns scaled on each training part alone, the penalty
fixed. With LUDB: the intervals of lead II beside those between its cardiologists' marks, medians of each record.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import physioclr as pc
from physioclr.data import metadata, wfdb_source

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
COLUMN = {name: i for i, name in enumerate(pc.FEATURE_NAMES)}
SHOWN = ("qrs_median", "pr_median", "qtc_median", "rr_median", "pct_p_absent", "rmssd")
PENALTY = 0.02  # C of the logistic regression


def load(folder: Path) -> tuple[np.ndarray, list[dict]]:
    signals, rows = [], []
    for record_id in wfdb_source.find_records(folder):
        if "records500" not in record_id:
            continue
        record = wfdb_source.read_record(folder / record_id, folder)
        row = metadata.describe(folder, record_id, [])
        if row["fold"] > 0:
            signals.append(record.millivolts())
            rows.append(row)
    return np.stack(signals).astype(np.float32), rows


def scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z-scores of the training part, missing = 0, clipped at 5."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column may be missing everywhere
        mean, sd = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    sd[~(sd > 0)] = np.inf
    return tuple(np.clip(np.nan_to_num((x - mean) / sd), -5, 5) for x in (train, test))


def macro_auroc(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> tuple[float, list[float]]:
    x = x.astype(np.float64)
    score = np.zeros(y.shape)
    for f in np.unique(fold):
        train, test = scaled(x[fold != f], x[fold == f])
        for c in range(y.shape[1]):
            model = LogisticRegression(C=PENALTY, max_iter=2000, class_weight="balanced")
            score[fold == f, c] = model.fit(train, y[fold != f, c]).decision_function(test)
    each = [roc_auc_score(y[:, c], score[:, c]) for c in range(y.shape[1])]
    return float(np.mean(each)), each


def with_code(rows: list[dict], *codes: str) -> np.ndarray:
    return np.array([any(code in row["dx"] for code in codes) for row in rows])


def marked_intervals(path: Path) -> dict[str, float]:
    """Median PR, QRS and QT (ms) between the marks of a LUDB record's lead II, and the % of its beats without P."""
    import wfdb

    marks = wfdb.rdann(str(path), "ii")
    found: dict[str, list[float]] = {"PR": [], "QRS": [], "QT": [], "no P": []}
    p_on = beat_on = None
    for i, (kind, at) in enumerate(zip(marks.symbol, marks.sample, strict=True)):
        on = marks.sample[i - 1] if i and marks.symbol[i - 1] == "(" else None
        off = marks.sample[i + 1] if i + 1 < len(marks.sample) and marks.symbol[i + 1] == ")" else None
        if kind == "p":
            p_on = on
        elif kind == "N" and on is not None and off is not None:
            if beat_on is not None:  # the P wave of the first marked beat may be unmarked
                found["no P"].append(100.0 * (p_on is None))
            if p_on is not None and at - p_on < 200:
                found["PR"].append(2.0 * (on - p_on))
            found["QRS"].append(2.0 * (off - on))
            p_on, beat_on = None, on
        elif kind == "t" and beat_on is not None and off is not None:
            found["QT"].append(2.0 * (off - beat_on))
    return {name: float(np.mean(v) if name == "no P" else np.median(v)) if v else np.nan for name, v in found.items()}


def beside_cardiologists(folder: Path) -> None:
    ids = [name for name in wfdb_source.find_records(folder)]
    x = np.stack([wfdb_source.read_record(folder / name, folder).millivolts() for name in ids]).astype(np.float32)
    f = pc.physio_features(x, 500)
    ours = {"PR": f[:, COLUMN["pr_median"]], "QRS": f[:, COLUMN["qrs_median"]], "no P": f[:, COLUMN["pct_p_absent"]]}
    ours["QT"] = f[:, COLUMN["qtc_median"]] * (f[:, COLUMN["rr_median"]] / 1000) ** (1 / 3)
    marked = [marked_intervals(folder / name) for name in ids]
    print(f"\n{len(ids)} LUDB records, lead II: ours minus the cardiologists', medians of each record")
    for name in ("PR", "QRS", "QT", "no P"):
        want = np.array([m[name] for m in marked])
        both = np.isfinite(want) & np.isfinite(ours[name])
        d = ours[name][both] - want[both]
        low, high = np.quantile(d, [0.25, 0.75])
        print(
            f"  {name:5s} n {both.sum():4d}   median {np.median(d):+6.1f}   middle half {low:+6.1f} .. {high:+6.1f}   "
            f"correlation {np.corrcoef(ours[name][both], want[both])[0, 1]:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    data = folder = parser.parse_args().data
    folder = folder if (folder / "ptbxl_database.csv").exists() else folder / "ptbxl"
    x, rows = load(folder)
    classes = [row["labels"].get("ptbxl_superclass", []) for row in rows]  # no key: not labelled
    fold = np.array([row["fold"] for row in rows])
    known = np.array([len(c) > 0 for c in classes])
    y = np.array([[s in c for s in SUPERCLASSES] for c in classes], int)
    age = np.array([np.nan if row["age"] is None else row["age"] for row in rows])
    sex = np.array([{"F": 1.0, "M": 0.0}.get(row["sex"], np.nan) for row in rows])

    peaks = pc.detect_rpeaks(x, 500)
    features, paced = pc.physio_features(x, 500, peaks, lead=["II", "V1", "V5"], return_paced=True)
    two, rest = features[:, :159], features.reshape(-1, 3, 159)[:, :, 100:].reshape(len(x), -1)
    mean = pc.physio_features(x, 500, peaks, lead="mean")

    print(f"{known.sum()} records, macro AUROC of 9-fold patient cross-validation, and {', '.join(SUPERCLASSES)}")
    for name, columns in {
        "age + sex": np.stack([age, sex], axis=1),
        "159 features, lead II": two,
        "59 segment features, lead II": two[:, 100:],
        "159 features, mean lead": mean,
        "59 segment features, II V1 V5": rest,
        "477 features, II V1 V5": features,
        "59 x 3 + age + sex": np.column_stack([rest, age, sex]),
    }.items():
        macro, each = macro_auroc(columns[known], y[known], fold[known])
        print(f"  {name:32s} {macro:.3f}   {'  '.join(f'{a:.3f}' for a in each)}")

    normal = with_code(rows, "NORM") & ~with_code(rows, "CLBBB", "CRBBB", "AFIB", "PACE")
    groups = {
        "normal": normal,
        "complete bundle branch block": with_code(rows, "CLBBB", "CRBBB"),
        "  left": with_code(rows, "CLBBB"),
        "  right": with_code(rows, "CRBBB"),
        "incomplete right": with_code(rows, "IRBBB"),
        "atrial fibrillation, flutter": with_code(rows, "AFIB", "AFLT"),
        "first-degree AV block": with_code(rows, "1AVB"),
        "sinus bradycardia": with_code(rows, "SBRAD"),
        "sinus tachycardia": with_code(rows, "STACH"),
        "pacemaker": with_code(rows, "PACE"),
    }
    print("\nlead II, median over the records (pacing spikes: share of the records)")
    print(f"{'':32s}    n  QRS ms  QRS V1  PR ms  QTc ms  rate  no P %  RMSSD  paced %")
    for name, chosen in groups.items():
        if not chosen.any():
            continue
        m = {
            q: np.nanmedian(two[chosen, COLUMN[q]]) if np.isfinite(two[chosen, COLUMN[q]]).any() else np.nan
            for q in SHOWN
        }
        m["v1"] = np.nanmedian(features[chosen, 159 + COLUMN["qrs_median"]])
        print(
            f"{name:32s} {chosen.sum():4d}  {m['qrs_median']:6.0f}  {m['v1']:6.0f}  {m['pr_median']:5.0f}  "
            f"{m['qtc_median']:6.0f}  {60000 / m['rr_median']:4.0f}  {m['pct_p_absent']:6.0f}  {m['rmssd']:5.0f}  "
            f"{100 * paced[chosen].mean():7.0f}"
        )
    if (data / "ludb").is_dir():
        beside_cardiologists(data / "ludb")


if __name__ == "__main__":
    main()
