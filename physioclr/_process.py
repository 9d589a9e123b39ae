"""A process that was started by another one and must not outlive it."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Call first in a process of multiprocessing: it ends when `parent`, the id of the one that started it, does.

    On Linux the kernel ends it at once, whatever it does. It asks after the *thread* that started the process, so that
    thread must live as long as the work does; a worker that is ended too early is an error of its pool, not a hang. On
    other systems a thread waits for the parent's end, which cannot happen while a call holds the interpreter.
    """
    threading.Thread(target=_watch, daemon=True).start()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a libc without prctl: the thread remains
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if multiprocessing.parent_process() is not None and os.name == "posix" and os.getppid() != parent:
        os._exit(1)  # it was killed before either was in place


def _watch() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # only a worker process calls this
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
