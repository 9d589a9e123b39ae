"""How the scalar functions are compiled, sums, pacing spikes, and the two operations that every target must have.

max() and min() of two numbers do not compile for CUDA in every Numba (in 0.68 its own target refuses them, the
numba-cuda package takes them), so the scalar code has its own. Numba's cache looks at the text of the caller's file
alone: the callers name the digest of this file (SOURCES).
"""

import numpy as np
from numba import njit

from ... import _core
from .constants import python_names

SOURCES = "d63e0fcb4e0ec4e8"  # as in `constants`, of csrc/core/features_constants.h

jit = njit(nogil=True, error_model="numpy")

F = python_names(_core.features_constants())
SPIKE_LOW, SPIKE_HIGH = np.float32(F["SPIKE_LOW"]), np.float32(F["SPIKE_HIGH"])  # mV
SPIKE_SIDE, SPIKE_LEVEL = np.float32(F["SPIKE_SIDE"]), np.float32(F["SPIKE_LEVEL"])
ZERO = np.float32(0.0)
LANES = 8


@jit
def larger(a, b):
    return a if a > b else b


@jit
def smaller(a, b):
    return a if a < b else b


# Sums have an order of their own, in which csrc/core/waves_math.h can use vectors: lane l adds every eighth term from
# the l-th on, then the upper half of the lanes is added to the lower one until one is left.


@jit
def fold(a, b, c, d, e, f, g, h):
    return ((a + e) + (c + g)) + ((b + f) + (d + h))


@jit
def total_lane(v, lane):
    total = 0.0
    for i in range(lane, len(v), LANES):
        total += v[i]
    return total


@jit
def total_of(v):
    return fold(
        total_lane(v, 0), total_lane(v, 1), total_lane(v, 2), total_lane(v, 3),
        total_lane(v, 4), total_lane(v, 5), total_lane(v, 6), total_lane(v, 7),
    )  # fmt: skip


@jit
def product_lane(u, v, lane):
    total = 0.0
    for i in range(lane, len(u), LANES):
        total += u[i] * v[i]
    return total


@jit
def product_of(u, v):
    return fold(
        product_lane(u, v, 0), product_lane(u, v, 1), product_lane(u, v, 2), product_lane(u, v, 3),
        product_lane(u, v, 4), product_lane(u, v, 5), product_lane(u, v, 6), product_lane(u, v, 7),
    )  # fmt: skip


@jit
def prefix_sums(v, n, s):
    """s[i] = the sum of v[:i] for i = 0 .. n. Four quarters at a time: one sum would wait for the sum before it."""
    m = n // 4
    v0, v1, v2, v3 = v[:m], v[m : 2 * m], v[2 * m : 3 * m], v[3 * m : 4 * m]
    s0, s1, s2, s3 = s[1 : m + 1], s[m + 1 : 2 * m + 1], s[2 * m + 1 : 3 * m + 1], s[3 * m + 1 : 4 * m + 1]
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    for i in range(m):
        a += v0[i]
        b += v1[i]
        c += v2[i]
        d += v3[i]
        s0[i], s1[i], s2[i], s3[i] = a, b, c, d
    b += a
    c += b
    for i in range(m):
        s1[i] += a
        s2[i] += b
        s3[i] += c
    s[0] = 0.0
    for i in range(4 * m, n):
        s[i + 1] = s[i] + v[i]


@jit
def spikes(w, h):
    """How many samples of w (2 h more on each side) look like a pacing spike: h = 6 ms wide, out of a level line.

    After a low spike the line must be level again, or it may be a
    notch; after a high one the QRS complex may begin at once. The level before tells it from a narrow QRS complex,
    whose slopes go on. Without branches, for SIMD; comparisons with a missing sample are false.
    """
    m = w.size - 4 * h
    hits = np.int32(0)
    if m <= 0:
        return hits
    w0, w1, w2, w3, w4 = w[:m], w[h : h + m], w[2 * h : 2 * h + m], w[3 * h : 3 * h + m], w[4 * h : 4 * h + m]
    for i in range(m):
        left, right = w2[i] - w3[i], w2[i] - w1[i]
        up, down = abs(left), abs(right)
        height = up if up < down else down
        before = abs(w1[i] - w0[i])
        side = SPIKE_SIDE * height
        low = (height >= SPIKE_LOW) & (before <= side) & (abs(w3[i] - w4[i]) <= side) & (abs(w1[i] - w3[i]) <= side)
        high = (height >= SPIKE_HIGH) & (before <= SPIKE_LEVEL * height)
        hits += np.int32((left * right > ZERO) & (low | high))
    return hits
