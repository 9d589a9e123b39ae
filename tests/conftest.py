"""Shared fixtures: the array libraries an op is tested with, and a seeded generator."""

import os

import numpy as np
import pytest
import torch

from physioclr import _core

# Tests that start an interpreter want the installed package, not the source folder that pytest was called from.
os.environ.setdefault("PYTHONSAFEPATH", "1")

NO_GPU = pytest.mark.skipif(_core.cuda_device_count() == 0, reason="no CUDA device")


@pytest.fixture
def rng():
    return np.random.default_rng(20240917)


@pytest.fixture(params=["numpy", "torch", pytest.param("torch-cuda", marks=[pytest.mark.cuda, NO_GPU])])
def backend(request):
    """(to, back): `to` makes an array of this backend from a NumPy array, `back` a NumPy array from a result."""
    if request.param == "numpy":
        return (lambda x: x), (lambda x: x)
    device = "cuda" if request.param.endswith("cuda") else "cpu"
    return (lambda x: torch.from_numpy(np.array(x)).to(device)), (lambda x: x.cpu().numpy())
