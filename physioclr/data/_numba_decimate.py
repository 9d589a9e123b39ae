"""Every k-th sample after a low-pass, for records at a multiple of the store's rate (1000 Hz is the common one)."""

from typing import Any

import numpy as np

from .._jit import njit

BLOCK = 512  # outputs worked on at a time: they and their inputs stay in the first-level cache


@njit(nogil=True, cache=True)
def decimate(x: Any, taps: Any, down: int, out: Any) -> None:
    """out[l, i] = sum over j of taps[j] * x[l, down * i + j]; x is long enough for that.

    The samples are first put apart by their phase (index modulo down), so that the inner loop runs over neighbours in
    memory and becomes vector instructions; a plain loop over the taps of one output takes nine times as long.
    """
    leads, n = out.shape
    reach = (len(taps) - 1) // down + 1
    phases = np.empty((down, n + reach), x.dtype)
    for lead in range(leads):
        for i in range(n + reach):
            for p in range(down):
                k = i * down + p
                phases[p, i] = x[lead, k] if k < x.shape[1] else 0.0
        for start in range(0, n, BLOCK):
            total = out[lead, start : min(n, start + BLOCK)]
            total[:] = 0.0
            for j in range(len(taps)):
                tap, first = taps[j], start + j // down
                part = phases[j % down, first : first + len(total)]
                for i in range(len(total)):  # plain indices from 0: numba checks others for wrapping around
                    total[i] += tap * part[i]
