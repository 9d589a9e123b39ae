#!/usr/bin/env bash
# Format 311 of WFDB packs three samples of 10 bits into the lower 30 bits of a word of 32; signal(5) calls the upper
# two unused (its own library writes zeros there, others need not). wfdb-python takes the lower of the two for an
# eleventh bit of the third sample: where it is set, a negative sample comes out 1024 too high, and the sign is gone.
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

samples = (100, -100, -496)
packed = sum((s & 0x3FF) << 10 * k for k, s in enumerate(samples))
open("r.hea", "w").write("r 1 250 3\nr.dat 311 200(0)/mV 10 0 100 0 0 II\n")
seen = {}
for unused in range(4):
    open("r.dat", "wb").write(struct.pack("<I", packed | unused << 30))
    seen[unused] = tuple(wfdb.rdrecord("r", physical=False).d_signal[:, 0].tolist())
print("wfdb-python", wfdb.__version__, "- stored:", samples)
for unused, read in seen.items():
    print(f"unused bits {unused:02b}: read", read)
wrong = (*samples[:2], samples[2] + 1024)
same = seen == {0: samples, 1: wrong, 2: samples, 3: wrong}
sys.exit(0 if same else f"not as it was seen: {samples} where the lower unused bit is 0, {wrong} where it is 1")
PY
