#!/usr/bin/env bash
# MNE-Python reads a discontinuous EDF+ file (EDF+D) as if its data records followed one another: a gap of four seconds
# is closed without a warning or an annotation, so all after it is four seconds early, and the RR interval across the
# gap is a beat of its own. The file states the time of every record, as the standard asks; pyEDFlib refuses it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q mne==1.13.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import logging
import pathlib
import sys
import warnings

import mne
import numpy as np

TIMES = (0, 1, 2, 3, 4, 9, 10, 11, 12, 13)  # seconds at which the data records begin


def edf(name):
    """Ten records of 1 s at 200 Hz. One signal, 1 uV a second: its value says when it was recorded."""
    text = lambda values, width: "".join(str(v).ljust(width) for v in values)
    head = text(["0"], 8) + text(["X X X X", "Startdate 01-JUN-2020 X X X"], 80) + text(["01.06.20", "12.00.00"], 8)
    head += text([768], 8) + text(["EDF+D"], 44) + text([10, 1], 8) + text([2], 4)
    head += text(["ECG II", "EDF Annotations"], 16) + text(["", ""], 80) + text(["uV", ""], 8)
    for limits in ((-100, -1), (100, 1), (-20000, -32768), (20000, 32767)):
        head += text(limits, 8)
    head += text(["", ""], 80) + text([200, 30], 8) + text(["", ""], 32)
    body = b""
    for start in TIMES:
        body += (200 * start + np.arange(200)).astype("<i2").tobytes()
        body += (b"+%d\x14\x14\0" % start).ljust(60, b"\0")
    pathlib.Path(name).write_bytes(head.encode("ascii") + body)


edf("d.edf")
said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage()) if record.levelno >= logging.WARNING else None
mne.utils.logger.addHandler(handler)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    raw = mne.io.read_raw_edf("d.edf", preload=True)
x = 1e6 * raw.get_data(picks=["ECG II"])[0]
print("MNE-Python", mne.__version__, "- records of one second begin at", TIMES)
print(f"read: {len(x)} samples, up to {raw.times[-1]:.3f} s; annotations: {len(raw.annotations)}")
print(f"the sample that MNE puts at 5 s was recorded at {x[1000]:.0f} s")
print("warnings:", [str(w.message) for w in caught] + said)
same = len(x) == 2000 and round(x[999]) == 5 and round(x[1000]) == 9 and not len(raw.annotations) and not caught + said
sys.exit(0 if same else "not as it was seen: 2000 samples, 9 s at 5 s, no annotation, no warning")
PY
