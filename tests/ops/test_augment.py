import numpy as np
import pytest
import torch
from augment_plans import NOISES, ONE_FIELD, PLANS, peaks_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.library import opcheck

import physioclr as pc
from physioclr import _core, reference

OP = torch.ops.physioclr.augment.default


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 130), (4, 2, 151), (5, 12, 1134), (2, 3, 513)])
def test_matches_reference(backend, rng, plan, shape):
    to, back = backend
    ecg, index = rng.normal(size=shape).astype(np.float32), peaks_of(rng, shape[0], shape[-1], 9)
    ids = np.array([7, 2**40 + 1, -5, 0, 123456])[: shape[0]]
    args = dict(fs=250.0, seed=2**62 + 5)
    got, peaks = pc.augment(to(ecg), PLANS[plan], **args, sample_id=to(ids), rpeaks=to(index))
    want, new = reference.augment(ecg, PLANS[plan], **args, sample_id=ids, rpeaks=index)
    np.testing.assert_array_equal(back(peaks.index), new)
    # float32 sums of numbers below 5: 2^-24 of that, a few times
    np.testing.assert_allclose(back(got), want, atol=1e-6, rtol=0)
    assert got.dtype == to(ecg).dtype


@pytest.mark.parametrize("plan", PLANS)
def test_float64_is_computed_in_float64(rng, plan):
    ecg, index = rng.normal(size=(3, 12, 700)), peaks_of(rng, 3, 700, 9)
    got, _ = pc.augment(ecg, PLANS[plan], fs=500, seed=1, rpeaks=index)
    want, _ = reference.augment(ecg, PLANS[plan], fs=500, seed=1, rpeaks=index)
    # noise (below 0.2 mV) and the weights of the interpolation are float32
    exact = plan in ("beat_shuffle", "crop", "time_mask", "lead_dropout", "vcg_rotation", "amplitude_scale")
    np.testing.assert_allclose(got, want, atol=1e-13 if exact else 1e-6, rtol=0)


@pytest.mark.parametrize("plan", PLANS)
def test_depends_on_seed_and_sample_id_alone(rng, plan):
    """Any order, any split, any number of threads, any array library."""
    ecg, index = rng.normal(size=(7, 12, 900)).astype(np.float32), peaks_of(rng, 7, 900, 9)
    ids = rng.integers(-(2**50), 2**50, 7)

    def run(rows, to=lambda x: x):
        return pc.augment(to(ecg[rows]), PLANS[plan], fs=500, seed=6, sample_id=to(ids[rows]), rpeaks=to(index[rows]))[
            0
        ]

    whole, order = run(np.arange(7)), np.array([3, 6, 0, 1, 5, 4, 2])
    np.testing.assert_array_equal(run(order), whole[order])
    np.testing.assert_array_equal(np.concatenate([run(np.arange(3)), run(np.arange(3, 7))]), whole)
    np.testing.assert_array_equal(run(np.arange(7), torch.from_numpy).numpy(), whole)
    before = _core.num_threads()
    try:
        for n in (1, 2, 3):
            _core.set_num_threads(n)
            np.testing.assert_array_equal(run(np.arange(7)), whole)
    finally:
        _core.set_num_threads(before)
    again = pc.augment(ecg, PLANS[plan], fs=500, seed=7, sample_id=ids, rpeaks=index)[0]
    assert not np.array_equal(again, whole)


def test_default_sample_ids_count_from_zero(rng):
    ecg = rng.normal(size=(4, 3, 100))
    a = pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=6)[0]
    b = pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=6, sample_id=range(4))[0]
    np.testing.assert_array_equal(a, b)


def test_fields_do_not_disturb_each_other(rng):
    """Each field draws from its own stream: what it adds is the same whatever else is on."""
    ecg = np.zeros((4, 12, 600))
    total = sum(pc.augment(ecg, PLANS[n], fs=500, seed=1)[0] for n in NOISES)
    both = pc.augment(ecg, pc.Augment(**{n: ONE_FIELD[n] for n in NOISES}), fs=500, seed=1)[0]
    np.testing.assert_allclose(both, total, atol=1e-7)


