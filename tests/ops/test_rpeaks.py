import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

import physioclr as pc
from physioclr import _core, reference

# One beat: (centre s, deviation s, amplitude mV) of P, Q, R, S, T.
WAVES = ((-0.17, 0.022, 0.12), (-0.032, 0.009, -0.1), (0.0, 0.011, 1.0), (0.034, 0.01, -0.2), (0.28, 0.045, 0.25))


def beats_at(times, seconds, fs, waves=WAVES):
    """A noiseless lead with a beat at each time, and the sample nearest to each R peak."""
    t = np.arange(int(seconds * fs)) / fs
    x = np.zeros(len(t))
    for at in times:
        for centre, width, height in waves:
            x += height * np.exp(-0.5 * ((t - at - centre) / width) ** 2)
    return x, np.round(np.asarray(times) * fs).astype(int)


def found(ecg, fs, **kwargs):
    """The R peaks of one record, without the padding."""
    r = pc.detect_rpeaks(ecg[None], fs, **kwargs)
    return r.index[0][r.index[0] >= 0]


def near(got, truth, tolerance):
    return len(got) == len(truth) and np.all(np.abs(got - truth) <= tolerance)


@pytest.mark.parametrize("fs", [50, 100, 128, 250, 257, 360, 500, 1000, 4000])
@pytest.mark.parametrize("leads", [0, 1, 3])
def test_matches_reference(rng, fs, leads):
    n = int(8.3 * fs)
    x, _ = beats_at(np.cumsum(rng.uniform(0.5, 1.1, 7)), 8.3, fs)
    x = x * rng.normal(size=(2, max(leads, 1), 1)) + 0.05 * rng.normal(size=(2, max(leads, 1), n))
    x = x.astype(np.float32)
    x = x if leads else x[:, 0]
    got, (index, count, quality) = pc.detect_rpeaks(x, fs), reference.detect_rpeaks(x, fs)
    np.testing.assert_array_equal(got.index, index)
    np.testing.assert_array_equal(got.count, count)
    np.testing.assert_allclose(got.quality, quality, atol=1e-4)  # float32 sums of a few hundred values
    assert (got.index.dtype, got.count.dtype, got.quality.dtype) == (np.int32, np.int32, np.float32)


def test_matches_reference_on_real_records():
    source = pc.data.sample()
    for name in source.record_ids[::9]:
        record = pc.data.read_record(source.path / name)
        ecg = record.millivolts()[None].astype(np.float32)
        for x in (ecg, ecg[:, 1], ecg[:, 6]):
            got, (index, _, quality) = pc.detect_rpeaks(x, record.fs), reference.detect_rpeaks(x, record.fs)
            np.testing.assert_array_equal(got.index, index)
            np.testing.assert_allclose(got.quality, quality, atol=1e-4)


@pytest.mark.parametrize("rate", [20, 40, 75, 150, 220, 300])
def test_rates(rate):
    rr = 60 / rate
    scale = min(1.0, rr / 0.5)  # P and T move towards the QRS complex at high rates
    waves = [(c * scale, w * (scale if abs(c) > 0.1 else 1), h) for c, w, h in WAVES]
    x, truth = beats_at(np.arange(0.4, 29.6, rr), 30, 500, waves)
    assert near(found(x, 500), truth, 1)


def test_pause_of_six_seconds():
    x, truth = beats_at([1, 1.8, 2.6, 3.4, 9.4, 10.2, 11, 11.8], 13, 500)
    assert near(found(x, 500), truth, 1)


def test_inverted_lead_gives_the_negative_extremum():
    x, truth = beats_at(np.arange(0.5, 9.6, 0.8), 10, 500)
    assert near(found(-x, 500), truth, 1)


@pytest.mark.parametrize("s_wave", [-0.4, -0.9, -1.6])
def test_the_r_wave_counts_even_where_the_s_wave_is_deeper(s_wave):
    x, truth = beats_at(np.arange(0.5, 9.6, 0.8), 10, 500, ((0, 0.009, 0.4), (0.032, 0.011, s_wave), *WAVES[4:]))
    assert near(found(x, 500), truth, 3)  # the S wave next to it narrows the top


@pytest.mark.parametrize("fs", [250, 500, 1000])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("width", [0.01, 0.02, 0.035])
def test_the_index_is_the_middle_of_the_top(fs, sign, width):
    times = 0.5 + 0.8013 * np.arange(12)  # anywhere between the working samples
    x, truth = beats_at(times, 10, fs, ((0, width, sign), *WAVES[4:]))
    assert near(found(x, fs), truth, 1)
    narrow = width < 0.02
    assert near(found(np.clip(x, -0.9, 0.9), fs), truth, 1 if narrow else 0.01 * fs)  # saturated


