#!/usr/bin/env bash
# read_edf of wfdb-python, on an EDF file whose signals have different rates: every signal comes out at the lowest rate,
# smoothed, and its amplitude ten times too large: 100 uV become about 1000. The same signals at one rate are right. The
# file is valid EDF, and polysomnographs and monitors write such files: an ECG beside a slower respiration.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q wfdb==4.3.1 numpy==2.4.6 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys
import warnings

import numpy as np
import wfdb
from wfdb.io.convert.edf import read_edf

warnings.simplefilter("ignore")


def edf(name, per_record):
    """Ten records of 1 s; every signal a sine of 1 Hz and 100 uV, in steps of 0.1 uV."""
    text = lambda values, width: "".join(str(v).ljust(width) for v in values)
    n = len(per_record)
    head = text(["0"], 8) + text(["X X X X", "Startdate 01-JUN-2020 X X X"], 80) + text(["01.06.20", "12.00.00"], 8)
    head += text([256 * (n + 1)], 8) + text([""], 44) + text([10, 1], 8) + text([n], 4)
    head += text(["ECG II", "Resp"][:n], 16) + text([""] * n, 80) + text(["uV"] * n, 8)
    for limit in (-3276.8, 3276.7, -32768, 32767):
        head += text([limit] * n, 8)
    head += text([""] * n, 80) + text(per_record, 8) + text([""] * n, 32)
    record = b"".join(np.rint(1000 * np.sin(2 * np.pi * np.arange(k) / k)).astype("<i2").tobytes() for k in per_record)
    open(name, "wb").write(head.encode("ascii") + 10 * record)


seen = {}
for name, per_record in (("one.edf", (200, 200)), ("two.edf", (200, 50))):
    edf(name, per_record)
    found = read_edf(name)
    seen[name] = found.fs, found.p_signal.shape, float(np.abs(found.p_signal[:, 0]).max())
print("wfdb-python", wfdb.__version__, "- ECG II at 200 Hz is a sine of 100 uV in both files")
for name, (fs, shape, most) in seen.items():
    print(f"{name}: fs {fs}, shape {shape}, the largest value of ECG II {most:.1f} uV")
same = seen["one.edf"][0] == 200 and abs(seen["one.edf"][2] - 100) < 1
same = same and seen["two.edf"][0] == 50 and abs(seen["two.edf"][2] - 1000) < 10
sys.exit(0 if same else "not as it was seen: 100 uV at 200 Hz, and 1000 uV at 50 Hz")
PY
