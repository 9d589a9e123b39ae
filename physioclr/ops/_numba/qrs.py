"""The fitted correction of QRS onset and offset: a network of one hidden layer. Compiled by Numba like its neighbours.

Why a network: readers place the onset by the whole shape (a delta wave, a notch, the end of the P wave), for which no
single threshold of the slope stands. It sees slopes and values every 8 ms; physioclr.reference.delineate.qrs_inputs
says it briefly.
"""

import math

from . import constants as C
from . import weights as W
from .scalar import jit, larger, smaller
from .waves import clip, width


@jit
def dot(u, v):
    total = 0.0
    for i in range(len(u)):
        total += u[i] * v[i]
    return total


@jit
def qrs_inputs(y, s, n, c, on, off, fi, x):
    """x: the inputs, of a complex around sample c of y (prefix sums s). False where there is nothing to see."""
    w, m = width(C.QRS_SLOPE, fi), W.POINTS
    scale = 1.0 / (w * (w + 1))
    steepest, low, high, level = 0.0, math.inf, -math.inf, 0.0
    for j in range(m):
        i = c + int(math.floor((j + W.FIRST) * W.STEP * fi + 0.5))  # noqa: RUF046 (CUDA's floor gives a float)
        i = smaller(larger(i, 0), n - 1)
        v, g = y[i], 0.0
        if i >= w and i < n - 1 - w:
            g = abs((s[i + 1 + w] - s[i + 1]) - (s[i] - s[i - w])) * scale
        x[j], x[m + j] = g, v
        steepest, low, high = larger(steepest, g), smaller(low, v), larger(high, v)
        if j < W.LEVEL:
            level += v
    if steepest == 0.0 or high == low:
        return False
    level /= W.LEVEL
    half, scale = W.HALF * steepest, W.SCALE / (high - low)
    slopes, values = x[:m], x[m : 2 * m]
    for j in range(m):
        slopes[j] = slopes[j] / (slopes[j] + half) - 0.5
        values[j] = scale * (values[j] - level)
    x[2 * m] = on / fi * W.UNIT + 1.2
    x[2 * m + 1] = off / fi * W.UNIT - 1.2
    return True


@jit
def qrs_correction(y, s, n, c, on, off, fi, d):
    """What to add to onset and offset (given in samples from sample c), in samples. d: scratch."""
    x = d[: 2 * W.POINTS + 2]
    if not qrs_inputs(y, s, n, c, on, off, fi, x):
        return 0.0, 0.0
    more_on, more_off = W.OUT_BIAS[0], W.OUT_BIAS[1]
    for k in range(W.HIDDEN_BIAS.size):
        v = W.HIDDEN_BIAS[k] + dot(W.HIDDEN[k], x)
        v /= 1.0 + abs(v)
        more_on += W.OUT[0, k] * v
        more_off += W.OUT[1, k] * v
    return clip(more_on, W.LIMIT) * fi, clip(more_off, W.LIMIT) * fi
