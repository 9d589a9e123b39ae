"""What importing costs, and that the kernels survive a fork: each in a fresh interpreter."""

import hashlib
import importlib.metadata
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import physioclr as pc
from physioclr.ops._arrays import Arrays


def run(code: str, timeout: float = 60) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light():
    heavy = "('torch', 'numba', 'cupy', 'wfdb', 'scipy', 'sklearn', 'matplotlib', 'pandas', 'typer', 'rich')"
    assert run(f"import sys, physioclr; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_import_is_quick():
    # the bare interpreter with NumPy, which any caller has, is taken off; best of three, as other processes only add
    code = "import numpy, time; t = time.perf_counter(); import physioclr; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.3


def test_the_source_folder_says_what_it_lacks(tmp_path):
    """Python started in a clone after `pip install .` finds the folder without the extension first."""
    source = Path(pc.__file__).parent
    shutil.copytree(
        source, tmp_path / "physioclr", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "sample")
    )
    code = "import sys; sys.path.insert(0, '.'); import physioclr"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: physioclr is imported from ") and "the source folder" in last, done.stderr


def test_numpy_ops_need_no_torch():
    code = (
        "import sys, numpy as np, physioclr as pc; pc.physio_similarity(np.eye(3)); pc.info();"
        "pc.peak_reconstruction_loss(np.zeros((1, 9)), np.ones((1, 9)), [[4]], 100.0); print('torch' in sys.modules)"
    )
    assert run(code) == "False"


def test_operators_are_registered_in_either_order():
    assert run("import torch, physioclr; print(torch.ops.physioclr.physio_similarity.default)") != ""
    assert run("import physioclr.nn, torch; print(torch.ops.physioclr.physio_similarity.default)") != ""


def test_every_public_name_exists():
    for name in pc.__all__:
        assert getattr(pc, name) is not None, name


FORK = """
import numpy as np, warnings
import physioclr as pc                      # before torch, so that its OpenMP runtime comes first
a = np.random.default_rng(0).normal(size=(500, 40)).astype(np.float32)
pc.set_num_threads(2)
pc.physio_similarity(a)                     # starts a team of threads
import torch
class Rows(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, i): return torch.from_numpy(pc.physio_similarity(a[: 10 + i])).sum()
loader = torch.utils.data.DataLoader(Rows(), num_workers=2, multiprocessing_context="fork", timeout=30)
print(len(list(loader)))
"""


def test_ops_work_in_a_forked_worker():
    code = FORK if sys.version_info < (3, 12) else "import warnings; warnings.simplefilter('ignore')\n" + FORK
    assert run(code) == "8"


def test_thread_count():
    before = pc.info()["threads"]
    try:
        pc.set_num_threads(3)
        assert pc.info()["threads"] == 3
    finally:
        pc.set_num_threads(before)


def test_info_says_what_there_is():
    values = pc.info()
    assert values["physioclr"] == pc.__version__
    assert values["cuda"].startswith(("yes (sm_", "no ("))
    assert values["numba cache"].startswith(("warm", "cold"))


@pytest.mark.parametrize(
    "home",
    [False, pytest.param(True, marks=pytest.mark.skipif(sys.platform != "linux", reason="where the user's cache is"))],
)
def test_info_counts_compiled_code_of_these_sources_only(tmp_path, monkeypatch, home):
    own = Path(pc.__file__).parent / "ops" / "_numba"
    if home:  # the package is not the user's to write
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(own.parents[1])))
    else:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    chosen = tmp_path / "numba" if home else tmp_path
    folder = chosen / f"_numba_{hashlib.sha1(str(own.absolute()).encode()).hexdigest()}"
    other = chosen / "_numba_0"  # of another installation
    folder.mkdir(parents=True)
    python, numba = "py{}{}".format(*sys.version_info[:2]), importlib.metadata.version("numba")

    def write(name, version, stamp):
        (folder / f"{name}.{python}.nbi").write_bytes(pickle.dumps(version) + pickle.dumps((stamp, {})))

    def digest(name):
        return hashlib.sha256((own / name).read_bytes()).digest()

    write("cuda._mean_of_leads-1", numba, hashlib.sha256(b"an earlier text").digest())
    write("cuda._mean_of_leads-2", "0.1", digest("cuda.py"))
    (folder / "cuda._mean_of_leads-1.1.nbc").write_bytes(b"")
    shutil.copytree(folder, other)
    (other / f"cuda._mean_of_leads-3.{python}.nbi").write_bytes(
        pickle.dumps(numba) + pickle.dumps((digest("cuda.py"), {}))
    )
    assert pc.info()["numba cache"].startswith("cold")
    write("cuda._mean_of_leads-3", numba, digest("cuda.py"))
    assert pc.info()["numba cache"] == "warm (1 compiled functions)"


def test_host_kernels_refuse_a_device(monkeypatch):
    import torch

    calls = []
    monkeypatch.setattr(Arrays, "on", lambda xp, kernel: lambda **fields: calls.append((kernel, fields)) or True)
    pc.hybrid_contrastive_loss(torch.eye(3), torch.eye(3)[None], torch.eye(3))
    kernel, fields = next(c for c in calls if "contrastive_rows" in c[0].__name__)
    with pytest.raises(
        RuntimeError, match="contrastive_rows_float32 has no CUDA kernel; its arrays must be on the CPU"
    ):
        kernel(0, 0, **fields)
