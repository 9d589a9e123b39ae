"""Threads for compiled loops that release the GIL (Numba `nogil`), where OpenMP cannot reach.

`run(f, n)` calls f(start, stop) over pieces of range(n) on at most `_core.num_threads()` threads, the caller's among
them. Not numba's parallel=True: its OpenMP layer kills a forked child, its workqueue refuses concurrent callers.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ... import _core

MOST = 64  # items of a piece: Ctrl-C is heard between pieces

_executor: ThreadPoolExecutor | None = None
_size = 0
_lock = threading.Lock()


def _after_fork() -> None:
    """The child has none of the threads, and perhaps a lock that nobody will release."""
    global _executor, _lock
    _executor, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _submit(work: Callable[[], None], times: int) -> list[Future]:
    global _executor, _size
    with _lock:  # held over submit: another thread may replace the executor by a larger one
        if _executor is None or _size < times:
            if _executor is not None:
                _executor.shutdown(wait=False)  # what it was given is still worked off
            _executor, _size = ThreadPoolExecutor(times, thread_name_prefix="physioclr"), times
        return [_executor.submit(work) for _ in range(times)]


def run(f: Callable[[int, int], object], n: int, *, grain: int = 1) -> None:
    """f(start, stop) over range(n) in pieces of at least `grain` items; an exception in a piece is raised here.

    Pieces are handed out as threads become free, so that records of unequal cost share well. Concurrent callers share
    the workers; a caller works itself, so it never waits for a worker that another one holds.
    """
    threads = min(_core.num_threads(), -(-n // max(1, grain)))
    if threads <= 1:
        for start in range(0, n, max(grain, MOST)):
            f(start, min(start + max(grain, MOST), n))
        return
    piece = max(grain, min(-(-n // (4 * threads)), MOST))
    counter = itertools.count(0, piece)  # next() is atomic
    failed = threading.Event()

    def work() -> None:
        while not failed.is_set() and (start := next(counter)) < n:
            try:
                f(start, min(start + piece, n))
            except BaseException:
                failed.set()
                raise

    futures = _submit(work, threads - 1)
    try:
        work()
    finally:
        for future in futures:
            if not future.cancel():  # not begun: the caller has done its share
                future.exception()  # waits
    for future in futures:
        if not future.cancelled() and (error := future.exception()) is not None:
            raise error
