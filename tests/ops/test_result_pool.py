"""set_result_pool: memory of large results that nobody holds any more is used again, and no other."""

import gc

import numpy as np
import pytest
import torch

import physioclr as pc
from physioclr import _core

ECG = np.random.default_rng(0).normal(size=(64, 12, 2000)).astype(np.float32)  # 6 MB
PLAN = pc.Augment(gaussian_noise=pc.GaussianNoise(p=1.0))


@pytest.fixture
def pool():
    pc.set_result_pool(64 << 20)
    yield
    pc.set_result_pool(0)
    assert _core.result_pool_held() == 0


def noisy(x=ECG, seed=0, **options):
    return pc.augment(x, PLAN, fs=500, seed=seed, **options)[0]


def address(x):
    return x.data_ptr() if isinstance(x, torch.Tensor) else x.ctypes.data


def test_is_off_at_first():
    noisy()
    gc.collect()
    assert _core.result_pool_held() == 0


@pytest.mark.parametrize(
    "x", [ECG, torch.from_numpy(ECG), torch.from_numpy(ECG).double()], ids=["numpy", "torch", "float64"]
)
def test_memory_is_used_again(pool, x):
    want = noisy(x)
    keep = want.clone() if isinstance(x, torch.Tensor) else want.copy()
    at = address(want)
    del want
    assert _core.result_pool_held() >= keep.nbytes
    again = noisy(x)
    assert address(again) == at
    assert _core.result_pool_held() == 0
    assert (again == keep).all()


def test_bfloat16(pool):
    x = torch.from_numpy(ECG)
    at = address(noisy(x, dtype=torch.bfloat16).clone())
    small = noisy(x, dtype=torch.bfloat16)  # 3 MB: not of the pool
    assert small.dtype == torch.bfloat16 and small.shape == x.shape and at
    large = noisy(torch.cat([x, x]), dtype=torch.bfloat16)
    before = address(large)
    del large
    assert address(noisy(torch.cat([x, x]), dtype=torch.bfloat16)) == before


def test_a_view_holds_the_memory(pool):
    view = noisy()[3, 2]
    kept = view.copy()
    other = noisy(seed=1)
    assert _core.result_pool_held() == 0
    assert (view == kept).all() and not np.shares_memory(view, other)


def test_the_limit_holds(pool):
    pc.set_result_pool(8 << 20)
    a, b = noisy(), noisy(seed=1)
    del a, b
    assert _core.result_pool_held() == 6 << 20  # one of two
    pc.set_result_pool(1 << 20)
    assert _core.result_pool_held() == 0
    noisy()
    assert _core.result_pool_held() == 0


@pytest.mark.parametrize("wrong, error", [(-1, ValueError), ("1", TypeError), (1.5, TypeError), (None, TypeError)])
def test_wrong_sizes(wrong, error):
    with pytest.raises(error, match="nbytes is"):
        pc.set_result_pool(wrong)
