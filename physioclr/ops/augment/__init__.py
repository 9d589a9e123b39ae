"""Augmentation: the whole chain in one pass, the same numbers everywhere, R peaks carried along."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np

from ... import _core
from .._arrays import arrays_of, is_torch
from .._checks import FLOATS, check_int, shown
from .._signals import in_millivolts, takes_records
from .._types import RPeaks, rpeaks_index
from . import launch
from .plan import Augment
from .told import millivolts_per

if TYPE_CHECKING:
    import torch
    from numpy.typing import DTypeLike

    from .._types import ArrayT, NumPyArray, Peaks, Values

    class _Options(TypedDict, total=False):
        """What augment takes by name and does not decide whether there are R peaks in the result."""

        sample_id: Values | None
        scale: Values | None
        dtype: torch.dtype | DTypeLike | None
        out: NumPyArray | torch.Tensor | None
        unit: str


def view_seed(seed: int | torch.Tensor, epoch: int | torch.Tensor, view: int | torch.Tensor) -> int:
    """The seed of one view in one epoch: a Philox hash of the three, so that no two of them share random numbers.

    Args:
        seed, epoch, view: integers from 0; seed below 2^63, the others below 2^32. Under torch.compile also 0-d tensors
            of integers; one that changes does not compile again.

    Returns:
        An int from 0 to 2^63 - 1.
    """
    if "torch" in sys.modules:
        from .._traced_seeds import is_traced, traced_view_seed

        if is_traced(seed, epoch, view):
            return traced_view_seed(seed, epoch, view)
    epoch, view = check_int(epoch, "epoch", 0, 2**32 - 1), check_int(view, "view", 0, 2**32 - 1)
    return _core.view_seed(check_int(seed, "seed", 0), epoch, view)


def _rpeaks_of(rpeaks: Any, index: Any, count: Any) -> RPeaks[Any]:
    """The peaks of the result. Augmenting does not change how far they can be trusted."""
    if isinstance(rpeaks, RPeaks) and count.ndim == 1:
        return RPeaks(index, count, rpeaks.quality)
    if is_torch(count):
        quality = count.new_ones(count.shape, dtype=sys.modules["torch"].float32)
    elif type(count) is np.ndarray:
        quality = np.empty(count.shape, np.float32)
        quality.fill(1.0)
    else:
        quality = arrays_of(count, "count")[0].empty(count.shape, "float32")
        quality[...] = 1
    if isinstance(rpeaks, RPeaks):
        quality = quality * rpeaks.quality  # for each view
    return RPeaks(index, count, quality)


def _dtype_name(dtype: Any) -> str:
    """A dtype of NumPy or torch, or its name, as a name; "" for None."""
    if dtype is None:
        return ""
    name = str(dtype).removeprefix("torch.")
    if name in FLOATS:
        return name
    try:
        return str(np.dtype(dtype))
    except TypeError:
        raise TypeError(f"dtype is {shown(dtype)}; it must be one of {', '.join(FLOATS)}") from None


def _check_plan(plan: Any, rpeaks: Any) -> None:
    if not isinstance(plan, Augment):
        raise TypeError(f"plan is {shown(plan)}; it must be an Augment")
    if rpeaks is None and plan.needs_rpeaks:
        raise ValueError(
            "rpeaks is None, but the plan looks at R peaks (beat_shuffle, rr_scale, time_mask.away_from_qrs); give them"
        )


def _seeds(seed: Any) -> tuple[bool, list[int]]:
    """Whether it is a single one, and the seeds as a list."""
    one = not isinstance(seed, (list, tuple, range, np.ndarray))
    return one, [launch.check_seed(s) for s in ([seed] if one else seed)]


def _given(
    plan: Any, fs: float, seed: Any, sample_id: Any, rpeaks: Any, scale: Any
) -> tuple[bool, tuple[Any, Any, Any, str, float, list[int]]]:
    """Whether there is a single seed; and what every form of the operator takes after its signals."""
    _check_plan(plan, rpeaks)
    one, seeds = _seeds(seed)
    return one, (None if rpeaks is None else rpeaks_index(rpeaks), sample_id, scale, plan._text, fs, seeds)


def _check_no_gradient(x: Any, name: str, why: str) -> None:
    """For the forms that have no derivative."""
    if not is_torch(x):
        return
    import torch

    if torch.is_grad_enabled() and x.requires_grad:
        raise ValueError(f"{why}, but {name} requires a gradient; use torch.no_grad() or {name}.detach()")
    if torch.autograd.forward_ad._current_level >= 0 and torch.autograd.forward_ad.unpack_dual(x).tangent is not None:
        raise ValueError(f"{why}, but {name} carries a tangent; use {name}.detach()")


@overload
def augment(
    ecg: ArrayT,
    plan: Augment,
    *,
    fs: float,
    seed: int | Sequence[int],
    rpeaks: None = ...,
    **options: Unpack[_Options],
) -> tuple[ArrayT, None]: ...
@overload
def augment(
    ecg: ArrayT, plan: Augment, *, fs: float, seed: int | Sequence[int], rpeaks: Peaks, **options: Unpack[_Options]
) -> tuple[ArrayT, RPeaks[ArrayT]]: ...
@overload
def augment(
    ecg: ArrayT,
    plan: Augment,
    *,
    fs: float,
    seed: int | Sequence[int],
    rpeaks: Peaks | None,
    **options: Unpack[_Options],
) -> tuple[ArrayT, RPeaks[ArrayT] | None]: ...
@takes_records
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
    unit: str = "mV",
) -> tuple[Any, RPeaks[Any] | None]:
    """Applies a plan to a batch: each record draws its own parameters and is read and written once.

    A result depends on (seed, sample_id, plan, fs, the record) alone: not on the order or size of the batch, on
    threads, or on the array library. Differentiable with respect to `ecg`.

    Args:
        ecg: (B, T) or (B, L, T), mV; (T,) is one record, B = 1. NaN and infinite samples are missing and stay so.
            Twelve leads are taken as I II III aVR aVL aVF V1 to V6, and additive noise is then drawn for each electrode
            and mixed into the leads. int16 needs `scale`.
        plan: what to do; see `Augment` and the docstrings of its fields.
        fs: sampling rate, Hz.
        seed: from 0 to 2^63 - 1; a second view or a new epoch is a new seed (`view_seed`). Several seeds make as many
            views of the batch in one call, each as the call with its seed alone would make it.
        sample_id: (B,) integers naming the records; 0 .. B - 1 if None. A Dataset that augments one record at a time
            must give the record's index: without it each is record 0 and draws the same numbers.
        rpeaks: `RPeaks`, or (B, P) sample indices padded with -1. Needed if a field of the plan looks at them.
        scale: mV of one unit of int16 samples, a number or one for each lead.
        dtype: of the result: float16, bfloat16 (torch) or float32; None: that of `ecg`, float32 for int16. Everything
            is computed in float32 (float64 if `ecg` is, and then so is the result) and rounded once.
        out: C-contiguous array of the library, device and shape of the result, which is written there; its dtype is
            that of the result. A buffer used again saves the time in which the system hands out fresh memory. It may be
            `ecg` itself (in place), where the plan moves no samples: no beat_shuffle, time_warp, rr_scale or crop.
            Without gradient.
        unit: what `ecg` is in: "mV", "uV", "V" or "nV"; the result is in the same. Not for int16, which has `scale`. An
            amplitude that no ECG has in this unit is warned of where the plan adds noise, which is told in mV.

    R peaks on a CUDA device are not checked, because that would wait for the device: they count up to the first that
    does not rise or lies outside the record.

    Returns:
        The augmented batch (`out` if given), of the shape and library of `ecg`, and the R peaks where they now are, or
        None if none were given. With V seeds in a sequence, everything has a first axis of V views.

    Raises:
        ValueError, TypeError: naming the argument; among others a plan that needs R peaks without `rpeaks`.
    """
    one, given = _given(plan, fs, seed, sample_id, rpeaks, scale)
    factor = millivolts_per(unit, ecg, scale)
    if factor != 1.0:
        ecg = in_millivolts(ecg, unit)
    dtype = _dtype_name(dtype)
    if out is None:
        result, index, count = launch.augment(ecg, *given, dtype)
        result = result[0] if one else result
    else:
        for x, name in ((ecg, "ecg"), (out, "out"), (scale, "scale")):
            _check_no_gradient(x, name, "out is given")
        if dtype and hasattr(out, "dtype") and dtype != _dtype_name(out.dtype):
            raise ValueError(f"dtype is {shown(dtype)}, but out has dtype {_dtype_name(out.dtype)}; leave dtype out")
        index, count = launch.augment_out(ecg, out, *given)
        result = out
    if factor != 1.0 and out is None:
        result = result / factor
    elif factor != 1.0:
        result /= factor
    if rpeaks is None:
        return result, None
    return result, _rpeaks_of(rpeaks, index[0], count[0]) if one else _rpeaks_of(rpeaks, index, count)


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
) -> tuple[Any, RPeaks[Any] | None]:
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
    one, given = _given(plan, fs, seed, sample_id, rpeaks, scale)
    for x, name in ((signals, "signals"), (scale, "scale")):
        _check_no_gradient(x, name, "a batch is gathered without gradient")
    results = launch.augment_gather(signals, rows, starts, length, *given, _dtype_name(dtype))
    out, index, count = (r[0] for r in results) if one else results
    if rpeaks is None:
        return out, None
    if isinstance(rpeaks, RPeaks):
        xp, signals = arrays_of(signals, "signals")
        rows = xp.adopt(rows, "rows")
        if is_torch(rows):  # one outside, on a CUDA device, is not seen
            rows = rows.long().clamp(0, max(signals.shape[0] - 1, 0))
        rpeaks = rpeaks._replace(quality=rpeaks.quality[rows])
    return out, _rpeaks_of(rpeaks, index, count)


@takes_records
def shuffle_beats(
    ecg: ArrayT, rpeaks: Peaks, *, seed: int, sample_id: Values | None = None, cut: str = "r", fs: float = 500.0
) -> tuple[ArrayT, RPeaks[ArrayT]]:
    """Permutes the complete beats of each record, the same for all leads (PhysioCLR, arXiv 2509.08116).

    What lies before the first cut and after the last stays in place. A record with fewer than three R peaks is
    returned as it is. The same permutation as `augment` with beat_shuffle, seed and sample_id alike. Differentiable
    with respect to `ecg`.

    Args:
        ecg: (B, T) or (B, L, T); (T,) is one record, B = 1.
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
    out, index, count = launch.shuffle_beats(ecg, rpeaks_index(rpeaks), sample_id, launch.check_seed(seed), cut, fs)
    return out, _rpeaks_of(rpeaks, index, count)