def test_tall_t_waves():
    waves = (*WAVES[:4], (0.28, 0.05, 1.3))
    x, truth = beats_at(np.arange(0.5, 9.6, 0.8), 10, 500, waves)
    assert near(found(x, 500), truth, 1)


def test_small_ectopic_beats_between_large_ones(rng):
    x, truth = beats_at(np.arange(0.5, 19.6, 0.8), 20, 500)
    wide, at = beats_at([0.5 + 0.8 * 9 + 0.45], 20, 500, ((0, 0.018, 0.7), (0.055, 0.025, -0.6)))
    got = found(x + wide + 0.01 * rng.normal(size=len(x)), 500)
    assert near(got, np.sort(np.concatenate([truth, at])), 5)


@pytest.mark.parametrize("fs, width", [(250, 1), (360, 1), (500, 2), (1000, 3)])
@pytest.mark.parametrize("height", [-3, 1, 8])
def test_a_pacing_spike_is_not_the_r_peak(fs, width, height):
    x, truth = beats_at(np.arange(0.5, 9.6, 0.8), 10, fs, ((0, 0.03, -0.8), (0.09, 0.03, 0.3), (0.3, 0.06, 0.4)))
    for k in range(width):
        x[truth - int(0.06 * fs) + k] += height
    assert near(found(x, fs), truth, 1)


def test_paced_beats_are_found_and_flagged(rng):
    """The flag is that of the features: `RPeaks` has none."""
    waves = ((0, 0.03, -0.8), (0.09, 0.03, 0.3), (0.3, 0.06, 0.4))
    x, truth = beats_at(np.arange(0.9, 9.6, 0.8), 10, 500, waves)
    ecg = rng.uniform(0.4, 1.2, (12, 1)) * x + 0.005 * rng.normal(size=(12, len(x)))
    spiked = ecg.copy()
    spiked[:, truth - 35] += 3
    spiked[:, truth - 34] += 1
    for beats, paced in ((ecg, False), (spiked, True)):
        r = pc.detect_rpeaks(beats[None], 500)
        assert near(r.index[0][r.index[0] >= 0], truth, 2)
        assert pc.physio_features(beats[None], 500, r, return_paced=True)[1].tolist() == [paced]


@pytest.mark.parametrize("leads", [1, 12])
def test_noise_alone_has_few_beats_and_no_quality(rng, leads):
    noise = rng.normal(size=(200, leads, 5000))
    for x in (noise, noise.cumsum(axis=-1)):
        r = pc.detect_rpeaks(x, 500)
        assert r.count.mean() < 2
        assert r.quality.mean() < 0.02


def test_quality_falls_with_the_noise(rng):
    x, _ = beats_at(np.arange(0.5, 29.6, 0.8), 30, 500)
    noise = rng.normal(size=(1000, len(x))).astype(np.float32) * 0.15
    quality = [pc.detect_rpeaks(x + a * noise, 500).quality.mean() for a in (0, 1, 2, 4)]
    assert (np.diff(quality) < 0).all()
    assert quality[0] > 0.95
    assert quality[-1] < 0.1


def test_noise_and_flat_leads_do_not_matter(rng):
    x, truth = beats_at(np.arange(0.5, 9.6, 0.8), 10, 500)
    ecg = np.stack([x, -0.5 * x, 0 * x, np.full_like(x, np.nan), np.clip(40 * x, -1, 1) * 0 + 3, rng.normal(size=5000)])
    offset = np.array([[0.3], [9.0], [0], [0], [0], [0]])
    assert near(found(ecg + offset, 500), truth, 2)
    assert near(found(ecg[::-1], 500), truth, 2)


def test_reversed_leads_give_the_same_beats(rng):
    x, truth = beats_at(np.arange(0.5, 9.6, 0.8), 10, 500)
    ecg = rng.uniform(0.3, 1.5, (12, 1)) * x + 0.02 * rng.normal(size=(12, 5000))
    signs = rng.choice([-1.0, 1.0], (12, 1))
    want = found(ecg, 500)
    assert near(want, truth, 1)
    np.testing.assert_array_equal(found(signs * ecg, 500), want)


