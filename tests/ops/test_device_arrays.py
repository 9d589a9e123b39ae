"""Arrays on a device up to the launch, without a GPU: CuPy by a stand-in, DLPack and __cuda_array_interface__ by fake
exporters. What happens on the device itself is in test_cuda.py.
"""

import gc
import types

import fake_cupy
import numpy as np
import pytest
import torch

import physioclr as pc
from physioclr import _core, reference
from physioclr.ops._arrays import Arrays, TorchArrays, arrays_of

HERE = 1  # the device of the arrays; the current one is 0


@pytest.fixture
def kernels(monkeypatch):
    return fake_cupy.install(monkeypatch)


def cupy(values, device=HERE):
    return fake_cupy.ndarray(np.array(values), device)


def test_cupy_in_and_out(kernels, rng):
    a, b = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(9, 5)).astype(np.float32)
    got = pc.physio_similarity(cupy(a), cupy(b))
    assert isinstance(got, fake_cupy.ndarray) and got.device.id == HERE
    np.testing.assert_allclose(got._values, reference.physio_similarity(a, b), atol=2e-6)
    assert kernels.launched == ["physio_similarity"]
    assert fake_cupy.current == 0  # left as it was


def test_what_fits_is_not_copied(kernels, rng, monkeypatch):
    x = cupy(rng.normal(size=(4, 3)).astype(np.float32))
    xp, same = arrays_of(x, "a")
    assert same is x and xp.contiguous(x, "float32") is x
    assert (xp.name, xp.device, xp.stream) == ("cupy", HERE, fake_cupy.stream_of(HERE))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_strides_and_dtypes(kernels, rng, dtype):
    a = rng.normal(size=(12, 10)).astype(dtype)
    view = cupy(a)[::2, ::3]
    np.testing.assert_allclose(pc.physio_similarity(view)._values, reference.physio_similarity(a[::2, ::3]), atol=2e-6)


def test_lists_are_moved_to_the_device(kernels, rng):
    x_hat, x = rng.normal(size=(2, 3, 100)), rng.normal(size=(2, 3, 100))
    peaks = [[10, 50], [30, -1]]
    got = pc.peak_reconstruction_loss(cupy(x_hat), cupy(x), peaks, 100.0)
    want = reference.peak_reconstruction_loss(torch.from_numpy(x_hat), torch.from_numpy(x), np.array(peaks), 100.0)
    assert got == pytest.approx(float(want))


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_rpeaks_stay_on_the_device(kernels, rng, dtype):
    ecg = (1000 * rng.normal(size=(2, 3, 2000)) ** 3).astype(dtype)
    got = pc.detect_rpeaks(cupy(ecg), 500.0)
    for v, want in zip(got, pc.reference.detect_rpeaks(ecg, 500.0), strict=True):
        assert v.device.id == HERE
        np.testing.assert_array_equal(v._values, want)
    assert kernels.launched == [f"detect_rpeaks_{np.dtype(dtype).name}"]


def test_dlpack_exporter(kernels, rng):
    a = rng.normal(size=(6, 8)).astype(np.float32)
    exporter = fake_cupy.Exporter(a[:, ::2], HERE)
    got = pc.physio_similarity(exporter)
    assert isinstance(got, fake_cupy.ndarray) and got.device.id == HERE
    np.testing.assert_allclose(got._values, reference.physio_similarity(a[:, ::2]), atol=2e-6)
    assert exporter.streams == [fake_cupy.stream_of(HERE)]  # so that its owner can let that stream wait for it
    gc.collect()
    assert exporter.taken == exporter.released == 1


def test_dlpack_memory_lives_as_long_as_it_is_used(kernels, rng):
    exporter = fake_cupy.Exporter(rng.normal(size=(6, 8)).astype(np.float32), HERE)
    _, x = arrays_of(exporter, "a")
    part = x[2:]
    del x
    gc.collect()
    assert exporter.released == 0
    del part
    gc.collect()
    assert exporter.released == 1


def test_cuda_array_interface(kernels, rng):
    a = rng.normal(size=(6, 8)).astype(np.float32)
    got = pc.physio_similarity(fake_cupy.InterfaceExporter(a, HERE))
    assert got.device.id == HERE
    np.testing.assert_allclose(got._values, reference.physio_similarity(a), atol=2e-6)


