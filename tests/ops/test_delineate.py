import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import FIELDS, synthetic_ecg
from torch.library import opcheck

import physioclr as pc
from physioclr import reference


def delineate_one(s, fs=500.0, **kwargs):
    """field -> (P,) float positions of one synthetic lead, NaN where absent."""
    d = pc.delineate(s.ecg[None], fs, s.rpeaks[None], **kwargs)
    return {f: np.where(v[0] < 0, np.nan, v[0]) for f, v in d._asdict().items()}


def worst(got, s, field, fs=500.0):
    """Largest error in ms over the beats that have the wave; every one of them must be found."""
    there = np.isfinite(s.truth[field])
    assert np.isfinite(got[field][there]).all(), field
    return np.abs(got[field] - s.truth[field])[there].max() * 1000 / fs


# Most of the tolerance is convention: where a Gaussian ends is one (2.5 SD here), the readers whose marks set the
# constants are another (they begin the QRS some 8 ms before one lead shows it, and make unusual widths more usual).
TOLERANCE = dict(p_on=12, p_peak=8, p_off=12, qrs_on=12, qrs_off=12, t_on=30, t_peak=12, t_off=18)
CASES = {
    "plain": {},
    "inverted P": dict(p_amp=-0.12),
    "inverted T": dict(t_amp=-0.25),
    "negative QRS": dict(r_amp=-1.0),
    "low voltage": dict(r_amp=0.25, p_amp=0.05, t_amp=0.06),
    "fast": dict(rate=130, qt=0.30, t_duration=0.15, pr=0.13, p_duration=0.08),
    "slow": dict(rate=40, qt=0.45),
    "first-degree block": dict(pr=0.28),
    "baseline wander": dict(wander=0.2),
    "wide notched QRS": dict(bundle_branch_block=True, qrs=0.15, qt=0.44),
}


@pytest.mark.parametrize("case", CASES)
def test_finds_the_true_boundaries(case):
    s = synthetic_ecg(**CASES[case])
    got = delineate_one(s)
    for f in FIELDS:
        assert worst(got, s, f) <= TOLERANCE[f], f


@pytest.mark.parametrize("fs", [50, 90, 128, 250, 257, 360, 1000, 4000])
def test_every_sampling_rate(fs):
    s = synthetic_ecg(fs=fs, seconds=6)
    got = delineate_one(s, fs)
    for f in FIELDS:
        assert worst(got, s, f, fs) <= TOLERANCE[f] + 1000 / fs, f  # at 50 Hz a sample is 20 ms


def test_noise():
    s = synthetic_ecg(noise=0.02, wander=0.2, seconds=30)
    got = delineate_one(s)
    for f in FIELDS:
        error = np.abs(got[f] - s.truth[f]) * 2
        assert np.nanmean(error) <= TOLERANCE[f], f


@pytest.mark.parametrize("level", [0.2, -0.15])
def test_st_deviation_is_not_taken_for_the_t_wave(level):
    s = synthetic_ecg(st=level)
    got = delineate_one(s)
    for f in ("qrs_on", "qrs_off", "t_off"):
        assert worst(got, s, f) <= TOLERANCE[f], f
    assert worst(got, s, "t_peak") <= 20


def test_ectopic_beats_have_no_p():
    s = synthetic_ecg(ectopic={3, 7})
    got = delineate_one(s)
    assert np.isnan(got["p_peak"][[3, 7]]).all()
    assert np.isfinite(np.delete(got["p_peak"], [3, 7])).all()
    assert worst(got, s, "qrs_off") <= TOLERANCE["qrs_off"]


@pytest.mark.parametrize("wave", ["p", "t"])
def test_biphasic_waves_are_whole(wave):
    s = synthetic_ecg(**{f"{wave}_biphasic": True})
    got = delineate_one(s)
    for edge in ("on", "off"):
        assert worst(got, s, f"{wave}_{edge}") <= 20, edge  # a phase is as short as the smoothing
    middle = 0.5 * (s.truth[f"{wave}_on"] + s.truth[f"{wave}_off"])
    width = s.truth[f"{wave}_off"] - s.truth[f"{wave}_on"]
    np.testing.assert_allclose(np.abs(got[f"{wave}_peak"] - middle) / width, 0.2, atol=0.1)  # on one of the phases


@pytest.mark.parametrize("seed", range(4))
def test_fibrillation_has_no_p(seed):
    beats = np.cumsum(np.random.default_rng(seed).uniform(0.5, 1.0, 16))
    s = synthetic_ecg(seconds=13, beats=beats, p_absent=True, fibrillation=0.05, noise=0.005, seed=seed)
    got = delineate_one(s)
    assert np.isnan(got["p_on"]).all()
    assert np.isfinite(got["qrs_on"]).all() and np.isfinite(got["t_off"]).all()


