"""The windows that the networks of benchmarks/accuracy see of each beat: the marks stay on their samples."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("wfdb")

FOLDER = str(Path(__file__).parents[2] / "benchmarks" / "accuracy")
sys.path.insert(0, FOLDER)
try:
    import wave_unet
    import wave_windows
finally:
    sys.path.remove(FOLDER)

FIELDS = wave_windows.FIELDS


def record(fs):
    """A QRS complex every second, marks 160 to 80 ms before and 200 to 400 ms after it; the third has no P."""
    t = np.arange(int(8.2 * fs)) / fs
    r = (np.arange(8) + 0.5) * fs
    x = sum(np.exp(-0.5 * ((t - k / fs) / 0.012) ** 2) for k in r)
    away = dict(zip(FIELDS, (-0.16, -0.12, -0.08, -0.04, 0.04, 0.2, 0.3, 0.4), strict=True))
    inner = r[1:-1]
    truth = {f: np.rint(inner + d * fs).astype(int) for f, d in away.items()} | {"r": inner.astype(int)}
    for f in ("p_on", "p_peak", "p_off"):
        truth[f] = np.delete(truth[f], 2)
    return x.astype(np.float32), r.astype(int), truth, away


@pytest.mark.parametrize("fs", [250, 500, 1000])
def test_marks_of_the_window_are_the_marks_of_the_record(fs):
    x, r, truth, away = record(fs)
    windows, first = wave_windows.inputs(x, fs, r)
    marked = wave_windows.wanted(first, r, truth, fs)
    assert windows.shape == (8, 3, wave_windows.LENGTH)
    np.testing.assert_allclose(windows[:, 0].argmax(axis=1), wave_windows.BEFORE, atol=1)
    assert np.isnan(marked[[0, -1]]).all()  # the reader has marked nothing there
    no_p = [f.startswith("p") for f in FIELDS]
    assert np.isinf(marked[3, no_p]).all()
    assert np.isfinite(marked[3, ~np.array(no_p)]).all()
    for k in (1, 2, 4, 5, 6):
        place = first[k] + fs / 250 * marked[k]
        np.testing.assert_allclose(place, [r[k] + d * fs for d in away.values()], atol=0.51)


def test_outer_waves_without_a_mark_are_not_known():
    x, r, truth, _ = record(500)
    truth["p_on"], truth["p_peak"], truth["p_off"] = (truth[f][1:] for f in ("p_on", "p_peak", "p_off"))
    marked = wave_windows.wanted(wave_windows.inputs(x, 500, r)[1], r, truth, 500)
    assert np.isnan(marked[1, :3]).all()


def test_marks_move_with_the_stretched_window():
    torch.manual_seed(0)
    line = torch.arange(wave_windows.LENGTH, dtype=torch.float32)
    wanted = torch.tensor([[60.0, 75, 90, 105, 135, 170, 200, 230], [torch.nan] * 3 + [torch.inf] * 5])
    x = torch.exp(-0.5 * ((line - wanted[0][:, None]) / 3) ** 2)[:, None].expand(8, 3, -1).contiguous()
    seen = set()
    for _ in range(20):
        y, moved = wave_unet.stretched(x, wanted)
        top = y[:, 2].argmax(-1)
        known = ~torch.isnan(moved[0])
        assert known.sum() > 5
        torch.testing.assert_close(top[known].float(), moved[0][known], atol=0.8, rtol=0)
        assert torch.isnan(moved[1, :3]).all() and torch.isinf(moved[1, 3:]).all()
        seen.add((round(float(moved[0, 0]), 3), bool(y[0, 0].min() < -0.5)))
    assert len({s for s, _ in seen}) == 20 and {s for _, s in seen} == {True, False}


def test_a_place_is_read_from_its_target():
    wanted = torch.tensor([[60.3, 75.7, 90.1, 105.4, 135.9, 170.2, 200.6, torch.inf]])
    goal, known = wave_unet.targets(wanted)
    assert known.all()
    torch.testing.assert_close(goal.sum(-1), torch.ones(1, 8))
    left = wave_unet.place(torch.log(goal + 1e-9))
    np.testing.assert_allclose(left[0, :-1], wanted[0, :-1], atol=0.35)  # T's peak and offset: cut at two bins
    assert np.isnan(left[0, -1])


def test_what_alike_beats_share_stays_within_their_signal():
    generator = torch.Generator().manual_seed(0)
    chance = torch.randn(6, 8, wave_unet.BINS + 1, generator=generator)
    x = np.zeros((6, 3, wave_windows.LENGTH))
    x[:, 0, wave_windows.BEFORE] = 1
    x[5, 0, wave_windows.BEFORE] = -1
    out = wave_unet.shared(chance, x, np.array([0, 0, 0, 1, 1, 1]))
    torch.testing.assert_close(out[0], 0.5 * chance[0] + 0.5 * chance[:3].mean(0))
    torch.testing.assert_close(out[3], 0.5 * chance[3] + 0.5 * chance[3:5].mean(0))
    torch.testing.assert_close(out[5], chance[5])


def test_near_the_rules_p_and_t_are_there_as_found_and_no_further_than_40_ms():
    generator = torch.Generator().manual_seed(0)
    chance = 3 * torch.randn(50, 8, wave_unet.BINS + 1, generator=generator)
    chance[:25, :, -1] = 20.0  # all waves absent, had the network its way
    found = np.tile([60.0, 75, 90, 105, 135, 170, 200, 230], (50, 1))
    found[::2, :3] = np.nan
    left = wave_unet.place(wave_unet.near_rules(chance, found))
    alone = wave_unet.place(chance)
    np.testing.assert_array_equal(left[:, 3:5], alone[:, 3:5])
    waves = [0, 1, 2, 5, 6, 7]
    np.testing.assert_array_equal(np.isnan(left[:, waves]), np.isnan(found[:, waves]))
    away = np.abs(left - found)[:, waves]
    assert np.nanmax(away) <= 10.01  # samples of 4 ms
    assert np.nanmax(away) > 5