def test_devices_and_libraries_do_not_mix(kernels, rng):
    a = rng.normal(size=(3, 4)).astype(np.float32)
    with pytest.raises(ValueError, match="b is on CUDA device 2; it must be on device 1"):
        pc.physio_similarity(cupy(a), cupy(a, 2))
    with pytest.raises(ValueError, match="b is on CUDA device 2; it must be on device 1"):
        pc.physio_similarity(cupy(a), fake_cupy.Exporter(a, 2))
    with pytest.raises(TypeError, match="b is a torch tensor, but the first array is cupy"):
        pc.physio_similarity(cupy(a), torch.from_numpy(a))
    with pytest.raises(TypeError, match="b is a cupy array, but the first array is numpy"):
        pc.physio_similarity(a, cupy(a))
    with pytest.raises(TypeError, match="b is in the memory of a GPU, but the first array is numpy"):
        pc.physio_similarity(a, fake_cupy.InterfaceExporter(a, HERE))


def test_host_exporters_are_numpy(rng):
    class OnHost:  # hides that it is torch
        def __init__(self, x):
            self.x = x
            self.__dlpack_device__, self.__dlpack__ = x.__dlpack_device__, x.__dlpack__

    x = torch.from_numpy(rng.normal(size=(5, 3)))
    xp, seen = arrays_of(OnHost(x), "a")
    assert type(xp) is Arrays and seen.ctypes.data == x.data_ptr()
    with pytest.raises(TypeError, match="a cannot be read as a NumPy array"):
        arrays_of(OnHost(x.to(torch.bfloat16)), "a")
    with pytest.raises(TypeError, match=r"a is on DLPack device \(8, 0\); it must be on the CPU or a CUDA device"):
        arrays_of(fake_cupy.Exporter(np.zeros(3), 0, kind=8), "a")


def test_without_cupy(monkeypatch):
    monkeypatch.setattr("physioclr.ops._arrays._core", types.SimpleNamespace(has_cuda=lambda: True))
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(TypeError, match="a is a Exporter in the memory of a GPU, which only CuPy can take over"):
        arrays_of(fake_cupy.Exporter(np.zeros(3), 0), "a")


# ---- a build without CUDA --------------------------------------------------------------------------------------------


@pytest.fixture
def without_cuda(monkeypatch):
    """As in a build without nvcc, whatever this one is."""
    no = types.SimpleNamespace(has_cuda=lambda: False)
    monkeypatch.setattr("physioclr.ops._arrays._core", no)
    return "but this physioclr was built without CUDA.*PHYSIOCLR_CUDA=ON pip install"


ECG = fake_cupy.Exporter(np.zeros((2, 3, 500), np.float32), 0)
PEAKS = np.full((2, 3), -1, np.int32)
CALLS = {
    "detect_rpeaks": lambda x: pc.detect_rpeaks(x, 500.0),
    "delineate": lambda x: pc.delineate(x, 500.0, PEAKS, lead=0),
    "physio_features": lambda x: pc.physio_features(x, 500.0, PEAKS, lead=0),
    "hrv": lambda x: pc.hrv(x, 500.0),
    "physio_similarity": lambda x: pc.physio_similarity(x),
    "physio_neighbors": lambda x: pc.physio_neighbors(x, k=1),
    "shuffle_beats": lambda x: pc.shuffle_beats(x, PEAKS, seed=0),
    "augment": lambda x: pc.augment(x, pc.Augment(), fs=500.0, seed=0),
    "peak_reconstruction_loss": lambda x: pc.peak_reconstruction_loss(x, x, PEAKS, 500.0),
}


def test_every_array_op_is_listed():
    """hybrid_contrastive_loss takes torch tensors alone; all other operations take every library's arrays."""
    from physioclr.ops._operator import OPERATORS

    launched = {name for name in OPERATORS if name in pc.__all__}
    assert launched == {*CALLS, "hybrid_contrastive_loss"}


