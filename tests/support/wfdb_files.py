"""Makes WFDB files for the tests of the reader and of `prepare`: sound ones, and ones with one defect each."""

from pathlib import Path

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def ecg_like(rng, n_leads=12, n_samples=5000, fs=500.0, rate=75.0):
    """(L, T) int16: a spike per beat, a T-like bump and noise, at 1000 units per mV."""
    t = np.arange(n_samples) / fs
    beat = (t * rate / 60) % 1.0
    shape = np.exp(-(((beat - 0.3) / 0.02) ** 2)) + 0.3 * np.exp(-(((beat - 0.6) / 0.08) ** 2))
    gains = rng.uniform(0.4, 1.5, (n_leads, 1))
    x = 1000 * gains * shape + rng.normal(0, 10, (n_leads, n_samples))
    return np.rint(x).astype(np.int16)


def write_record(
    folder,
    name,
    x,
    *,
    fs=500,
    leads=LEADS,
    mat=False,
    gain="1000(0)/mV",
    comments=("Age: 60", "Sex: Female", "Dx: 426783006"),
    first_line=None,
    signal_file=None,
    line_end="\n",
):
    """x (L, T) int16 as format 16, or as a Challenge .mat. Returns the header's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = np.ascontiguousarray(x.T, dtype="<i2").tobytes()
    file = f"{name}.mat" if mat else f"{name}.dat"
    if mat:
        data = np.array([30, x.shape[0], x.shape[1], 0, 4], "<i4").tobytes() + b"val\0" + data
    (folder / file).write_bytes(data)
    lines = [first_line or f"{name} {x.shape[0]} {fs:g} {x.shape[1]}"]
    gains = [gain] * len(x) if isinstance(gain, str) else gain
    for row, lead, g in zip(x, leads, gains, strict=True):
        checksum = int(row.astype(np.int64).sum()) & 0xFFFF
        checksum -= (checksum & 0x8000) << 1
        fmt = "16+24" if mat else "16"
        lines.append(f"{signal_file or file} {fmt} {g} 16 0 {row[0]} {checksum} 0 {lead}")
    lines += [f"#{c}" for c in comments]
    header = folder / f"{name}.hea"
    header.write_bytes((line_end.join(lines) + line_end).encode())
    return header
