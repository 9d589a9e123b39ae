"""augment beside copying the batch, plain torch and the peers that are installed (ecg-augmentations, torch-ecg).

pytest benchmarks/bench_augment.py                        # one core; pin it (taskset -c 1) on a shared machine
pytest benchmarks/bench_augment.py --benchmark-timer=time.process_time      # where others use the machine too

256 records of 12 leads x 5000 samples (61 MB), float32, p = 1. The seven-step chain: wander, Gaussian noise, powerline,
gain, time warp, time mask, lead dropout.
"""

import numpy as np
import pytest
import torch

import physioclr as pc
from physioclr.ops.augment import _augment_rows
from physioclr.ops.augment.plan import FIELDS

B, L, T, FS = 256, 12, 5000, 500.0
CHAIN = (
    "baseline_wander",
    "gaussian_noise",
    "powerline",
    "amplitude_scale",
    "time_warp",
    "time_mask",
    "lead_dropout",
)


@pytest.fixture(scope="module")
def batch():
    x = np.random.default_rng(0).normal(0, 0.25, (B, L, T)).astype(np.float32)
    before = torch.get_num_threads(), pc.info()["threads"]
    torch.set_num_threads(1)
    pc.set_num_threads(1)
    yield x, np.tile(np.arange(100, T, 400, dtype=np.int32), (B, 1))
    torch.set_num_threads(before[0])
    pc.set_num_threads(before[1])


def run(benchmark, f, slow=False):
    with torch.no_grad():
        benchmark.pedantic(f, rounds=2 if slow else 7, warmup_rounds=1)
    benchmark.extra_info["ns per sample"] = round(benchmark.stats.stats.min * 1e9 / (B * L * T), 2)


def same_work(benchmark, what):
    """Rows of a group are compared, so they do the same: ours and the peers' of one augmentation."""
    benchmark.group = f"{what}, {B} x {L} x {T}"


def plan(*names):
    return pc.Augment(**{n: FIELDS[n](p=1) for n in names})


@pytest.mark.benchmark(group="copy of the batch")
def test_copy(benchmark, batch):
    run(benchmark, batch[0].copy)


@pytest.mark.parametrize(
    "name", ["copy", "crop", "shuffle r", "shuffle tp", "time_warp", "rr_scale", "gaussian_noise", "seven steps"]
)
def test_out(benchmark, batch, name):
    """As above without the time in which the system clears the pages of a fresh result."""
    same_work(benchmark, f"{name}, into a buffer that is there")
    x, r = batch
    out = np.zeros_like(x)
    if name == "copy":
        return run(benchmark, lambda: np.copyto(out, x))
    if name.startswith("shuffle"):
        p = pc.Augment(beat_shuffle=pc.BeatShuffle(p=1, cut=name.split()[1]))
    else:
        p = plan(*CHAIN) if name == "seven steps" else plan(name)
    run(benchmark, lambda: pc.augment(x, p, fs=FS, seed=1, rpeaks=r, out=out))


@pytest.mark.parametrize("name", FIELDS)
def test_field(benchmark, batch, name):
    same_work(benchmark, name)
    run(benchmark, lambda: pc.augment(batch[0], plan(name), fs=FS, seed=1, rpeaks=batch[1]))


@pytest.mark.parametrize("cut", ["r", "tp"])
def test_shuffle_beats(benchmark, batch, cut):
    same_work(benchmark, "beat_shuffle")
    run(benchmark, lambda: pc.shuffle_beats(*batch, seed=1, cut=cut))


@pytest.mark.parametrize("names", [CHAIN, tuple(FIELDS)], ids=["seven steps", "all twelve"])
def test_chain(benchmark, batch, names):
    same_work(benchmark, "seven steps" if names == CHAIN else "all twelve")
    run(benchmark, lambda: pc.augment(batch[0], plan(*names), fs=FS, seed=1, rpeaks=batch[1]))


