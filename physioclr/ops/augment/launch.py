from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _core
from .._arrays import (
    FLOATS,
    Arrays,
    check_choice,
    check_dtype,
    check_fs,
    check_int,
    check_ndim,
    check_shape,
)

INTEGERS = ("int64", "int32", "int16", "uint8")
ELEMENTS = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 3, "int16": 4}  # as core/elements.h numbers them
ROWS = (
    "beat_shuffle", "time_warp", "rr_scale", "crop", "time_mask", "lead_dropout", "vcg_rotation", "amplitude_scale",
    "baseline_wander", "powerline", "muscle_noise", "gaussian_noise",
)  # fmt: skip
"""The rows of the kernels' plan, in the order of core/augment_plan.h."""


def plan_text(rows: dict[str, tuple[float, ...]]) -> str:
    """A plan as the operators take it, "gaussian_noise 0.5 0.005 0.02; ...": the probability, then the settings.

    Text, because torch.compile takes it for a constant, where it would trace a list of numbers one by one.
    """
    return "; ".join(" ".join([name, *(repr(float(v)) for v in row)]) for name, row in rows.items())


@functools.lru_cache(maxsize=256)
def plan_numbers(plan: str) -> tuple[float, ...]:
    """The flat numbers of the kernels' plan."""
    width = _core.PLAN_SHAPE[1]
    flat = [0.0] * (len(ROWS) * width)
    for row in filter(None, plan.split("; ")):
        name, *values = row.split(" ")
        if name not in ROWS or not 1 <= len(values) <= width:
            raise ValueError(f"plan has the row {row!r}; it must be one of {', '.join(ROWS)} and 1 to {width} numbers")
        at = ROWS.index(name) * width
        flat[at : at + len(values)] = map(float, values)
    return tuple(flat)


TIME_MAPS = ROWS[:4]
"""The rows that move samples: with one of them, the result cannot take the place of the input."""


def moves_samples(plan: str) -> bool:
    numbers, width = plan_numbers(plan), _core.PLAN_SHAPE[1]
    return any(numbers[ROWS.index(row) * width] > 0 for row in TIME_MAPS)


def result_dtype(ecg: Any, name: str, plan: str, fs: float, seeds: Any, dtype: str) -> str:
    """The checks that all forms share; the dtype of the result."""
    check_dtype(ecg, name, (*FLOATS, "int16"))
    plan_numbers(plan)
    check_fs(fs)
    if not seeds:
        raise ValueError("seed is empty; it must be an integer, or one for each view")
    for seed in seeds:
        check_int(seed, "seed", 0)
    own = str(ecg.dtype).removeprefix("torch.")
    own = "float32" if own == "int16" else own
    if dtype:
        check_choice(dtype, "dtype", FLOATS)
        if (own == "float64") != (dtype == "float64"):
            raise ValueError(f"dtype is {dtype!r}, but {name} is computed in {own}; convert {name} first")
    return dtype or own


def check_scale(ecg: Any, name: str, scale: Any, shapes: tuple[tuple[int, ...], ...], meaning: str) -> None:
    raw = str(ecg.dtype).endswith("int16")
    if raw and scale is None:
        raise ValueError(f"{name} is int16 without scale; give the mV of one unit, {meaning}")
    if scale is None:
        return
    if not raw:
        raise ValueError(f"scale is given, but {name} has dtype {ecg.dtype}; only int16 samples have a scale")
    check_dtype(scale, "scale", FLOATS)
    if tuple(scale.shape) not in shapes:
        raise ValueError(f"scale has shape {tuple(scale.shape)}; it must be {meaning}")


def check_rows(rpeaks: Any, sample_id: Any, records: int, rows: int) -> None:
    """The arrays beside a batch of `records`, taken from `rows` rows."""
    if sample_id is not None:
        check_dtype(sample_id, "sample_id", INTEGERS)
        check_shape(sample_id, "sample_id", (records,), "one for each record")
    if rpeaks is not None:
        check_dtype(rpeaks, "rpeaks", INTEGERS)
        check_ndim(rpeaks, "rpeaks", (2,), "(records, beats)")
        if rpeaks.shape[0] != rows:
            raise ValueError(f"rpeaks has {rpeaks.shape[0]} rows; it must have {rows}, one for each record")


