"""The other ways in and out of augment: a batch gathered from stored signals, results written in place."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from augment_plans import ONE_FIELD, PLANS, peaks_of
from torch.library import opcheck

import physioclr as pc
from physioclr.ops.augment import _augment_rows

STAY = [
    name
    for name in PLANS
    if not any(getattr(PLANS[name], m) for m in ("beat_shuffle", "time_warp", "rr_scale", "crop"))
]

# ---- gathered batches ---------------------------------------------------------------------------------------------


@pytest.fixture
def stored(rng):
    """int16 records (N, L, T), the scale of each of their leads, their R peaks, and the segments of a batch."""
    signals = rng.integers(-3000, 3000, (5, 12, 1000)).astype(np.int16)
    signals[2, 3, 400:500] = -32768  # not recorded
    scale = rng.uniform(0.001, 0.005, (5, 12)).astype(np.float32)
    return signals, scale, peaks_of(rng, 5, 1000, 9), np.array([2, 0, 2, 4]), np.array([0, 400, 313, 17])


def segments(stored, length):
    """The same batch as an array of mV."""
    signals, scale, peaks, rows, starts = stored
    mv = np.where(signals == -32768, np.nan, signals) * scale[..., None]
    batch = np.stack([mv[r, :, s : s + length] for r, s in zip(rows, starts, strict=True)]).astype(np.float32)
    index = np.full((len(rows), peaks.shape[1]), -1, np.int32)
    for b, (r, s) in enumerate(zip(rows, starts, strict=True)):
        own = [k - s for k in peaks[r] if s <= k < s + length]
        index[b, : len(own)] = own
    return batch, index


@pytest.mark.parametrize("plan", PLANS)
def test_gathered_batch_is_the_batch(backend, stored, plan):
    to, back = backend
    signals, scale, peaks, rows, starts = stored
    ids = np.array([5, 7, 2**40, 0])
    got, new = _augment_rows(
        to(signals), to(rows), to(starts), 600, PLANS[plan], fs=500, seed=(3, 4), sample_id=to(ids), rpeaks=to(peaks),
        scale=to(scale),
    )  # fmt: skip
    batch, index = segments(stored, 600)
    want, there = pc.augment(batch, PLANS[plan], fs=500, seed=(3, 4), sample_id=ids, rpeaks=index)
    np.testing.assert_array_equal(back(new.index), there.index)
    np.testing.assert_array_equal(back(new.count), there.count)
    np.testing.assert_array_equal(back(got), want)


def test_gathered_floats_quality_and_dtype(stored):
    _, _, peaks, rows, starts = stored
    signals = np.random.default_rng(0).normal(size=(5, 2, 1000)).astype(np.float32)
    given = pc.RPeaks(peaks, (peaks >= 0).sum(1).astype(np.int32), np.linspace(0, 1, 5, dtype=np.float32))
    args = dict(fs=500, seed=3, rpeaks=given)
    got, new = _augment_rows(signals, rows, starts, 600, PLANS["time_warp"], dtype="float16", **args)
    assert got.shape == (4, 2, 600) and got.dtype == np.float16
    np.testing.assert_array_equal(new.quality, given.quality[rows])
    as_lists, _ = _augment_rows(signals, list(rows), list(starts), 600, PLANS["time_warp"], **args)
    np.testing.assert_array_equal(as_lists.astype(np.float16), got)
    empty, _ = _augment_rows(signals, rows[:0], starts[:0], 600, PLANS["time_warp"], **args)
    assert empty.shape == (0, 2, 600)


def test_module_gathers(stored):
    signals, scale, peaks, rows, starts = (torch.from_numpy(x) for x in stored)
    module = pc.nn.Augmentation(PLANS["every"], 500, seed=5, views=2)
    got, new = module.gather(signals, rows, starts, 600, peaks, rows, scale, dtype="bfloat16")
    batch, index = (torch.from_numpy(x) for x in segments(stored, 600))
    want, there = module(batch, index, rows)
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.equal(got.nan_to_num(), want.to(torch.bfloat16).nan_to_num()) and torch.equal(new.index, there.index)
    evaluated, _ = module.eval().gather(signals, rows, starts, 600, scale=scale)
    assert torch.equal(evaluated[1].nan_to_num(), batch.nan_to_num())


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(rows=[2, 0, 5, 4]), ValueError, r"rows\[2\] is 5; it must be from 0 to 4"),
        (dict(starts=[0, 401, 3, -1]), ValueError, r"starts\[1\] is 401; it must be from 0 to 400"),
        (dict(starts=[0, 1]), ValueError, r"starts has shape \(2,\); it must be \(4,\)"),
        (dict(rows=[0.5] * 4), TypeError, "rows has dtype float64"),
        (dict(length=1001), ValueError, "length is 1001; it must be from 0 to 1000"),
        (dict(signals=np.zeros((5, 1000), np.int16)), ValueError, r"signals has shape \(5, 1000\)"),
        (dict(signals="strided"), ValueError, "signals is not C-contiguous"),
        (dict(scale=None), ValueError, "signals is int16 without scale"),
        (dict(scale=np.ones((4, 12))), ValueError, r"scale has shape \(4, 12\)"),
        (dict(rpeaks=np.zeros((4, 2), int)), ValueError, "rpeaks has 4 rows; it must have 5"),
        (dict(rpeaks=None), ValueError, "rpeaks is None, but the plan looks at R peaks"),
        (dict(sample_id=[1] * 5), ValueError, r"sample_id has shape \(5,\)"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_gathers(stored, change, error, message, torch_in):
    signals, scale, peaks, rows, starts = stored
    args = dict(signals=signals, rows=rows, starts=starts, length=600, rpeaks=peaks, scale=scale) | change
    args = {k: np.asarray(v) if isinstance(v, list) else v for k, v in args.items()}
    if isinstance(args["signals"], str):
        args["signals"] = np.zeros((5, 24, 1000), np.int16)[:, ::2]
    if torch_in:
        args = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in args.items()}
    with pytest.raises(error, match=message):
        _augment_rows(plan=PLANS["beat_shuffle"], fs=500, seed=1, **args)


def test_gather_opcheck(stored):
    signals, scale, peaks, rows, starts = (torch.from_numpy(x) for x in stored)
    signals = signals.clamp(min=-3000)  # NaN does not equal itself, opcheck would say
    op = torch.ops.physioclr.augment_gather.default
    opcheck(op, (signals, rows, starts, 600, peaks, None, scale, PLANS["every"]._text, 500.0, [3, 4], "float16"))


# ---- out ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("seed", [5, (5, 6)])
def test_out_is_the_result(backend, rng, plan, seed):
    to, back = backend
    ecg, index = rng.normal(size=(3, 12, 700)).astype(np.float32), peaks_of(rng, 3, 700, 9)
    args = dict(fs=500, seed=seed, rpeaks=to(index))
    want, there = pc.augment(to(ecg), PLANS[plan], **args)
    out = to(np.full(want.shape, 7, np.float32))
    got, new = pc.augment(to(ecg), PLANS[plan], **args, out=out)
    assert got is out
    np.testing.assert_array_equal(back(out), back(want))
    np.testing.assert_array_equal(back(new.index), back(there.index))


@pytest.mark.parametrize("plan", STAY)
@pytest.mark.parametrize("samples", [700, 120_000])  # the second is past the size that goes by the caches
def test_in_place(backend, rng, plan, samples):
    to, back = backend
    if samples > 1000 and plan not in ("gaussian_noise", "lead_dropout", "vcg_rotation"):
        return
    ecg, index = rng.normal(size=(3, 12, samples)).astype(np.float32), peaks_of(rng, 3, samples, 9)
    want, _ = pc.augment(to(ecg), PLANS[plan], fs=500, seed=5, rpeaks=to(index))
    x = to(ecg.copy())
    assert pc.augment(x, PLANS[plan], fs=500, seed=5, rpeaks=to(index), out=x)[0] is x
    np.testing.assert_array_equal(back(x), back(want))


@pytest.mark.parametrize("name", ["beat_shuffle", "shuffle_tp", "crop", "time_warp", "gaussian_noise"])
def test_results_that_go_by_the_caches(rng, name):
    """17 MB in one call are what the records give one by one."""
    ecg, index = rng.normal(size=(3, 12, 120_001)).astype(np.float32), peaks_of(rng, 3, 120_001, 99)
    ecg[1, 2, 500:700] = np.nan
    field = pc.BeatShuffle(p=1, cut="tp") if name == "shuffle_tp" else ONE_FIELD[name]
    plan = pc.Augment(**{"beat_shuffle" if name == "shuffle_tp" else name: field})
    whole, _ = pc.augment(ecg, plan, fs=500, seed=5, rpeaks=index)
    for b in range(3):
        one, _ = pc.augment(ecg[b : b + 1], plan, fs=500, seed=5, sample_id=[b], rpeaks=index[b : b + 1])
        np.testing.assert_array_equal(one[0], whole[b])


def test_in_place_half_precision(rng):
    ecg = torch.from_numpy(rng.normal(size=(3, 12, 700))).half()
    want = pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=5)[0]
    assert torch.equal(pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=5, out=ecg)[0], want)
    single = pc.augment(want, PLANS["gaussian_noise"], fs=500, seed=5, out=torch.empty(3, 12, 700))[0]
    assert torch.equal(single, pc.augment(want, PLANS["gaussian_noise"], fs=500, seed=5, dtype="float32")[0])


ECG = np.zeros((2, 3, 50), np.float32)


@pytest.mark.parametrize(
    "out, more, error, message",
    [
        (np.zeros((2, 3, 51), np.float32), {}, ValueError, r"out has shape \(2, 3, 51\); it must be \(2, 3, 50\)"),
        (np.zeros((2, 3, 50), np.float32), dict(seed=(1, 2)), ValueError, r"it must be \(2, 2, 3, 50\)"),
        (np.zeros((2, 3, 50)), {}, ValueError, "dtype is 'float64', but ecg is computed in float32"),
        (np.zeros((2, 3, 50), np.int16), {}, ValueError, "dtype is 'int16'"),
        (np.zeros((2, 3, 50), np.float32), dict(dtype="float16"), ValueError, "dtype is 'float16', but out has"),
        (np.zeros((2, 3, 100), np.float32)[..., ::2], {}, ValueError, "out is not C-contiguous"),
        (ECG, dict(plan=PLANS["crop"]), ValueError, "out lies over ecg, but the plan moves samples"),
        ([[0.0]], {}, TypeError, "out is list; it must be a"),
    ],
)
@pytest.mark.parametrize("torch_in", [False, True])
def test_bad_out(out, more, error, message, torch_in):
    ecg = ECG
    if torch_in and isinstance(out, np.ndarray):
        ecg = torch.from_numpy(ECG)
        out = (
            ecg if out is ECG else torch.from_numpy(out) if out.flags.c_contiguous else torch.zeros(2, 3, 100)[..., ::2]
        )
    elif torch_in:
        ecg = torch.from_numpy(ECG)
    with pytest.raises(error, match=message):
        pc.augment(ecg, **(dict(plan=PLANS["gaussian_noise"], fs=500, seed=1) | more), out=out)


class Lent:
    """An array of another library, whose memory NumPy reads through DLPack."""

    def __init__(self, x):
        self.x, self.dtype = x, x.dtype

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()

    def __dlpack__(self, **options):
        return self.x.__dlpack__(**options)


def read_only(kind, path):
    x = np.zeros((2, 3, 50), np.float32)
    if kind == "bytes":
        return np.frombuffer(bytes(x.nbytes), np.float32).reshape(x.shape)
    if kind == "memmap":
        x.tofile(path)
        return np.memmap(path, np.float32, "r", shape=x.shape)
    x.flags.writeable = False
    return Lent(x) if kind == "another library's" else np.broadcast_to(x, x.shape) if kind == "view" else x


@pytest.mark.parametrize("kind", ["array", "view", "bytes", "memmap", "another library's"])
def test_out_in_read_only_memory(kind, tmp_path):
    out = read_only(kind, tmp_path / "out")
    with pytest.raises(ValueError, match="out is read-only; it must be writeable"):
        pc.augment(ECG, PLANS["gaussian_noise"], fs=500, seed=1, out=out)
    assert not np.asarray(getattr(out, "x", out)).any()


def test_out_that_would_be_converted():
    swapped = np.zeros((2, 3, 50), np.dtype(np.float32).newbyteorder())
    with pytest.raises(TypeError, match=r"out has dtype .f4; it must have this machine's byte order"):
        pc.augment(ECG, PLANS["gaussian_noise"], fs=500, seed=1, out=swapped)
    with pytest.raises(TypeError, match="out is bytes; it must be a numpy array"):
        pc.augment(ECG, PLANS["gaussian_noise"], fs=500, seed=1, out=bytes(1200))
    for one, two in ((ECG, torch.zeros(2, 3, 50)), (torch.zeros(2, 3, 50), ECG)):
        with pytest.raises(TypeError, match=r"out is (Tensor|ndarray); it must be a (numpy|torch) array"):
            pc.augment(one, PLANS["gaussian_noise"], fs=500, seed=1, out=two)


def test_out_lent_by_another_library():
    mine = np.zeros((2, 3, 50), np.float32)
    want, _ = pc.augment(ECG, PLANS["gaussian_noise"], fs=500, seed=1)
    out = Lent(mine)
    assert pc.augment(ECG, PLANS["gaussian_noise"], fs=500, seed=1, out=out)[0] is out
    np.testing.assert_array_equal(mine, want)


def test_out_overlaps_partly():
    memory = np.zeros(2 * 3 * 50 + 10, np.float32)
    ecg, out = (memory[i : i + 300].reshape(2, 3, 50) for i in (0, 10))
    with pytest.raises(ValueError, match="out lies partly over ecg"):
        pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=1, out=out)


def test_out_has_no_gradient():
    ecg = torch.zeros(2, 3, 50, requires_grad=True)
    with pytest.raises(ValueError, match="requires a gradient"):
        pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=1, out=torch.empty(2, 3, 50))
    with torch.no_grad():
        pc.augment(ecg, PLANS["gaussian_noise"], fs=500, seed=1, out=torch.empty(2, 3, 50))


def test_out_opcheck_and_compile():
    ecg, r = torch.randn(2, 3, 40), torch.tensor([[4, 11, 17, 29, -1], [-1, -1, -1, -1, -1]])
    op = torch.ops.physioclr.augment_out.default
    opcheck(op, (ecg, torch.empty(2, 3, 40), r, None, None, PLANS["every"]._text, 500.0, [3]))

    def f(x, out):
        return pc.augment(x * 2, PLANS["every"], fs=500, seed=3, rpeaks=r, out=out)[0] + 1

    out = torch.compile(f, fullgraph=True, backend="aot_eager")(ecg, torch.empty(2, 3, 40))
    assert torch.equal(out, f(ecg, torch.empty(2, 3, 40)))


def test_missing_int16_samples_stay_missing(rng):
    raw = rng.integers(-3000, 3000, (2, 12, 300)).astype(np.int16)
    raw[0, 4, 50:60] = -32768
    out, _ = pc.augment(raw, PLANS["gaussian_noise"], fs=500, seed=1, scale=0.005)
    assert np.array_equal(np.isnan(out), raw == -32768)


# ---- memory -------------------------------------------------------------------------------------------------------

MEMORY = """
import resource, sys
import numpy as np
import physioclr as pc

