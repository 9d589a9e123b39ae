"""Augmentation: the whole chain in one pass, the same numbers everywhere, R peaks carried along."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _core
from . import _launch
from ._arrays import FLOATS, arrays_of, check_int, is_torch, jax_in_jax_out, kind_of
from ._types import RPeaks, rpeaks_index
from .augment_plan import Augment


def view_seed(seed: int, epoch: int, view: int) -> int:
    """The seed of one view in one epoch: a Philox hash of the three, so that no two of them share random numbers.

    Args:
        seed, epoch, view: integers from 0; seed below 2^63, the others below 2^32.

    Returns:
        An int from 0 to 2^63 - 1.
    """
    seed = check_int(seed, "seed", 0)
    counter = np.array(
        [check_int(epoch, "epoch", 0, 2**32 - 1), 0xFFFFFFFF, check_int(view, "view", 0, 2**32 - 1), 0], np.uint32
    )
    words = np.empty(4, np.uint32)
    _core.philox(counter.ctypes.data, 1, seed, words.ctypes.data)
    return (int(words[0]) << 32 | int(words[1])) >> 1


def _rpeaks_of(xp: Any, rpeaks: Any, index: Any, count: Any) -> RPeaks:
    """The peaks of the result. Augmenting does not change how far they can be trusted."""
    if isinstance(rpeaks, RPeaks) and count.ndim == 1:
        return RPeaks(index, count, rpeaks.quality)
    quality = count.new_ones(count.shape).float() if is_torch(count) else xp.contiguous(count * 0 + 1, "float32")
    if isinstance(rpeaks, RPeaks):
        quality = quality * rpeaks.quality  # for each view
    return RPeaks(index, count, quality)


def _dtype_name(dtype: Any) -> str:
    """A dtype of NumPy or torch, or its name, as a name; "" for None."""
    if dtype is None:
        return ""
    name = str(dtype).removeprefix("torch.")
    return name if name in FLOATS else str(np.dtype(dtype))


def _check_plan(plan: Any, rpeaks: Any) -> None:
    if not isinstance(plan, Augment):
        raise TypeError(f"plan is {plan!r}; it must be an Augment")
    if rpeaks is None and plan.needs_rpeaks:
        raise ValueError(
            "rpeaks is None, but the plan looks at R peaks (beat_shuffle, rr_scale, time_mask.away_from_qrs); give them"
        )


def _seeds(seed: Any) -> tuple[bool, list[int]]:
    """Whether it is a single one, and the seeds as a list."""
    one = not isinstance(seed, (list, tuple, range, np.ndarray))
    return one, [check_int(s, "seed", 0) for s in ([seed] if one else seed)]


def _check_numpy(xp: Any, dtype: str) -> None:
    if dtype == "bfloat16":
        raise ValueError(f"dtype is 'bfloat16', which {xp.name} arrays do not have; use float16, or a torch tensor")


def _check_out(ecg: Any, out: Any) -> None:
    import torch

    if not isinstance(out, torch.Tensor):
        raise TypeError(f"out is {type(out).__name__}; it must be a torch tensor, as ecg is")
    if torch.is_grad_enabled() and (ecg.requires_grad or out.requires_grad):
        raise ValueError("out is given, but ecg or out requires a gradient; leave it out, or use torch.no_grad()")


def _beside(ecg: Any, x: Any) -> Any:
    """Another argument as a tensor on the device of `ecg`; what is a tensor stays where it is."""
    import torch

    return x if x is None or isinstance(x, torch.Tensor) else torch.as_tensor(x, device=ecg.device)


@jax_in_jax_out
def augment(
    ecg: Any,
    plan: Augment,
    *,
    fs: float,
    seed: int | Sequence[int],
    sample_id: Any = None,
    rpeaks: Any = None,
    scale: Any = None,
    dtype: Any = None,
    out: Any = None,
) -> tuple[Any, RPeaks | None]:
    """Applies a plan to a batch: each record draws its own parameters and is read and written once.

    A result depends on (seed, sample_id, plan, fs, the record) alone: not on the order or size of the batch, on
    threads, or on the array library. Differentiable with respect to `ecg`.

    Args:
        ecg: (B, T) or (B, L, T), mV; NaN and infinite samples are missing and stay so. Twelve leads are taken as I II
            III aVR aVL aVF V1 to V6, and additive noise is then drawn for each electrode and mixed into the leads.
            int16 needs `scale`.
        plan: what to do; see `Augment` and the docstrings of its fields.
        fs: sampling rate, Hz.
        seed: from 0 to 2^63 - 1; a second view or a new epoch is a new seed (`view_seed`). Several seeds make as many
            views of the batch in one call, each as the call with its seed alone would make it.
        sample_id: (B,) integers naming the records; 0 .. B - 1 if None.
        rpeaks: `RPeaks`, or (B, P) sample indices padded with -1. Needed if a field of the plan looks at them.
        scale: mV of one unit of int16 samples, a number or one for each lead.
        dtype: of the result: float16, bfloat16 (torch) or float32; None: that of `ecg`, float32 for int16. Everything
            is computed in float32 (float64 if `ecg` is, and then so is the result) and rounded once.
        out: C-contiguous array of the library, device and shape of the result, which is written there; its dtype is
            that of the result. A buffer used again saves the time in which the system hands out fresh memory. It may be
            `ecg` itself (in place), where the plan moves no samples: no beat_shuffle, time_warp, rr_scale or crop.
            Without gradient.

    R peaks on a CUDA device are not checked, because that would wait for the device: they count up to the first that
    does not rise or lies outside the record.

    Returns:
        The augmented batch (`out` if given), of the shape and library of `ecg`, and the R peaks where they now are, or
        None if none were given. With V seeds in a sequence, everything has a first axis of V views.

    Raises:
        ValueError, TypeError: naming the argument; among others a plan that needs R peaks without `rpeaks`.
    """
    _check_plan(plan, rpeaks)
    index = None if rpeaks is None else rpeaks_index(rpeaks)
    one, seeds = _seeds(seed)
    dtype = _dtype_name(dtype)
    if out is not None and dtype and dtype != _dtype_name(out.dtype):
        raise ValueError(f"dtype is {dtype!r}, but out has dtype {_dtype_name(out.dtype)}; leave dtype out")
    settings = (plan._text, fs, seeds)
    if is_torch(ecg):
        from ._torch import augment as op

        index, sample_id, scale = (_beside(ecg, v) for v in (index, sample_id, scale))
        scale = scale if scale is None else scale.float()
        if out is None:
            results = op.augment(ecg, index, sample_id, scale, *settings, dtype)
        else:
            _check_out(ecg, out)
            results = (out, *op.augment_out(ecg, out, index, sample_id, scale, *settings))
        xp = None
    else:
        xp, ecg = arrays_of(ecg, "ecg")
        _check_numpy(xp, dtype)
        index, sample_id, scale = (
            None if v is None else xp.adopt(v, name)
            for v, name in ((index, "rpeaks"), (sample_id, "sample_id"), (scale, "scale"))
        )
        if out is None:
            results = _launch.augment(xp, ecg, index, sample_id, scale, *settings, dtype)
        else:
            if kind_of(out) != xp.name or not hasattr(out, "dtype"):
                raise TypeError(f"out is {type(out).__name__}; it must be a {xp.name} array, as ecg is")
            results = (out, *_launch.augment_out(xp, ecg, out, index, sample_id, scale, *settings))
    index, count = (r[0] if one else r for r in results[1:])
    result = results[0] if out is not None or not one else results[0][0]
    return result, None if rpeaks is None else _rpeaks_of(xp, rpeaks, index, count)


def _augment_rows(
    signals: Any,
    rows: Any,
    starts: Any,
    length: int,
    plan: Augment,
    *,
    fs: float,
    seed: int | Sequence[int],
    sample_id: Any = None,
    rpeaks: Any = None,
    scale: Any = None,
    dtype: Any = None,
) -> tuple[Any, RPeaks | None]:
    """`augment` of the batch signals[rows[b], :, starts[b] : starts[b] + length], gathered in the same pass.

    For training from signals that stay in device memory as int16: reading, dequantising and all views are one call,
    and no batch in mV exists in between. Bit for bit what `augment` makes of the gathered batch. Not differentiable.

    Args:
        signals: (N, L, T) records of any dtype that `augment` takes, C-contiguous.
        rows, starts: (B,) integers. On a CUDA device they are not checked: what lies outside `signals` is missing.
        length: samples of each segment.
        rpeaks: of the records, `RPeaks` or (N, P) indices from the records' first samples; those of a segment become
            indices of the segment. scale: mV per unit of int16: a number, (L,) or (N, L).
        Everything else as for `augment`.

    Returns:
        (B, L, length) samples, or (V, B, L, length) for several seeds, and their R peaks.
    """
    _check_plan(plan, rpeaks)
    index = None if rpeaks is None else rpeaks_index(rpeaks)
    one, seeds = _seeds(seed)
    dtype = _dtype_name(dtype)
    if is_torch(signals):
        from ._torch import augment as op

        rows, starts, index, sample_id, scale = (_beside(signals, v) for v in (rows, starts, index, sample_id, scale))
        scale = scale if scale is None else scale.float()
        xp, launch = None, op.augment_gather
    else:
        xp, signals = arrays_of(signals, "signals")
        _check_numpy(xp, dtype)
        beside = {"rows": rows, "starts": starts, "rpeaks": index, "sample_id": sample_id, "scale": scale}
        rows, starts, index, sample_id, scale = (None if v is None else xp.adopt(v, k) for k, v in beside.items())
        launch = functools.partial(_launch.augment_gather, xp)
    results = launch(signals, rows, starts, length, index, sample_id, scale, plan._text, fs, seeds, dtype)
    out, index, count = (r[0] for r in results) if one else results
    if isinstance(rpeaks, RPeaks):
        known = rows.long().clamp(0, max(signals.shape[0] - 1, 0)) if xp is None else rows
        rpeaks = rpeaks._replace(quality=rpeaks.quality[known])
    return out, None if rpeaks is None else _rpeaks_of(xp, rpeaks, index, count)


@jax_in_jax_out
def shuffle_beats(
    ecg: Any, rpeaks: Any, *, seed: int, sample_id: Any = None, cut: str = "r", fs: float = 500.0
) -> tuple[Any, RPeaks]:
    """Permutes the complete beats of each record, the same for all leads (PhysioCLR, arXiv 2509.08116).

    What lies before the first cut and after the last stays in place. A record with fewer than three R peaks is
    returned as it is. The same permutation as `augment` with beat_shuffle, seed and sample_id alike. Differentiable
    with respect to `ecg`.

    Args:
        ecg: (B, T) or (B, L, T).
        rpeaks: `RPeaks`, or (B, P) sample indices padded with -1.
        seed, sample_id: as for `augment`.
        cut: "r" cuts at the R peaks: every R-to-R stretch is kept, but QRS complexes are joined from halves of
            different beats. "tp" cuts 0.38 of the RR interval before each R peak (before the first, 0.38 of the RR
            interval after it), where T has ended and P has not begun, and blends 8 ms at each joint: every beat stays
            whole, the RR intervals nearly.
        fs: sampling rate, Hz; only the blend of cut "tp" depends on it.

    Returns:
        The shuffled batch, of the shape, dtype and library of `ecg`, and the new R peaks.
    """
    if rpeaks is None:
        raise TypeError("rpeaks is None; it must be RPeaks or (B, P) sample indices")
    index = rpeaks_index(rpeaks)
    if is_torch(ecg):
        from ._torch import augment as op

        index, sample_id = _beside(ecg, index), _beside(ecg, sample_id)
        out, index, count = op.shuffle_beats(ecg, index, sample_id, seed, cut, fs)
        return out, _rpeaks_of(None, rpeaks, index, count)
    xp, ecg = arrays_of(ecg, "ecg")
    sample_id = None if sample_id is None else xp.adopt(sample_id, "sample_id")
    out, index, count = _launch.shuffle_beats(xp, ecg, xp.adopt(index, "rpeaks"), sample_id, seed, cut, fs)
    return out, _rpeaks_of(xp, rpeaks, index, count)
