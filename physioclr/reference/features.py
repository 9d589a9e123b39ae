import numpy as np

QUANTITIES = ("rr", "pr", "qrs", "qtc", "p_dur", "t_dur", "r_amp", "t_amp", "p_amp", "qrs_slope")
MS = 2.0  # one sample at 500 Hz
# What float32 cannot hold is missing: amplitudes (mV) from LARGEST on, likeness of windows whose squares (mV^2) lie
# outside of FLAT to the largest float32.
LARGEST, FLAT = 1e38, 1e-30


def physio_features(x, rpeaks, waves, *, segment=None, qtc="fridericia", paced=None, seen=None):
    """(B, 159), or (B, S, 159) with a segment length in seconds, from given boundaries; see physioclr.physio_features.

    x (B, T): one lead at 500 Hz, mV. rpeaks (B, P), waves: a Delineation of (B, P) arrays. paced (B, P): beats led by a
    pacing spike. seen (B, T): where any lead of the record has a sample (default: where x has one).
    """
    x = np.where(np.isfinite(x), x, np.nan).astype(np.float64)
    seen = np.isfinite(x) if seen is None else seen
    paced = np.zeros(rpeaks.shape, bool) if paced is None else paced
    length = np.inf if segment is None else segment * 500
    out = []
    for b in range(len(x)):
        beats = [
            {name: int(field[b, k]) for name, field in zip(waves._fields, waves, strict=True)}
            | {"r": int(rpeaks[b, k]), "paced": bool(paced[b, k])}
            for k in range(rpeaks.shape[1])
            if rpeaks[b, k] >= 0
        ]
        rows = [measure(x[b], beat) for beat in beats]
        for k, row in enumerate(rows):
            row["rr"] = row["corr"] = np.nan
            if k == 0 or beats[k]["r"] == beats[k - 1]["r"]:  # two peaks on one sample: no interval, no likeness
                continue
            if longest_gap(seen[b, beats[k - 1]["r"] : beats[k]["r"]]) < 50:  # 100 ms may hide a beat
                row["rr"] = MS * (beats[k]["r"] - beats[k - 1]["r"])
            row["corr"] = correlation(x[b], beats[k - 1]["r"], beats[k]["r"])
        count = 1 if segment is None else int(x.shape[1] // length)
        out.append(
            [
                columns(
                    [row for row, beat in zip(rows, beats, strict=True) if s * length <= beat["r"] < e * length], qtc
                )
                for s, e in zip(range(count), range(1, count + 1), strict=True)
            ]
            if segment is not None
            else columns(rows, qtc)
        )
    return np.array(out)


def measure(x, beat):
    """One beat; NaN for what is missing."""
    on, off, paced = beat["qrs_on"], beat["qrs_off"], beat["paced"]

    def span(first, last):
        return MS * (last - first) if first >= 0 and last >= first else np.nan

    def value(i):
        return x[i] - level if 0 <= i < len(x) and abs(x[i] - level) < LARGEST else np.nan

    row = {
        "p_dur": span(beat["p_on"], beat["p_off"]),
        "t_dur": span(beat["t_on"], beat["t_off"]),
        "delineated": on >= 0,
        "paced": paced,
        "p_absent": beat["p_peak"] < 0,
    }
    rest = ("pr", "qrs", "qt", "r_amp", "t_amp", "p_amp", "qrs_slope", "st60", "st40")
    if on < 0:
        row |= dict.fromkeys(rest, np.nan)
    else:
        has_p = 0 <= beat["p_off"] <= on
        before = x[max(beat["p_off"], on - 20) if has_p else max(on - 10, 0) : on + 1]
        before = before[np.isfinite(before)]
        level = np.median(before) if len(before) else np.nan
        r = beat["r"]
        near = range(max(r - 10, min(on, r)), min(r + 10, max(off if off >= 0 else r, r)) + 1)
        deflection = [abs(x[i] - level) if 0 <= i < len(x) and np.isfinite(x[i]) else -1.0 for i in near]
        peak = near[int(np.argmax(deflection))] if np.isfinite(level) and max(deflection) >= 0 else r
        row |= {
            "pr": MS * (on - beat["p_on"]) if beat["p_on"] >= 0 else np.nan,
            "qrs": span(on, off),
            "qt": span(on, beat["t_off"]),
            "r_amp": value(peak),
            "t_amp": value(beat["t_peak"]),
            "p_amp": value(beat["p_peak"]),
            "qrs_slope": slope(x, on, peak),
            "st60": value(off + 30) if off >= 0 else np.nan,
            "st40": value(off + 20) if off >= 0 else np.nan,
        }
    if paced:
        row |= dict.fromkeys(("p_dur", "p_amp", "pr", "qrs", "qrs_slope"), np.nan)
    return row


def low_pass():
    """Impulse response of 1 / (1 + (f / f0)^4), 3 dB down at 40 Hz, over +-30 ms.

    A second-order Butterworth low-pass of corner f0, run forwards and backwards.
    """
    a = 2 * np.pi * 40 / (np.sqrt(2) - 1) ** 0.25 / np.sqrt(2) / 500
    n = np.abs(np.arange(-15, 16))
    h = np.exp(-a * n) * (np.cos(a * n) + np.sin(a * n))
    return h / h.sum()


def slope(x, on, peak):
    """Largest |dV/dt| in mV/ms between two samples of the low-passed signal."""
    smooth = np.full(len(x), np.nan)
    if len(x) >= 31:
        smooth[15:-15] = np.convolve(x, low_pass(), mode="valid")
    steps = np.abs(np.diff(smooth[on : peak + 1])) / MS
    steps = steps[np.isfinite(steps)]
    return steps.max() if len(steps) else np.nan


def correlation(x, a, b):
    """Of the windows from 250 ms before to 400 ms after two R peaks."""
    if min(a, b) < 125 or max(a, b) + 200 >= len(x):
        return np.nan
    u, v = x[a - 125 : a + 201], x[b - 125 : b + 201]
    if not (np.isfinite(u).all() and np.isfinite(v).all()) or np.ptp(u) == 0 or np.ptp(v) == 0:
        return np.nan
    squares = [((w - w.mean()) ** 2).sum() for w in (u, v)]
    if min(squares) < FLAT or max(squares) > np.finfo(np.float32).max:
        return np.nan
    return np.corrcoef(u, v)[0, 1]


def longest_gap(seen):
    """Most missing samples in a row."""
    longest = run = 0
    for s in seen:
        run = 0 if s else run + 1
        longest = max(longest, run)
    return longest


def columns(rows, qtc):
    """The 159 features of one segment from its beats."""

    def take(name):
        return np.array([row[name] for row in rows], np.float64)

    def known(v):
        return v[np.isfinite(v)]

    def percent(v, condition):
        v = known(v)
        return 100.0 * np.mean(condition(v)) if len(v) else np.nan

    def spread(v):
        v = known(v)
        if not len(v):
            return [np.nan] * 4
        return [v.mean(), v.std(), np.median(v), np.quantile(v, 0.75) - np.quantile(v, 0.25)]

    rr = take("rr")
    median_rr = np.median(known(rr)) if len(known(rr)) else np.nan
    q = {name: take(name) for name in QUANTITIES if name != "qtc"}
    q["qtc"] = take("qt") / (median_rr / 1000) ** (1 / 2 if qtc == "bazett" else 1 / 3)
    st = take("st40" if median_rr < 500 else "st60")

    per_beat = [np.pad(q[name][:10], (0, max(0, 10 - len(rows))), constant_values=np.nan) for name in QUANTITIES]
    spreads = [spread(v) for v in (*(q[name] for name in QUANTITIES), st)]

    steps = known(np.diff(rr))
    shown = [row for row in rows if row["delineated"]]
    unpaced = [row["p_absent"] for row in shown if not row["paced"]]
    inverted = [row["t_amp"] < -0.05 for row in shown]
    corr = known(take("corr")[1:])  # of adjacent beats within the segment
    scalars = [
        np.sqrt(np.mean(steps**2)) if len(steps) else np.nan,
        percent(steps, lambda v: np.abs(v) > 50),
        known(rr).std() / known(rr).mean() if len(known(rr)) else np.nan,
        percent(rr, lambda v: v < 0.8 * median_rr),
        percent(q["pr"], lambda v: v > 200),
        percent(q["qrs"], lambda v: v >= 120),
        percent(q["qrs"], lambda v: (v >= 100) & (v < 120)),
        percent(q["qtc"], lambda v: v >= 500),
        100.0 * np.mean(unpaced) if unpaced else np.nan,
        100.0 * np.mean(inverted) if inverted else np.nan,
        percent(st, lambda v: np.abs(v) >= 0.1),
        np.median(np.abs(known(st) - np.median(known(st)))) if len(known(st)) else np.nan,
        corr.mean() if len(corr) else np.nan,
        corr.std() if len(corr) else np.nan,
        corr.min() if len(corr) else np.nan,
    ]
    return np.concatenate([*per_beat, *spreads, scalars])
