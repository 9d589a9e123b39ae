"""Delineation and features as parts of a process: threads, forks, the first call; what Numba caches."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import synthetic_ecg

import physioclr as pc
from physioclr import _core


@pytest.fixture
def threads():
    n = _core.num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(n)


def test_results_do_not_depend_on_threads(threads):
    s = [synthetic_ecg(seconds=4, rate=r, noise=0.01) for r in range(50, 130, 2)]
    ecg = np.stack([one.ecg for one in s])
    peaks = np.full((len(s), 12), -1)
    for b, one in enumerate(s):
        peaks[b, : len(one.rpeaks)] = one.rpeaks
    threads(1)
    one = pc.delineate(ecg, 500, peaks)
    threads(4)
    for a, b in zip(one, pc.delineate(ecg, 500, peaks), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_compiled_code_is_of_these_sources():
    """Numba's cache looks at the text of a file alone, so the text names what else the compiled code holds."""
    root = Path(__file__).parents[2]
    ops = root / "physioclr" / "ops" / "_numba"

    def digest(*paths):
        return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]

    low = [ops / f"{name}.py" for name in ("constants", "weights", "scalar", "waves", "qrs", "beats")]
    of = {
        "constants": [root / "csrc" / "core" / "delineate_constants.h"],
        "weights": [root / "csrc" / "core" / "qrs_weights.h"],
        "scalar": [root / "csrc" / "core" / "features_constants.h"],
        "delineate": low,
        "features": [ops / "scalar.py", ops / "sums.py"],
        "leads": [ops / "scalar.py"],
        "cuda": [*low, *(ops / f"{name}.py" for name in ("delineate", "sums", "features", "leads"))],
    }
    for name, paths in of.items():
        assert f'SOURCES = "{digest(*paths)}"' in (ops / f"{name}.py").read_text(), name


FORKED = """
import os, sys, numpy as np, physioclr as pc
from physioclr import _core
assert "numba" not in sys.modules and "torch" not in sys.modules
_core.set_num_threads(3)
x, r = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32), np.tile([200, 500, 800], (64, 1))
expected = pc.delineate(x, 500, r)
pid = os.fork()
if pid == 0:
    _core.set_num_threads(3)
    ok = all((a == b).all() for a, b in zip(expected, pc.delineate(x, 500, r)))
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_works_in_a_forked_child():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60)
    assert done.stdout == "same\n", done.stderr


FIRST_CALL = """
import sys, time
import numpy as np
start = time.process_time()
import physioclr as pc
x, r = np.zeros((1, 12, 5000), np.float32), np.array([[500, 1000, 1500]])
pc.{call}
print(time.process_time() - start, "numba" in sys.modules, "scipy" in sys.modules, "torch" in sys.modules)
"""


@pytest.mark.parametrize("call", ["delineate(x, 500.0, r)", "physio_features(x, 500.0)"])
def test_the_first_call_of_a_process_compiles_nothing(call):
    done = subprocess.run([sys.executable, "-c", FIRST_CALL.format(call=call)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, *imported = done.stdout.split()
    assert imported == ["False"] * 3
    assert float(seconds) < 0.5  # of this process, imports included


NO_CACHE = """
import warnings
from numba.core import caching
def refuse(self):
    raise PermissionError(13, "read-only")  # as site-packages, the home folder and NUMBA_CACHE_DIR may be
for locator in vars(caching).values():
    if isinstance(locator, type) and issubclass(locator, caching._CacheLocator):
        locator.ensure_cache_path = refuse
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from physioclr.ops._numba import cuda
mine = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
assert len(mine) == 1 and "NUMBA_CACHE_DIR" in mine[0], mine
assert cuda.delineate_kernel.py_func.__name__ == "delineate_kernel"  # a kernel, to be compiled at its first launch
"""


@pytest.mark.slow
def test_without_a_folder_for_the_cache_it_compiles_without(tmp_path):
    """Numba refuses to decorate there, functions and kernels alike: a GPU in a container would not be used."""
    done = subprocess.run([sys.executable, "-c", NO_CACHE], capture_output=True, text=True, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


NOTHING_COMPILED = """
import json, sys, warnings
from pathlib import Path
package, out = Path(sys.argv[1]), Path(sys.argv[2])
sys.path = [str(package.parent), *json.loads(sys.argv[3])]
import physioclr as pc
from physioclr.train import Config, embed, pretrain
assert Path(pc.__file__).parent == package
there = lambda: sorted(p for p in package.rglob("*"))
before = there()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    report = pc.data.prepare(pc.data.sample().path, out / "store", fs=250)  # delineation, features, decimation
    store = pc.data.open_store(out / "store")
    config = Config(channels=[8, 8], projection=8, batch_size=8, warmup=0, steps=2, decimate=2, device="cpu")
    embed(pretrain(store, out / "run", config).path, store)  # high-pass, decimation
assert (report.n_records, report.n_skipped) == (80, 0), report
assert there() == before and not list(out.rglob("*.nb?"))
assert not [w for w in caught if "cache" in str(w.message)], caught
assert "numba" not in sys.modules
"""


@pytest.mark.skipif(sys.platform != "linux", reason="where the user's cache is")
def test_a_package_that_cannot_be_written_without_a_home(tmp_path):
    """Containers and clusters: prepare, features and pretrain compile nothing, want no cache and leave nothing behind,
    so that an uninstallation removes all there is."""
    package = tmp_path / "site" / "physioclr"
    shutil.copytree(Path(pc.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_core.__file__, package)
    for path in (package, *package.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)  # which stops all but the superuser: hence the listing too
    env = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    home = tmp_path / "file"
    home.write_text("no folder can be made below it")
    env |= {"HOME": str(home / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    call = [sys.executable, "-S", "-c", NOTHING_COMPILED, str(package), str(tmp_path), json.dumps(sys.path)]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=300, env=env)
    finally:
        for path in (package, *package.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
    assert done.returncode == 0, done.stderr