pc.set_num_threads(1)
ecg = np.zeros((64, 12, 5000), np.float32)
ecg += 0.1  # every page is there
out = np.empty_like(ecg)
out[:] = 0
r = np.tile(np.arange(100, 5000, 400, dtype=np.int32), (64, 1))
plan = pc.Augment.standard()
pc.augment(ecg[:1], plan, fs=500, seed=1, rpeaks=r[:1], out=out[:1])  # code and tables of one record
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pc.augment(ecg, plan, fs=500, seed=2, rpeaks=r, out=out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_extra_memory_is_below_a_megabyte():
    """A batch of 15 MB through every field: the peak of the process rises by less than 1 MB."""
    result = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 1024


def test_every_field_stays_or_moves():
    assert {n for n in ONE_FIELD if n not in STAY} == {"beat_shuffle", "time_warp", "rr_scale", "crop"}


# ---- CUDA ---------------------------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.cuda
@on_gpu
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_cuda_gives_the_bits_of_the_cpu(rng, plan, dtype):
    ecg = torch.from_numpy(rng.normal(size=(5, 12, 1134))).to(getattr(torch, dtype))
    ecg[1, 3, 400:420] = float("nan")
    index = torch.from_numpy(peaks_of(rng, 5, 1134, 9))
    args = dict(fs=500, seed=range(20))  # more views than one launch takes
    want, there = pc.augment(ecg, PLANS[plan], rpeaks=index, **args)
    got, new = pc.augment(ecg.cuda(), PLANS[plan], rpeaks=index.cuda(), **args)
    torch.testing.assert_close(got.cpu(), want, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(new.index.cpu(), there.index) and torch.equal(new.count.cpu(), there.count)


@pytest.mark.cuda
@on_gpu
@pytest.mark.parametrize("plan", PLANS)
def test_cuda_gradient_has_the_bits_of_the_cpu(rng, plan):
    ecg, index = torch.from_numpy(rng.normal(size=(3, 12, 900))), torch.from_numpy(peaks_of(rng, 3, 900, 9))
    grad = torch.from_numpy(rng.normal(size=(2, 3, 12, 900)))
    results = []
    for device in ("cpu", "cuda"):
        x = ecg.to(device).requires_grad_()
        pc.augment(x, PLANS[plan], fs=500, seed=(3, 4), rpeaks=index.to(device))[0].backward(grad.to(device))
        results.append(x.grad.cpu())
    assert torch.equal(*results)


@pytest.mark.cuda
@on_gpu
def test_cuda_graph_and_bad_places(rng):
    """Nothing waits or allocates outside torch's pool, so the call can be captured; a place outside is missing."""
    signals = torch.from_numpy(rng.integers(-3000, 3000, (4, 12, 1000)).astype(np.int16)).cuda()
    rows, starts, scale = (
        torch.tensor([0, 3, 4, 1]).cuda(),
        torch.tensor([0, 5, 9, 401]).cuda(),
        torch.tensor(0.01).cuda(),
    )

    def call():
        return _augment_rows(signals, rows, starts, 600, PLANS["gaussian_noise"], fs=500, seed=(1, 2), scale=scale)[0]

    want = call()
    assert want[:, 2:].isnan().all() and want[:, :2].isfinite().all()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = call()
    graph.replay()
    torch.testing.assert_close(out, want, rtol=0, atol=0, equal_nan=True)
