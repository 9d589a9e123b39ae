"""Memory that a step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
KEPT, LARGEST = 256 * 2**20, 32 * 2**20  # bytes; what glibc allows for the second
OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc to keep up to 256 MB of what is freed, for this process from now on; whether it was told.

    By itself it gives blocks of some MB back to the system and takes them anew in every step, each page filled with
    zeros at its first touch: a tenth to a sixth of a step of a small encoder. Who has set the environment's variables
    for this is not overruled.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    # the first ends glibc's own adjustment of the second
    return bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, LARGEST))
