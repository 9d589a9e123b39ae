"""What one would use without this package: the other packages that `physioclr bench --peers` and benchmarks/ time.

Each is called as its documentation says. None is needed for anything else, and none is imported before it is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .ops.augment.plan import (
    AmplitudeScale,
    Augment,
    BaselineWander,
    GaussianNoise,
    LeadDropout,
    Powerline,
    TimeMask,
    TimeWarp,
)

PEERS = {
    "anusamalgorithm": "AnuSamAlgorithm", "ecg-augmentations": "ecg_augmentations", "faiss-cpu": "faiss",
    "fast-qrs-detector": "fast_qrs_detector", "neurokit2": "neurokit2", "physio": "physio",
    "pytorch-metric-learning": "pytorch_metric_learning", "sleepecg": "sleepecg",
}  # fmt: skip
"""Package -> module of what docs/measured.md and benchmarks/ compare with: the extra `bench`."""

SEVEN = Augment(
    baseline_wander=BaselineWander(p=1.0), gaussian_noise=GaussianNoise(p=1.0), powerline=Powerline(p=1.0),
    amplitude_scale=AmplitudeScale(p=1.0), time_warp=TimeWarp(p=1.0), time_mask=TimeMask(p=1.0),
    lead_dropout=LeadDropout(p=1.0),
)  # fmt: skip
"""What `seven_steps` does, as a plan of ours."""


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def missing_peers() -> list[str]:
    """The packages of PEERS that are not installed here."""
    return [package for package, module in PEERS.items() if not installed(module)]


def rpeak_detectors() -> dict[str, Callable[[np.ndarray, float], Any]]:
    """Detectors of other packages that are installed here."""
    peers: dict[str, Callable[[np.ndarray, float], Any]] = {}

    def add(module: str, make: Callable[[Any], Callable[[np.ndarray, float], Any]]) -> None:
        try:
            peers[module.split(".")[0]] = make(importlib.import_module(module))
        except ImportError:
            pass

    add("AnuSamAlgorithm", lambda m: lambda x, fs: m.find_peak(x, int(fs)))
    add("fast_qrs_detector", lambda m: lambda x, fs: m.qrs_detector(x, int(fs)))
    add("physio", lambda m: lambda x, fs: m.compute_ecg(x, fs, parameter_preset="human_ecg"))
    add("sleepecg", lambda m: lambda x, fs: m.detect_heartbeats(x, fs))
    add("neurokit2", lambda m: lambda x, fs: m.ecg_peaks(m.ecg_clean(x, sampling_rate=int(fs)), sampling_rate=int(fs)))
    add("wfdb.processing", lambda m: lambda x, fs: m.xqrs_detect(x, fs, verbose=False))
    return peers


def released(ecg: np.ndarray) -> np.ndarray:
    """The steps of the released feature code for one segment (12, 2500), padded with zeros."""
    nk = importlib.import_module("neurokit2")

    x = nk.ecg_clean(ecg.mean(axis=0), sampling_rate=500, method="neurokit")
    _, found = nk.ecg_peaks(x, sampling_rate=500)
    r = np.asarray(found["ECG_R_Peaks"])
    _, waves = nk.ecg_delineate(x, r, sampling_rate=500, method="dwt")
    columns = np.zeros((10, 10))
    for k in range(min(10, len(r))):
        p, t = waves["ECG_P_Peaks"][k], waves["ECG_T_Peaks"][k]
        p_on, p_off = waves["ECG_P_Onsets"][k], waves["ECG_P_Offsets"][k]
        t_on, t_off = waves["ECG_T_Onsets"][k], waves["ECG_T_Offsets"][k]
        onset = waves["ECG_R_Onsets"][k]
        columns[0, k] = (r[k] - r[k - 1]) / 500 if k else 0
        columns[1, k] = (onset - p_on) / 500
        columns[2, k] = (waves["ECG_R_Offsets"][k] - onset) / 500
        columns[3, k] = (t_off - onset) / 500
        columns[4, k], columns[5, k] = (p_off - p_on) / 500, (t_off - t_on) / 500
        columns[6, k] = x[r[k]]
        columns[7, k] = 0 if np.isnan(t) else x[int(t)]
        columns[8, k] = 0 if np.isnan(p) else x[int(p)]
    columns = np.nan_to_num(columns)
    rr = np.diff(r) / 500
    windows = np.array([x[k - 125 : k + 200] for k in r if k >= 125 and k + 200 <= len(x)])
    alike = np.corrcoef(windows)[0] if len(windows) > 1 else np.zeros(1)
    spread = [f(columns, axis=1) for f in (np.mean, np.std, np.median)]
    rhythm = [np.sqrt(np.mean(np.diff(rr) ** 2)) if len(rr) > 1 else 0, rr.std() if len(rr) else 0, alike.mean()]
    return np.concatenate([columns.ravel(), *spread, rhythm])


def readable(x: np.ndarray, n: int) -> list[np.ndarray]:
    """The first n segments that neurokit2 gets through: where it finds few beats, its wavelet method may raise."""
    found: list[np.ndarray] = []
    for segment in x:
        with contextlib.suppress(ValueError, IndexError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # neurokit2's own
            released(segment)
            found.append(segment)
        if len(found) == n:
            break
    return found


def seven_steps(batch: Any, fs: float) -> Callable[[], Any]:
    """The call that does to a batch, a tensor, by ecg-augmentations what SEVEN says."""
    ea = importlib.import_module("ecg_augmentations")
    transform = ea.Compose([
        ea.BaselineWander(fs), ea.GaussianNoise(), ea.PowerlineNoise(fs), ea.AmplitudeScale(), ea.RandomTimeWarp(),
        ea.TimeMask(fs), ea.LeadMask(),
    ])  # fmt: skip
    return lambda: transform(batch)
