"""R-peak detection: where the heart beats, in one lead or fused over all leads of a record."""

from __future__ import annotations

from typing import Any

from . import _launch
from ._arrays import arrays_of, check_fs, check_int, is_torch
from ._types import RPeaks


def detect_rpeaks(ecg: Any, fs: float, *, max_beats: int | None = None) -> RPeaks:
    """R peaks of every record of a batch.

    Each lead, without pulses shorter than 4 ms (pacing spikes), is averaged down to about 125 Hz and turned into
    the moduli of Gabor wavelets at 10 and 18 Hz; leads and bands are added, each scaled to a common level and
    weighted by how far its beats stand out of the rest. The separate maxima of that envelope are candidates;
    dynamic programming chooses the sequence with the most evidence, less a cost for intervals that do not fit the
    local rhythm, and in noise trusts the rhythm more and the amplitude less. Every beat is then placed on the
    middle of the top of its R wave at full rate; a complex without one is placed on its dominant negative wave.

    A beat depends on the signal near it: levels look 4 s to each side, the local rhythm 3 s. Pieces of a long record
    that start on even seconds and overlap by 10 s give, each up to the middle of the overlap, the beats of the whole
    record; where noise exceeds the ECG, one beat in some hundreds differs.

    Pacing spikes are not R peaks. That a record is paced is said by `physio_features(..., return_paced=True)`.

    Args:
        ecg: (B, T), one lead a record, or (B, L, T), where the leads of a record are fused and flat or noisy ones count
            for little. Any unit: the result does not depend on gain and offset, and raw int16 is read as it is. NaN and
            Inf samples are missing. Any length, 0 included.
        fs: sampling rate, 50 to 4000 Hz.
        max_beats: P, the columns of the index; ceil(T / (0.2 fs)) + 1 if None. A record with more beats keeps the
            first P.

    Returns:
        RPeaks: index (B, P) int32 samples, rising, padded with -1; count (B,) int32; quality (B,) float32 in 0..1,
        1 for a clean ECG and near 0 for a flat line or noise: what the beats are worth, by their height and rhythm,
        less what stands beside them. A record without a signal has no beats. Same library and device as `ecg`. In an
        RS complex the index is the R wave, even where the S wave is deeper; over several leads it is the largest
        summed deflection.

    Raises:
        ValueError: a shape that is neither (B, T) nor (B, L, T), fs or max_beats out of range.
        TypeError: complex, boolean or other dtypes that are no signal.
    """
    if is_torch(ecg):
        from ._torch import rpeaks as op

        if max_beats is not None:
            max_beats = check_int(max_beats, "max_beats", 0)
        return RPeaks(*op.detect_rpeaks(ecg, check_fs(fs), max_beats))
    xp, ecg = arrays_of(ecg, "ecg")
    return RPeaks(*_launch.detect_rpeaks(xp, ecg, fs, max_beats))