@pytest.mark.parametrize("leads, early, expected", [(8, 4, 0.0), (8, 1, 0.05), (2, 1, None)])
def test_leads_that_peak_apart_vote(rng, leads, early, expected):
    """The first quarter of the votes of a broad complex decides; two leads have no vote."""
    times = np.arange(0.5, 9.6, 0.8)
    first, truth = beats_at(times, 10, 500, ((0, 0.02, 1.0), (0.05, 0.02, 0.4), *WAVES[4:]))
    late, _ = beats_at(times, 10, 500, ((0, 0.02, 0.4), (0.05, 0.02, 1.0), *WAVES[4:]))
    ecg = np.stack([first] * early + [late] * (leads - early)) + 0.002 * rng.normal(size=(leads, len(first)))
    got = found(ecg, 500)
    np.testing.assert_array_equal(got, reference.detect_rpeaks(ecg[None].astype(np.float32), 500)[0][0][: len(truth)])
    if expected is not None:
        assert near(got, truth + int(expected * 500), 4)
    assert len(got) == len(truth)


@pytest.mark.parametrize("fs", [250, 360, 500])
@pytest.mark.parametrize("odd", [0, 1, 77])
def test_pieces_give_the_beats_of_the_whole(rng, fs, odd):
    """Wherever they start, as they are told."""
    seconds, piece, overlap = 220, 80, 10
    x, _ = beats_at(np.cumsum(rng.uniform(0.5, 1.1, 240)), seconds, fs)
    x += rng.normal(size=len(x)) * np.repeat(rng.choice([0.02, 0.1, 0.4], seconds // 10), 10 * fs)
    starts = [0, *(s * fs + odd for s in range(piece - overlap, seconds - piece + 1, piece - overlap))]
    cuts = [0, *(s + overlap * fs / 2 for s in starts[1:]), len(x)]
    beats = []
    for start, low, high in zip(starts, cuts, cuts[1:], strict=False):
        got = start + found(x[start : start + piece * fs], fs, start=start)
        beats.append(got[(got >= low) & (got < high)])
    np.testing.assert_array_equal(np.concatenate(beats), found(x, fs, start=0))


@pytest.mark.parametrize("leads, dtype, gap", [(1, np.float32, 0), (1, np.float32, 9000), (2, np.int16, 0)])
def test_several_threads_on_a_long_record_give_the_same_beats(rng, leads, dtype, gap):
    seconds, fs = 1000, 360  # more than one part of every stage
    x = np.tile(beats_at(np.cumsum(rng.uniform(0.5, 1.1, 24)), 20, fs)[0], seconds // 20)
    noise = rng.normal(size=(leads, len(x))) * np.repeat(rng.choice([0.02, 0.1, 0.3], seconds // 10), 10 * fs)
    ecg = (500 * (rng.uniform(0.5, 1, (leads, 1)) * x + noise)).astype(dtype)[None]
    if gap:
        ecg[..., 200_000 : 200_000 + gap] = np.nan
    before, results = _core.num_threads(), []
    try:
        for threads in (1, 2, 5):
            _core.set_num_threads(threads)
            results.append(pc.detect_rpeaks(ecg, fs))
    finally:
        _core.set_num_threads(before)
    for r in results[1:]:
        np.testing.assert_array_equal(r.index, results[0].index)
        assert r.quality == results[0].quality
    batch = pc.detect_rpeaks(np.concatenate([ecg, ecg[..., ::-1], ecg]), fs)  # three records, as many teams
    np.testing.assert_array_equal(batch.index[[0, 2]], np.repeat(results[0].index, 2, axis=0))


def test_gain_offset_and_int16(rng):
    x, _ = beats_at(np.arange(0.5, 9.6, 0.8), 10, 500)
    raw = np.round(1000 * (x + 0.02 * rng.normal(size=len(x)))).astype(np.int16)
    want = found(raw, 500)
    np.testing.assert_array_equal(found(raw.astype(np.float32), 500), want)
    np.testing.assert_array_equal(found(raw * 0.005 - 7.0, 500), want)
    np.testing.assert_array_equal(found(raw.astype(np.int64) + 1024, 500), want)


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_beats_outside_a_gap_are_unaffected(missing):
    x, truth = beats_at(np.arange(0.5, 19.6, 0.8), 20, 500)
    whole = found(x, 500)
    assert near(whole, truth, 1)
    x[4000:5100] = missing
    x[7777] = missing
    gap = found(x, 500)
    np.testing.assert_array_equal(gap, whole[(whole < 4000) | (whole >= 5100)])


@pytest.mark.parametrize("shape", [(0, 5000), (2, 0), (2, 1), (2, 150), (1, 12, 0), (2, 0, 500), (3, 12, 5000)])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e5, np.nan, np.inf])
def test_no_signal_has_no_beats(backend, shape, value):
    to, back = backend
    r = pc.detect_rpeaks(to(np.full(shape, value, np.float32)), 500)
    assert back(r.index).shape == (shape[0], -(-shape[-1] // 100) + 1)
    assert (back(r.index) == -1).all() and not back(r.count).any() and not back(r.quality).any()


def test_short_record_of_a_real_beat_has_no_beats():
    x, _ = beats_at([0.15], 0.3, 500)
    assert len(found(x, 500)) == 0


def test_max_beats_keeps_the_first():
    x, truth = beats_at(np.arange(0.5, 9.6, 0.8), 10, 500)
    r = pc.detect_rpeaks(x[None], 500, max_beats=4)
    np.testing.assert_array_equal(r.index[0], found(x, 500)[:4])
    assert near(r.index[0], truth[:4], 1)
    assert r.count.tolist() == [4]
    assert pc.detect_rpeaks(x[None], 500, max_beats=0).index.shape == (1, 0)


def test_every_library_dtype_and_stride_gives_the_same_beats(rng):
    x, _ = beats_at(np.arange(0.5, 9.6, 0.8), 10, 500)
    x = np.float16(x + 0.01 * rng.normal(size=(2, 3, len(x))))
    want = pc.detect_rpeaks(x.astype(np.float32), 500)
    for y in (x, x.astype(np.float64), torch.from_numpy(x), np.repeat(x, 2, 2)[..., ::2], np.float32(x).T.copy().T):
        got = pc.detect_rpeaks(y, 500)
        np.testing.assert_array_equal(np.asarray(got.index), want.index)
    bf = torch.from_numpy(x).bfloat16()
    np.testing.assert_array_equal(pc.detect_rpeaks(bf, 500).index, pc.detect_rpeaks(bf.float(), 500).index)


def test_a_record_does_not_depend_on_the_batch(rng):
    x = rng.normal(size=(9, 2, 3000)).cumsum(axis=-1)
    x[3] = np.nan
    whole = pc.detect_rpeaks(x, 250)
    for b in range(len(x)):
        one = pc.detect_rpeaks(x[b : b + 1], 250)
        np.testing.assert_array_equal(one.index[0], whole.index[b])
        assert one.quality[0] == whole.quality[b]


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2000), st.sampled_from([50, 125, 333.3, 500]), st.sampled_from([0, 1, 4])
)
@settings(max_examples=60, deadline=None)
def test_any_input_gives_a_well_formed_result(seed, samples, fs, leads):
    r = np.random.default_rng(seed)
    x = r.normal(size=(2, max(leads, 1), samples)) * 10.0 ** r.integers(-20, 30)
    x[r.random(x.shape) < r.choice([0, 0.001, 0.3])] = r.choice([np.nan, np.inf, -np.inf])
    with np.errstate(over="ignore"):
        got = pc.detect_rpeaks(x if leads else x[:, 0], fs)
    for index, count in zip(got.index, got.count, strict=True):
        assert (np.diff(index[:count]) > 0).all() and (index[count:] == -1).all()
        assert ((index[:count] >= 0) & (index[:count] < samples)).all()
    assert ((got.quality >= 0) & (got.quality <= 1)).all()


@pytest.mark.parametrize(
    "args, error, message",
    [
        (
            (np.zeros((1, 1, 1, 5000)), 500),
            ValueError,
            r"ecg has shape \(1, 1, 1, 5000\); it must be \(records, samples\) or",
        ),
        ((np.zeros((1, 50)), 40), ValueError, "fs is 40; it must be finite, at least 50 and at most 4000 Hz"),
        ((np.zeros((1, 50)), float("nan")), ValueError, "fs is nan"),
        ((np.zeros((1, 50)), "fast"), TypeError, "fs is 'fast'; it must be a number"),
        ((np.zeros((1, 50), bool), 500), TypeError, "ecg has dtype bool"),
        ((np.zeros((1, 50), complex), 500), TypeError, "ecg has dtype complex128"),
        ((np.zeros((1, 50)), 500, -1), ValueError, "max_beats is -1"),
        ((np.zeros((1, 50)), 500, 2.5), TypeError, "max_beats is 2.5; it must be an integer"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_arguments(args, error, message, torch_in):
    ecg, fs, most = (*args, None)[:3]
    with pytest.raises(error, match=message):
        pc.detect_rpeaks(torch.from_numpy(ecg) if torch_in else ecg, fs, max_beats=most)


@pytest.mark.parametrize("shape, dtype", [((2, 900), torch.float32), ((2, 3, 900), torch.int16)])
@pytest.mark.parametrize("most", [None, 5])
def test_opcheck(shape, dtype, most):
    opcheck(torch.ops.physioclr.detect_rpeaks.default, ((100 * torch.randn(shape)).to(dtype), 250.0, most))


def test_compiles_in_one_graph():
    f = torch.compile(lambda x: pc.detect_rpeaks(x * 2, 250).index + 1, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 2, 1000)
    assert torch.equal(f(x), pc.detect_rpeaks(x, 250).index + 1)