OFF = {
    "beat_shuffle": [pc.BeatShuffle(p=0)],
    "time_warp": [pc.TimeWarp(p=0), pc.TimeWarp(p=1, speed=0)],
    "rr_scale": [pc.RrScale(p=0), pc.RrScale(p=1, factor=1)],
    "crop": [pc.Crop(p=0), pc.Crop(p=1, kept=1)],
    "vcg_rotation": [pc.VcgRotation(p=0), pc.VcgRotation(p=1, angle=0)],
    "muscle_noise": [pc.MuscleNoise(p=0), pc.MuscleNoise(p=1, rms=0), pc.MuscleNoise(p=1, band=(300, 400))],
    "time_mask": [pc.TimeMask(p=0)] + [pc.TimeMask(p=1, **k) for k in (dict(spans=0), dict(duration=0), dict(most=0))],
    "lead_dropout": [pc.LeadDropout(p=0), pc.LeadDropout(lead=0), pc.LeadDropout(kept=12), pc.LeadDropout(dropped=0)],
    "amplitude_scale": [pc.AmplitudeScale(p=0), pc.AmplitudeScale(p=1, gain=1)],
    "baseline_wander": [pc.BaselineWander(p=0), pc.BaselineWander(p=1, amplitude=0)],
    "powerline": [pc.Powerline(p=0), pc.Powerline(p=1, amplitude=0), pc.Powerline(p=1, frequency=230.0)],
    "gaussian_noise": [pc.GaussianNoise(p=0), pc.GaussianNoise(p=1, sd=0)],
}  # fmt: skip


@pytest.mark.parametrize("name, field", [(n, f) for n, fs in OFF.items() for f in fs])
def test_nothing_to_do_is_the_exact_identity(rng, name, field):
    ecg, r = rng.normal(size=(3, 12, 700)).astype(np.float32), peaks_of(rng, 3, 700, 9)
    ecg[0, 0, :3] = [-0.0, np.nan, np.inf]
    out, peaks = pc.augment(ecg, pc.Augment(**{name: field}), fs=500, seed=1, rpeaks=r)
    assert out.tobytes() == ecg.tobytes() and out is not ecg
    np.testing.assert_array_equal(peaks.index, r)


def test_every_field_is_tested():
    assert set(ONE_FIELD) == set(OFF) == set(pc.Augment.__dataclass_fields__)


# ---- inputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [*NOISES, "lead_dropout", "time_mask", "amplitude_scale"])
def test_missing_samples_stay_where_they_are(rng, plan):
    ecg = rng.normal(size=(3, 12, 700)).astype(np.float32)
    ecg[0, 3, 100:150], ecg[1, :, 7], ecg[2, 5] = np.nan, -np.inf, np.nan
    r = np.tile([50, 250, 450], (3, 1))
    got = pc.augment(ecg, PLANS[plan], fs=500, seed=1, rpeaks=r)[0]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(ecg))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(ecg))
    clean = pc.augment(np.nan_to_num(ecg, posinf=0, neginf=0), PLANS[plan], fs=500, seed=1, rpeaks=r)[0]
    there = np.isfinite(ecg)
    np.testing.assert_array_equal(got[there], clean[there])


def test_int16_with_scale(rng):
    raw = rng.integers(-3000, 3000, (3, 12, 400)).astype(np.int16)
    for scale in (0.005, np.linspace(0.001, 0.012, 12)):
        got = pc.augment(raw, PLANS["every"], fs=500, seed=1, rpeaks=[[30, 130, 250]] * 3, scale=scale)[0]
        mv = raw * np.float32(np.reshape(scale, (-1, 1)))
        want = pc.augment(mv, PLANS["every"], fs=500, seed=1, rpeaks=[[30, 130, 250]] * 3)[0]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-6)
        t = pc.augment(torch.from_numpy(raw), PLANS["every"], fs=500, seed=1, rpeaks=[[30, 130, 250]] * 3, scale=scale)[
            0
        ]
        np.testing.assert_array_equal(t.numpy(), got)


@pytest.mark.parametrize("plan", PLANS)
def test_two_views_in_one_call(backend, rng, plan):
    to, back = backend
    ecg, index = rng.normal(size=(3, 12, 700)).astype(np.float32), peaks_of(rng, 3, 700, 9)
    given = pc.RPeaks(to(index), to((index >= 0).sum(1).astype(np.int32)), to(np.array([1, 0.5, 0], np.float32)))
    both, peaks = pc.augment(to(ecg), PLANS[plan], fs=500, seed=[4, 9], rpeaks=given)
    for v, seed in enumerate((4, 9)):
        one, peak = pc.augment(to(ecg), PLANS[plan], fs=500, seed=seed, rpeaks=given)
        np.testing.assert_array_equal(back(both)[v], back(one))
        for got, want in zip(peaks, peak, strict=True):
            np.testing.assert_array_equal(back(got)[v], back(want))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_result_in_half_precision(rng, dtype):
    ecg = torch.from_numpy(rng.normal(size=(3, 12, 700)).astype(np.float32))
    ecg[0, 0, :6] = torch.tensor([1e-7, -3e-6, 65519.0, 65520.0, float("nan"), -float("inf")])
    for plan in (pc.Augment(), PLANS["gaussian_noise"]):
        got = pc.augment(ecg, plan, fs=500, seed=1, dtype=dtype)[0]
        want = pc.augment(ecg, plan, fs=500, seed=1)[0].to(dtype)
        assert got.dtype == dtype
        torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)
    assert pc.augment(ecg.numpy(), plan, fs=500, seed=1, dtype=np.float16)[0].dtype == np.float16