@pytest.mark.parametrize("form", ["two views", "from int16", "to float16"])
def test_chain_forms(benchmark, batch, form):
    same_work(benchmark, f"seven steps, {form}")
    x, r = batch
    given = {"two views": dict(seed=[1, 2]), "from int16": dict(seed=1, scale=0.005), "to float16": dict(seed=1)}[form]
    x = (x / 0.005).astype(np.int16) if form == "from int16" else x
    dtype = "float16" if form == "to float16" else None
    run(benchmark, lambda: pc.augment(x, plan(*CHAIN), fs=FS, rpeaks=r, dtype=dtype, **given))


@pytest.mark.benchmark(group="several cores")  # by the wall clock: not with --benchmark-timer=time.process_time
@pytest.mark.parametrize("threads", [1, 2])
def test_scaling(benchmark, batch, threads):
    x, r = batch
    out = np.zeros_like(x)
    pc.set_num_threads(threads)
    try:
        run(benchmark, lambda: pc.augment(x, plan(*CHAIN), fs=FS, seed=1, rpeaks=r, out=out))
    finally:
        pc.set_num_threads(1)


@pytest.mark.benchmark(group="gathered from int16")
@pytest.mark.parametrize("form", ["in the kernel", "before it"])
def test_gather(benchmark, batch, form):
    """Two views of a batch of stored segments: read where they lie, or gathered and dequantised with NumPy first."""
    stored = np.random.default_rng(0).integers(-2000, 2000, (64, L, 2 * T)).astype(np.int16)
    rows, starts = np.arange(B) % 64, np.arange(B) * 17 % T
    given = dict(fs=FS, seed=(1, 2))
    scale = np.full((64, L), 0.001, np.float32)
    if form == "in the kernel":
        return run(benchmark, lambda: _augment_rows(stored, rows, starts, T, plan(*CHAIN), scale=scale, **given))

    def before():
        raw = stored[rows[:, None, None], np.arange(L)[:, None], starts[:, None, None] + np.arange(T)]
        return pc.augment(raw * scale[rows][:, :, None], plan(*CHAIN), **given)

    run(benchmark, before)


@pytest.mark.parametrize("what", ["Gaussian noise", "warp"])
def test_plain_torch(benchmark, batch, what):
    same_work(benchmark, {"Gaussian noise": "gaussian_noise", "warp": "time_warp"}[what])
    x = torch.from_numpy(batch[0])
    if what == "Gaussian noise":
        return run(benchmark, lambda: x + 0.01 * torch.randn_like(x))

    def warp():
        t = torch.linspace(-1, 1, T)
        grid = (t + 0.01 * torch.sin(torch.pi * t)).expand(B, 1, T)
        grid = torch.stack([grid, torch.zeros_like(grid)], -1)
        return torch.nn.functional.grid_sample(x[:, :, None], grid, align_corners=True)

    run(benchmark, warp, slow=True)


@pytest.mark.parametrize("name", [*CHAIN, "seven steps"])
def test_ecg_augmentations(benchmark, batch, name):
    same_work(benchmark, name)
    ea = pytest.importorskip("ecg_augmentations")
    steps = {
        "baseline_wander": ea.BaselineWander(FS),
        "gaussian_noise": ea.GaussianNoise(),
        "powerline": ea.PowerlineNoise(FS),
        "amplitude_scale": ea.AmplitudeScale(),
        "time_warp": ea.RandomTimeWarp(),
        "time_mask": ea.TimeMask(FS),
        "lead_dropout": ea.LeadMask(),
    }
    transform = ea.Compose(list(steps.values())) if name == "seven steps" else steps[name]
    x = torch.from_numpy(batch[0])
    run(benchmark, lambda: transform(x), slow=True)


def test_torch_ecg_wander(benchmark, batch):
    same_work(benchmark, "baseline_wander")
    wander = pytest.importorskip("torch_ecg.augmenters.baseline_wander")
    augmenter = wander.BaselineWanderAugmenter(int(FS), prob=1.0, inplace=False)
    x = torch.from_numpy(batch[0])
    run(benchmark, lambda: augmenter(x, None), slow=True)
