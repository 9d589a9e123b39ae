"""What a call costs before any work is done: every op on the least input, NumPy and torch, beside an empty call.

    pytest benchmarks/bench_overhead.py --benchmark-columns=min,median

The rows to compare with: an empty operator registered with torch, and the smallest call into the extension.
"""

import numpy as np
import pytest
import torch

import physioclr as pc
from physioclr import _core

FS = 500.0
RNG = np.random.default_rng(0)
ONE_LEAD = RNG.normal(size=(1, 5)).astype(np.float32)  # too short for a beat: checks, allocation, launch and back
TWELVE = RNG.normal(size=(1, 12, 5)).astype(np.float32)
NO_PEAKS = np.full((1, 2), -1, np.int32)
ROWS = RNG.normal(size=(2, 3)).astype(np.float32)
EMBEDDINGS, VIEWS = RNG.normal(size=(4, 3)).astype(np.float32), RNG.normal(size=(2, 4, 3)).astype(np.float32)
PLAN = pc.Augment(gaussian_noise=pc.GaussianNoise(p=1.0))

CALLS = {
    "detect_rpeaks": (lambda x: pc.detect_rpeaks(x, FS), (ONE_LEAD,)),
    "delineate": (lambda x, r: pc.delineate(x, FS, r), (ONE_LEAD, NO_PEAKS)),
    "physio_features": (lambda x, r: pc.physio_features(x, FS, r), (TWELVE, NO_PEAKS)),
    "hrv": (lambda r: pc.hrv(r, FS), (NO_PEAKS,)),
    "physio_similarity": (lambda a: pc.physio_similarity(a), (ROWS,)),
    "physio_neighbors": (lambda a: pc.physio_neighbors(a, k=1), (ROWS,)),
    "shuffle_beats": (lambda x, r: pc.shuffle_beats(x, r, seed=0), (TWELVE, NO_PEAKS)),
    "augment": (lambda x: pc.augment(x, PLAN, fs=FS, seed=0), (TWELVE,)),
    "peak_reconstruction_loss": (lambda x, r: pc.peak_reconstruction_loss(x, x, r, FS), (TWELVE, NO_PEAKS)),
}


@pytest.fixture(autouse=True)
def one_thread():
    before, torch_before = _core.num_threads(), torch.get_num_threads()
    pc.set_num_threads(1)
    torch.set_num_threads(1)
    yield
    pc.set_num_threads(before)
    torch.set_num_threads(torch_before)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("op", CALLS)
def test_call(benchmark, op, library):
    f, arrays = CALLS[op]
    benchmark.group = op
    benchmark(f, *(arrays if library == "numpy" else map(torch.from_numpy, arrays)))


def loss(anchor, views, features):
    return pc.hybrid_contrastive_loss(anchor, views, features)


def test_loss(benchmark):
    benchmark.group = "hybrid_contrastive_loss, forward"
    benchmark(loss, *map(torch.from_numpy, (EMBEDDINGS, VIEWS, EMBEDDINGS)))


def test_loss_forward_backward(benchmark):
    benchmark.group = "hybrid_contrastive_loss, forward + backward"
    anchor, views, features = map(torch.from_numpy, (EMBEDDINGS, VIEWS, EMBEDDINGS))
    anchor.requires_grad_()
    benchmark(lambda: loss(anchor, views, features).backward())


def test_empty_call_of_the_extension(benchmark):
    benchmark.group = "the floor: an empty call"
    benchmark(_core.num_threads)


def test_empty_torch_operator(benchmark):
    library = torch.library.Library("physioclr_overhead", "DEF")
    library.define("nothing(Tensor x) -> Tensor")
    library.impl("nothing", lambda x: torch.empty((1,)), "CPU")
    benchmark.group = "the floor: an empty call"
    benchmark(torch.ops.physioclr_overhead.nothing.default, torch.from_numpy(ROWS))
