"""Heart rate variability from R peaks: time domain, Lomb-Scargle power, candidates for ectopic beats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _core
from ._arrays import Arrays, jax_in_jax_out, missing_peaks
from ._checks import check_fs, check_rpeaks, usable_rpeaks
from ._operator import Results, operator
from ._types import HRV, RPeaks, rpeaks_index

if TYPE_CHECKING:
    from ._types import ArrayT

VALUES = len(HRV._fields) - 1
LAST = 2**31 - 1  # R peaks are int32


def _results(rpeaks: Any, fs: float, exclude_ectopic: bool) -> Results:
    check_fs(fs)
    check_rpeaks(rpeaks, rpeaks.shape[0] if rpeaks.ndim else 0)
    return ((VALUES, rpeaks.shape[0]), "float32"), (tuple(rpeaks.shape), "bool")


@operator("hrv(Tensor rpeaks, float fs, bool exclude_ectopic=False) -> (Tensor values, Tensor ectopic)", _results)
def _hrv(xp: Arrays, out: tuple[Any, Any], rpeaks: Any, fs: float, exclude_ectopic: bool) -> None:
    xp.on(_core.hrv)(
        rpeaks=xp.view(usable_rpeaks(xp, rpeaks, LAST)), fs=float(fs), exclude=bool(exclude_ectopic),
        values=xp.pointer(out[0]), ectopic=xp.pointer(out[1]),
    )  # fmt: skip


@jax_in_jax_out
def _of_index(rpeaks: Any, fs: float, exclude_ectopic: bool) -> HRV[Any]:
    values, ectopic = _hrv(rpeaks, fs, exclude_ectopic)
    fields: tuple[Any, ...] = (*values, ectopic)
    return HRV(*fields)


def hrv(rpeaks: RPeaks[ArrayT] | ArrayT, fs: float, *, exclude_ectopic: bool = False) -> HRV[ArrayT]:
    """Heart rate variability of every record, and which beats may be ectopic.

    Definitions are those of the Task Force (Circulation 1996;93:1043) as neurokit2 computes them; the exact ones are in
    `physioclr.reference.hrv`.

    - Time domain: NN intervals are all intervals between R peaks, but for those that `exclude_ectopic` leaves out.
      `pnn50` divides by the number of intervals, as the Task Force and neurokit2 do; the feature of that name by the
      number of changes. `sdnn` has ddof 1, as neurokit2's; the feature "rr_sd" has 0.
    - `lf`, `hf`: integrals, by trapezoids over the multiples of 1 / (5 span) Hz in [low, high), of the Lomb-Scargle
      periodogram with a floating mean (Zechmeister and Kuerster 2009, astropy's default) of the intervals at the times
      where they end; nothing is interpolated. Scaled to a one-sided density, so that a sine's power is its variance.
    - `cvnn` and `cvsd` say how irregular the rhythm is, whatever the rate.
    - `ectopic`: a beat that comes early, its interval below 0.8 of the mean of the intervals before and after it
      (Karlsson et al. 2012, BioMed Eng OnLine 11:2, the early ones). The first two beats and the last are never
      candidates. In atrial fibrillation many beats are.

    Args:
        rpeaks: an `RPeaks` or (B, P) integer sample indices, rising, padded with -1; (P,), a list included, is one
            record, B = 1. On a CUDA device they are not checked, as that would wait for it: a record's R peaks end
            before the first that does not rise.
        fs: sampling rate of the signal, 50 to 4000 Hz.
        exclude_ectopic: leave out the intervals on either side of a candidate, and the changes across them.

    Returns:
        `HRV`: ten arrays (B,) float32 and `ectopic` (B, P) bool. NaN where undefined: without an interval, `sdnn` of
        one interval, `rmssd` and `pnn50` without a change, `lf` and `hf` of fewer than four intervals or of less than
        two periods of the band's lower end (50 s and 13.3 s), `lf_hf` of those or where hf is 0. Same library and
        device as `rpeaks`.

    Raises:
        ValueError: R peaks that do not rise, a shape other than (B, P), fs out of range.
        TypeError: R peaks of other than integer dtype.
    """
    index: Any = missing_peaks(rpeaks_index(rpeaks), "rpeaks")
    return _of_index(index, fs, exclude_ectopic)
