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
    cpu_only,
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


def augment_shape(ecg: Any, rpeaks: Any, sample_id: Any, scale: Any, plan: str, fs: float, seeds: Any, dtype: str):
    """Checks everything that shapes and settings can tell; (shape, dtype) of the result. Also the fake kernel."""
    check_ndim(ecg, "ecg", (2, 3), "(records, samples) or (records, leads, samples)")
    check_dtype(ecg, "ecg", (*FLOATS, "int16"))
    raw = str(ecg.dtype).endswith("int16")
    if raw and scale is None:
        raise ValueError("ecg is int16 without scale; give the mV of one unit, a number or one for each lead")
    if scale is not None:
        if not raw:
            raise ValueError(f"scale is given, but ecg has dtype {ecg.dtype}; only int16 samples have a scale")
        check_dtype(scale, "scale", FLOATS)
        leads = ecg.shape[1] if ecg.ndim == 3 else 1
        if tuple(scale.shape) not in ((), (1,), (leads,)):
            raise ValueError(
                f"scale has shape {tuple(scale.shape)}; it must be a number or ({leads},), one for each lead"
            )
    plan_numbers(plan)
    check_fs(fs)
    if not seeds:
        raise ValueError("seed is empty; it must be an integer, or one for each view")
    for seed in seeds:
        check_int(seed, "seed", 0)
    if sample_id is not None:
        check_dtype(sample_id, "sample_id", INTEGERS)
        check_shape(sample_id, "sample_id", (ecg.shape[0],), "one for each record")
    if rpeaks is not None:
        check_dtype(rpeaks, "rpeaks", INTEGERS)
        check_ndim(rpeaks, "rpeaks", (2,), "(records, beats)")
        if rpeaks.shape[0] != ecg.shape[0]:
            raise ValueError(f"rpeaks has {rpeaks.shape[0]} rows; it must have {ecg.shape[0]}, one for each record")
    own = "float32" if raw else str(ecg.dtype).removeprefix("torch.")
    if dtype:
        check_choice(dtype, "dtype", FLOATS)
        if (own == "float64") != (dtype == "float64"):
            raise ValueError(f"dtype is {dtype!r}, but ecg is computed in {own}; convert ecg first")
    return (len(seeds), *ecg.shape), dtype or own


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


def _prepare(xp: Arrays, x: Any, rpeaks: Any, sample_id: Any):
    """Contiguous arguments, and the shape as (records, leads, samples)."""
    shape = (x.shape[0], 1, x.shape[1]) if x.ndim == 2 else tuple(x.shape)
    ids = None if sample_id is None else xp.contiguous(sample_id, "int64")
    if rpeaks is not None:
        if xp.device < 0:
            check_rpeaks_values(np.asarray(xp.to_numpy(rpeaks)), shape[2])
        rpeaks = xp.contiguous(rpeaks, "int32")
    return shape, ids, rpeaks


@cpu_only
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
    shape, ids, r = _prepare(xp, x, rpeaks, sample_id)
    if scale is not None:
        per_lead = xp.empty((shape[1],), "float32")
        per_lead[:] = xp.contiguous(scale, "float32").reshape(-1)
        scale = per_lead
    views, beats = len(seeds), 0 if r is None else r.shape[1]
    out = xp.empty(out_shape, out_dtype)
    index, count = xp.empty((views, shape[0], beats), "int32"), xp.empty((views, shape[0]), "int32")
    with xp.guard():
        _core.augment(
            xp.address(x), ELEMENTS[xp.dtype(x)], *shape, address(xp, scale), plan_numbers(plan), fs, list(seeds),
            address(xp, ids), address(xp, r), beats,
            xp.address(out), ELEMENTS[out_dtype], xp.address(index), xp.address(count),
        )  # fmt: skip
    return out, index, count


@cpu_only
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
    shape, ids, r = _prepare(xp, g[0], rpeaks, sample_id)
    out = xp.empty(tuple(g.shape[1:]), dtype)
    with xp.guard():
        _core.augment_bwd(
            xp.address(g), ELEMENTS[dtype], *shape, plan_numbers(plan), fs, list(seeds),
            address(xp, ids), address(xp, r), 0 if r is None else r.shape[1], xp.address(out),
        )  # fmt: skip
    return out


def shuffle_plan(cut: str) -> str:
    """The plan that shuffles the beats of every record, and nothing else."""
    check_choice(cut, "cut", ("r", "tp"))
    return plan_text({"beat_shuffle": (1.0, cut == "tp")})


@cpu_only
def shuffle_beats(
    xp: Arrays, ecg: Any, rpeaks: Any, sample_id: Any = None, seed: int = 0, cut: str = "r", fs: float = 500.0
) -> tuple[Any, Any, Any]:
    out, index, count = augment(xp, ecg, rpeaks, sample_id, None, shuffle_plan(cut), fs, (seed,))
    return out[0], index[0], count[0]


@cpu_only
def shuffle_beats_bwd(
    xp: Arrays, grad: Any, rpeaks: Any, sample_id: Any = None, seed: int = 0, cut: str = "r", fs: float = 500.0
) -> Any:
    return augment_bwd(xp, grad[None], rpeaks, sample_id, shuffle_plan(cut), fs, (seed,))
