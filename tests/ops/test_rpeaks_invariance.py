"""What moves beats and what may not: shifts, offsets, polarity; and that the reference has the kernels' constants."""

import re
from pathlib import Path

import numpy as np
import pytest

import physioclr as pc
from physioclr import _core, reference

FS, SHIFTS = 500, (1, 3, 4, 6, 11, 16)


@pytest.fixture(scope="module")
def records():
    """(80, 12, 5000) float32 mV."""
    source = pc.data.sample()
    return np.stack([pc.data.read_record(source.path / n).millivolts() for n in source.record_ids]).astype(np.float32)


def beats(ecg):
    r = pc.detect_rpeaks(ecg, FS)
    return [row[:n] for row, n in zip(r.index, r.count, strict=True)]


def moved(before, after, shift=0, edge=0, samples=5000, most=2):
    """(beats of `before` away from the ends, those of them with none within `most` samples in `after`)."""
    total = lost = 0
    for a, b in zip(before, after, strict=True):
        a = a[(a >= edge + shift) & (a < samples - edge)]
        distance = np.abs(a[:, None] - (b + shift)[None]).min(axis=1, initial=samples)
        total, lost = total + len(a), lost + int((distance > most).sum())
    return total, lost


@pytest.mark.parametrize("single", [False, True])
def test_a_shift_moves_next_to_no_beat(records, single):
    ecg = records.reshape(-1, 5000) if single else records
    length = 5000 - max(SHIFTS)
    before = beats(ecg[..., :length])
    counts = [moved(before, beats(ecg[..., s : s + length]), s, edge=FS // 2, samples=length) for s in SHIFTS]
    total, lost = np.sum(counts, axis=0)
    assert total > 3000
    assert lost <= (0.005 if single else 0.01) * total  # placed on the grid of the working rate: 2.3 and 3.2 %


@pytest.mark.parametrize("offset", [0.01, -10.0, 10.0])
@pytest.mark.parametrize("single", [False, True])
def test_an_offset_moves_next_to_no_beat(records, offset, single):
    ecg = records.reshape(-1, 5000) if single else records
    total, lost = moved(beats(ecg), beats(ecg + np.float32(offset)))
    assert lost <= 0.0005 * total


def test_reversed_fused_leads_keep_their_beats(records):
    before, after = beats(records), beats(-records)
    total, lost = moved(before, after, most=75)
    assert lost <= 0.001 * total  # the same beats
    total, lost = moved(before, after, most=5)
    assert lost <= 0.05 * total  # the vote of a broad complex asks for positive waves first


def test_the_reference_has_every_constant():
    table = _core.rpeaks_constants()
    assert table["kMostGaps"] == reference.rpeaks.C.MOST_GAPS == 40
    assert len(table) > 70
    text = Path(reference.rpeaks.__file__).read_text()
    used = set(re.findall(r"\bC\.([A-Z_]+)", text))
    assert used <= set(vars(reference.rpeaks.C))
    assert not re.findall(r"^[A-Z_, ]+ = .*\d", text, re.MULTILINE)  # none mirrored by hand
