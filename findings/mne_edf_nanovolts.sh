#!/usr/bin/env bash
# MNE-Python gives data in volts. Of an EDF file it knows uV and mV; a signal in nV, a prefix that the EDF+ standard texts
# list, is taken for volts: 100,000 nV (0.1 mV) become 100,000 V, without a warning, and the channel's unit still says nV.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q mne==1.13.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import pathlib
import sys
import warnings

import mne
import numpy as np


def edf(name, unit, limit):
    """Ten records of 1 s at 200 Hz: one signal, a sine of 1 Hz whose amplitude is that limit."""
    text = lambda values, width: "".join(str(v).ljust(width) for v in values)
    head = text(["0"], 8) + text(["X X X X", "Startdate 01-JUN-2020 X X X"], 80) + text(["01.06.20", "12.00.00"], 8)
    head += text([512], 8) + text([""], 44) + text([10, 1], 8) + text([1], 4)
    head += text(["ECG II"], 16) + text([""], 80) + text([unit, f"-{limit}", limit, -1000, 1000], 8)
    head += text([""], 80) + text([200], 8) + text([""], 32)
    x = np.rint(1000 * np.sin(2 * np.pi * np.arange(200) / 200)).astype("<i2")
    pathlib.Path(name).write_bytes(head.encode("ascii") + 10 * x.tobytes())


seen = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for unit, limit in (("mV", "0.1"), ("uV", "100"), ("nV", "100000")):  # the same voltage
        edf(f"{unit}.edf", unit, limit)
        raw = mne.io.read_raw_edf(f"{unit}.edf", preload=True, verbose="error")
        seen[unit] = float(np.abs(raw.get_data()).max())
print("MNE-Python", mne.__version__, "- a sine of 0.1 mV, in volts:")
for unit, volts in seen.items():
    print(f"  stored in {unit}: {volts:g} V")
print("warnings:", [str(w.message) for w in caught])
same = np.allclose([seen["mV"], seen["uV"]], 1e-4) and np.isclose(seen["nV"], 1e5) and not caught
sys.exit(0 if same else "not as it was seen: 0.0001, 0.0001, 100000 V, and no warning")
PY
