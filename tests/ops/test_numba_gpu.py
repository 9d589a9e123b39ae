"""The CUDA path of delineation and features: in the simulator, compiled to PTX, and on a GPU where there is one."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import NO_GPU
from feature_kernel import assert_equal_features
from synthetic import synthetic_ecg

import physioclr as pc
from physioclr.ops._numba.gpu import resampling_filter

HERE = Path(__file__).parents[1] / "support"


def records(fs, seconds=3.0):
    """(2, 3, T) leads, one with a gap, one flat, and R peaks (2, P)."""
    a = synthetic_ecg(fs=fs, seconds=seconds, noise=0.01, rate=90)
    b = synthetic_ecg(fs=fs, seconds=seconds, noise=0.02, rate=75, p_absent=True, fibrillation=0.05, seed=1)
    ecg = np.stack(
        [np.stack([a.ecg, -0.4 * a.ecg, np.zeros_like(a.ecg)]), np.stack([b.ecg, 0.3 * b.ecg + 0.1, -b.ecg])]
    ).astype(np.float32)
    ecg[0, 1, int(1.2 * fs) : int(1.3 * fs)] = np.nan
    ecg[0, 0, 5] = np.inf
    spike = int(0.04 * fs)  # paced: a spike before each of these beats, on every lead
    for r in b.rpeaks[1:]:
        ecg[1, :, r - spike : r - spike + 2] += np.float32(0.8)
    peaks = np.full((2, 6), -1, np.int64)
    peaks[0, : len(a.rpeaks)], peaks[1, : len(b.rpeaks)] = a.rpeaks[:6], b.rpeaks[:6]
    return ecg, peaks


def simulate(tmp_path, ecg, peaks, fs, **settings):
    np.savez(tmp_path / "in.npz", ecg=ecg, rpeaks=peaks, fs=fs, **settings)
    done = subprocess.run(
        [sys.executable, HERE / "numba_simulator.py", tmp_path / "in.npz", tmp_path / "out.npz"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(np.load(tmp_path / "out.npz"))


def test_simulator_gives_the_results_of_the_cpu(tmp_path):
    ecg, peaks = records(500)
    got = simulate(tmp_path, ecg, peaks, 500, lead="all", leads=[1, -1, 0], segment=1.5, qtc="bazett", threads=2)
    for f, v in pc.delineate(ecg, 500, peaks, lead="all")._asdict().items():
        np.testing.assert_array_equal(got[f], v, err_msg=f)
    want, paced = pc.physio_features(ecg, 500, peaks, lead=[1, "mean", 0], segment=1.5, qtc="bazett", return_paced=True)
    assert paced.any() and not paced.all()
    np.testing.assert_array_equal(got["paced"], paced)
    # plain Python keeps float32 where compiled code has float64 intermediates
    assert_equal_features(got["features"], want, rtol=2e-4, atol=2e-4)
    # R peaks are not checked on a device, but cut off where they are wrong
    usable = [[5, 80, -1, -1], [5, 300, -1, -1], [-1] * 4, [3, -1, -1, -1], [-1] * 4]
    np.testing.assert_array_equal(got["usable"], usable)


@pytest.mark.parametrize("fs", [128.0, 257.3, 1000.0])
def test_simulator_at_other_rates(tmp_path, fs):
    ecg, peaks = records(fs, seconds=2.5)
    got = simulate(tmp_path, ecg, peaks, fs, lead="mean", leads=[0], segment=0.0, qtc="fridericia")
    for f, v in pc.delineate(ecg, fs, peaks, lead="mean")._asdict().items():
        np.testing.assert_array_equal(got[f], v, err_msg=f)
    want, paced = pc.physio_features(ecg, fs, peaks, lead=[0], return_paced=True)
    np.testing.assert_array_equal(got["paced"], paced)
    assert_equal_features(got["features"], want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("up, down", [(2, 1), (25, 18), (1, 2), (1, 8)])
def test_resampling_filter_is_scipys(up, down):
    from scipy.signal import resample_poly

    impulse = np.zeros(401)
    impulse[200] = 1.0
    half = 10 * max(up, down)
    taps = np.zeros(2 * half + 1)
    y = resample_poly(impulse, up, down, window=("kaiser", 7.0))
    for i, v in enumerate(y):
        if 0 <= half + i * down - 200 * up < len(taps):
            taps[half + i * down - 200 * up] = v
    there = taps != 0
    np.testing.assert_allclose(resampling_filter(up, down)[there], taps[there], atol=1e-6)


def test_the_compiled_code_is_of_these_sources():
    ops = Path(pc.__file__).parent / "ops" / "_numba"
    names = ["constants", "weights", "scalar", "waves", "qrs", "beats", "delineate", "sums", "features", "leads"]
    digest = hashlib.sha256(b"".join((ops / f"{name}.py").read_bytes() for name in names)).hexdigest()[:16]
    assert f'SOURCES = "{digest}"' in (ops / "cuda.py").read_text()


def cuda_home(tmp_path):
    """A folder laid out as Numba expects CUDA's, from the nvcc on the PATH; None where its NVVM is not found."""
    nvcc = shutil.which("nvcc")
    roots = [Path(os.environ["CUDA_HOME"])] if os.environ.get("CUDA_HOME") else []
    roots += [Path(nvcc).resolve().parent.parent] if nvcc else []
    roots += [Path("/usr/local/cuda")]
    for root in roots:
        libraries = [d / "libnvvm.so" for d in (root / "nvvm" / "lib64", root / "lib", root / "lib64")]
        library = next((f for f in libraries if f.exists()), None)
        if library and (root / "nvvm" / "libdevice").is_dir():
            (tmp_path / "nvvm" / "lib64").mkdir(parents=True)
            (tmp_path / "nvvm" / "lib64" / "libnvvm.so").symlink_to(library.resolve())
            (tmp_path / "nvvm" / "libdevice").symlink_to((root / "nvvm" / "libdevice").resolve())
            (tmp_path / "lib64").symlink_to(library.resolve().parent)
            return tmp_path
    return None


@pytest.mark.slow
def test_every_kernel_compiles_to_ptx(tmp_path):
    home = cuda_home(tmp_path)
    if home is None:
        pytest.skip("no NVVM (it comes with nvcc)")
    done = subprocess.run([sys.executable, HERE / "numba_ptx.py", home], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10 and "delineate_kernel" in done.stdout


@pytest.mark.cuda
@NO_GPU
@pytest.mark.parametrize("fs", [360.0, 500.0])
@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_gpu_gives_the_results_of_the_cpu(library, fs):
    ecg, peaks = records(fs, seconds=6.0)
    if library == "torch":
        x, r = torch.from_numpy(ecg).cuda(), torch.from_numpy(peaks).cuda()
    else:
        cupy = pytest.importorskip("cupy")
        x, r = cupy.asarray(ecg), cupy.asarray(peaks)

    def back(v):
        return v.cpu().numpy() if library == "torch" else v.get()

    # the GPU contracts a * b + c to one rounding, so that a boundary may fall on the next sample
    for f, v in pc.delineate(ecg, fs, peaks, lead="all")._asdict().items():
        np.testing.assert_allclose(back(getattr(pc.delineate(x, fs, r, lead="all"), f)), v, atol=1, err_msg=f)
    got = back(pc.physio_features(x, fs, r, lead=[0, "mean"]))
    want = pc.physio_features(ecg, fs, peaks, lead=[0, "mean"])
    assert got.shape == want.shape and (np.isnan(got) == np.isnan(want)).all()
    close = np.isclose(got, want, rtol=1e-3, atol=1e-3, equal_nan=True)
    assert close.mean() > 0.98