def augment_shape(ecg: Any, rpeaks: Any, sample_id: Any, scale: Any, plan: str, fs: float, seeds: Any, dtype: str):
    """Checks everything that shapes and settings can tell; (shape, dtype) of the result. Also the fake kernel."""
    check_ndim(ecg, "ecg", (2, 3), "(records, samples) or (records, leads, samples)")
    dtype = result_dtype(ecg, "ecg", plan, fs, seeds, dtype)
    leads = ecg.shape[1] if ecg.ndim == 3 else 1
    check_scale(ecg, "ecg", scale, ((), (1,), (leads,)), f"a number or ({leads},), one for each lead")
    check_rows(rpeaks, sample_id, ecg.shape[0], ecg.shape[0])
    return (len(seeds), *ecg.shape), dtype


def gather_shape(
    signals: Any, rows: Any, starts: Any, length: int, rpeaks: Any, sample_id: Any, scale: Any, plan: str, fs: float,
    seeds: Any, dtype: str,
):  # fmt: skip
    """As augment_shape, for augment_gather."""
    check_ndim(signals, "signals", (3,), "(rows, leads, samples)")
    dtype = result_dtype(signals, "signals", plan, fs, seeds, dtype)
    n, leads, samples = signals.shape
    check_scale(
        signals, "signals", scale, ((), (1,), (leads,), (n, leads)), f"a number, ({leads},) or ({n}, {leads}), per lead"
    )
    check_int(length, "length", 0, samples)
    for x, name in ((rows, "rows"), (starts, "starts")):
        check_dtype(x, name, INTEGERS)
        check_ndim(x, name, (1,), "(records,)")
    check_shape(starts, "starts", tuple(rows.shape), "one for each of rows")
    check_rows(rpeaks, sample_id, rows.shape[0], n)
    return (len(seeds), rows.shape[0], leads, length), dtype


def check_rpeaks_values(r: np.ndarray, samples: int) -> None:
    """Each row: rising sample indices below `samples`, then -1 to the end."""
    there = r >= 0
    bad = (r < -1) | (r >= samples)
    bad[:, 1:] |= there[:, 1:] & (~there[:, :-1] | (r[:, 1:] <= r[:, :-1]))
    if bad.any():
        b, k = np.argwhere(bad)[0]
        raise ValueError(
            f"rpeaks[{b}, {k}] is {r[b, k]}; each row must be rising sample indices from 0 to {samples - 1}, then -1"
        )


def address(xp: Arrays, x: Any) -> int:
    return 0 if x is None else xp.address(x)


def _beside(xp: Arrays, rpeaks: Any, sample_id: Any, samples: int) -> tuple[Any, Any]:
    """R peaks and record ids as the kernels take them. R peaks on a CUDA device are not looked at: that would wait."""
    if rpeaks is not None:
        rpeaks = xp.adopt(rpeaks, "rpeaks")
        if xp.device < 0:
            check_rpeaks_values(np.asarray(xp.to_numpy(rpeaks)), samples)
        rpeaks = xp.contiguous(rpeaks, "int32")
    return rpeaks, None if sample_id is None else xp.contiguous(xp.adopt(sample_id, "sample_id"), "int64")


def _workspace(xp: Arrays, views: int, shape: tuple[int, ...], beats: int) -> Any:
    return xp.empty((_core.augment_workspace(views, *shape[:2], beats),), "uint8") if xp.device >= 0 else None


