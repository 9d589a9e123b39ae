"""Numba's `njit` for the compiled code of the package: where nothing can be cached on disk, it does without a cache.

Numba refuses to decorate with cache=True when neither the package's folder, nor a cache folder of the user's, nor
NUMBA_CACHE_DIR can be written (containers, clusters). That is no reason not to compute. Where somebody waits at a
command, a prompt or a terminal, a long compilation says what it is; a program with its output elsewhere and the
workers of a DataLoader stay silent.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numba

_NO_CACHE = "no locator available"  # in the RuntimeError of numba.core.caching
_warned = False

SILENT_SECONDS = 2.0  # a compilation longer than this is spoken of
_told = _watching = False


def _somebody_waits() -> bool:
    """At a command of ours, a prompt, a notebook or a terminal; never in a worker process."""
    if multiprocessing.parent_process() is not None:
        return False
    places = "physioclr.cli" in sys.modules or "ipykernel" in sys.modules or hasattr(sys, "ps1")
    return places or bool(sys.stderr and sys.stderr.isatty())


def _tell() -> None:
    global _told
    if not _told and _somebody_waits():
        _told = True
        print("physioclr: compiling the waves and features, once (about half a minute)", file=sys.stderr, flush=True)


@contextlib.contextmanager
def spoken_of() -> Iterator[None]:
    """A stretch that may compile: after SILENT_SECONDS one line on stderr says so, once per process."""
    global _watching
    if _told or _watching:
        yield
        return
    timer = threading.Timer(SILENT_SECONDS, _tell)
    timer.daemon = True
    timer.start()
    _watching = True
    try:
        yield
    finally:
        _watching = False
        timer.cancel()


def njit(*signature: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba.njit as a decorator with arguments: @njit(cache=True), @njit(types.void(...), nogil=True, cache=True)."""
    return functools.partial(_decorated, numba.njit, signature, options)


def cuda_jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """numba.cuda.jit likewise."""
    from numba import cuda

    return functools.partial(_decorated, cuda.jit, (), options)


def _decorated(jit: Any, signature: tuple[Any, ...], options: dict[str, Any], function: Callable[..., Any]) -> Any:
    with spoken_of():  # with a signature, the decoration compiles
        try:
            return jit(*signature, **options)(function)
        except RuntimeError as e:
            if not options.get("cache") or _NO_CACHE not in str(e):
                raise
        _warn_once()
        return jit(*signature, **options | {"cache": False})(function)


def _warn_once() -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            "Numba cannot cache compiled code: neither physioclr's folder nor the home folder can be written. Every "
            "process compiles anew (half a minute of work). Set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=3,
        )
