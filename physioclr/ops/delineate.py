"""Where the P wave, the QRS complex and the T wave of each beat begin, peak and end."""

from __future__ import annotations

from typing import Any

from . import _launch
from ._arrays import arrays_of, is_torch
from ._types import Delineation, RPeaks, rpeaks_index


def delineate(ecg: Any, fs: float, rpeaks: RPeaks | Any, *, lead: int | str = "II") -> Delineation:
    """Boundaries of the P, QRS and T wave of every beat.

    Waves are found on the average of the alike beats of a block (up to 20) and then in each beat; P waves are reported
    only where the beats repeat them, so atrial fibrillation has none. Boundaries are where the slope falls to a share
    of the steepest, drawn towards where readers put them on average (LUDB: Kalyakulina et al., doi
    10.1109/ACCESS.2020.3029211); the exact definition is `physioclr.reference.delineate`. Fewer than three alike beats
    give no evidence against a P wave: there the largest wave before the QRS is taken. A T wave is absent where the mean
    of three or more alike beats shows none, unless noise or an irregular rhythm could hide it.

    In each row p_on < p_peak < p_off <= qrs_on <= R <= qrs_off <= t_on < t_peak < t_off <= p_on of the next beat, what
    is absent left out.

    Args:
        ecg: (B, T) one lead or (B, L, T) leads, mV. NaN and infinite samples are missing.
        fs: sampling rate, 50 to 4000 Hz.
        rpeaks: an `RPeaks` or (B, P) integer sample indices, rising, padded with -1. On a CUDA device they are not
            checked, as that would wait for it: a record's R peaks end before the first that does not rise or lies
            outside.
        lead: which lead of (B, L, T): a standard name (L = 12), an index, "mean" (of the leads, missing samples left
            out) or "all". Ignored for (B, T).

    Returns:
        Delineation of eight int32 arrays (B, P), sample indices of `ecg`, column k for R peak k; -1 where the wave is
        absent, is not all there, or there is no such beat. With lead="all" (B, L + 1, P): each lead, then their
        consensus: the earliest onset and the latest offset that a second lead confirms, the median peak.

    Raises:
        ValueError: shapes that do not fit; R peaks that do not rise or lie outside the record; an unknown lead.
        TypeError: arrays of other than floating (ecg) or integer (rpeaks) dtype, or of different libraries.
    """
    rpeaks = rpeaks_index(rpeaks)
    if is_torch(ecg):
        from ._arrays import TorchArrays
        from ._torch import delineate as op

        rpeaks = TorchArrays(ecg).adopt(rpeaks, "rpeaks")
        return Delineation(*op.delineate(ecg, fs, rpeaks, str(lead)))
    xp, ecg = arrays_of(ecg, "ecg")
    return Delineation(*_launch.delineate(xp, ecg, fs, xp.adopt(rpeaks, "rpeaks"), lead))
