"""159 physiological features of a record or of its segments: rhythm, intervals, amplitudes, ST level, beat likeness.

On the CPU one kernel, with the delineation inside; on a GPU `_numba.gpu`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from fractions import Fraction
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

import numpy as np

from .. import _core
from ._arrays import NUMPY, Arrays
from ._checks import (
    FLOATS,
    STANDARD_LEADS,
    check_choice,
    check_dtype,
    check_fs,
    check_lead,
    check_number,
    check_rpeaks,
    stack_level,
    usable_rpeaks,
)
from ._feature_names import FEATURE_NAMES as _NAMES
from ._feature_names import N_FEATURES
from ._operator import Results, operator
from ._signals import check_layout, chosen_lead, in_millivolts, takes_records, warn_of_unit
from ._types import rpeaks_index
from .rpeaks import _detect

FS = 500.0  # P duration shifts by 0.7 SD at 250 Hz
MEAN_LEAD = -1  # in the list of lead indices
QTC = ("fridericia", "bazett")

FEATURE_NAMES: tuple[str, ...] = _NAMES
"""Names of the 159 columns of `physio_features`.

`{q}_beat0` .. `{q}_beat9`, then `{q}_mean`, `{q}_sd`, `{q}_median`, `{q}_iqr`, for each quantity q of a beat:

    rr         ms     interval from the previous R peak; the first beat of a record has none
    pr         ms     P onset to QRS onset
    qrs        ms     QRS onset to QRS offset
    qtc        ms     QT (QRS onset to T offset) / RR^(1/3), RR in s the segment's median (Fridericia; Bazett: RR^(1/2))
    p_dur      ms     P onset to P offset
    t_dur      ms     T onset to T offset
    r_amp      mV     the largest deflection within 20 ms of the R peak, signed
    t_amp      mV     at the T peak, signed
    p_amp      mV     at the P peak, signed
    qrs_slope  mV/ms  largest |dV/dt| from QRS onset to R, after a 40 Hz low-pass
    st         mV     (no columns for single beats) level 60 ms after the QRS offset, 40 ms above 120 beats per minute

Amplitudes are relative to the median from P offset to QRS onset, at most its last 40 ms; the 20 ms before QRS onset
where there is no P. SD has ddof 0; IQR interpolates linearly. Then one number for the segment:

    rmssd            ms  root mean square of successive differences of RR
    pnn50            %   of the successive differences: larger than 50 ms
    cv_rr            1   SD / mean of RR
    pct_rr_short     %   of the RR intervals: shorter than 0.8 of their median
    pct_pr_gt_200    %   of the PR intervals: longer than 200 ms
    pct_qrs_ge_120   %   of the QRS durations: at least 120 ms
    pct_qrs_100_119  %   of the QRS durations: from 100 ms to less than 120 ms
    pct_qtc_ge_500   %   of the QTc: at least 500 ms
    pct_p_absent     %   of the beats that the lead shows and that are not paced: without P wave
    pct_t_inverted   %   of the beats that the lead shows: T amplitude below -0.05 mV
    pct_st_abnormal  %   of the ST levels: 0.1 mV or more above or below the baseline
    st_mad           mV  median absolute deviation of ST from its median, unscaled
    beat_corr_mean, beat_corr_sd, beat_corr_min  1  correlation of adjacent beats, R - 250 ms to R + 400 ms
