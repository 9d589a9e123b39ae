#!/usr/bin/env bash
# The skew in a WFDB header tells, by header(5), how many samples of the signal precede its sample 0. wfdb-python
# counts frames instead: with two samples per frame a skew of 1 drops two samples, and the record ends in a 0 that
# nobody recorded. A lead that its header puts right comes out shifted; with one sample per frame, as in most records,
# all is well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q wfdb==4.3.1 numpy==2.4.6 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import struct
import sys

import wfdb

open("r.dat", "wb").write(struct.pack("<8h", 1, 2, 3, 4, 5, 6, 7, 8))
seen = {}
for field in ("16", "16:1", "16x2", "16x2:1"):
    frames = 4 if "x" in field else 8
    open("r.hea", "w").write(f"r 1 250 {frames}\nr.dat {field} 1(0)/mV 16 0 1 0 0 II\n")
    seen[field] = wfdb.rdrecord("r", physical=False, smooth_frames=False).e_d_signal[0].tolist()
print("wfdb-python", wfdb.__version__, "- samples in the file: 1 to 8")
for field, read in seen.items():
    print(f"{field:7} begins with sample", read[0], "of the file:", read)
begins = {field: read[0] for field, read in seen.items()}
same = begins == {"16": 1, "16:1": 2, "16x2": 1, "16x2:1": 3}
sys.exit(0 if same else "not as it was seen: 1, 2, 1, 3, where header(5) says 1, 2, 1, 2")
PY