def test_every_half_is_read_and_written_as_it_is():
    bits = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        ecg = bits.view(dtype)[None]
        same = pc.augment(ecg, pc.Augment(), fs=500, seed=1)[0]
        torch.testing.assert_close(same, ecg, rtol=0, atol=0, equal_nan=True)
        single = pc.augment(ecg, pc.Augment(), fs=500, seed=1, dtype="float32")[0]
        torch.testing.assert_close(single, ecg.float(), rtol=0, atol=0, equal_nan=True)


def test_gradient_of_several_views_and_dtypes():
    ecg = torch.randn(2, 2, 31, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pc.augment(x, PLANS["every"], fs=500, seed=(3, 8), rpeaks=R)[0], (ecg,))
    half = torch.randn(2, 12, 31, dtype=torch.bfloat16, requires_grad=True)
    pc.augment(half, PLANS["every"], fs=500, seed=3, rpeaks=R, dtype="float16")[0].float().sum().backward()
    assert half.grad.dtype == torch.bfloat16 and half.grad.isfinite().all()


@pytest.mark.parametrize("plan", PLANS)
def test_vector_code_gives_the_same_bits(rng, plan):
    ecg, index = rng.normal(size=(3, 12, 1300)).astype(np.float32), peaks_of(rng, 3, 1300, 9)
    results = []
    try:
        for level in (0, 1, 2):
            _core.testing.limit_isa(level)
            results.append(pc.augment(ecg, PLANS[plan], fs=500, seed=1, rpeaks=index)[0])
    finally:
        _core.testing.limit_isa(2)
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept(rng, dtype):
    ecg = torch.from_numpy(rng.normal(size=(2, 12, 300))).to(dtype)
    got = pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=1)[0]
    want = pc.augment(ecg.float(), PLANS["gaussian_noise"], fs=500, seed=1)[0]
    assert got.dtype == dtype and torch.equal(got, want.to(dtype))


def test_strided_input_and_peaks(rng):
    ecg = rng.normal(size=(4, 2, 300, 3)).astype(np.float32)[::2, :, :, 1]
    got = pc.augment(ecg, PLANS["every"], fs=500, seed=1, rpeaks=np.tile(np.arange(10, 250, 30), (4, 1))[::2])[0]
    want = pc.augment(ecg.copy(), PLANS["every"], fs=500, seed=1, rpeaks=np.tile(np.arange(10, 250, 30), (2, 1)))[0]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("shape", [(0, 12, 100), (2, 0, 100), (2, 12, 0), (0, 100)])
def test_empty(shape):
    ecg = np.zeros(shape, np.float32)
    out, peaks = pc.augment(ecg, PLANS["every"], fs=500, seed=1, rpeaks=np.zeros((shape[0], 0), np.int32))
    assert out.shape == shape and peaks.index.shape == (shape[0], 0)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_settings(data):
    samples, leads = data.draw(st.integers(1, 300)), data.draw(st.sampled_from([1, 2, 12, 15]))
    r = sorted(data.draw(st.sets(st.integers(0, samples - 1), max_size=6)))
    unit = st.floats(0, 1)
    plan = pc.Augment(
        beat_shuffle=pc.BeatShuffle(data.draw(unit), data.draw(st.sampled_from(["r", "tp"]))),
        time_mask=pc.TimeMask(
            1, (0, data.draw(unit)), (0, data.draw(st.integers(0, 8))), data.draw(unit), data.draw(unit)
        ),
        lead_dropout=pc.LeadDropout(1, data.draw(unit), data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20))),
        baseline_wander=pc.BaselineWander(1, 0.1, (data.draw(unit), 1)),
        powerline=pc.Powerline(1, 0.1, data.draw(st.floats(1, 1000))),
        muscle_noise=pc.MuscleNoise(1, 0.1, (data.draw(st.floats(0, 100)), 150)),
        gaussian_noise=pc.GaussianNoise(1, (0, data.draw(unit))),
    )
    args = dict(fs=data.draw(st.floats(50, 4000)), seed=data.draw(st.integers(0, 2**63 - 1)))
    args |= dict(sample_id=[data.draw(st.integers(-(2**63), 2**63 - 1))], rpeaks=np.array([[*r, -1]]))
    ecg = np.ones((1, leads, samples))
    got, peaks = pc.augment(ecg, plan, **args)
    want, new = reference.augment(ecg, plan, **args)
    np.testing.assert_allclose(got, want, atol=3e-6)
    np.testing.assert_array_equal(peaks.index, new)


