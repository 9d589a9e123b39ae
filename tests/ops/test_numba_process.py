"""The Numba ops as parts of a process: the thread pool, forks, Numba's cache and the first call."""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from synthetic import synthetic_ecg

import physioclr as pc
from physioclr.ops._numba import pool


@pytest.fixture
def threads():
    n = pool._core.num_threads()
    yield pool._core.set_num_threads
    pool._core.set_num_threads(n)


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


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100])
def test_pool_covers_the_range_once(threads, n):
    threads(3)
    seen = np.zeros(n, int)

    def f(a, b):
        seen[a:b] += 1

    callers = [threading.Thread(target=pool.run, args=(f, n)) for _ in range(3)]
    for c in callers:
        c.start()
    for c in callers:
        c.join()
    assert (seen == 3).all()


def test_pool_raises_what_a_piece_raises(threads):
    threads(3)

    def f(a, b):
        if a <= 50 < b:
            raise KeyError("piece")

    with pytest.raises(KeyError, match="piece"):
        pool.run(f, 100)
    pool.run(lambda a, b: None, 100)


def test_the_compiled_code_is_of_these_sources():
    ops = Path(pc.__file__).parent / "ops" / "_numba"
    names = ("constants", "weights", "scalar", "waves", "qrs", "beats")
    text = b"".join((ops / f"{name}.py").read_bytes() for name in names)
    assert f'SOURCES = "{hashlib.sha256(text).hexdigest()[:16]}"' in (ops / "delineate.py").read_text()
    digest = hashlib.sha256((ops / "scalar.py").read_bytes()).hexdigest()[:16]
    for name in ("features.py", "leads.py"):
        assert f'SOURCES = "{digest}"' in (ops / name).read_text()


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
def test_works_in_a_forked_child_and_imports_numba_late():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60)
    assert done.stdout == "same\n", done.stderr


FIRST_CALL = """
import time
import numpy as np, physioclr as pc
x, r = np.zeros((1, 12, 5000), np.float32), np.array([[500, 1000, 1500]])
start = time.process_time()
pc.{call}
print(time.process_time() - start)
"""


@pytest.mark.parametrize("call", ["delineate(x, 500, r)", "physio_features(x, 500, r)"])
def test_first_call_of_a_process_is_quick_once_the_cache_is_warm(call):
    for _ in range(2):  # the first fills the cache, if nothing else has
        done = subprocess.run([sys.executable, "-c", FIRST_CALL.format(call=call)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert pc.info()["numba cache"].startswith("warm")
    assert float(done.stdout) < 2.0  # s of this process, imports of Numba included


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
