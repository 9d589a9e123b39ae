"""Where the grids of detect_rpeaks lie: neither samples cut off the front nor a constant moves beats, and pieces of a
recording share the grids of its first sample."""

import numpy as np
import pytest

import physioclr as pc
from physioclr.reference import rpeaks as reference

FS, SHIFTS = 500, tuple(range(1, 17))


@pytest.fixture(scope="module")
def records():
    """(80, 12, 5000) int16 of 1 uV."""
    source = pc.data.sample()
    digital = np.stack([pc.data.read_record(source.path / n).millivolts() for n in source.record_ids]) * 1000
    assert np.abs(digital - np.rint(digital)).max() < 0.01
    return np.rint(digital).astype(np.int16)


def beats(ecg, **kwargs):
    found = pc.detect_rpeaks(ecg, FS, **kwargs)
    return [row[:n] for row, n in zip(found.index, found.count, strict=True)]


def moved(before, after, shift, low, high, most=2):
    """(beats from sample low up to high, those of them that are more than `most` samples elsewhere)"""
    total = lost = 0
    for a, b in zip(before, after, strict=True):
        a = a[(a >= low) & (a < high)]
        total, lost = (
            total + len(a),
            lost + int((np.abs(a[:, None] - (b + shift)).min(axis=1, initial=9999) > most).sum()),
        )
    return total, lost


@pytest.mark.parametrize("single", [False, True])
def test_a_shift_moves_next_to_no_beats_of_recordings(records, single):
    ecg = records.reshape(-1, 5000) if single else records
    length = ecg.shape[-1] - max(SHIFTS)
    before = beats(ecg[..., :length])
    rows = [moved(before, beats(ecg[..., by : by + length]), by, FS // 2 + by, length - FS // 2) for by in SHIFTS]
    total, lost = np.sum(rows, axis=0)
    assert total > 10_000
    assert lost <= 0.001 * total, (lost, total)  # where grids begin with the record: 3.4 and 2.5 %


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("offset", [0.01, -10.0, 10.0])
def test_a_constant_moves_next_to_no_beats_of_recordings(records, single, offset):
    ecg = (records.reshape(-1, 5000) if single else records) * np.float32(0.001)
    total, lost = moved(beats(ecg), beats(ecg + np.float32(offset)), 0, 0, 5000)
    assert lost <= 0.002 * total, (lost, total)


def test_digital_values_and_millivolts_share_an_anchor(records):
    """Of steps of one size rounding would choose."""
    for a, b in zip(beats(records), beats(records * np.float32(0.0049)), strict=True):
        assert len(a) == len(b)
        assert np.abs(a - b).max(initial=0) <= 1


@pytest.mark.parametrize("begin", [1, 63, 504, 1000, 1337])
def test_a_piece_that_is_told_its_start_has_the_beats_of_the_whole(records, begin):
    whole, piece = beats(records, start=0), beats(records[..., begin:], start=begin)
    total, lost = moved(whole, piece, begin, begin + 5 * FS, 5000, most=0)  # the end they have in common
    assert total > 100
    assert lost == 0, (lost, total)


@pytest.mark.parametrize("start, same", [(0, 504 * 7), (2**62 % 504, 2**62)])
def test_starts_a_period_apart_are_one_grid(records, start, same):
    """504 samples at 500 Hz: 63 envelope samples of 8. One sample further is another grid."""
    found = beats(records, start=start)
    for a, b in zip(found, beats(records, start=same), strict=True):
        np.testing.assert_array_equal(a, b)
    other = beats(records, start=start + 1)
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(found, other, strict=True))


@pytest.mark.parametrize("start", [None, 0, 5, 12345])
@pytest.mark.parametrize("fs", [50, 128, 360, 500])
def test_matches_the_reference(rng, start, fs):
    seconds, leads = 6.2, 2
    t = np.arange(int(seconds * fs)) / fs
    beat = sum(np.exp(-0.5 * ((t - at) / 0.015) ** 2) for at in np.cumsum(rng.uniform(0.5, 1.0, 9)))
    ecg = (rng.uniform(0.5, 1.5, (3, leads, 1)) * beat + 0.05 * rng.normal(size=(3, leads, len(t)))).astype(np.float32)
    ecg[1, 0], ecg[2, 0, : len(t) // 2] = 0.5, np.nan  # the anchor is another lead's, or in what is there
    got, (index, count, _) = pc.detect_rpeaks(ecg, fs, start=start), reference.detect_rpeaks(ecg, fs, start=start)
    np.testing.assert_array_equal(got.index, index)
    np.testing.assert_array_equal(got.count, count)


@pytest.mark.parametrize("odd", [0, 1, 5])
def test_the_anchor_of_a_flat_beginning_is_in_what_follows(odd):
    """The first five seconds have no slope: the next ones are looked at."""
    t = np.arange(15 * FS) / FS
    ecg = sum(np.exp(-0.5 * ((t - at) / 0.012) ** 2) for at in np.arange(8.1, 14.5, 0.83)).astype(np.float32)
    ecg[t < 7.9] = 0
    want = beats(ecg[None])[0]
    got = beats(ecg[None, odd:])[0] + odd
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("start, error", [(-1, ValueError), (2**63, ValueError), (1.5, TypeError), ("0", TypeError)])
def test_a_start_that_no_recording_has(start, error):
    with pytest.raises(error, match="start"):
        pc.detect_rpeaks(np.zeros((1, 1000), np.float32), FS, start=start)
