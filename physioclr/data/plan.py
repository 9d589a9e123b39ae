"""What a run of `prepare` is to do: the list of records on disk, cut into blocks, and the locks on the folder."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._files import DamagedFile
from .._files import lock as lock  # `prepare` takes it from here, with the plan
from .recipe import Recipe
from .store_files import MANIFEST, PLAN, crc32_of_file, read_manifest
from .store_writer import json_text, write_json

BLOCK_SIZES = (16, 256)  # records; small collections get small blocks, so that every process has some


@dataclass(frozen=True)
class PreparePlan:
    """The records to prepare, in the file plan.txt (one JSON string a line), and where each block of them begins."""

    recipe: Recipe
    dest: Path
    n_records: int
    block_size: int
    starts: list[int]  # byte offset in plan.txt
    remarks: tuple[str, ...] = ()  # for the report

    @property
    def n_blocks(self) -> int:
        return len(self.starts)

    def size(self, k: int) -> int:
        return min(self.block_size, self.n_records - k * self.block_size)

    @property
    def fs(self) -> float:
        return self.recipe.fs

    def block(self, k: int) -> tuple[Path, str, list[str]]:
        """What `prepare_block` needs to make shard k, beside the recipe."""
        return self.dest, shard_name(k), self.records(k)

    def records(self, k: int) -> list[str]:
        with open(self.dest / "plan.txt", "rb") as f:
            f.seek(self.starts[k])
            return [json.loads(f.readline()) for _ in range(self.size(k))]


def version() -> str:
    from .. import __version__

    return __version__


def shard_name(k: int) -> str:
    return f"shard-{k:06d}"


def make_plan(recipe: Recipe, dest: Path) -> PreparePlan:
    """Write the plan, or read it and see that it is for the same records and settings."""
    src, fs = recipe.source.path, recipe.fs
    records = recipe.source.records()
    file = dest / "plan.json"
    if dest.exists() and not dest.is_dir():
        raise ValueError(f"dest is {str(dest)!r}, a file; it must be a folder")
    if not file.exists() and (dest / MANIFEST).is_file():
        raise DamagedFile(file, "it is missing; prepare into a new folder")
    for name in (*PLAN, MANIFEST, "records.csv", "skipped.csv"):
        if (dest / name).is_dir():
            raise DamagedFile(dest / name, "it is a folder")
    begun_here = {"plan.txt"}  # all there is if a run was killed at once, or begins at this moment elsewhere
    if (
        dest.is_dir()
        and not file.is_file()
        and any(p.name[0] != "." and p.name not in begun_here for p in dest.iterdir())
    ):
        raise ValueError(f"dest is {str(dest)!r}, which holds other files; it must be new, empty or a store begun here")
    new = not dest.exists()
    dest.mkdir(parents=True, exist_ok=True)
    listing = dest / f".plan.{os.getpid()}"
    n, crc = 0, 0
    with open(listing, "wb") as f:
        for record_id in records:
            line = json.dumps(record_id).encode() + b"\n"
            f.write(line)
            n, crc = n + 1, zlib.crc32(line, crc)
    plan = {"format": "physioclr-plan", "version": 1, "library": version(), "fs": fs, "n_records": n, "crc32": crc}
    plan |= recipe.settings()
    plan["block"] = block = min(max(-(-n // 64), BLOCK_SIZES[0]), BLOCK_SIZES[1])
    try:
        if not n:
            what = "WFDB records (.hea files), or .h5, .npy, .parquet, .edf, .bdf or .dcm files, in or below it"
            raise ValueError(f"src is {str(src)!r}; it must have {what}, links to folders aside")
        remarks = recipe.source.remarks()
        if recipe.table is not None:  # before there is a plan that names this table
            with open(listing, "rb") as f:
                remarks += recipe.table.match(map(json.loads, f))
        if file.is_file():
            if not _was(dest, plan):
                _same_plan(file, plan)
            if file.read_text(encoding="utf-8", errors="replace") != json_text(plan):
                write_json(file, plan)
            text = dest / "plan.txt"
            if not text.is_file() or crc32_of_file(text) != crc:  # damaged; the records are the same
                os.replace(listing, text)
        else:
            os.replace(listing, dest / "plan.txt")
            write_json(file, plan)
    except ValueError:
        listing.unlink(missing_ok=True)
        if new:
            with contextlib.suppress(OSError):  # another process has begun there
                dest.rmdir()
        raise
    finally:
        listing.unlink(missing_ok=True)
    starts = []
    with open(dest / "plan.txt", "rb") as f:
        offset = 0
        for i, line in enumerate(f):
            if i % block == 0:
                starts.append(offset)
            offset += len(line)
    return PreparePlan(recipe, dest, n, block, starts, tuple(remarks))


def _was(dest: Path, plan: dict[str, Any]) -> bool:
    """Whether the finished store in dest was made by this plan, whatever has become of the file since."""
    try:
        entry = read_manifest(dest)["files"].get("plan.json")
    except ValueError:
        return False
    text = json_text(plan).encode()
    return bool(entry) and entry["bytes"] == len(text) and entry["crc32"] == zlib.crc32(text)


def _same_plan(file: Path, plan: dict[str, Any]) -> None:
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
        n = begun["n_records"]
    except (ValueError, KeyError, TypeError) as e:
        raise DamagedFile(file, f"it is no plan ({e}); prepare into a new folder") from None
    if begun == plan:
        return
    if (n, begun.get("crc32")) != (plan["n_records"], plan["crc32"]):
        what = f"over {n} records; src now has {plan['n_records']}" + (" others" if n == plan["n_records"] else "")
    else:
        keys = dict.fromkeys((*plan, *begun))
        what = ", ".join(f"with {k} = {begun.get(k)}, not {plan.get(k)}" for k in keys if begun.get(k) != plan.get(k))
    raise ValueError(f"the store {file.parent} was begun {what}; prepare into a new folder")
