"""Delineation and features of arrays on a CUDA device: allocation, and the launches of `cuda`'s kernels.

Arrays go in and out by their `__cuda_array_interface__`, without a copy, on the current stream of their library.
Nothing waits for the device and, after the first call, nothing is copied to it, so calls can be captured in a CUDA
graph. That is why R peaks are not checked here but cut off at the first that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from .._arrays import Arrays

THREADS_PER_BLOCK = 64  # the scalar functions need many registers; small blocks spread over more multiprocessors
MOST_THREADS = 1 << 16  # at one time; more would not run at once
SCRATCH_BYTES = 4 << 30  # at most, for all threads together


def cuda_module() -> Any:
    try:
        from numba import cuda
    except ImportError as e:
        raise ImportError(f"arrays on a CUDA device need numba.cuda ({e}); pip install numba-cuda") from None
    return cuda


def on_device(x: Any) -> Any:
    """x as Numba sees it, sharing its memory. Not synchronised: both libraries use the same stream."""
    return x if isinstance(x, np.ndarray) else cuda_module().as_cuda_array(x, sync=False)


def launch(xp: Arrays, kernel: Any, items: int, *args: Any) -> None:
    """kernel(*args) with a thread for each of `items`; arrays of xp's library among the args are shared with Numba."""
    if items <= 0:
        return
    cuda = cuda_module()
    stream = cuda.external_stream(xp.stream) if xp.stream else 0
    with xp.guard():
        found = [on_device(a) if hasattr(a, "shape") and getattr(a, "ndim", None) else a for a in args]
        kernel[-(-items // THREADS_PER_BLOCK), THREADS_PER_BLOCK, stream](*found)


def thread_count(items: int, bytes_each: int) -> int:
    """As many threads as there is work for, as run at once, and as scratch memory is allowed."""
    return max(1, min(items, MOST_THREADS, SCRATCH_BYTES // bytes_each))


_constants: dict[tuple[Any, ...], Any] = {}


def constant(xp: Arrays, what: tuple[Any, ...], make: Callable[[], np.ndarray]) -> Any:
    """The small array make() on xp's device, copied there once for each `what`."""
    key = (xp.name, xp.device, *what)
    if key not in _constants:
        x = make()
        _constants[key] = xp.contiguous(xp.from_numpy(x), x.dtype.name)
    return _constants[key]


def lead_numbers(xp: Arrays, leads: list[int]) -> Any:
    return constant(xp, ("leads", *leads), lambda: np.array(leads, np.int64))


def usable_rpeaks(xp: Arrays, rpeaks: Any, samples: int) -> Any:
    """R peaks (B, P) as int32, -1 from the first on that does not rise or lies outside the record."""
    from . import cuda as kernels

    out = xp.empty(tuple(rpeaks.shape), "int32")
    launch(xp, kernels.rpeaks_kernel, out.shape[0], xp.contiguous(rpeaks, "int64"), samples, out)
    return out


def mean_lead(xp: Arrays, x: Any) -> Any:
    from . import cuda as kernels

    out = xp.empty((x.shape[0], 1, x.shape[2]), "float32")
    launch(xp, kernels.mean_lead_kernel, x.shape[0] * x.shape[2], x, out)
    return out


def delineate(xp: Arrays, x: Any, fs: float, r: Any, leads: list[int], out: Any, *, consensus: bool = False) -> None:
    """Fills the boundaries (8, B, rows, P) of these leads of x (B, L, T), a row each, and with `consensus` one more."""
    from . import cuda as kernels
    from .beats import ROWS
    from .constants import CLUSTERS

    n, beats = r.shape
    if not n * len(leads) * beats:
        return
    length, window = kernels.scratch_lengths(x.shape[2], fs)
    each = 8 * (3 * length + 3 * window + kernels.FLAT_SCRATCH + ROWS * beats + 2 * CLUSTERS) + 4 * length
    threads = thread_count(n * len(leads), each)
    scratch = [
        xp.empty((*shape, threads), dtype)
        for shape, dtype in (
            ((3, length), "float64"),
            ((3, window), "float64"),
            ((kernels.FLAT_SCRATCH,), "float64"),
            ((length,), "int32"),
            ((ROWS, beats), "float64"),
            ((2, CLUSTERS), "int64"),
        )
    ]
    launch(xp, kernels.delineate_kernel, threads, x, lead_numbers(xp, leads), r, fs, out, *scratch)
    if consensus:
        launch(xp, kernels.consensus_kernel, n, out, xp.empty((len(leads), n), "float64"))


@cache
def resampling_filter(up: int, down: int) -> np.ndarray:
    """The low-pass that `scipy.signal.resample_poly` takes with a Kaiser window of 7, times `up`."""
    from scipy.signal import firwin

    half = 10 * max(up, down)
    return (up * firwin(2 * half + 1, 1.0 / max(up, down), window=("kaiser", 7.0))).astype(np.float32)


def to_rate(xp: Arrays, x: Any, r: Any, fs: float, new: float) -> tuple[Any, Any]:
    """x (B, L, T) and its R peaks (B, P), or None, at the rate `new`."""
    from . import cuda as kernels

    ratio = Fraction(new / fs).limit_denominator(1000)
    up, down = ratio.numerator, ratio.denominator
    rows, samples = x.shape[0] * x.shape[1], x.shape[2]
    length = -(-samples * up // down)
    filled, bad = xp.empty((rows, samples), "float32"), xp.empty((rows, samples + 1), "int32")
    launch(xp, kernels.fill_gaps_kernel, rows, x.reshape(rows, samples), filled, bad)
    y = xp.empty((rows, length), "float32")
    taps = constant(xp, ("resampling", up, down), lambda: resampling_filter(up, down))
    launch(xp, kernels.resample_kernel, rows * length, filled, bad, taps, up, down, y)
    if r is not None:
        old, r = r, xp.empty(tuple(r.shape), "int32")
        launch(xp, kernels.rescale_rpeaks_kernel, old.shape[0] * old.shape[1], old, new / fs, length, r)
    return y.reshape(x.shape[0], x.shape[1], length), r


def measure(
    xp: Arrays,
    x: Any,
    r: Any,
    leads: list[int],
    length: float,
    bazett: bool,
    taps: np.ndarray,
    fs: float,
    out: Any,
    found: Any,
) -> None:
    """Fills the features (B, S, K, 159) of x (B, L, T) at 500 Hz with S segments of `length` samples, and paced (B, S).

    leads: indices, or -1 for the mean of the leads.
    """
    from .._feature_names import N_FEATURES
    from . import cuda as kernels
    from .features import CHUNK, N_ROWS

    n, beats = r.shape
    segments = out.shape[1]
    if not n:
        return
    paced = xp.empty((n, beats), "uint8")
    launch(xp, kernels.paced_kernel, n, x, r, paced)
    width = max(beats, CHUNK)
    for mean in (False, True):  # the mean is a record of its own, of one lead
        columns = [j for j, lead in enumerate(leads) if (lead < 0) == mean]
        if not columns:
            continue
        rows = [0 if mean else leads[j] for j in columns]
        record = mean_lead(xp, x) if mean else x
        waves = xp.empty((8, n, len(rows), beats), "int32")
        delineate(xp, record, fs, r, rows, waves)
        features = xp.empty((n, segments, len(rows), N_FEATURES), "float32") if len(rows) < len(leads) else out
        threads = thread_count(n * len(rows), 4 * N_ROWS * width)
        scratch = xp.empty((N_ROWS, width, threads), "float32")
        launch(
            xp, kernels.features_kernel, threads, record, lead_numbers(xp, rows), r, paced, waves, length,
            int(bazett), constant(xp, ("slope taps",), lambda: taps), features, scratch,
        )  # fmt: skip
        if features is not out:
            for j, at in enumerate(columns):
                out[:, :, at] = features[:, :, j]
    launch(xp, kernels.paced_segments_kernel, n, r, paced, length, found)
