import numpy as np
import pytest
import torch
from augment_plans import peaks_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

import physioclr as pc
from physioclr import reference

OP = torch.ops.physioclr.shuffle_beats.default


@pytest.mark.parametrize("cut", ["r", "tp"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 2, 151), (5, 12, 1134), (2, 3, 700)])
def test_matches_reference(backend, rng, cut, shape):
    to, back = backend
    ecg, index = rng.normal(size=shape).astype(np.float32), peaks_of(rng, shape[0], shape[-1], 11)
    got, peaks = pc.shuffle_beats(to(ecg), to(index), seed=3, cut=cut)
    want, new = reference.shuffle_beats(ecg, index, seed=3, cut=cut)
    np.testing.assert_array_equal(back(peaks.index), new)
    np.testing.assert_array_equal(back(peaks.count), (new >= 0).sum(1))
    np.testing.assert_allclose(back(got), want, atol=2e-7 * np.abs(ecg).max(), rtol=0)


@pytest.fixture
def ramp():
    """A record whose value is its own index, with 8 beats of different lengths."""
    r = np.array([[37, 90, 160, 241, 333, 436, 550, 675, -1]], np.int32)
    return np.arange(800, dtype=np.float64)[None], r


def test_r_cut_permutes_the_stretches_between_the_peaks(ramp):
    ecg, r = ramp
    out, peaks = pc.shuffle_beats(ecg, r, seed=1)
    new = peaks.index[0, :8]
    np.testing.assert_array_equal(np.sort(out[0]), ecg[0])  # nothing lost, nothing doubled
    np.testing.assert_array_equal(out[0, :37], ecg[0, :37])
    np.testing.assert_array_equal(out[0, 675:], ecg[0, 675:])
    np.testing.assert_array_equal(np.sort(np.diff(new)), np.sort(np.diff(r[0, :8])))
    assert set(out[0, new]) == set(r[0, :8])  # an R peak stands at each new index
    assert not np.array_equal(new, r[0, :8])


def test_tp_cut_keeps_beats_whole(ramp):
    ecg, r = ramp
    out, peaks = pc.shuffle_beats(ecg, r, seed=1, cut="tp", fs=500.0)
    new = peaks.index[0, :8]
    assert set(out[0, new]) == set(r[0, :8])
    for k in new:  # 10 samples on either side of R come from one beat (the joints blend 2 samples on either side)
        np.testing.assert_array_equal(np.diff(out[0, k - 10 : k + 10]), 1.0)


def test_cross_fade_has_no_step(rng):
    ecg = np.ones((1, 4, 1000))
    out, _ = pc.shuffle_beats(ecg, np.arange(50, 1000, 90)[None], seed=0, cut="tp", fs=1000.0)
    np.testing.assert_allclose(out, 1.0, rtol=1e-15)


def test_leads_share_the_permutation(ramp):
    ecg, r = ramp
    out, _ = pc.shuffle_beats(np.stack([ecg, -ecg, 2 * ecg], axis=1), r, seed=5)
    np.testing.assert_array_equal(out[:, 1], -out[:, 0])
    np.testing.assert_array_equal(out[:, 2], 2 * out[:, 0])


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("cut", ["r", "tp"])
def test_fewer_than_three_peaks_is_the_identity(rng, n, cut):
    ecg = rng.normal(size=(1, 2, 300))
    r = np.array([[10, 150][:n] + [-1] * (4 - n)])
    out, peaks = pc.shuffle_beats(ecg, r, seed=9, cut=cut)
    np.testing.assert_array_equal(out, ecg)
    np.testing.assert_array_equal(peaks.index, r)


def test_every_order_is_drawn_equally_often():
    """Three segments have six orders; over 6000 records each comes 1000 times (SD 29)."""
    ecg = np.tile(np.repeat(np.arange(5.0), 10), (6000, 1))
    r = np.tile([10, 20, 30, 40], (6000, 1))
    out, _ = pc.shuffle_beats(ecg, r, seed=2)
    orders, counts = np.unique(out[:, 10:40:10], axis=0, return_counts=True)
    assert len(orders) == 6
    assert np.all(np.abs(counts - 1000) < 5 * 29)


def test_depends_on_seed_and_sample_id_alone(rng):
    ecg, r = rng.normal(size=(6, 2, 900)), np.tile(np.arange(40, 900, 70), (6, 1))
    ids = np.array([5, 17, -3, 2**40, 0, 99])
    whole, peaks = pc.shuffle_beats(ecg, r, seed=4, sample_id=ids)
    for b in range(6):
        one, peak = pc.shuffle_beats(ecg[b : b + 1], r[b : b + 1], seed=4, sample_id=ids[b : b + 1])
        np.testing.assert_array_equal(one[0], whole[b])
        np.testing.assert_array_equal(peak.index[0], peaks.index[b])
    assert not np.array_equal(pc.shuffle_beats(ecg, r, seed=5, sample_id=ids)[0], whole)


