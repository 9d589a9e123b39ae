"""Writing and reading the small files of a run; whatever is read is checked, and a fault names file and field."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .._files import DamagedFile


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


def read_lines(path: Path) -> list[str]:
    """The lines of a text file."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing") from None
    except ValueError as e:
        raise DamagedFile(path, f"it is not text ({e})") from None


def read_space(kind: Any, path: Path) -> Any:
    """kind.load(path), where kind is `FeatureSpace` or `BeatSpace`."""
    try:
        return kind.load(path)
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing") from None
    except ValueError as e:
        raise DamagedFile(path, str(e)) from None
