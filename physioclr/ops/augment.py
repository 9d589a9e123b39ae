"""Augmentation: the whole chain in one pass, the same numbers everywhere, R peaks carried along."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from . import _launch
from ._arrays import arrays_of, check_int, is_torch
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
    if isinstance(rpeaks, RPeaks):
        return RPeaks(index, count, rpeaks.quality)
    if is_torch(index):
        return RPeaks(index, count, count.new_ones(count.shape).float())
    return RPeaks(index, count, xp.contiguous(count * 0 + 1, "float32"))


def augment(
    ecg: Any,
    plan: Augment,
    *,
    fs: float,
    seed: int,
    sample_id: Any = None,
    rpeaks: Any = None,
    scale: Any = None,
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
        seed: from 0 to 2^63 - 1; a second view or a new epoch is a new seed (`view_seed`).
        sample_id: (B,) integers naming the records; 0 .. B - 1 if None.
        rpeaks: `RPeaks`, or (B, P) sample indices padded with -1. Needed if a field of the plan looks at them.
        scale: mV of one unit of int16 samples, a number or one for each lead.

    Returns:
        The augmented batch, of the shape, dtype and library of `ecg` (float32 for int16), and the R peaks where they
        now are, or None if none were given.

    Raises:
        ValueError, TypeError: naming the argument; among others a plan that needs R peaks without `rpeaks`.
    """
    if not isinstance(plan, Augment):
        raise TypeError(f"plan is {plan!r}; it must be an Augment")
    if rpeaks is None and plan.needs_rpeaks:
        raise ValueError(
            "rpeaks is None, but the plan looks at R peaks (beat_shuffle, rr_scale, time_mask.away_from_qrs); give them"
        )
    index = None if rpeaks is None else rpeaks_index(rpeaks)
    if is_torch(ecg):
        import torch

        from ._torch import augment as op

        index, sample_id, scale = (
            None if v is None else v if is_torch(v) else torch.as_tensor(v, device=ecg.device)
            for v in (index, sample_id, scale)
        )
        scale = scale if scale is None else scale.to(torch.float32)
        out, index, count = op.augment(ecg, index, sample_id, scale, plan._text, fs, seed)
        return out, None if rpeaks is None else _rpeaks_of(None, rpeaks, index, count)
    xp, ecg = arrays_of(ecg, "ecg")
    index = None if index is None else xp.adopt(index, "rpeaks")
    sample_id = None if sample_id is None else xp.adopt(sample_id, "sample_id")
    scale = None if scale is None else xp.adopt(scale, "scale")
    out, index, count = _launch.augment(xp, ecg, index, sample_id, scale, plan._text, fs, seed)
    return out, None if rpeaks is None else _rpeaks_of(xp, rpeaks, index, count)


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
        import torch

        from ._torch import augment as op

        index, sample_id = (
            v if v is None or is_torch(v) else torch.as_tensor(v, device=ecg.device) for v in (index, sample_id)
        )
        out, index, count = op.shuffle_beats(ecg, index, sample_id, seed, cut, fs)
        return out, _rpeaks_of(None, rpeaks, index, count)
    xp, ecg = arrays_of(ecg, "ecg")
    sample_id = None if sample_id is None else xp.adopt(sample_id, "sample_id")
    out, index, count = _launch.shuffle_beats(xp, ecg, xp.adopt(index, "rpeaks"), sample_id, seed, cut, fs)
    return out, _rpeaks_of(xp, rpeaks, index, count)
