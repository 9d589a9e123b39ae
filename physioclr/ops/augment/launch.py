"""The operators of augment: their schemas, checks and launches, for every array library."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _core
from .. import _arrays
from .._arrays import Arrays
from .._checks import (
    FLOATS,
    INTEGERS,
    check_choice,
    check_dtype,
    check_fs,
    check_int,
    check_ndim,
    check_rpeaks,
    check_shape,
    dtype_name,
    usable_rpeaks,
)
from .._operator import Results, operator
from .._signals import check_layout
from . import autograd
from .text import SHUFFLE_PLANS, TIME_MAPS, moves_samples, plan_numbers
from .told import tell, warn_of_same_numbers

NO_RPEAKS = 0, 0, 0, None  # as `_core` takes an array that is not there
# plan, fs, seeds, records, leads, samples, sample_id, rpeaks of csrc/core/augment_plan.h
Pass = tuple[np.ndarray, float, np.ndarray, int, int, int, Any, Any]

# ---- checks -------------------------------------------------------------------------------------------------------


def check_seed(seed: Any) -> Any:
    """A seed as an int. One that torch.compile traces has no value yet, and stays what it is: the kernel checks it."""
    torch = sys.modules.get("torch")
    if torch is not None and (type(seed) is not int or torch.compiler.is_compiling()):
        from .._traced_seeds import is_traced, traced_seed

        if is_traced(seed):
            seed = traced_seed(seed)
            if isinstance(seed, (int, torch.SymInt)):
                return seed
    if type(seed) is int and 0 <= seed < 2**63:
        return seed
    return check_int(seed, "seed", 0)


def _dtype(ecg: Any, name: str, fs: float, seeds: Sequence[int], dtype: str) -> str:
    """The checks that all forms share; the dtype of the result."""
    check_dtype(ecg, name, (*FLOATS, "int16"))
    check_fs(fs)
    if not len(seeds):
        raise ValueError("seed is empty; it must be an integer, or one for each view")
    for seed in seeds:
        check_seed(seed)
    own = dtype_name(ecg)
    own = "float32" if own == "int16" else own
    if not dtype:
        return own
    check_choice(dtype, "dtype", FLOATS)
    if (own == "float64") != (dtype == "float64"):
        raise ValueError(f"dtype is {dtype!r}, but {name} is computed in {own}; convert {name} first")
    library = _arrays.kind_of(ecg) if dtype == "bfloat16" else "torch"
    if library != "torch":
        raise ValueError(f"dtype is 'bfloat16', which {library} arrays do not have; use float16, or a torch tensor")
    return dtype


def _check_scale(ecg: Any, name: str, scale: Any, shapes: tuple[tuple[int, ...], ...], meaning: str) -> None:
    raw = dtype_name(ecg) == "int16"
    if raw and scale is None:
        raise ValueError(f"{name} is int16 without scale; give the mV of one unit, {meaning}")
    if scale is None:
        return
    if not raw:
        raise ValueError(f"scale is given, but {name} has dtype {dtype_name(ecg)}; only int16 samples have a scale")
    check_dtype(scale, "scale", (*FLOATS, *INTEGERS))
    if tuple(scale.shape) not in shapes:
        raise ValueError(f"scale has shape {tuple(scale.shape)}; it must be {meaning}")


def _check_beside(rpeaks: Any, sample_id: Any, records: int, rows: int) -> None:
    """The arrays beside a batch of `records`, taken from `rows` rows."""
    if sample_id is not None:
        check_dtype(sample_id, "sample_id", INTEGERS)
        check_shape(sample_id, "sample_id", (records,), "one for each record")
    if rpeaks is not None:
        check_rpeaks(rpeaks, rows)


def _rpeaks_results(rpeaks: Any, *views_and_records: int) -> Results:
    beats = 0 if rpeaks is None else rpeaks.shape[1]
    return ((*views_and_records, beats), "int32"), (views_and_records, "int32")


def _augment_results(
    ecg: Any, rpeaks: Any, sample_id: Any, scale: Any, plan: str, fs: float, seeds: Sequence[int], dtype: str
) -> Results:
    check_layout(ecg, check_fs(fs), short=True)
    dtype = _dtype(ecg, "ecg", fs, seeds, dtype)
    leads, records = ecg.shape[1] if ecg.ndim == 3 else 1, ecg.shape[0]
    _check_scale(ecg, "ecg", scale, ((), (1,), (leads,)), f"a number or ({leads},), one for each lead")
    _check_beside(rpeaks, sample_id, records, records)
    return ((len(seeds), *ecg.shape), dtype), *_rpeaks_results(rpeaks, len(seeds), records)


def _out_results(ecg: Any, out: Any, *settings: Any) -> Results:
    rpeaks, sample_id, scale, plan, fs, seeds = settings
    (shape, _), *results = _augment_results(ecg, rpeaks, sample_id, scale, plan, fs, seeds, dtype_name(out))
    check_dtype(out, "out", FLOATS)
    single = shape[1:] if shape[0] == 1 else shape
    if tuple(out.shape) not in (shape, single):
        raise ValueError(f"out has shape {tuple(out.shape)}; it must be {single}")
    return tuple(results)


def _gather_results(
    signals: Any, rows: Any, starts: Any, length: int, rpeaks: Any, sample_id: Any, scale: Any, plan: str, fs: float,
    seeds: Sequence[int], dtype: str,
) -> Results:  # fmt: skip
    check_ndim(signals, "signals", (3,), "(rows, leads, samples)")
    dtype = _dtype(signals, "signals", fs, seeds, dtype)
    n, leads, samples = signals.shape
    _check_scale(
        signals, "signals", scale, ((), (1,), (leads,), (n, leads)), f"a number, ({leads},) or ({n}, {leads}), per lead"
    )
    check_int(length, "length", 0, samples)
    for x, name in ((rows, "rows"), (starts, "starts")):
        check_dtype(x, name, INTEGERS)
        check_ndim(x, name, (1,), "(records,)")
    check_shape(starts, "starts", tuple(rows.shape), "one for each of rows")
    records = rows.shape[0]
    _check_beside(rpeaks, sample_id, records, n)
    return ((len(seeds), records, leads, length), dtype), *_rpeaks_results(rpeaks, len(seeds), records)


def _bwd_results(grad: Any, rpeaks: Any, sample_id: Any, plan: str, fs: float, seeds: Sequence[int]) -> Results:
    check_ndim(grad, "grad", (3, 4), "(views, records, samples) or (views, records, leads, samples)")
    dtype = "float64" if _dtype(grad, "grad", fs, seeds, "") == "float64" else "float32"
    check_dtype(grad, "grad", FLOATS)
    check_shape(grad, "grad", (len(seeds), *grad.shape[1:]), "one view for each seed")
    _check_beside(rpeaks, sample_id, grad.shape[1], grad.shape[1])
    return ((tuple(grad.shape[1:]), dtype),)


def _shuffle_results(ecg: Any, rpeaks: Any, sample_id: Any, seed: int, cut: str, fs: float) -> Results:
    check_choice(cut, "cut", tuple(SHUFFLE_PLANS))
    results = _augment_results(ecg, rpeaks, sample_id, None, "", fs, (seed,), "")
    return tuple((shape[1:], dtype) for shape, dtype in results)


def _shuffle_bwd_results(grad: Any, rpeaks: Any, sample_id: Any, seed: int, cut: str, fs: float) -> Results:
    (shape, dtype), *_ = _shuffle_results(grad, rpeaks, sample_id, seed, cut, fs)
    return ((shape, "float64" if dtype == "float64" else "float32"),)


# ---- launches -----------------------------------------------------------------------------------------------------


def _samples(xp: Arrays, x: Any) -> Any:
    """Signals as `_core` takes them."""
    return x if isinstance(x, np.ndarray) else (xp.address(x), _core.ELEMENTS[xp.dtype(x)], x)


def _pass(
    xp: Arrays, shape: tuple[int, ...], samples: int, rpeaks: Any, sample_id: Any, plan: str, fs: float,
    seeds: Sequence[int],
) -> Pass:  # fmt: skip
    """The fields that both directions share, for a batch of this shape. R peaks are indices below `samples`."""
    if rpeaks is not None:
        rpeaks = usable_rpeaks(xp, rpeaks, samples)
    return (
        plan_numbers(plan), float(fs), np.array(seeds, np.int64),
        shape[0], shape[1] if len(shape) == 3 else 1, shape[-1],
        0 if sample_id is None else xp.pointer(xp.contiguous(sample_id, "int64")),
        NO_RPEAKS if rpeaks is None else xp.view(rpeaks),
    )  # fmt: skip


def _workspace(xp: Arrays, seeds: np.ndarray, records: int, leads: int, rpeaks: Any) -> Any:
    if xp.device < 0:
        return 0
    size = _core.augment_workspace(len(seeds), records, leads, rpeaks[2])
    return xp.pointer(xp.empty((size,), "uint8"))


def _run(
    xp: Arrays, out: tuple[Any, Any, Any], x: Any, scale: Any, fields: Pass, row: Any = None, start: Any = None
) -> None:
    plan, fs, seeds, records, leads, samples, sample_id, rpeaks = fields
    stride = 0
    if scale is not None:
        scale = xp.contiguous(scale, "float32")
        if scale.ndim == 2:
            stride = leads
        elif scale.shape != (leads,):
            scale, one = xp.empty((leads,), "float32"), scale.reshape(-1)
            with xp.guard():
                scale[:] = one
    y, index, count = out
    xp.on(_core.augment)(
        x=_samples(xp, x), scale=xp.pointer(scale), scale_stride=stride, row=xp.pointer(row), start=xp.pointer(start),
        rows=x.shape[0], row_samples=x.shape[-1], plan=plan, fs=fs, seeds=seeds, records=records, leads=leads,
        samples=samples, sample_id=sample_id, rpeaks=rpeaks, y=_samples(xp, y), rpeaks_out=xp.pointer(index),
        count_out=xp.pointer(count), workspace=_workspace(xp, seeds, records, leads, rpeaks),
    )  # fmt: skip


def _run_bwd(xp: Arrays, grad_ecg: Any, grad: Any, fields: Pass) -> None:
    plan, fs, seeds, records, leads, samples, sample_id, rpeaks = fields
    xp.on(_core.augment_bwd)(
        grad=_samples(xp, xp.contiguous(grad, xp.dtype(grad_ecg))), plan=plan, fs=fs, seeds=seeds, records=records,
        leads=leads, samples=samples, sample_id=sample_id, rpeaks=rpeaks, grad_ecg=_samples(xp, grad_ecg),
        workspace=_workspace(xp, seeds, records, leads, rpeaks),
    )  # fmt: skip


@operator(
    "augment(Tensor ecg, Tensor? rpeaks=None, Tensor? sample_id=None, Tensor? scale=None, str plan='', "
    "float fs=500.0, SymInt[] seeds=[0], str dtype='') -> (Tensor, Tensor, Tensor)",
    _augment_results,
    setup_context=autograd.augment_setup,
    backward=autograd.augment_backward,
    tangent=autograd.augment_tangent,
    differentiable=("ecg",),
    numbers=("seeds",),
)
def augment(
    xp: Arrays, out: tuple[Any, Any, Any], ecg: Any, rpeaks: Any, sample_id: Any, scale: Any, plan: str, fs: float,
    seeds: Sequence[int], dtype: str,
) -> None:  # fmt: skip
    """(views, *ecg.shape) samples, (views, records, beats) R peaks, (views, records) counts."""
    tell(xp, "augment", ecg, sample_id, scale, plan, fs, seeds)
    x = xp.contiguous(ecg, xp.dtype(ecg))
    _run(xp, out, x, scale, _pass(xp, x.shape, x.shape[-1], rpeaks, sample_id, plan, fs, seeds))


@operator(
    "augment_out(Tensor ecg, Tensor(a!) out, Tensor? rpeaks=None, Tensor? sample_id=None, Tensor? scale=None, "
    "str plan='', float fs=500.0, SymInt[] seeds=[0]) -> (Tensor, Tensor)",
    _out_results,
    numbers=("seeds",),
)
def augment_out(
    xp: Arrays, found: tuple[Any, Any], ecg: Any, out: Any, rpeaks: Any, sample_id: Any, scale: Any, plan: str,
    fs: float, seeds: Sequence[int],
) -> None:  # fmt: skip
    """As augment, but the samples into `out`."""
    if not xp.is_contiguous(out):
        raise ValueError("out is not C-contiguous; it must be")
    tell(xp, "augment", ecg, sample_id, scale, plan, fs, seeds)
    x = xp.contiguous(ecg, xp.dtype(ecg))
    first, at = xp.address(x), xp.address(out)
    if first < at + xp.nbytes(out) and at < first + xp.nbytes(x):
        if moves_samples(plan):
            raise ValueError(
                f"out lies over ecg, but the plan moves samples ({', '.join(TIME_MAPS)}); give another out"
            )
        if at != first or xp.dtype(x) != xp.dtype(out) or len(seeds) > 1:
            raise ValueError("out lies partly over ecg; it must be ecg itself, with one seed, or elsewhere")
    fields = _pass(xp, x.shape, x.shape[-1], rpeaks, sample_id, plan, fs, seeds)
    _run(xp, (out, *found), x, scale, fields)


@operator(
    "augment_gather(Tensor signals, Tensor rows, Tensor starts, int length, Tensor? rpeaks=None, "
    "Tensor? sample_id=None, Tensor? scale=None, str plan='', float fs=500.0, SymInt[] seeds=[0], str dtype='') "
    "-> (Tensor, Tensor, Tensor)",
    _gather_results,
    numbers=("seeds",),
)
def augment_gather(
    xp: Arrays, out: tuple[Any, Any, Any], signals: Any, rows: Any, starts: Any, length: int, rpeaks: Any,
    sample_id: Any, scale: Any, plan: str, fs: float, seeds: Sequence[int], dtype: str,
) -> None:  # fmt: skip
    """augment of the batch signals[rows[b], :, starts[b] : starts[b] + length], read where it lies. rpeaks and a
    (rows, leads) scale are of the whole signals."""
    if not xp.is_contiguous(signals):
        raise ValueError("signals is not C-contiguous; it must be, because it is read where it lies")
    n, leads, samples = signals.shape
    row, start = xp.contiguous(rows, "int64"), xp.contiguous(starts, "int64")
    if xp.device < 0:
        for x, name, limit in ((row, "rows", n), (start, "starts", samples - length + 1)):
            bad = (x < 0) | (x >= limit)
            if bad.any():
                b = int(np.argmax(np.asarray(xp.to_numpy(bad))))
                raise ValueError(f"{name}[{b}] is {int(x[b])}; it must be from 0 to {limit - 1}")
    fields = _pass(xp, (rows.shape[0], leads, length), samples, rpeaks, sample_id, plan, fs, seeds)
    _run(xp, out, signals, scale, fields, row, start)


@operator(
    "augment_bwd(Tensor grad, Tensor? rpeaks=None, Tensor? sample_id=None, str plan='', float fs=500.0, "
    "SymInt[] seeds=[0]) -> Tensor",
    _bwd_results,
    setup_context=autograd.augment_bwd_setup,
    backward=autograd.augment_bwd_backward,
    tangent=autograd.augment_bwd_tangent,
    differentiable=("grad",),
    numbers=("seeds",),
)
def augment_bwd(
    xp: Arrays, out: tuple[Any], grad: Any, rpeaks: Any, sample_id: Any, plan: str, fs: float, seeds: Sequence[int]
) -> None:
    """The gradient of ecg in float32 or float64, summed over the views of `grad`."""
    shape = grad.shape[1:]
    _run_bwd(xp, out[0], grad, _pass(xp, shape, shape[-1], rpeaks, sample_id, plan, fs, seeds))


@operator(
    "shuffle_beats(Tensor ecg, Tensor rpeaks, Tensor? sample_id=None, SymInt seed=0, str cut='r', float fs=500.0) "
    "-> (Tensor, Tensor, Tensor)",
    _shuffle_results,
    setup_context=autograd.shuffle_setup,
    backward=autograd.shuffle_backward,
    tangent=autograd.shuffle_tangent,
    differentiable=("ecg",),
    numbers=("seed",),
)
def shuffle_beats(
    xp: Arrays, out: tuple[Any, Any, Any], ecg: Any, rpeaks: Any, sample_id: Any, seed: int, cut: str, fs: float
) -> None:
    warn_of_same_numbers("shuffle_beats", ecg.shape[0], sample_id, (seed,))
    x = xp.contiguous(ecg, xp.dtype(ecg))
    _run(xp, out, x, None, _pass(xp, x.shape, x.shape[-1], rpeaks, sample_id, SHUFFLE_PLANS[cut], fs, (seed,)))


@operator(
    "shuffle_beats_bwd(Tensor grad, Tensor rpeaks, Tensor? sample_id=None, SymInt seed=0, str cut='r', "
    "float fs=500.0) -> Tensor",
    _shuffle_bwd_results,
    setup_context=autograd.shuffle_bwd_setup,
    backward=autograd.shuffle_bwd_backward,
    tangent=autograd.shuffle_bwd_tangent,
    differentiable=("grad",),
    numbers=("seed",),
)
def shuffle_beats_bwd(
    xp: Arrays, out: tuple[Any], grad: Any, rpeaks: Any, sample_id: Any, seed: int, cut: str, fs: float
) -> None:
    fields = _pass(xp, grad.shape, grad.shape[-1], rpeaks, sample_id, SHUFFLE_PLANS[cut], fs, (seed,))
    _run_bwd(xp, out[0], grad, fields)
