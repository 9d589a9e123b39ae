"""159 physiological features of a record or of its segments: rhythm, intervals, amplitudes, ST level, beat likeness."""

from __future__ import annotations

from typing import Any

from . import _launch
from ._arrays import arrays_of, check_lead, is_torch
from ._feature_names import FEATURE_NAMES as _NAMES
from ._types import RPeaks, rpeaks_index

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
    many = list(lead) if isinstance(lead, list | tuple) else [lead]
    if not many:
        raise ValueError("lead is an empty list; it must name at least one lead")
    if n_leads is None:
        return [0] * len(many)
    found = [check_lead(one, n_leads, allow=("mean",)) for one in many]
    return [_launch.MEAN_LEAD if one == "mean" else one for one in found]


def physio_features(
    ecg: Any,
    fs: float,
    rpeaks: RPeaks | Any = None,
    *,
    lead: int | str | list[int | str] = "II",
    segment: float | None = None,
    qtc: str = "fridericia",
    return_paced: bool = False,
) -> Any:
    """Physiological features (`FEATURE_NAMES`) of every record, or of every segment of it.

    Computed at 500 Hz: other rates are resampled first. No high-pass filter is applied: everything is measured against
    the baseline beside it.

    Args:
        ecg: (B, T) one lead or (B, L, T) leads, mV. NaN and infinite samples are missing.
        fs: sampling rate, 50 to 4000 Hz.
        rpeaks: an `RPeaks` or (B, P) integer sample indices, rising, padded with -1. None: `detect_rpeaks` finds them.
            On a CUDA device they are not checked, as that would wait for it: a record's R peaks end before the first
            that does not rise or lies outside.
        lead: the lead to measure: a standard name (L = 12), an index, "mean" of the leads, or a list of these. Ignored
            for (B, T).
        segment: seconds. Cuts the record into S = floor(T / (segment fs)) adjacent segments, each with its features.
            Peaks and boundaries still come from the whole record, so the first beat of a segment has its true RR.
        qtc: "fridericia" or "bazett", the correction of QT for the heart rate.
        return_paced: also say where a ventricular pacing spike was seen. P, PR, QRS and slope of a paced beat are
            missing, and it does not count as a beat without P.

    Returns:
        (B, 159) float32, NaN = missing; (B, k * 159) for a list of k leads; (B, S, k * 159) with `segment`. With
        return_paced a pair: the features, and (B,) or (B, S) bool. Same library and device as `ecg`.

    Raises:
        ValueError: shapes that do not fit; R peaks that do not rise or lie outside the record; a lead that is not
            there; a segment longer than the record.
        TypeError: arrays of other than floating (ecg) or integer (rpeaks) dtype, or of different libraries.
    """
    rpeaks = rpeaks_index(rpeaks)
    if is_torch(ecg):
        from ._arrays import TorchArrays
        from ._torch import features as op

        leads = lead_indices(lead, ecg.shape[1] if ecg.ndim == 3 else None)
        rpeaks = None if rpeaks is None else TorchArrays(ecg).adopt(rpeaks, "rpeaks")
        features, paced = op.physio_features(ecg, fs, rpeaks, leads, segment, qtc)
    else:
        xp, ecg = arrays_of(ecg, "ecg")
        leads = lead_indices(lead, ecg.shape[1] if ecg.ndim == 3 else None)
        rpeaks = None if rpeaks is None else xp.adopt(rpeaks, "rpeaks")
        features, paced = _launch.physio_features(xp, ecg, fs, rpeaks, leads, segment, qtc)
    return (features, paced) if return_paced else features
