"""What this installation can do: versions, backends, CUDA architectures, threads, device."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import struct
import sys
from pathlib import Path

from . import _core, _isa

_LIBRARIES = ("numpy", "scipy", "numba", "torch", "wfdb", "scikit-learn", "cupy-cuda13x", "numba-cuda")


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _numba_cache() -> str:
    """How much of what Numba compiles for a GPU lies ready: waves and features. The CPU compiles nothing.

    Files of earlier sources stay in the cache but are never loaded again: an index counts if it holds the digest of its
    source file (in older Numba the time of its last change) and Numba's version.
    """
    source = Path(__file__).parent / "ops" / "_numba" / "cuda.py"
    fresh = set()
    for f in _numba_indices(source):
        if f".py{sys.version_info[0]}{sys.version_info[1]}." in f.name and _is_of(f, source):
            fresh.add(f.name.partition("-")[0])
    if fresh:
        return f"warm ({len(fresh)} compiled functions)"
    return "cold (waves and features on a GPU compile for about half a minute, once)"


def _numba_indices(source: Path) -> list[Path]:
    """The index files of Numba's cache that belong to this file."""
    folder = _numba_folder(source.parent)
    return list(folder.glob(f"{source.stem}.*.nbi")) if folder.is_dir() else []


def _numba_folder(package: Path) -> Path:
    """Where Numba keeps what it compiles of this folder: NUMBA_CACHE_DIR, else beside the sources, where it may write
    there, else the user's cache folder."""
    beside = package / "__pycache__"
    if os.environ.get("NUMBA_CACHE_DIR"):
        folder = Path(os.environ["NUMBA_CACHE_DIR"])
    elif os.access(beside if beside.exists() else package, os.W_OK):
        return beside
    elif sys.platform == "darwin":
        folder = Path("~/Library/Caches/numba")
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local")) / "numba" / "Cache"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "numba"
    own = hashlib.sha1(os.path.abspath(package).encode(), usedforsecurity=False).hexdigest()
    return folder.expanduser() / f"{package.name}_{own}"


def _is_of(index: Path, source: Path) -> bool:
    content, changed = index.read_bytes(), source.stat().st_mtime
    stamps = (hashlib.sha256(source.read_bytes()).digest(), struct.pack(">d", changed))
    version = importlib.metadata.version("numba").encode()
    return version in content[:64] and any(stamp in content for stamp in stamps)


def _cuda() -> str:
    if not _core.has_cuda():
        return "no (built without nvcc; reinstall where nvcc is on PATH)"
    archs = " ".join(f"sm_{a.removesuffix('-real')}" for a in _core.cuda_archs().split())
    version = _core.cuda_driver_version()
    if not version:
        return f"yes ({archs}), driver: none found"
    names = [_core.cuda_device_name(i) for i in range(_core.cuda_device_count())]
    return f"yes ({archs}), driver: CUDA {version // 1000}.{version % 1000 // 10}, {', '.join(names) or 'no device'}"


def info() -> dict[str, str | int]:
    """Versions, backends, CUDA architectures, threads and device, as a dict of strings and numbers.

    Imports nothing heavy: library versions are read from their metadata.
    """
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    from . import __version__

    return {
        "physioclr": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "instructions": _isa.described(),
        "threads": _core.num_threads(),
        "cuda": _cuda(),
        "numba cache": _numba_cache(),
        **versions,
    }


def set_num_threads(n: int) -> None:
    """Threads that the CPU kernels use from now on in this process (at least 1; OMP_NUM_THREADS sets the start).

    A forked child (a DataLoader worker) has one for good: OpenMP's threads do not survive a fork.
    """
    from .ops._checks import check_int

    _core.set_num_threads(check_int(n, "n", 1, 4096))
