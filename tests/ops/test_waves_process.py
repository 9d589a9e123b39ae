"""Delineation and features as parts of a process: threads, forks, the first call; what Numba caches."""

import hashlib
import os
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
import sys, warnings, numpy as np
from numba.core import caching
def refuse(self):
    raise PermissionError(13, "read-only")  # as site-packages, the home folder and NUMBA_CACHE_DIR may be
for locator in vars(caching).values():
    if isinstance(locator, type) and issubclass(locator, caching._CacheLocator):
        locator.ensure_cache_path = refuse
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import physioclr as pc
    report = pc.data.prepare(pc.data.sample().path, sys.argv[1], fs=250)  # delineation, features, decimation
    import physioclr.train._numba_highpass
mine = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
assert len(mine) == 1 and "NUMBA_CACHE_DIR" in mine[0], mine
assert (report.n_records, report.n_skipped) == (80, 0), report
"""


@pytest.mark.slow
def test_without_a_folder_for_the_cache_it_compiles_without(tmp_path):
    """Numba refuses to decorate there; that once left every record out."""
    call = [sys.executable, "-c", NO_CACHE, str(tmp_path / "store")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
