"""Delineation and features by Numba's code, the GPU's, on a CPU, for comparison with the C++ kernels."""

import math

import numpy as np

from physioclr.ops._numba import features, leads
from physioclr.ops._numba.constants import LEAD_ALL
from physioclr.ops._numba.delineate import delineate_range
from physioclr.ops.features import slope_taps


def mean_lead(x):
    out = np.empty((x.shape[0], 1, x.shape[2]), np.float32)
    leads.mean_lead_range(0, len(x), x, out)
    return out


def delineate(x, fs, r, lead):
    """x (B, L, T) float32, r (B, P) int32; lead: an index, "mean" or "all". The eight rows (8, B, rows, P)."""
    x, lead = (mean_lead(x), 0) if lead == "mean" else (x, lead)
    out = np.empty((8, len(x), x.shape[1] + 1 if lead == "all" else 1, r.shape[1]), np.int32)
    delineate_range(0, len(x), x, LEAD_ALL if lead == "all" else lead, r, float(fs), out)
    return out


def physio_features(x, r, chosen, *, segment=None, bazett=False):
    """x (B, L, T) at 500 Hz; chosen: indices, -1 for the mean. Features (B, S, K, 159) and paced beats (B, P)."""
    segments = 1 if segment is None else int(x.shape[2] / 500 / segment + 1e-9)
    length = math.inf if segment is None else segment * 500.0
    paced = np.zeros(r.shape, np.uint8)
    leads.paced_range(0, len(x), x, r, paced)
    out = np.empty((len(x), segments, len(chosen), features.N_FEATURES), np.float32)
    for j, lead in enumerate(chosen):
        one = mean_lead(x) if lead < 0 else x
        waves = delineate(one, 500.0, r, max(lead, 0)).swapaxes(1, 2)[None, :, 0]
        part = np.empty((len(x), segments, 1, features.N_FEATURES), np.float32)
        features.features_range(
            0, len(x), one, np.array([max(lead, 0)]), r, paced, np.ascontiguousarray(waves), length, bazett,
            slope_taps(), part,
        )  # fmt: skip
        out[:, :, j] = part[:, :, 0]
    return out, paced
