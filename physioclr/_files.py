"""What stores and runs share on disk: one writer at a time in a folder, and the error for a file that is damaged."""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class DamagedFile(ValueError):
    """A file of a run is missing, cut short, or holds what cannot be. The message is one line: file, field, fault."""

    def __init__(self, path: str | Path, fault: str = "") -> None:
        fault = " ".join(str(fault).split())
        super().__init__(f"{path} is damaged: {fault}" if fault else str(path))


def crc32_of_file(path: Path) -> int:
    crc = 0
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def file_entry(path: Path) -> dict[str, int]:
    """What a manifest says of a file."""
    return {"bytes": path.stat().st_size, "crc32": crc32_of_file(path)}


def manifest_crc(manifest: dict[str, Any]) -> int:
    """CRC-32 of the manifest's other entries, written compactly with sorted keys."""
    rest = {k: v for k, v in manifest.items() if k != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())


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
