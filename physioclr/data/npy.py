"""A .npy file of anyone's."""

from __future__ import annotations

import os

import numpy as np


def open_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in a .npy file, memory-mapped and read-only. Objects are never unpickled.

    Raises:
        ValueError: it is no such file, in one line. OSError: it cannot be opened.
    """
    try:
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as e:  # NumPy evaluates the header as a literal of Python: any error of its parser may come
        raise ValueError(" ".join(f"{e}".split()) or type(e).__name__) from None
    if not isinstance(x, np.ndarray):
        x.close()
        raise ValueError("it is an archive, not one array")
    if min(x.shape, default=0) < 0:
        raise ValueError(f"its shape is {x.shape}")
    return x
