"""Writing and reading the small files of a run; whatever is read is checked, and a fault names file and field."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .._files import DamagedFile, crc32_of_file, manifest_crc


def write_atomically(path: Path, data: str | bytes) -> None:
    """The file holds either its old or its new contents, whatever happens."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A name to write to; what is written there takes the place of the file when all went well."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_finite(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def is_positive(x: Any) -> bool:
    return is_finite(x) and x > 0


def is_count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and x >= 0


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing") from None
    except IsADirectoryError:
        raise DamagedFile(path, "it is a folder") from None
    except (ValueError, RecursionError) as e:
        raise DamagedFile(path, f"it is not JSON ({e})") from None
    if not isinstance(values, dict):
        raise DamagedFile(path, f"it holds a {type(values).__name__}; it must be an object with named fields")
    return values


def check_fields(path: Path, values: dict[str, Any], fields: dict[str, tuple[Callable[[Any], bool], str]]) -> None:
    """fields: name -> (test, what it must be)."""
    for name, (good, what) in fields.items():
        if name not in values:
            raise DamagedFile(path, f"it has no field {name}")
        if not good(values[name]):
            raise DamagedFile(path, f"field {name} is {values[name]!r}; it must be {what}")


def json_text(values: dict[str, Any]) -> str:
    """The text of a JSON file that `check_seal` accepts: a checksum of the other fields is its last."""
    return json.dumps({**values, "crc32": manifest_crc(values)}, indent=1)


def check_seal(path: Path, values: dict[str, Any]) -> None:
    """The checksum of `json_text`; a file that has none is of an earlier version, or written by hand."""
    if "crc32" in values and values["crc32"] != manifest_crc(values):
        raise DamagedFile(path, f"its fields do not have the checksum of its field crc32, {values['crc32']!r}")


def check_entry(path: Path, entry: Any, said_by: str) -> None:
    """The size and checksum that another file says of this one; nothing where it says nothing."""
    if entry is None:
        return
    try:
        found, size = crc32_of_file(path), path.stat().st_size
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing") from None
    except OSError as e:
        raise DamagedFile(path, f"it cannot be read: {e.strerror}") from None
    if not isinstance(entry, dict) or (entry.get("bytes"), entry.get("crc32")) != (size, found):
        raise DamagedFile(path, f"it has {size} bytes of the checksum {found}; it must be {entry}, as {said_by} says")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, each of which ends in a line feed and may hold every other character."""
    try:
        return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing") from None
    except OSError as e:
        raise DamagedFile(path, f"it cannot be read: {e.strerror}") from None
    except ValueError as e:
        raise DamagedFile(path, f"it is not text ({e})") from None


def read_space(kind: Any, path: Path) -> Any:
    """kind.load(path), where kind is `FeatureSpace`, `BeatSpace` or `KernelSpace`."""
    try:
        return kind.load(path)
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing") from None
    except (ValueError, IsADirectoryError) as e:
        raise DamagedFile(path, str(e)) from None