# ---- errors -------------------------------------------------------------------------------------------------------

ECG = np.zeros((2, 3, 50), np.float32)


@pytest.mark.parametrize(
    "kwargs, error, message",
    [
        (dict(plan=None), TypeError, "plan is None; it must be an Augment"),
        (dict(plan=PLANS["beat_shuffle"]), ValueError, "rpeaks is None, but the plan looks at R peaks"),
        (dict(plan=PLANS["time_mask"]), ValueError, "rpeaks is None, but the plan looks at R peaks"),
        (dict(plan=PLANS["rr_scale"]), ValueError, "rpeaks is None, but the plan looks at R peaks"),
        (dict(ecg=ECG[None]), ValueError, r"ecg has shape \(1, .*50\); it must be"),
        (dict(ecg=ECG.astype(np.int32)), TypeError, "ecg has dtype int32"),
        (dict(ecg=ECG.astype(np.int16)), ValueError, "ecg is int16 without scale"),
        (dict(scale=0.1), ValueError, "scale is given, but ecg has dtype"),
        (dict(ecg=ECG.astype(np.int16), scale=np.ones(4)), ValueError, r"scale has shape \(4,\)"),
        (dict(dtype="int8"), ValueError, "dtype is 'int8'"),
        (dict(dtype="float64"), ValueError, "dtype is 'float64', but ecg is computed in float32"),
        (dict(seed=[]), ValueError, "seed is empty"),
        (dict(seed=[1, -2]), ValueError, "seed is -2"),
        (dict(fs=20), ValueError, "fs is 20"),
        (dict(fs=float("nan")), ValueError, "fs is nan"),
        (dict(seed=-1), ValueError, "seed is -1"),
        (dict(sample_id=np.zeros(2)), TypeError, "sample_id has dtype float64"),
        (dict(sample_id=np.zeros(3, int)), ValueError, r"sample_id has shape \(3,\)"),
        (dict(rpeaks=np.array([[3, 2], [1, 2]])), ValueError, r"rpeaks\[0, 1\] is 2"),
        (dict(rpeaks=np.array([3, 2])), ValueError, "rpeaks has 1 rows; it must have 2"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_arguments(kwargs, error, message, torch_in):
    kwargs = dict(ecg=ECG, plan=PLANS["gaussian_noise"], fs=500, seed=0) | kwargs
    if torch_in:
        kwargs = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    with pytest.raises(error, match=message):
        pc.augment(**kwargs)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: pc.GaussianNoise(p=1.5), ValueError, r"gaussian_noise\.p is 1\.5"),
        (lambda: pc.GaussianNoise(sd=-1), ValueError, r"gaussian_noise\.sd is -1"),
        (lambda: pc.GaussianNoise(sd=(0.2, 0.1)), ValueError, r"gaussian_noise\.sd is \(0\.2, 0\.1\); its low end"),
        (lambda: pc.GaussianNoise(sd="big"), TypeError, r"gaussian_noise\.sd is 'big'"),
        (lambda: pc.GaussianNoise(sd=(float("nan"), 1)), ValueError, r"gaussian_noise\.sd is nan"),
        (lambda: pc.AmplitudeScale(gain=(1, 2, 3)), TypeError, r"amplitude_scale\.gain is \(1, 2, 3\)"),
        (lambda: pc.BeatShuffle(cut="qrs"), ValueError, r"beat_shuffle\.cut is 'qrs'"),
        (lambda: pc.TimeMask(spans=(1, 9)), ValueError, r"time_mask\.spans is 9"),
        (lambda: pc.TimeMask(spans=1.5), TypeError, r"time_mask\.spans is 1\.5"),
        (lambda: pc.TimeMask(most=2), ValueError, r"time_mask\.most is 2"),
        (lambda: pc.LeadDropout(lead=2), ValueError, r"lead_dropout\.lead is 2"),
        (lambda: pc.LeadDropout(kept=1.5), TypeError, r"lead_dropout\.kept is 1\.5"),
        (lambda: pc.BaselineWander(band=(0.1, 50)), ValueError, r"baseline_wander\.band is 50"),
        (lambda: pc.TimeWarp(speed=0.6), ValueError, r"time_warp\.speed is 0\.6"),
        (lambda: pc.RrScale(factor=(0.1, 1)), ValueError, r"rr_scale\.factor is 0\.1"),
        (lambda: pc.Crop(kept=1.2), ValueError, r"crop\.kept is 1\.2"),
        (lambda: pc.VcgRotation(angle=(-200, 0)), ValueError, r"vcg_rotation\.angle is -200"),
        (lambda: pc.MuscleNoise(band=(-1, 5)), ValueError, r"muscle_noise\.band is -1"),
        (lambda: pc.Powerline(frequency=0), ValueError, r"powerline\.frequency is 0"),
        (lambda: pc.Augment(powerline=pc.GaussianNoise()), TypeError, "powerline is GaussianNoise"),
        (
            lambda: pc.Augment(powerline=0.5),
            TypeError,
            r"powerline is 0\.5; it must be Powerline\(\.\.\.\), True or None",
        ),
    ],
)
def test_bad_plans(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_plans_are_values():
    assert pc.Augment(powerline=True) == pc.Augment(powerline=pc.Powerline())
    assert hash(pc.Augment.preserving()) == hash(pc.Augment.preserving()) != hash(pc.Augment.standard())
    assert pc.GaussianNoise(sd=0.1) == pc.GaussianNoise(sd=(0.1, 0.1))
    assert all(getattr(pc.Augment.standard(), name) is not None for name in ONE_FIELD)
    with pytest.raises(AttributeError):
        pc.Augment().powerline = None


# ---- torch --------------------------------------------------------------------------------------------------------

R = torch.tensor([[4, 11, 17, 29, -1], [-1, -1, -1, -1, -1]])


@pytest.mark.parametrize("plan", PLANS)
def test_gradient(plan):
    ecg = torch.randn(2, 2, 31, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pc.augment(x, PLANS[plan], fs=500, seed=3, rpeaks=R)[0], (ecg,))


def test_opcheck():
    ecg = torch.randn(2, 3, 40, dtype=torch.float64, requires_grad=True)
    opcheck(OP, (ecg, R, torch.tensor([4, 5]), None, PLANS["every"]._text, 500.0, [3, 4]))
    opcheck(torch.ops.physioclr.augment_bwd.default, (ecg.detach()[None], R, None, PLANS["every"]._text, 500.0, [3]))


def test_opcheck_without_peaks_and_with_scale():
    flat = PLANS["gaussian_noise"]._text
    opcheck(OP, (torch.randn(2, 40), None, None, None, flat, 500.0, [3]))
    opcheck(OP, (torch.ones(2, 3, 40, dtype=torch.int16), None, None, torch.ones(3), flat, 500.0, [3], "bfloat16"))


def test_module():
    ecg, r, ids = torch.randn(2, 12, 300), torch.tensor([[50, 150, 250]] * 2), torch.tensor([8, 9])
    module = pc.nn.Augmentation(PLANS["every"], 500, seed=5, views=2)
    first, peaks = module(ecg, r, ids)
    assert first.shape == (2, 2, 12, 300) and peaks.index.shape == (2, 2, 3)
    seed = pc.view_seed(5, 0, 1)
    assert torch.equal(first[1], pc.augment(ecg, PLANS["every"], fs=500, seed=seed, sample_id=ids, rpeaks=r)[0])
    module.set_epoch(1)
    assert not torch.equal(module(ecg, r, ids)[0], first)
    module.set_epoch(0)
    assert torch.equal(module(ecg, r, ids)[0], first)
    assert torch.equal(module.eval()(ecg, r, ids)[0], ecg.expand(2, -1, -1, -1))
    assert "views=2" in repr(module)
    with pytest.raises(TypeError, match="plan is None"):
        pc.nn.Augmentation(None, 500)
    with pytest.raises(ValueError, match="views is 0"):
        pc.nn.Augmentation(PLANS["every"], 500, views=0)


def test_compiles_in_one_graph():
    def f(x, r):
        return pc.augment(x * 2, PLANS["every"], fs=500, seed=3, rpeaks=r)

    ecg = torch.randn(2, 3, 40)
    out, peaks = torch.compile(f, fullgraph=True, backend="aot_eager")(ecg, R)
    want, new = f(ecg, R)
    assert torch.equal(out, want) and torch.equal(peaks.index, new.index)
