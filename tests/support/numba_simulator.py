"""Delineation and features through the CUDA launchers, in the simulator: python numba_simulator.py IN.npz OUT.npz

IN: arrays ecg (B, L, T), rpeaks (B, P), fs, lead and, for the features, leads, segment (0: none), qtc. Jitted functions
run as plain Python (NUMBA_DISABLE_JIT): the simulator's arrays cannot enter compiled code.
"""

import os
import sys

os.environ |= {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}

import numpy as np

from physioclr.ops._arrays import Arrays
from physioclr.ops._numba import gpu
from physioclr.ops.delineate import _delineate
from physioclr.ops.features import _features

gpu.THREADS_PER_BLOCK = 4


class Simulated(Arrays):
    """NumPy arrays that the launchers take for a device's."""

    device = 0


np.seterr(all="ignore")  # NumPy scalars warn where compiled code does not
given = dict(np.load(sys.argv[1]))
ecg, rpeaks, fs = given["ecg"], given["rpeaks"], float(given["fs"])
gpu.MOST_THREADS = int(given.get("threads", 1 << 16))
lead = str(given["lead"])
found = {}
waves = _delineate.run(Simulated(), ecg, fs, rpeaks, lead)
for name, field in zip(("p_on", "p_peak", "p_off", "qrs_on", "qrs_off", "t_on", "t_peak", "t_off"), waves, strict=True):
    found[name] = field
if "leads" in given:
    segment = float(given["segment"]) or None
    found["features"], found["paced"] = _features.run(
        Simulated(), ecg, fs, rpeaks, given["leads"].tolist(), segment, str(given["qtc"])
    )
peaks = np.array([[5, 80, 80, 90], [5, 300, 200, 400], [-1, 7, 8, 9], [3, 10**9, 12, 13], [-7, 1, 2, 3]])
found["usable"] = gpu.usable_rpeaks(Simulated(), peaks, 1000)
np.savez(sys.argv[2], **found)