@pytest.mark.parametrize("cut", ["r", "tp"])
def test_same_as_augment_with_beat_shuffle(rng, cut):
    ecg, r = rng.normal(size=(4, 3, 900)), np.tile(np.arange(40, 900, 70), (4, 1))
    plan = pc.Augment(beat_shuffle=pc.BeatShuffle(p=1.0, cut=cut))
    a, pa = pc.augment(ecg, plan, fs=500, seed=8, rpeaks=r)
    b, pb = pc.shuffle_beats(ecg, r, seed=8, cut=cut)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(pa.index, pb.index)


def test_missing_samples_move_with_their_beat(ramp):
    ecg, r = ramp
    ecg[0, 170:175] = np.nan
    ecg[0, 5] = np.inf
    out, _ = pc.shuffle_beats(ecg, r, seed=1)
    assert np.isnan(out).sum() == 5 and np.isinf(out[0, 5])


def test_rpeaks_quality_is_carried(ramp):
    ecg, r = ramp
    peaks = pc.shuffle_beats(ecg, pc.RPeaks(r, np.array([8]), np.array([0.25], np.float32)), seed=1)[1]
    assert peaks.quality[0] == 0.25


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_dtype_is_kept(rng, dtype):
    ecg = torch.from_numpy(rng.normal(size=(2, 12, 400))).to(getattr(torch, dtype))
    r = torch.arange(20, 400, 50).expand(2, -1)
    out, _ = pc.shuffle_beats(ecg, r, seed=1)
    assert out.dtype == ecg.dtype
    assert torch.equal(out.double(), pc.shuffle_beats(ecg.double(), r, seed=1)[0])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_peaks(data):
    samples = data.draw(st.integers(1, 60))
    r = sorted(data.draw(st.sets(st.integers(0, samples - 1), max_size=12)))
    cut = data.draw(st.sampled_from(["r", "tp"]))
    fs = data.draw(st.sampled_from([50.0, 500.0, 4000.0]))
    ecg, r = np.arange(samples, dtype=np.float64)[None] ** 2, np.array([[*r, -1]])
    got, peaks = pc.shuffle_beats(ecg, r, seed=11, cut=cut, fs=fs)
    want, new = reference.shuffle_beats(ecg, r, seed=11, cut=cut, fs=fs)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    np.testing.assert_array_equal(peaks.index, new)
    assert np.all(np.diff(new[0, : peaks.count[0]]) > 0)


@pytest.mark.parametrize(
    "kwargs, error, message",
    [
        (dict(ecg=np.zeros((1, 1, 1, 5))), ValueError, r"ecg has shape \(1, 1, 1, 5\)"),
        (dict(rpeaks=np.array([[3, 3]])), ValueError, r"rpeaks\[0, 1\] is 3; each row must be rising"),
        (dict(rpeaks=np.array([[3, 100]])), ValueError, r"rpeaks\[0, 1\] is 100; .* from 0 to 99"),
        (dict(rpeaks=np.array([[3, -1, 7]])), ValueError, r"rpeaks\[0, 2\] is 7"),
        (dict(rpeaks=np.array([[-2, 7]])), ValueError, r"rpeaks\[0, 0\] is -2"),
        (dict(rpeaks=np.zeros((2, 3), int)), ValueError, "rpeaks has 2 rows; it must have 1"),
        (dict(rpeaks=np.zeros((1, 3))), TypeError, "rpeaks has dtype float64"),
        (dict(rpeaks=None), TypeError, "rpeaks is None"),
        (dict(cut="qrs"), ValueError, "cut is 'qrs'"),
        (dict(seed=-1), ValueError, "seed is -1"),
        (dict(fs=0), ValueError, "fs is 0"),
        (dict(sample_id=np.zeros(2, int)), ValueError, r"sample_id has shape \(2,\)"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_arguments(kwargs, error, message, torch_in):
    kwargs = dict(ecg=np.zeros((1, 100)), rpeaks=np.array([[3, 7, 20, -1]]), seed=0) | kwargs
    if torch_in:
        kwargs = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    with pytest.raises(error, match=message):
        pc.shuffle_beats(**kwargs)


R = torch.tensor([[4, 11, 17, 29, -1], [-1, -1, -1, -1, -1]])


@pytest.mark.parametrize("cut", ["r", "tp"])
def test_opcheck_and_gradient(cut):
    ecg = torch.randn(2, 3, 40, dtype=torch.float64, requires_grad=True)
    opcheck(OP, (ecg, R, None, 5, cut, 1000.0))
    opcheck(torch.ops.physioclr.shuffle_beats_bwd.default, (ecg.detach(), R, None, 5, cut, 1000.0))
    assert torch.autograd.gradcheck(lambda x: pc.shuffle_beats(x, R, seed=5, cut=cut, fs=1000)[0], (ecg,))


def test_compiles_in_one_graph():
    def f(x, r):
        return pc.shuffle_beats(x * 2, r, seed=3)

    ecg = torch.randn(2, 3, 40)
    out, peaks = torch.compile(f, fullgraph=True, backend="aot_eager")(ecg, R)
    want, new = f(ecg, R)
    assert torch.equal(out, want) and torch.equal(peaks.index, new.index)
