"""R-peak detection: where the heart beats, in one lead or fused over all leads of a record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _core
from ._arrays import Arrays
from ._checks import FLOATS, check_dtype, check_fs, check_int
from ._operator import Results, operator
from ._signals import check_layout, takes_records
from ._types import RPeaks, default_max_beats

if TYPE_CHECKING:
    from ._types import ArrayT

SIGNALS = (*FLOATS, "int16", "int8", "uint8", "uint16", "int32", "int64")


def _results(ecg: Any, fs: float, max_beats: int | None, start: int | None) -> Results:
    fs = check_fs(fs)
    check_layout(ecg, fs)
    check_dtype(ecg, "ecg", SIGNALS)
    if max_beats is None:
        max_beats = default_max_beats(ecg.shape[-1], fs)
    else:
        max_beats = check_int(max_beats, "max_beats", 0, 2**31 - 1)
    if start is not None:
        check_int(start, "start", 0, 2**62)
    records = ecg.shape[0]
    return ((records, max_beats), "int32"), ((records,), "int32"), ((records,), "float32")


@operator(
    "detect_rpeaks(Tensor ecg, float fs, int? max_beats=None, int? start=None) -> (Tensor, Tensor, Tensor)", _results
)
def _detect(xp: Arrays, out: tuple[Any, ...], ecg: Any, fs: float, max_beats: int | None, start: int | None) -> None:
    fs = float(fs)
    raw = xp.dtype(ecg) == "int16"
    x = xp.contiguous(ecg, "int16" if raw else "float32")
    records, leads, samples = shape = x.shape if x.ndim == 3 else (x.shape[0], 1, x.shape[1])
    scratch = None  # the CPU's threads have their own
    if xp.device >= 0:
        scratch = xp.empty((_core.detect_rpeaks_workspace(records, leads, samples, fs),), "uint8")
    index, count, quality = out
    xp.on(_core.detect_rpeaks_int16 if raw else _core.detect_rpeaks_float32)(
        ecg=xp.view(x, shape), fs=fs, start=-1 if start is None else int(start),
        index=xp.view(index), count=xp.pointer(count), quality=xp.pointer(quality), scratch=xp.pointer(scratch),
    )  # fmt: skip


@takes_records
def detect_rpeaks(ecg: ArrayT, fs: float, *, max_beats: int | None = None, start: int | None = None) -> RPeaks[ArrayT]:
    """R peaks of every record of a batch.

    Each lead, without pulses shorter than 4 ms (pacing spikes), is averaged down to about 125 Hz and turned into
    the moduli of Gabor wavelets at 10 and 18 Hz; leads and bands are added, each scaled to a common level and
    weighted by how far its beats stand out of the rest. The separate maxima of that envelope are candidates;
    dynamic programming chooses the sequence with the most evidence, less a cost for intervals that do not fit the
    local rhythm, and in noise trusts the rhythm more and the amplitude less. Every beat is then placed on the
    middle of the top of its R wave at full rate; a complex without one is placed on its dominant negative wave.

    A beat depends on the signal near it: levels look 4 s to each side, the local rhythm 3 s. The working rate and the
    blocks of a second over which levels are taken hang on a steep place of the record, so that samples cut off its
    front move nothing else. Pieces of a long record have no such place in common: with `start` they share the grid of
    its first sample, and if they overlap by 10 s give, each up to the middle of the overlap, the beats of the whole
    record with start 0; where noise exceeds the ECG, one beat in some hundreds differs.

    Pacing spikes are not R peaks. That a record is paced is said by `physio_features(..., return_paced=True)`.

    Args:
        ecg: (B, T), one lead a record, or (B, L, T), where the leads of a record are fused and flat or noisy ones count
            for little; (T,), also a list or a pandas column, is one record, B = 1. Any unit: the result does not depend
            on gain and offset, and raw int16 is read as it is. NaN and Inf samples are missing. Any length, 0 included.
        fs: sampling rate, 50 to 4000 Hz.
        max_beats: P, the columns of the index; ceil(T / (0.2 fs)) + 1 if None. A record with more beats keeps the
            first P.
        start: for pieces of a recording, the number of the first sample in it, the same for all records of the batch.

    Returns:
        RPeaks: index (B, P) int32 samples, rising, padded with -1; count (B,) int32; quality (B,) float32 in 0..1,
        1 for a clean ECG and near 0 for a flat line or noise: what the beats are worth, by their height and rhythm,
        less what stands beside them. A record without a signal has no beats. Same library and device as `ecg`. In an
        RS complex the index is the R wave, even where the S wave is deeper; over several leads it is the largest
        summed deflection.

    Raises:
        ValueError: a shape that is neither (B, T) nor (B, L, T), fs, max_beats or start out of range.
        TypeError: complex, boolean or other dtypes that are no signal.
    """
    return RPeaks(*_detect(ecg, fs, max_beats, start))
