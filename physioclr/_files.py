"""What stores and runs share on disk: one writer at a time in a folder, and the error for a file that is damaged."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path


class DamagedFile(ValueError):
    """A file of a run is missing, cut short, or holds what cannot be. The message is one line: file, field, fault."""

    def __init__(self, path: str | Path, fault: str = "") -> None:
        fault = " ".join(str(fault).split())
        super().__init__(f"{path} is damaged: {fault}" if fault else str(path))


@contextlib.contextmanager
def lock(
    folder: Path, name: str, wait: float = 0.0, *, command: str = "prepare", remove: bool = False
) -> Iterator[None]:
    """Keep a second `command` off the same work in a folder, after waiting for it for some seconds.

    The system frees the lock when the process ends, however it does. remove: leave no lock file behind.

    Raises:
        ValueError: another one is at work.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    until = time.monotonic() + wait
    path = folder / f".{name}.lock"
    while True:
        with open(path, "w") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ValueError(f"another `{command}` is at work in {folder}") from None
                time.sleep(0.2)
                continue
            except OSError:  # a file system without locks
                pass
            if remove and not _is(path, f.fileno()):
                continue  # its last holder removed it between our opening and our locking
            try:
                yield
            finally:
                if remove:
                    path.unlink(missing_ok=True)
            return


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