def test_sinus_arrhythmia_keeps_its_p():
    rr = 0.85 + 0.15 * np.sin(np.arange(14) * 0.9)
    s = synthetic_ecg(seconds=13, beats=0.6 + np.cumsum(rr) - rr[0], noise=0.01)
    assert np.isfinite(delineate_one(s)["p_on"][1:]).all()


def test_absent_p_is_absent():
    s = synthetic_ecg(p_absent=True, noise=0.005)
    assert np.isnan(delineate_one(s)["p_on"]).all()


def test_batches_lengths_and_backends_agree(backend):
    to, back = backend
    for seconds in (0.1, 0.3, 1.3, 4.0):
        s = [synthetic_ecg(seconds=seconds, rate=r, beats=[0.05] if seconds < 1 else None) for r in (60, 90, 140)]
        peaks = np.full((3, 12), -1)
        for b, one in enumerate(s):
            peaks[b, : len(one.rpeaks)] = np.minimum(one.rpeaks, len(one.ecg) - 1)[:12]
        ecg = np.stack([one.ecg for one in s])
        d = pc.delineate(to(ecg), 500, to(peaks))
        for b in range(3):
            alone = pc.delineate(ecg[b : b + 1], 500, peaks[b : b + 1])
            for f in FIELDS:
                v = back(getattr(d, f))
                assert v.dtype == np.int32 and v.shape == (3, 12)
                np.testing.assert_array_equal(v[b], getattr(alone, f)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_and_strides(dtype):
    s = synthetic_ecg(seconds=5)
    x = torch.from_numpy(np.repeat(s.ecg, 2)[None]).to(dtype)[:, ::2]
    d = pc.delineate(x, 500, s.rpeaks[None])
    expected = pc.delineate(x.float().numpy(), 500, s.rpeaks[None])
    for f in FIELDS:
        np.testing.assert_array_equal(getattr(d, f), getattr(expected, f))


def twelve_leads(**kwargs):
    s = synthetic_ecg(**kwargs)
    gains = np.array([0.6, 1.0, 0.5, -0.8, 0.3, 0.7, -0.4, 0.4, 0.8, 1.1, 1.0, 0.8])
    return s, s.ecg * gains[:, None]


def test_leads_by_name_index_mean_and_all():
    s, ecg = twelve_leads()
    x, r = ecg[None], s.rpeaks[None]
    every = pc.delineate(x, 500, r, lead="all")
    assert every.p_on.shape == (1, 13, r.shape[1])
    for i, lead in ((1, "II"), (6, "v1"), (11, -1), (3, 3)):
        one = pc.delineate(x, 500, r, lead=lead)
        alone = pc.delineate(x[:, i], 500, r)
        for f in FIELDS:
            np.testing.assert_array_equal(getattr(one, f), getattr(every, f)[:, i])
            np.testing.assert_array_equal(getattr(one, f), getattr(alone, f))
    mean = pc.delineate(x, 500, r, lead="mean")
    averaged = pc.delineate(ecg.astype(np.float32).mean(axis=0, dtype=np.float64)[None], 500, r)
    for f in FIELDS:
        np.testing.assert_array_equal(getattr(mean, f), getattr(averaged, f))


def test_consensus_withstands_a_bad_lead(rng):
    s, ecg = twelve_leads(noise=0.003)
    good = pc.delineate(ecg[None], 500, s.rpeaks[None], lead="all")
    for bad in (rng.normal(size=ecg.shape[1]), np.zeros(ecg.shape[1]), np.full(ecg.shape[1], np.nan)):
        spoilt = ecg.copy()
        spoilt[4] = bad
        d = pc.delineate(spoilt[None], 500, s.rpeaks[None], lead="all")
        for f in FIELDS:
            a, b = getattr(d, f)[0, -1], getattr(good, f)[0, -1]
            assert (a >= 0).all() and np.abs(a - b).max() <= 10, f  # 20 ms
        for f in FIELDS:  # the other leads are untouched
            np.testing.assert_array_equal(
                np.delete(getattr(d, f)[0], [4, 12], axis=0), np.delete(getattr(good, f)[0], [4, 12], axis=0)
            )


RECORDINGS = {
    "plain": {},
    "noise": dict(noise=0.03, wander=0.3, rate=83),
    "long": dict(seconds=33, rate=95, noise=0.01),  # several blocks of beats
    "fibrillation": dict(p_absent=True, fibrillation=0.08, noise=0.01, beats=[0.4, 1.0, 1.9, 2.4, 3.3, 4.1, 4.6, 5.6]),
    "ectopic": dict(ectopic={2, 5, 6}, noise=0.01),
    "biphasic": dict(p_biphasic=True, t_biphasic=True, noise=0.003),
    "two beats": dict(seconds=2.0, noise=0.01),
    "nothing but noise": dict(r_amp=0.0, p_amp=0.0, t_amp=0.0, noise=0.1),
}


@pytest.mark.parametrize("case", RECORDINGS)
@pytest.mark.parametrize("fs", [128, 250, 500, 1000])
def test_matches_reference(case, fs):
    s = synthetic_ecg(fs=fs, **({"seconds": 8, "noise": 1e-4} | RECORDINGS[case]))
    ecg = np.stack([s.ecg, -0.4 * s.ecg[::-1], s.ecg + 0.02 * np.roll(s.ecg, 9)])
    ecg[1, 3 * fs : 3 * fs + 7] = np.nan
    expected = reference.delineate(ecg[None], fs, s.rpeaks[None], lead="all")
    for f, v in pc.delineate(ecg[None], fs, s.rpeaks[None], lead="all")._asdict().items():
        np.testing.assert_array_equal(v, getattr(expected, f), err_msg=f)


@pytest.mark.parametrize("fs", [250, 500, 1000])
@pytest.mark.parametrize("height", [0.5, -2.0])
def test_the_qrs_begins_after_a_pacing_spike(fs, height):
    s = synthetic_ecg(fs=fs, seconds=8, noise=1e-4, bundle_branch_block=True, qrs=0.15, p_absent=True)
    x = s.ecg.copy()
    for on in s.truth["qrs_on"].astype(int) - int(0.03 * fs):
        x[on : on + max(1, round(0.002 * fs))] += height
    got, plain = pc.delineate(x[None], fs, s.rpeaks[None]), pc.delineate(s.ecg[None], fs, s.rpeaks[None])
    expected = reference.delineate(x[None], fs, s.rpeaks[None])
    for f in FIELDS:
        np.testing.assert_array_equal(getattr(got, f), getattr(expected, f), err_msg=f)
        if f[0] != "p":
            np.testing.assert_array_equal(getattr(got, f), getattr(plain, f), err_msg=f)


def test_flat_and_missing_leads_have_no_waves():
    x = np.stack([np.zeros(2000), np.full(2000, 1.7), np.full(2000, np.nan), np.full(2000, np.inf)])
    d = pc.delineate(x, 500, np.tile([100, 600, 1100], (4, 1)))
    for f in FIELDS:
        assert (getattr(d, f) == -1).all()


def test_a_gap_takes_only_its_own_beats():
    s = synthetic_ecg(noise=0.002)
    whole = delineate_one(s)
    holed = s._replace(ecg=s.ecg.copy())
    k = 5
    holed.ecg[s.rpeaks[k] - 30 : s.rpeaks[k] + 250] = np.nan
    holed.ecg[s.rpeaks[k]] = np.inf
    got = delineate_one(holed)
    for f in FIELDS:
        if f != "p_on" and f != "p_peak" and f != "p_off":
            assert np.isnan(got[f][k]), f
        others = np.delete(np.arange(len(s.rpeaks)), [k, k + 1])
        # not equal: the average over the beats that places the waves has one or two beats less
        assert np.abs(got[f][others] - whole[f][others]).max() <= 1, f
        assert np.nanmax(np.abs(got[f][k + 1] - whole[f][k + 1])) <= 5


@pytest.mark.parametrize("field", FIELDS)
def test_without_noise_a_gap_moves_nothing_elsewhere(field):
    s = synthetic_ecg(seconds=12)
    whole, k = delineate_one(s), 6
    for first, last in ((-30, 250), (60, 220), (-100, -40), (-30, 720)):  # all, the T, the P; and the next beat, too
        holed = s._replace(ecg=s.ecg.copy())
        holed.ecg[s.rpeaks[k] + first : s.rpeaks[k] + last] = np.nan
        got = delineate_one(holed)
        others = np.delete(np.arange(len(s.rpeaks)), [k, k + 1])
        # one sample: at a sampling phase of its own each beat adds its share to the average
        np.testing.assert_allclose(got[field][others], whole[field][others], atol=1)


def test_single_missing_samples_beside_the_waves_do_no_harm():
    s = synthetic_ecg()
    holed = s._replace(ecg=s.ecg.copy())
    holed.ecg[np.arange(7, len(s.ecg), 301)] = np.nan
    got, whole = delineate_one(holed), delineate_one(s)
    for f in FIELDS:
        both = np.isfinite(got[f])
        assert both.mean() > 0.6
        assert np.abs(got[f] - whole[f])[both].max() <= 5


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 700),
    st.integers(0, 9),
    st.sampled_from([50.0, 130.0, 250.0, 500.0, 4000.0]),
)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore:delineate. ecg has a median:UserWarning")
def test_any_signal_gives_ordered_boundaries_inside(seed, samples, beats, fs):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1, samples)) * 10 ** rng.uniform(-4, 4) + rng.choice([0, 100])
    x[:, rng.random(samples) < rng.choice([0, 0.01, 0.5])] = rng.choice([np.nan, np.inf, -np.inf])
    r = np.full((1, 9), -1)
    beats = min(beats, samples)
    r[0, :beats] = np.sort(rng.choice(samples, beats, replace=False)) if beats else []
    d = pc.delineate(x, fs, r)
    v = np.stack(d)
    assert ((v >= -1) & (v < max(samples, 1))).all() and (v[:, 0, beats:] == -1).all()
    for wave in ((0, 1, 2), (3, 4), (5, 6, 7)):
        there = v[wave[0]] >= 0
        for a, b in itertools.pairwise(wave):
            np.testing.assert_array_equal(v[b] >= 0, there)
            assert (v[a][there] <= v[b][there]).all()


