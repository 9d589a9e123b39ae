"""What each of the 159 features is: its unit, its meaning, where its definition comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._arrays import host_array, is_torch
from ._estimator import optional
from ._feature_names import BEAT_NAMES, FEATURE_NAMES, N_BEATS, SCALARS, STATISTICS

if TYPE_CHECKING:
    import pandas

    from ._types import Values

OURS = "PhysioCLR (arXiv 2509.08116), defined in physioclr.reference.features"
TASK_FORCE = "Task Force of ESC and NASPE, Circulation 1996;93:1043, over the segment"
AHA_2009 = "AHA/ACCF/HRS recommendations for the electrocardiogram, Circulation 2009;119:e235"

QUANTITIES = {
    "rr": ("ms", "interval from the previous R peak; the first beat of a record has none", OURS),
    "pr": ("ms", "P onset to QRS onset", OURS),
    "qrs": ("ms", "QRS onset to QRS offset", OURS),
    "qtc": (
        "ms",
        "QRS onset to T offset over RR^(1/3), RR in s the segment's median; with qtc='bazett' over RR^(1/2)",
        "Fridericia, Acta Med Scand 1920;53:469; Bazett, Heart 1920;7:353",
    ),
    "p_dur": ("ms", "P onset to P offset", OURS),
    "t_dur": ("ms", "T onset to T offset", OURS),
    "r_amp": ("mV", "largest deflection within 20 ms of the R peak, signed, from the baseline before the QRS", OURS),
    "t_amp": ("mV", "at the T peak, signed, from the baseline before the QRS", OURS),
    "p_amp": ("mV", "at the P peak, signed, from the baseline before the QRS", OURS),
    "qrs_slope": ("mV/ms", "largest |dV/dt| from QRS onset to R, after a 40 Hz low-pass", OURS),
    "st": ("mV", "level 60 ms after the QRS offset, 40 ms above 120 beats per minute", OURS),
}
_STATISTIC = {"mean": "mean", "sd": "standard deviation (ddof 0)", "median": "median", "iqr": "interquartile range"}
_SCALARS = {
    "rmssd": ("ms", "root mean square of successive differences of RR", TASK_FORCE),
    "pnn50": ("%", "successive differences of RR larger than 50 ms", TASK_FORCE),
    "cv_rr": ("1", "standard deviation over mean of RR", OURS),
    "pct_rr_short": ("%", "RR intervals shorter than 0.8 of their median", OURS),
    "pct_pr_gt_200": ("%", "PR intervals longer than 200 ms", "ACC/AHA/HRS on bradycardia, Circulation 2019;140:e382"),
    "pct_qrs_ge_120": ("%", "QRS durations of 120 ms or more", AHA_2009),
    "pct_qrs_100_119": ("%", "QRS durations from 100 ms to less than 120 ms", AHA_2009),
    "pct_qtc_ge_500": ("%", "QTc of 500 ms or more", "AHA/ACCF on torsade de pointes, Circulation 2010;121:1047"),
    "pct_p_absent": ("%", "beats without a P wave, of those that the lead shows and that are not paced", OURS),
    "pct_t_inverted": ("%", "beats with a T amplitude below -0.05 mV, of those that the lead shows", OURS),
    "pct_st_abnormal": ("%", "ST levels 0.1 mV or more above or below the baseline", OURS),
    "st_mad": ("mV", "median absolute deviation of ST from its median, unscaled", OURS),
    "beat_corr_mean": ("1", "correlation of adjacent beats, R - 250 ms to R + 400 ms: mean", OURS),
    "beat_corr_sd": ("1", "correlation of adjacent beats: standard deviation", OURS),
    "beat_corr_min": ("1", "correlation of adjacent beats: least", OURS),
}  # fmt: skip


class FeatureInfo(NamedTuple):
    """One column of `physio_features`: name, unit ("1" for a pure number), meaning and source of the definition."""

    name: str
    unit: str
    meaning: str
    source: str


def feature_table() -> tuple[FeatureInfo, ...]:
    """The 159 columns of `physio_features`, in their order.

    A DataFrame of them: `pandas.DataFrame(physioclr.feature_table())`; of features: `feature_frame`.
    """
    found = []
    for name in FEATURE_NAMES:
        if name in SCALARS:
            found.append(FeatureInfo(name, *_SCALARS[name]))
            continue
        quantity, _, which = name.rpartition("_")
        unit, meaning, source = QUANTITIES[quantity]
        if name in BEAT_NAMES:
            meaning = f"{meaning} (beat {int(which.removeprefix('beat')) + 1} of the segment's first {N_BEATS})"
        else:
            meaning = f"{_STATISTIC[which]} over the segment's beats of: {meaning}"
        found.append(FeatureInfo(name, unit, meaning, source))
    return tuple(found)


def feature_frame(
    features: Values, *, records: Sequence[object] | npt.ArrayLike | None = None, leads: Sequence[str] | None = None
) -> pandas.DataFrame:
    """Features as a pandas DataFrame: a row for each record or segment, a column for each feature, units in `attrs`.

    `frame.attrs["units"]` is a dict from the name of a feature to its unit; `frame.to_parquet` keeps it.

    Args:
        features: (B, 159) or, by segments, (B, S, 159), of `physio_features`; k * 159 columns for a list of k leads.
        records: B names of the records for the index, numbers if None. Segments are a second level.
        leads: k names. With more than one lead the columns have two levels, lead and feature; numbers if None.

    Raises:
        ValueError: other shapes, or names that do not fit. ImportError: pandas is not installed.
    """
    pandas = optional("pandas", "feature_frame")
    device_array: Any = features
    if is_torch(features):
        device_array = device_array.detach().cpu()
    elif hasattr(features, "__cuda_array_interface__"):
        device_array = device_array.get()
    x = host_array(device_array, "features")
    width = len(FEATURE_NAMES)
    if x.ndim not in (2, 3) or not x.shape[-1] or x.shape[-1] % width:
        raise ValueError(f"features has shape {x.shape}; it must be (B, k * {width}) or (B, S, k * {width})")
    k, n = x.shape[-1] // width, len(x)
    for name, given, size, what in (("records", records, n, "record"), ("leads", leads, k, "lead")):
        if given is not None and len(np.asarray(given)) != size:
            raise ValueError(f"{name} has {len(np.asarray(given))} names; it must have {size}, one for each {what}")
    rows = pandas.Index(range(n) if records is None else np.asarray(records), name="record")
    if x.ndim == 3:
        rows = pandas.MultiIndex.from_product([rows, range(x.shape[1])], names=["record", "segment"])
    columns = pandas.Index(FEATURE_NAMES)
    if k > 1:
        columns = pandas.MultiIndex.from_product([leads or range(k), FEATURE_NAMES], names=["lead", "feature"])
    frame = pandas.DataFrame(x.reshape(-1, k * width), index=rows, columns=columns)
    frame.attrs["units"] = {info.name: info.unit for info in feature_table()}
    return frame


assert set(_SCALARS) == set(SCALARS) and set(_STATISTIC) == set(STATISTICS)