"""


def lead_indices(lead: Any, n_leads: int | None) -> list[int]:
    """`lead` of the public function as a list of indices, -1 for the mean; n_leads None: a (B, T) input, one lead."""
    many = list(lead) if isinstance(lead, (list, tuple)) else [lead]
    if not many:
        raise ValueError("lead is an empty list; it must name at least one lead")
    if n_leads is None:
        return [0] * len(many)
    found = [check_lead(one, n_leads, allow=("mean",)) for one in many]
    return [MEAN_LEAD if isinstance(one, str) else one for one in found]  # "mean"


if TYPE_CHECKING:
    from ._types import ArrayT, Peaks

    class _Options(TypedDict, total=False):
        """What physio_features takes by name, return_paced aside, which decides the type of the result."""

        lead: int | str | Sequence[int | str] | None
        leads: Sequence[str] | None
        unit: str
        segment: float | None
        qtc: str


@overload
def physio_features(
    ecg: ArrayT,
    fs: float,
    rpeaks: Peaks | None = ...,
    *,
    return_paced: Literal[False] = ...,
    **options: Unpack[_Options],
) -> ArrayT: ...
@overload
def physio_features(
    ecg: ArrayT, fs: float, rpeaks: Peaks | None = ..., *, return_paced: Literal[True], **options: Unpack[_Options]
) -> tuple[ArrayT, ArrayT]: ...
@takes_records
def physio_features(
    ecg: Any,
    fs: float,
    rpeaks: Any = None,
    *,
    lead: int | str | Sequence[int | str] | None = None,
    leads: Sequence[str] | None = None,
    unit: str = "mV",
    segment: float | None = None,
    qtc: str = "fridericia",
    return_paced: bool = False,
) -> Any:
    """Physiological features (`FEATURE_NAMES`) of every record, or of every segment of it.

    Computed at 500 Hz: other rates are resampled first. No high-pass filter is applied: everything is measured against
    the baseline beside it.

    Args:
        ecg: (B, T) one lead or (B, L, T) leads, mV; (T,), also a list or a pandas column, is one record, B = 1. NaN
            and infinite samples are missing.
        fs: sampling rate, 50 to 4000 Hz.
        rpeaks: an `RPeaks` or (B, P) integer sample indices, rising, padded with -1. None: `detect_rpeaks` finds them.
            On a CUDA device they are not checked, as that would wait for it: a record's R peaks end before the first
            that does not rise or lies outside.
        lead: the lead to measure: a name, an index, "mean" of the leads, or a list of these; "II" if None. A name
            stands for its place in `leads`, or in the standard order I II III aVR aVL aVF V1-V6 where L is 12. A
            single record (1, T) is its only lead; of more, (B, T), there is none to choose.
        leads: the names of the L leads, where they are others or in another order.
        unit: what `ecg` is in: "mV", "uV", "V" or "nV". An amplitude that no ECG has in this unit is warned of.
        segment: seconds. Cuts the record into S = floor(T / (segment fs)) adjacent segments, each with its features.
            Peaks and boundaries still come from the whole record, so the first beat of a segment has its true RR.
        qtc: "fridericia" or "bazett", the correction of QT for the heart rate.
        return_paced: also say where a ventricular pacing spike was seen. P, PR, QRS and slope of a paced beat are
            missing, and it does not count as a beat without P.

    Returns:
        (B, 159) float32, NaN = missing; (B, k * 159) for a list of k leads; (B, S, k * 159) with `segment`. With
        return_paced a pair: the features, and (B,) or (B, S) bool. Same library and device as `ecg`. As a DataFrame
        with names and units: `feature_frame`.

    Raises:
        ValueError: shapes that do not fit; R peaks that do not rise or lie outside the record; a lead that is not
            there; a segment longer than the record.
        TypeError: arrays of other than floating (ecg) or integer (rpeaks) dtype, or of different libraries.
    """
    shape = getattr(ecg, "shape", None) or np.shape(ecg)
    if len(shape) == 3 and shape[2] < shape[1]:  # before its thousands of "leads" are an error
        check_layout(ecg if hasattr(ecg, "ndim") else np.asarray(ecg), check_fs(fs))
    chosen = lead_indices(chosen_lead(ecg, lead, leads), shape[1] if len(shape) == 3 else None)
    features, paced = _features(in_millivolts(ecg, unit), fs, rpeaks_index(rpeaks), chosen, segment, qtc)
    if lead is None and isinstance(features, np.ndarray) and len(shape) == 3 and features.size:
        if math.isnan(features.item(_QRS)):  # nothing measured in the first record: is the lead there at all?
            warn_of_lead(np.asarray(ecg), chosen[0], leads)
    return (features, paced) if return_paced else features


_QRS = _NAMES.index("qrs_median")


def warn_of_lead(ecg: np.ndarray, lead: int, leads: Sequence[str] | None) -> None:
    """Warns where no record has a sample in the lead that is measured unless another is named, and others have some."""
    if (ecg.size and math.isfinite(ecg[0, lead, 0])) or np.isfinite(ecg[:, lead]).any():  # the first: most often
        return
    there = np.flatnonzero(np.isfinite(ecg).any(axis=(0, 2))).tolist()
    if not there:
        return
    names = leads if leads is not None else STANDARD_LEADS if ecg.shape[1] == len(STANDARD_LEADS) else None
    told = ", ".join(str(k) if names is None else f"{names[k]!r}" for k in there)
    warnings.warn(
        "physio_features: lead II, measured unless another is named, has no sample in any record, so every feature "
        f"of the waves is NaN. Choose one that has, with lead=: {told}. Names that are not standard, as MLII: "
        "leads=[names of all leads]",
        stacklevel=stack_level(),
    )


def _results(ecg: Any, fs: float, rpeaks: Any, leads: list[int], segment: float | None, qtc: str) -> Results:
    check_layout(ecg, check_fs(fs))
    check_dtype(ecg, "ecg", FLOATS)
    check_choice(qtc, "qtc", QTC)
    if rpeaks is not None:
        check_rpeaks(rpeaks, ecg.shape[0])
    n, samples, k, n_leads = ecg.shape[0], ecg.shape[-1], len(leads), 1 if ecg.ndim == 2 else ecg.shape[1]
    if not k:
        raise ValueError("lead is an empty list; it must name at least one lead")
    if ecg.ndim == 3 and not all(MEAN_LEAD <= lead < n_leads for lead in leads):
        raise ValueError(f"leads is {list(leads)}; it must be from 0 to {n_leads - 1}, or {MEAN_LEAD} for their mean")
    if segment is None:
        return ((n, k * N_FEATURES), "float32"), ((n,), "bool")
    check_number(segment, "segment", 1.0, 86400.0, unit="s")
    segments = math.floor(samples / fs / segment + 1e-9)
    if segments == 0:
        raise ValueError(f"segment is {segment:g} s; it must be at most the {samples / fs:g} s of a record")
    return ((n, segments, k * N_FEATURES), "float32"), ((n, segments), "bool")


@operator(
    "physio_features(Tensor ecg, float fs, Tensor? rpeaks=None, int[] leads=[0], float? segment=None, "
    "str qtc='fridericia') -> (Tensor features, Tensor paced)",
    _results,
)
def _features(
    xp: Arrays,
    out: tuple[Any, Any],
    ecg: Any,
    fs: float,
    rpeaks: Any,
    leads: list[int],
    segment: float | None,
    qtc: str,
) -> None:
    """Selects the leads, brings everything to 500 Hz, finds R peaks and boundaries, measures."""
    fs, samples = float(fs), ecg.shape[-1]
    leads = list(leads) if ecg.ndim == 3 else [0] * len(leads)
    warn_of_unit(xp, ecg, fs, "physio_features")
    length = float("inf") if segment is None else float(segment) * FS
    bazett = qtc == "bazett"
    x = xp.contiguous(ecg if ecg.ndim == 3 else ecg[:, None, :], "float32")
    r = None if rpeaks is None else usable_rpeaks(xp, rpeaks, samples)
    n, segments = x.shape[0], 1 if segment is None else out[0].shape[1]
    features = out[0].reshape((n, segments, len(leads), N_FEATURES))
    if xp.device >= 0:
        from ._numba import gpu

        r = None if r is None else gpu.usable_rpeaks(xp, r, samples)
        if fs != FS and x.shape[0] * x.shape[1] * samples:
            x, r = gpu.to_rate(xp, x, r, fs, FS)
        if r is None:
            r = _detect.run(xp, x, FS, None, None)[0]
        paced = out[1].reshape((n, segments))
        gpu.measure(xp, x, r, leads, length, bazett, slope_taps(), FS, features, paced)
        return
    x, r = to_500hz(xp.to_numpy(x), None if r is None else xp.to_numpy(r), fs)
    if r is None:
        r = _detect.run(NUMPY, x, FS, None, None)[0]
    NUMPY.on(_core.physio_features)(
        ecg=x, leads=_lead_numbers(tuple(leads)), rpeaks=r, segment=length, segments=segments, bazett=bazett,
        taps=slope_taps(), out=xp.to_numpy(features), paced=xp.to_numpy(out[1]),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _lead_numbers(leads: tuple[int, ...]) -> np.ndarray:
    """As the kernel takes them. Kept, so not writeable."""
    numbers = np.array(leads, np.int64)
    numbers.flags.writeable = False
    return numbers


@cache
def slope_taps(n: int = 32) -> np.ndarray:
    """The difference of adjacent samples after a 40 Hz low-pass, as a filter of n taps: its first half.

    The other half is the same backwards with the other sign.

    The low-pass is 1 / (1 + (f / f0)^4), a second-order Butterworth run forwards and backwards, 3 dB down at 40 Hz. Its
    impulse response, with a = 2 pi f0 / sqrt(2): exp(-a |t|) (cos a t + sin a |t|), up to scale.
    """
    a = np.sqrt(2) * np.pi * 40.0 / (np.sqrt(2) - 1) ** 0.25 / FS
    t = np.abs(np.arange(1 - n // 2, n // 2))
    h = np.exp(-a * t) * (np.cos(a * t) + np.sin(a * t))
    h /= h.sum()
    return (np.append(0.0, h) - np.append(h, 0.0)).astype(np.float32)[: n // 2]


def resample(x: np.ndarray, fs: float) -> np.ndarray:
    """x (..., T) at 500 Hz, in float32. Missing samples are bridged for the filter and missing again in the result."""
    from scipy.signal import resample_poly

    ratio = Fraction(FS / fs).limit_denominator(1000)
    missing = ~np.isfinite(x)
    if missing.any():
        at: np.ndarray = np.arange(x.shape[-1])
        x = x.copy()
        for row, gone in zip(x.reshape(-1, x.shape[-1]), missing.reshape(-1, x.shape[-1]), strict=True):
            if gone.any():
                row[gone] = 0.0 if gone.all() else np.interp(at[gone], at[~gone], row[~gone])
    up, down = ratio.numerator, ratio.denominator
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32: missing
        y = resample_poly(x, up, down, axis=-1, padtype="line", window=("kaiser", 7.0)).astype(np.float32)
    if missing.any():  # a sample is missing where one of its two neighbours was
        at = np.arange(y.shape[-1]) * (fs / FS)
        last = x.shape[-1] - 1
        y[missing[..., np.minimum(at.astype(int), last)] | missing[..., np.minimum(np.ceil(at).astype(int), last)]] = (
            np.nan
        )
    return np.ascontiguousarray(y)


def to_500hz(x: np.ndarray, r: np.ndarray | None, fs: float) -> tuple[np.ndarray, np.ndarray | None]:
    if fs == FS or not x.size:
        return x, r
    y = resample(x, fs)
    if r is not None:
        r = np.where(r < 0, -1, np.minimum(np.rint(r * (FS / fs)), y.shape[-1] - 1)).astype(np.int32)
    return y, r
