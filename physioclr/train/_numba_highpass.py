"""A second-order filter forwards and backwards over all leads of a record at once."""

from typing import Any

import numpy as np

from .._jit import njit


@njit(nogil=True, cache=True)
def zero_phase(x: Any, b: Any, a: Any, state: Any, pad: int, out: Any) -> None:
    """out = what scipy.signal.sosfiltfilt gives for one section with padtype "odd" and padlen `pad`.

    x, out: (L, T). b, a: (3,), a[0] = 1. state: (2,), the state in which a constant 1 goes through unchanged
    (scipy.signal.sosfilt_zi). Time is the outer loop, because each sample needs the one before it; the leads are the
    inner one and become vector instructions.
    """
    leads, n = x.shape
    y = np.empty((n + 2 * pad, leads))
    for lead in range(leads):
        row = x[lead]
        for t in range(pad):
            y[t, lead] = 2.0 * row[0] - row[pad - t]
            y[pad + n + t, lead] = 2.0 * row[n - 1] - row[n - 2 - t]
        for t in range(n):
            y[pad + t, lead] = row[t]
    z1, z2 = np.empty(leads), np.empty(leads)
    for backwards in range(2):
        for lead in range(leads):
            first = y[len(y) - 1, lead] if backwards else y[0, lead]
            z1[lead], z2[lead] = state[0] * first, state[1] * first
        for t in range(len(y)):
            now = y[len(y) - 1 - t] if backwards else y[t]
            for lead in range(leads):
                u = now[lead]
                v = b[0] * u + z1[lead]
                z1[lead] = b[1] * u - a[1] * v + z2[lead]
                z2[lead] = b[2] * u - a[2] * v
                now[lead] = v
    for lead in range(leads):
        for t in range(n):
            out[lead, t] = y[pad + t, lead]