@pytest.mark.parametrize("op", CALLS)
def test_a_device_array_without_cuda_kernels(op, without_cuda):
    with pytest.raises(TypeError, match="the first array is on a CUDA device, " + without_cuda):
        CALLS[op](ECG)


def test_a_device_tensor_without_cuda_kernels(without_cuda):
    """Every torch operator makes a TorchArrays of its first tensor before anything else (ops/_torch `register`)."""
    tensor = types.SimpleNamespace(device=torch.device("cuda", 1))
    with pytest.raises(TypeError, match="the first array is on cuda:1, " + without_cuda):
        TorchArrays(tensor)


def test_other_devices_are_refused():
    with pytest.raises(TypeError, match="the first array is on xpu:0; it must be on the CPU or on a CUDA device"):
        TorchArrays(types.SimpleNamespace(device=torch.device("xpu", 0)))


@pytest.mark.skipif(_core.has_cuda(), reason="this build has CUDA kernels")
def test_the_native_stub_says_the_same():
    with pytest.raises(RuntimeError, match=r"built without CUDA.*PHYSIOCLR_CUDA=ON"):
        _core.physio_similarity(
            0,
            0,
            a=(0, 1, 1, None),
            b=(0, 1, 1, None),
            kind=0,
            inv_width=0.0,
            form=0,
            threshold=0.0,
            scale=0,
            out=0,
        )


def test_info_names_the_backend():
    said = pc.info()["cuda"]
    if not _core.has_cuda():
        assert said.startswith("no (built without nvcc")
        return
    archs, _, driver = said.removeprefix("yes (").partition("), driver: ")
    assert all(a.startswith("sm_") for a in archs.split())
    assert driver == "none found" if _core.cuda_driver_version() == 0 else driver.startswith("CUDA ")


# ---- what a launch asks the native side for first: csrc/ops.h augment_workspace, detect_rpeaks_workspace,
# contrastive_fused_plan, driver_version, device_name ------------------------------------------------------------------

cuda_build = pytest.mark.skipif(not _core.has_cuda(), reason="this build has no CUDA kernels")


@cuda_build
def test_scratch_of_augment():
    one = _core.augment_workspace(1, 1, 12, 9)
    assert one >= 9 * 4 and one % 16 == 0  # at least the R peaks; each record's part begins aligned
    assert _core.augment_workspace(2, 3, 12, 9) == 6 * one
    assert _core.augment_workspace(1, 1, 12, 90) > one > _core.augment_workspace(1, 1, 1, 9)
    assert _core.augment_workspace(1, 0, 12, 9) == 0


@cuda_build
@pytest.mark.parametrize("records, leads, samples, fs", [(1, 1, 5000, 500.0), (3, 12, 5000, 500.0), (2, 1, 700, 50.0)])
def test_scratch_of_detect_rpeaks(records, leads, samples, fs):
    size = _core.detect_rpeaks_workspace(records, leads, samples, fs)
    working = samples // max(1, round(fs / 125))  # samples of a lead at the working rate, float32
    assert size >= records * leads * working * 4
    assert _core.detect_rpeaks_workspace(records + 1, leads, samples, fs) > size
    assert _core.detect_rpeaks_workspace(records, leads + 1, samples, fs) > size
    assert _core.detect_rpeaks_workspace(records, leads, 2 * samples, fs) > 1.5 * size
    assert _core.detect_rpeaks_workspace(0, leads, samples, fs) == 0


@cuda_build
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("width, features", [(0, 50), (257, 50), (256, 0), (256, 65)])
def test_sizes_that_the_fused_loss_leaves_to_the_tiles(width, features, split):
    assert _core.contrastive_fused_plan(width, features, split) == (0, 0)


def test_devices_that_are_not_there():
    count = _core.cuda_device_count()
    assert (_core.cuda_driver_version() > 0) >= (count > 0)  # no device without a driver
    for absent in (-1, count):
        with pytest.raises(RuntimeError, match="device_name: " if _core.has_cuda() else "built without CUDA"):
            _core.cuda_device_name(absent)
    if _core.has_cuda() and count == 0:
        with pytest.raises(RuntimeError, match="hybrid_contrastive_loss"):
            _core.contrastive_fused_plan(256, 50, False)
