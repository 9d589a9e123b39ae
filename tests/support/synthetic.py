"""Electrocardiograms of known truth: each beat a sum of Gaussian waves whose places, widths and signs are given.

A wave of standard deviation s runs from its centre - 2.5 s to its centre + 2.5 s (4 % of its height is left there).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EDGE = 2.5  # standard deviations from the centre of a wave to its boundary
FIELDS = ("p_on", "p_peak", "p_off", "qrs_on", "qrs_off", "t_on", "t_peak", "t_off")


class Synthetic(NamedTuple):
    """ecg: (T,) float64 mV; rpeaks: (P,) sample indices; truth: field -> (P,) sample positions, NaN where absent."""

    ecg: np.ndarray
    rpeaks: np.ndarray
    truth: dict[str, np.ndarray]


def synthetic_ecg(
    fs: float = 500.0,
    seconds: float = 10.0,
    *,
    rate: float = 70.0,
    beats: np.ndarray | list[float] | None = None,
    pr: float = 0.16,
    p_duration: float = 0.10,
    p_amp: float = 0.12,
    p_biphasic: bool = False,
    p_absent: bool | set[int] = False,
    qrs: float = 0.09,
    r_amp: float = 1.0,
    bundle_branch_block: bool = False,
    ectopic: set[int] = frozenset(),
    qt: float = 0.38,
    t_duration: float = 0.20,
    t_amp: float = 0.25,
    t_biphasic: bool = False,
    st: float = 0.0,
    fibrillation: float = 0.0,
    noise: float = 0.0,
    wander: float = 0.0,
    seed: int = 0,
) -> Synthetic:
    """One lead.

    Times in seconds, amplitudes in mV; a negative amplitude inverts the wave.

    beats: the times of the R peaks (default: regular at `rate` per minute, the first after 0.5 s).
    p_absent: no P at all, or in these beats. ectopic: beats that are wide, inverted in T and without P.
    bundle_branch_block: a notched QRS (R and R'); give `qrs` 0.12 or more.
    st: level from the end of the QRS to the T wave.
    fibrillation: amplitude of fibrillatory waves, 5 to 8 Hz with wandering rate and size (set p_absent too).
    noise: standard deviation of white noise; wander: amplitude of a 0.25 Hz baseline.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * fs)) / fs
    if beats is None:
        beats = np.arange(0.5, seconds - 0.5, 60.0 / rate)
    x = np.zeros(len(t))
    truth = {f: np.full(len(beats), np.nan) for f in FIELDS}
    r_index = np.empty(len(beats), np.int64)

    def add(centre: float, duration: float, amp: float) -> None:
        s = duration / (2 * EDGE)
        near = slice(*np.searchsorted(t, [centre - 6 * s, centre + 6 * s]))
        x[near] += amp * np.exp(-0.5 * ((t[near] - centre) / s) ** 2)

    for k, r in enumerate(beats):
        wide = k in ectopic
        width = 0.16 if wide else qrs
        on, off = r - 0.45 * width, r + 0.55 * width
        if wide:
            add(r, 0.9 * width, r_amp)  # on .. on + 0.9 width
            add(off - 0.3 * width, 0.6 * width, -0.6 * r_amp)
        elif bundle_branch_block:
            add(on + 0.2 * width, 0.4 * width, 0.35 * r_amp)
            add(r, 0.4 * width, r_amp)
            add(off - 0.25 * width, 0.5 * width, 0.7 * r_amp)
        else:
            add(on + 0.15 * width, 0.3 * width, -0.12 * r_amp)
            add(r, 0.55 * width, r_amp)
            add(off - 0.175 * width, 0.35 * width, -0.25 * r_amp)
        truth["qrs_on"][k], truth["qrs_off"][k] = on, off
        near = (t > r - 0.25 * width) & (t < r + 0.25 * width)
        r_index[k] = np.flatnonzero(near)[np.argmax(x[near])] if near.any() else round(r * fs)

        t_end = on + qt
        t_centre, size = t_end - t_duration / 2, -t_amp if wide else t_amp
        if t_biphasic:
            add(t_end - 0.70 * t_duration, 0.6 * t_duration, -size)
            add(t_end - 0.30 * t_duration, 0.6 * t_duration, size)
            truth["t_peak"][k] = np.nan  # either phase
        else:
            add(t_centre, t_duration, size)
            truth["t_peak"][k] = t_centre
        truth["t_on"][k], truth["t_off"][k] = t_end - t_duration, t_end
        if st:
            rise = 0.5 + 0.5 * np.tanh((t - (off - 0.01)) / 0.008)
            fall = 0.5 + 0.5 * np.tanh((t_centre - t) / (0.3 * t_duration))
            x += st * rise * fall

        no_p = wide or (p_absent if isinstance(p_absent, bool) else k in p_absent)
        if not no_p:
            p_on = on - pr
            if p_biphasic:
                add(p_on + 0.3 * p_duration, 0.6 * p_duration, p_amp)
                add(p_on + 0.7 * p_duration, 0.6 * p_duration, -p_amp)
            else:
                add(p_on + p_duration / 2, p_duration, p_amp)
                truth["p_peak"][k] = p_on + p_duration / 2
            truth["p_on"][k], truth["p_off"][k] = p_on, p_on + p_duration

    if fibrillation:
        steps = np.cumsum(rng.normal(size=(2, len(t))), axis=1) / np.sqrt(fs)
        phase = 2 * np.pi * (6.5 * t + 0.7 * steps[0])
        x += fibrillation * (1 + 0.3 * np.sin(steps[1])) * (np.sin(phase) + 0.3 * np.sin(2 * phase))
    x += wander * np.sin(2 * np.pi * 0.25 * t + 1.0) + noise * rng.normal(size=len(t))
    return Synthetic(x, r_index, {f: v * fs for f, v in truth.items()})