def _run(
    xp: Arrays, x: Any, shape: tuple[int, ...], place: tuple[int, ...], rpeaks: Any, sample_id: Any, scale: Any,
    plan: str, fs: float, seeds: Sequence[int], out: Any,
) -> tuple[Any, Any]:  # fmt: skip
    """Calls the kernel for a batch of this (records, leads, samples); place: where it lies in x, or zeros."""
    scale_stride = 0
    if scale is not None:
        scale = xp.contiguous(xp.adopt(scale, "scale"), "float32")
        if scale.ndim == 2:
            scale_stride = shape[1]
        elif scale.shape != (shape[1],):
            per_lead = xp.empty((shape[1],), "float32")
            with xp.guard():
                per_lead[:] = scale.reshape(-1)
            scale = per_lead
    views, beats = len(seeds), 0 if rpeaks is None else rpeaks.shape[1]
    index, count = xp.empty((views, shape[0], beats), "int32"), xp.empty((views, shape[0]), "int32")
    workspace = _workspace(xp, views, shape, beats)
    with xp.guard():
        _core.augment(
            xp.address(x), ELEMENTS[xp.dtype(x)], *shape, address(xp, scale), scale_stride, *place,
            plan_numbers(plan), fs, list(seeds), address(xp, sample_id), address(xp, rpeaks), beats,
            xp.address(out), ELEMENTS[xp.dtype(out)], xp.address(index), xp.address(count),
            address(xp, workspace), xp.device, xp.stream,
        )  # fmt: skip
    return index, count


def _batch_shape(x: Any) -> tuple[int, ...]:
    return (x.shape[0], 1, x.shape[1]) if x.ndim == 2 else tuple(x.shape)


def augment(
    xp: Arrays,
    ecg: Any,
    rpeaks: Any = None,
    sample_id: Any = None,
    scale: Any = None,
    plan: str = "",
    fs: float = 500.0,
    seeds: Sequence[int] = (0,),
    dtype: str = "",
) -> tuple[Any, Any, Any]:
    """(len(seeds), *ecg.shape) samples, (len(seeds), B, P) R peaks, (len(seeds), B) counts."""
    out_shape, out_dtype = augment_shape(ecg, rpeaks, sample_id, scale, plan, fs, seeds, dtype)
    x = xp.contiguous(ecg, xp.dtype(ecg))
    r, ids = _beside(xp, rpeaks, sample_id, x.shape[-1])
    out = xp.empty(out_shape, out_dtype)
    return (out, *_run(xp, x, _batch_shape(x), (0, 0, 0, 0), r, ids, scale, plan, fs, seeds, out))


def check_out(out: Any, shape: tuple[int, ...]) -> None:
    check_dtype(out, "out", FLOATS)
    if tuple(out.shape) not in (shape, shape[1:] if shape[0] == 1 else shape):
        raise ValueError(f"out has shape {tuple(out.shape)}; it must be {shape[1:] if shape[0] == 1 else shape}")


def augment_out(
    xp: Arrays,
    ecg: Any,
    out: Any,
    rpeaks: Any = None,
    sample_id: Any = None,
    scale: Any = None,
    plan: str = "",
    fs: float = 500.0,
    seeds: Sequence[int] = (0,),
) -> tuple[Any, Any]:
    """As augment, but into `out`; the R peaks and the counts."""
    shape, _ = augment_shape(ecg, rpeaks, sample_id, scale, plan, fs, seeds, str(out.dtype).removeprefix("torch."))
    check_out(out, shape)
    out = xp.adopt(out, "out")
    if not xp.is_contiguous(out):
        raise ValueError("out is not C-contiguous; it must be")
    x = xp.contiguous(ecg, xp.dtype(ecg))
    first, at = xp.address(x), xp.address(out)
    if first < at + xp.nbytes(out) and at < first + xp.nbytes(x):
        if moves_samples(plan):
            raise ValueError(
                f"out lies over ecg, but the plan moves samples ({', '.join(TIME_MAPS)}); give another out"
            )
        if at != first or xp.dtype(x) != xp.dtype(out) or len(seeds) > 1:
            raise ValueError("out lies partly over ecg; it must be ecg itself, with one seed, or elsewhere")
    r, ids = _beside(xp, rpeaks, sample_id, x.shape[-1])
    return _run(xp, x, _batch_shape(x), (0, 0, 0, 0), r, ids, scale, plan, fs, seeds, out)


