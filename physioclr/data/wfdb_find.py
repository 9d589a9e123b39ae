"""The WFDB records below a folder: which headers are records of their own, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from .wfdb_header import NO_FILE, OF_THE_SYSTEM, segment_names, without_suffix

PassedOver = Callable[[str, str], None]


def find_records(
    src: str | os.PathLike[str], *, follow_links: bool = False, passed_over: PassedOver | None = None
) -> Iterator[str]:
    """Every record below a folder, as the path of its header relative to src, without ".hea", "/" between folders.

    In a fixed order: a folder's own records, sorted, then those of its folders, sorted. Holds one folder's names at a
    time. A multi-segment record is one record: its segments are none. Of PTB-XL, which has each recording at 500 and
    100 Hz, records100 is passed over where records500 is there too. Hidden folders are not entered.

    Args:
        src: the folder. It may itself be a link.
        follow_links: enter links to folders outside src too, each folder once, however many links lead there. Links to
            folders within src are never entered: those are read under their own names.
        passed_over: called as passed_over(path relative to src, reason) for what may hold records and is not read.

    Raises:
        ValueError: src is not a folder, or a folder cannot be listed.
    """
    root = Path(src)
    if not root.is_dir():
        raise ValueError(f"src is {str(src)!r}; it must be a folder with WFDB records")
    return _walk(root, follow_links, passed_over or (lambda path, reason: None))


def _walk(root: Path, follow_links: bool, passed_over: PassedOver) -> Iterator[str]:
    base = os.path.realpath(root)
    entered: set[tuple[int, int]] = set()  # device and inode, once links are followed
    segments: set[str] = set()  # of records found so far, outside the folder at hand
    waiting = [""]
    while waiting:
        below = waiting.pop()
        folder = os.path.join(root, below)
        if follow_links:
            identity = os.stat(folder)
            if (identity.st_dev, identity.st_ino) in entered:
                continue
            entered.add((identity.st_dev, identity.st_ino))
        prefix = f"{below}/" if below else ""
        folders, headers = _list(folder)
        if "records100" in folders and "records500" in folders:
            del folders["records100"]
            passed_over(f"{prefix}records100", "records500 has the same recordings at 500 Hz")
        for name in sorted(folders, reverse=True):
            if not folders[name] or enter_link(base, folder, name, prefix, follow_links, passed_over):
                waiting.append(prefix + name)
        yield from _records(folder, prefix, headers, segments, passed_over)


def _list(folder: str) -> tuple[dict[str, bool], list[str]]:
    """The folders in a folder, with whether each is a link, and the headers."""
    folders, headers = {}, []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name[-4:].lower() == ".hea" and not _is_folder(entry):
                    headers.append(entry.name)
                elif _is_folder(entry):
                    folders[entry.name] = entry.is_symlink()
    except OSError as e:
        not_listed(e)
    return folders, headers


def not_listed(e: OSError) -> NoReturn:
    """To pass over a folder would lose its records without a word.

    Raises:
        ValueError: it cannot be listed.
        OSError: nor could another one: a failing disk, no memory, too many open files.
    """
    if e.errno in OF_THE_SYSTEM:
        raise e
    raise ValueError(f"the folder {e.filename} cannot be listed: {e.strerror}") from e


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Of a link: whether it leads to a folder. One that leads in a circle does not."""
    try:
        return entry.is_dir()
    except OSError as e:
        if e.errno in OF_THE_SYSTEM:
            raise
        return False


def enter_link(base: str, folder: str, name: str, prefix: str, follow_links: bool, passed_over: PassedOver) -> bool:
    """Whether to enter a folder that is a link."""
    target = os.path.realpath(os.path.join(folder, name))
    within = target == base or target.startswith(os.path.join(base, ""))
    if within and not any(part.startswith(".") for part in os.path.relpath(target, base).split(os.sep) if part != "."):
        return False
    if not follow_links:
        passed_over(prefix + name, "a link to a folder")
    return follow_links


def _records(
    folder: str, prefix: str, headers: list[str], segments: set[str], passed_over: PassedOver
) -> Iterator[str]:
    ids: dict[str, str] = {}
    for header in sorted(headers, key=lambda h: (without_suffix(h), h != f"{without_suffix(h)}.hea")):
        name = without_suffix(header)
        if name in ids:
            passed_over(prefix + header, f"{ids[name]} beside it is read")
        else:
            ids[name] = header
    for header in ids.values():
        for name in segment_names(os.path.join(folder, header)):
            if name != NO_FILE:
                segments.add(os.path.normpath(prefix + without_suffix(name)).replace(os.sep, "/"))
    for name in ids:
        if prefix + name not in segments:
            yield prefix + name
        else:
            segments.discard(prefix + name)
