"""Where the P wave, the QRS complex and the T wave of each beat begin, peak and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import _core
from ._arrays import Arrays
from ._checks import FLOATS, check_dtype, check_fs, check_rpeaks, usable_rpeaks
from ._operator import Results, operator
from ._signals import check_layout, chosen_lead, in_millivolts, lead_of_text, lead_text, takes_records, warn_of_unit
from ._types import Delineation, rpeaks_index

if TYPE_CHECKING:
    from ._types import ArrayT, Peaks

ALLOWED = ("mean", "all")
_CONSTANTS = _core.delineate_constants()
LEAD_CODES = {"mean": _CONSTANTS["kLeadMean"], "all": _CONSTANTS["kLeadAll"]}


def _results(ecg: Any, fs: float, rpeaks: Any, lead: str) -> Results:
    check_layout(ecg, check_fs(fs))
    check_dtype(ecg, "ecg", FLOATS)
    check_rpeaks(rpeaks, ecg.shape[0])
    records, beats = rpeaks.shape
    every = ecg.ndim == 3 and lead_of_text(lead, ecg.shape[1], ALLOWED) == "all"
    return (((records, ecg.shape[1] + 1, beats) if every else (records, beats), "int32"),) * 8


@operator(
    "delineate(Tensor ecg, float fs, Tensor rpeaks, str lead='II') -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _results,
    stacked=True,
)
def _delineate(xp: Arrays, out: Any, ecg: Any, fs: float, rpeaks: Any, lead: str) -> None:
    fs = float(fs)
    warn_of_unit(xp, ecg, fs, "delineate")
    ecg, which = (ecg[:, None, :], 0) if ecg.ndim == 2 else (ecg, lead_of_text(lead, ecg.shape[1], ALLOWED))
    if isinstance(which, int) and ecg.shape[1] > 1 and not (xp.is_contiguous(ecg) and xp.dtype(ecg) == "float32"):
        ecg, which = ecg[:, which : which + 1], 0  # only this lead is converted
    x, r = xp.contiguous(ecg, "float32"), usable_rpeaks(xp, rpeaks, ecg.shape[-1])
    rows = x.shape[1] + 1 if which == "all" else 1
    found = out.reshape((8, r.shape[0], rows, r.shape[1]))
    if xp.device >= 0:
        from ._numba import gpu

        r = gpu.usable_rpeaks(xp, r, x.shape[2])
        if which == "mean":
            x, which = gpu.mean_lead(xp, x), 0
        leads = [which] if isinstance(which, int) else list(range(x.shape[1]))
        gpu.delineate(xp, x, fs, r, leads, consensus=which == "all", out=found)
        return
    code = which if isinstance(which, int) else LEAD_CODES[which]
    xp.on(_core.delineate)(
        ecg=xp.view(x), lead=code, rpeaks=xp.view(r), fs=fs, out=xp.pointer(found),
    )  # fmt: skip


@takes_records
def delineate(
    ecg: ArrayT,
    fs: float,
    rpeaks: Peaks,
    *,
    lead: int | str | None = None,
    leads: Sequence[str] | None = None,
    unit: str = "mV",
) -> Delineation[ArrayT]:
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
        ecg: (B, T) one lead or (B, L, T) leads, mV; (T,), also a list or a pandas column, is one record, B = 1. NaN
            and infinite samples are missing.
        fs: sampling rate, 50 to 4000 Hz.
        rpeaks: an `RPeaks` or (B, P) integer sample indices, rising, padded with -1. On a CUDA device they are not
            checked, as that would wait for it: a record's R peaks end before the first that does not rise or lies
            outside.
        lead: which lead of (B, L, T): a name, an index, "mean" (of the leads, missing samples left out) or "all"; "II"
            if None. A name stands for its place in `leads`, or in the standard order I II III aVR aVL aVF V1-V6 where L
            is 12. A single record (1, T) is its only lead; of more, (B, T), there is none to choose.
        leads: the names of the L leads, where they are others or in another order.
        unit: what `ecg` is in: "mV", "uV", "V" or "nV". An amplitude that no ECG has in this unit is warned of.

    Returns:
        Delineation of eight int32 arrays (B, P), sample indices of `ecg`, column k for R peak k; -1 where the wave is
        absent, is not all there, or there is no such beat. With lead="all" (B, L + 1, P): each lead, then their
        consensus: the earliest onset and the latest offset that a second lead confirms, the median peak.

    Raises:
        ValueError: shapes that do not fit; R peaks that do not rise or lie outside the record; an unknown lead.
        TypeError: arrays of other than floating (ecg) or integer (rpeaks) dtype, or of different libraries.
    """
    lead = lead_text(chosen_lead(ecg, lead, leads))
    return Delineation(*_delineate(in_millivolts(ecg, unit), fs, rpeaks_index(rpeaks), lead))