def augment_gather(
    xp: Arrays,
    signals: Any,
    rows: Any,
    starts: Any,
    length: int,
    rpeaks: Any = None,
    sample_id: Any = None,
    scale: Any = None,
    plan: str = "",
    fs: float = 500.0,
    seeds: Sequence[int] = (0,),
    dtype: str = "",
) -> tuple[Any, Any, Any]:
    """augment of the batch signals[rows[b], :, starts[b] : starts[b] + length], read where it lies. rpeaks and a
    (rows, leads) scale are of the whole signals."""
    shape, dtype = gather_shape(signals, rows, starts, length, rpeaks, sample_id, scale, plan, fs, seeds, dtype)
    if not xp.is_contiguous(signals):
        raise ValueError("signals is not C-contiguous; it must be, because it is read where it lies")
    row, start = (xp.contiguous(xp.adopt(x, name), "int64") for x, name in ((rows, "rows"), (starts, "starts")))
    n, _, samples = signals.shape
    if xp.device < 0:
        for x, name, limit in ((row, "rows", n), (start, "starts", samples - length + 1)):
            bad = (x < 0) | (x >= limit)
            if bad.any():
                b = int(np.argmax(np.asarray(xp.to_numpy(bad))))
                raise ValueError(f"{name}[{b}] is {int(x[b])}; it must be from 0 to {limit - 1}")
    r, ids = _beside(xp, rpeaks, sample_id, samples)
    out = xp.empty(shape, dtype)
    place = (xp.address(row), xp.address(start), n, samples)
    return (out, *_run(xp, signals, shape[1:], place, r, ids, scale, plan, fs, seeds, out))


def augment_bwd(
    xp: Arrays,
    grad: Any,
    rpeaks: Any = None,
    sample_id: Any = None,
    plan: str = "",
    fs: float = 500.0,
    seeds: Sequence[int] = (0,),
) -> Any:
    """The gradient of ecg in float32 or float64, summed over the views of `grad`."""
    dtype = "float64" if xp.dtype(grad) == "float64" else "float32"
    g = xp.contiguous(grad, dtype)
    shape = _batch_shape(g[0])
    r, ids = _beside(xp, rpeaks, sample_id, shape[2])
    out, beats = xp.empty(tuple(g.shape[1:]), dtype), 0 if r is None else r.shape[1]
    workspace = _workspace(xp, len(seeds), shape, beats)
    with xp.guard():
        _core.augment_bwd(
            xp.address(g), ELEMENTS[dtype], *shape, plan_numbers(plan), fs, list(seeds), address(xp, ids),
            address(xp, r), beats, xp.address(out), address(xp, workspace), xp.device, xp.stream,
        )  # fmt: skip
    return out


def shuffle_plan(cut: str) -> str:
    """The plan that shuffles the beats of every record, and nothing else."""
    check_choice(cut, "cut", ("r", "tp"))
    return plan_text({"beat_shuffle": (1.0, cut == "tp")})


def shuffle_beats(
    xp: Arrays, ecg: Any, rpeaks: Any, sample_id: Any = None, seed: int = 0, cut: str = "r", fs: float = 500.0
) -> tuple[Any, Any, Any]:
    out, index, count = augment(xp, ecg, rpeaks, sample_id, None, shuffle_plan(cut), fs, (seed,))
    return out[0], index[0], count[0]


def shuffle_beats_bwd(
    xp: Arrays, grad: Any, rpeaks: Any, sample_id: Any = None, seed: int = 0, cut: str = "r", fs: float = 500.0
) -> Any:
    return augment_bwd(xp, grad[None], rpeaks, sample_id, shuffle_plan(cut), fs, (seed,))
