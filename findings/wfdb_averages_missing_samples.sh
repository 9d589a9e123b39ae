#!/usr/bin/env bash
# rdrecord of wfdb-python averages the samples of a frame by default, and takes the code of a missing sample, -32768,
# for a value: a frame of 1 mV and a missing sample comes out as -81.42 mV, not as 1 mV and not as NaN. Monitors'
# records (MIMIC's waveforms) have several samples per frame; with smooth_frames=False the missing sample is NaN and
# the other is 1 mV.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q wfdb==4.3.1 numpy==2.4.6 pandas==3.1.1
cd "$work"
"$work/venv/bin/python" - <<'PY'
import struct
import sys

import numpy as np
import wfdb

# One lead, two frames of two samples, 200 units per mV: 1 mV, missing; 0.5 mV, 1.5 mV.
open("r.hea", "w").write("r 1 250 2\nr.dat 16x2 200(0)/mV 16 0 200 0 0 II\n")
open("r.dat", "wb").write(struct.pack("<4h", 200, -32768, 100, 300))
smooth = wfdb.rdrecord("r").p_signal[:, 0]
kept = wfdb.rdrecord("r", smooth_frames=False).e_p_signal[0]
print("wfdb-python", wfdb.__version__)
print("rdrecord:                      ", smooth, "mV")
print("rdrecord, smooth_frames=False: ", kept, "mV")
same = np.allclose(smooth, [(200 - 32768) / 2 / 200, 1.0]) and np.allclose(kept, [1, np.nan, 0.5, 1.5], equal_nan=True)
sys.exit(0 if same else "not as it was seen: -81.42 and 1 mV; 1, nan, 0.5, 1.5 mV")
PY
