"""How many beats of real records break the order of the waves: must be 0 everywhere.

    python benchmarks/accuracy/delineation_order.py DATA        # a folder of data sets in WFDB form, searched through

p_on < p_peak < p_off <= qrs_on <= R <= qrs_off <= t_on < t_peak < t_off <= p_on of the next beat, what is absent left
out: in each lead, in the consensus of all leads and in their mean, R peaks by detect_rpeaks on all leads. Per data set
(folder): records, rows of a lead, beats of those rows, waves in them, and the beats out of order in leads, consensus
and mean. Exit status 1 if there is one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import physioclr as pc


def disorder(waves: pc.Delineation, rpeaks: np.ndarray) -> np.ndarray:
    """(...) number of beats out of order, of boundaries (..., P) and R peaks (..., P) or (P,)."""
    r = np.broadcast_to(rpeaks, waves.p_on.shape)
    chain = [(waves.p_on, 0), (waves.p_peak, 1), (waves.p_off, 1), (waves.qrs_on, 0), (r, 0), (waves.qrs_off, 0)]
    chain += [(waves.t_on, 0), (waves.t_peak, 1), (waves.t_off, 1)]  # (position, least distance from the one before)
    count = np.zeros(r.shape[:-1], np.int64)
    last = np.full(r.shape[:-1], -1, np.int64)
    for k in range(r.shape[-1]):
        bad = np.zeros(r.shape[:-1], bool)
        for v, least in chain:
            there = v[..., k] >= 0
            bad |= there & (v[..., k] < last + least)
            last = np.where(there, v[..., k], last)
        for wave in (slice(0, 3), slice(3, 5), slice(5, 8)):  # all of a wave or nothing
            present = np.stack(waves[wave])[..., k] >= 0
            bad |= present.any(axis=0) != present.all(axis=0)
        count += bad
    return count


def check(record) -> np.ndarray:
    """Rows, beats of rows, waves, and the beats out of order in leads, consensus and mean."""
    x = np.ascontiguousarray(record.p_signal.T[None], dtype=np.float32)
    r = pc.detect_rpeaks(x, record.fs).index
    every, mean = pc.delineate(x, record.fs, r, lead="all"), pc.delineate(x, record.fs, r, lead="mean")
    rows = disorder(pc.Delineation(*(v[0] for v in every)), r[0])
    return np.array(
        [
            len(rows) + 1,
            (len(rows) + 1) * int((r >= 0).sum()),
            sum(int((d.p_peak >= 0).sum() + (d.qrs_on >= 0).sum() + (d.t_peak >= 0).sum()) for d in (every, mean)),
            rows[:-1].sum(),
            rows[-1],
            disorder(mean, r).sum(),
        ]
    )


def main(data: Path) -> int:
    import wfdb  # here, as the check itself does without

    print(f"{'data set':24s} {'records':>8s} {'rows':>8s} {'beats':>9s} {'waves':>9s}  out of order")
    bad = 0
    for folder in sorted({header.parent for header in data.rglob("*.hea")}):
        total, records = np.zeros(6, np.int64), 0
        for header in sorted(folder.glob("*.hea")):
            record = wfdb.rdrecord(str(header.with_suffix("")))
            if record.p_signal is None or record.fs < 50:
                continue
            total += check(record)
            records += 1
        rows, beats, waves, *broken = total
        name = str(folder.relative_to(data))
        print(f"{name:24s} {records:8d} {rows:8d} {beats:9d} {waves:9d}  {' '.join(map(str, broken))}", flush=True)
        bad += sum(broken)
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