def test_accepts_rpeaks_tuple_and_empty_inputs():
    s = synthetic_ecg()
    peaks = pc.RPeaks(s.rpeaks[None].astype(np.int32), np.array([len(s.rpeaks)], np.int32), np.ones(1, np.float32))
    for a, b in zip(pc.delineate(s.ecg[None], 500, peaks), pc.delineate(s.ecg[None], 500, s.rpeaks[None]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert pc.delineate(np.zeros((0, 100)), 500, np.zeros((0, 3), int)).p_on.shape == (0, 3)
    assert pc.delineate(np.zeros((2, 100)), 500, np.zeros((2, 0), int)).p_on.shape == (2, 0)
    assert pc.delineate(np.zeros((2, 3, 0)), 500, np.full((2, 4), -1), lead="all").p_on.shape == (2, 4, 4)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (
            dict(ecg=np.zeros((1, 1, 1, 100))),
            ValueError,
            r"ecg has shape \(1, 1, 1, 100\); it must be \(records, samples\) or",
        ),
        (dict(ecg=np.zeros((1, 100), complex)), TypeError, "ecg has dtype complex128"),
        (dict(fs=49.0), ValueError, "fs is 49.0"),
        (dict(fs=float("nan")), ValueError, "fs is nan"),
        (
            dict(rpeaks=np.zeros((1, 1, 2), int)),
            ValueError,
            r"rpeaks has shape \(1, 1, 2\); it must be",
        ),
        (dict(rpeaks=np.array([[10], [50]])), ValueError, "rpeaks has 2 rows; it must have 1"),
        (dict(rpeaks=np.array([[10.0, 50.0]])), TypeError, "rpeaks has dtype float64"),
        (
            dict(rpeaks=np.array([[10, 100]])),
            ValueError,
            r"rpeaks\[0, 1\] is 100; each row must be rising sample indices from 0 to 99",
        ),
        (dict(rpeaks=np.array([[10, -2]])), ValueError, r"rpeaks\[0, 1\] is -2"),
        (dict(rpeaks=np.array([[50, 10]])), ValueError, r"rpeaks\[0, 1\] is 10; each row must be rising"),
        (dict(rpeaks=np.array([[50, 50]])), ValueError, r"rpeaks\[0, 1\] is 50; each row must be rising"),
        (dict(rpeaks=np.array([[-1, 50]])), ValueError, r"rpeaks\[0, 1\] is 50; each row must be rising"),
        (dict(ecg=np.zeros((1, 2, 100))), ValueError, "lead is 'II', a name, but ecg has 2 leads"),
        (dict(ecg=np.zeros((1, 12, 100)), lead="X"), ValueError, "lead is 'X'; it must be one of"),
        (dict(ecg=np.zeros((1, 2, 100)), lead=2), ValueError, "lead is 2; it must be from -2 to 1"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_arguments(change, error, message, torch_in):
    args = dict(ecg=np.zeros((1, 100)), fs=500.0, rpeaks=np.array([[10, 50]]), lead="II") | change
    if torch_in:
        args = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in args.items()}
    ecg, fs, rpeaks = args.pop("ecg"), args.pop("fs"), args.pop("rpeaks")
    with pytest.raises(error, match=message):
        pc.delineate(ecg, fs, rpeaks, **args)


@pytest.mark.parametrize("lead", ["II", "all", "mean", "3"])
def test_opcheck(lead):
    s, ecg = twelve_leads(seconds=3)
    opcheck(
        torch.ops.physioclr.delineate.default,
        (torch.from_numpy(ecg[None]), 500.0, torch.from_numpy(s.rpeaks[None]), lead),
    )


def test_compiles_in_one_graph():
    s = synthetic_ecg(seconds=4)
    x, r = torch.from_numpy(s.ecg[None]), torch.from_numpy(s.rpeaks[None])
    f = torch.compile(lambda a: pc.delineate(a * 2, 500.0, r).t_off + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(f(x), pc.delineate(x * 2, 500.0, r).t_off + 1)
