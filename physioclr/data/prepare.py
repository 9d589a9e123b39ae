"""WFDB files to a store: `prepare`.

The list of records is written down first and cut into blocks; a block becomes a shard of the store. What is finished is
what has a shard: an interrupted run goes on with the blocks that have none, and several computers that share the folder
(or bring their shards together in one) each take every n-th block.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import multiprocessing
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..ops._arrays import check_fs, check_int
from .labels import CLASSES
from .metadata import describe
from .standard import standardise
from .store import MANIFEST, MISSING, open_store
from .store_writer import ShardWriter, finished_shard, write_index, write_json
from .wfdb_source import RecordError, find_records, read_record

SEGMENT = 5.0  # s
FEATURE_LEADS = ("II", "V1", "V5")
N_FEATURES = 159 * len(FEATURE_LEADS)
BATCH = 32  # records that the ops take at once
ALONE_SECONDS = 3.0  # of work before processes are started
PENDING_BYTES = 64 << 20  # samples held before they are written
BLOCK_SIZES = (16, 256)  # records; small collections get small blocks, so that every process has some

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Report:
    """What a run of `prepare` came to.

    Attributes:
        dest: the folder.
        n_found: records found below the source.
        n_records, n_skipped: of the blocks finished so far, by this run or before it: records stored, and left out.
        n_new: records that this run worked on (stored or left out).
        finished: whether the store is complete; False while other shards (i/n) are still to be prepared.
        seconds: how long this run took.
    """

    dest: Path
    n_found: int
    n_records: int
    n_skipped: int
    n_new: int
    finished: bool
    seconds: float

    def skipped(self) -> Iterator[tuple[str, str]]:
        """(record id, reason) of every record left out."""
        if self.finished:
            with open(self.dest / "skipped.csv", newline="", encoding="utf-8") as f:
                rows = csv.reader(f)
                next(rows)
                yield from ((i, reason) for i, reason in rows)
        else:
            for name in sorted(p.name for p in self.dest.glob("shard-*")):
                yield from map(tuple, (finished_shard(self.dest, name) or {"skipped": ()})["skipped"])

    def __str__(self) -> str:
        rate = f" ({self.n_new / self.seconds:.0f} records/s)" if self.n_new and self.seconds else ""
        text = f"{self.n_records} of {self.n_found} records in {self.dest}, {self.n_skipped} left out{rate}"
        if self.n_skipped:
            text += f"; reasons in {self.dest / 'skipped.csv'}" if self.finished else ""
        return text if self.finished else text + "; other shards are still to be prepared"


def prepare(
    src: str | os.PathLike,
    dest: str | os.PathLike,
    *,
    fs: float = 500.0,
    jobs: int = 1,
    shard: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Turn every WFDB record below a folder into a store, with its R peaks and physiological features.

    A record that cannot be used (unreadable, truncated, shorter than 5 s, without the 12 standard leads, empty) is left
    out and listed with its reason in `skipped.csv`; the others go on. Stopped at any moment, even by SIGKILL, the same
    call goes on where it was: nothing is lost or doubled.

    Args:
        src: folder with records: PTB-XL, the Challenges 2020 and 2021, or any other WFDB files.
        dest: folder of the store; made if absent, continued if a run with the same source and settings began it.
        fs: sampling rate of the store, Hz; records of other rates are resampled.
        jobs: processes (started only where there is work for more than a few seconds). With more than one, a script
            needs the usual `if __name__ == "__main__":`.
        shard: (i, n), 0 <= i < n: do only every n-th block, for n computers that write to one folder. The one that
            finishes last completes the store.
        progress: called as progress(records done, records in all, records left out) after each block.

    Raises:
        ValueError: src is not a folder or has no records; dest holds something else, or a store begun with other
            settings or other records; another `prepare` is at work on the same shard.
    """
    begun = time.monotonic()
    src, dest, fs, jobs = Path(src), Path(dest), check_fs(fs), check_int(jobs, "jobs", 1, 1024)
    part, parts = _check_shard(shard)
    plan = _plan(src, dest, fs)
    with _lock(dest, f"prepare-{part}-of-{parts}"):
        mine = range(part, plan.n_blocks, parts)
        todo, n_done, n_skipped = [], 0, 0
        for k in mine:
            finished = finished_shard(dest, _name(k))
            if finished is None:
                _clear(dest, k)
                todo.append(k)
            else:
                n_done += finished["n_records"] + len(finished["skipped"])
                n_skipped += len(finished["skipped"])
        total = sum(plan.size(k) for k in mine)
        n_new = 0
        if progress:
            progress(n_done, total, n_skipped)
        for kept, left_out in _run(plan, todo, jobs):
            n_new, n_skipped = n_new + kept + left_out, n_skipped + left_out
            if progress:
                progress(n_done + n_new, total, n_skipped)
    complete, stored, left_out = True, 0, 0
    for k in range(plan.n_blocks):
        finished = finished_shard(dest, _name(k))
        complete = complete and finished is not None
        stored += finished["n_records"] if finished else 0
        left_out += len(finished["skipped"]) if finished else 0
    if complete:
        _complete(plan)
    return Report(dest, plan.n_records, stored, left_out, n_new, complete, time.monotonic() - begun)


def _check_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    if shard is None:
        return 0, 1
    try:
        part, parts = shard
    except (TypeError, ValueError):
        raise ValueError(f"shard is {shard!r}; it must be (i, n) with 0 <= i < n") from None
    parts = check_int(parts, "n of shard", 1, 1 << 20)
    return check_int(part, "i of shard", 0, parts - 1), parts


# ---- the plan -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The records to prepare, in the file plan.txt (one JSON string a line), and where each block of them begins."""

    src: Path
    dest: Path
    fs: float
    n_records: int
    block: int
    starts: list[int]  # byte offset in plan.txt

    @property
    def n_blocks(self) -> int:
        return len(self.starts)

    def size(self, k: int) -> int:
        return min(self.block, self.n_records - k * self.block)

    def records(self, k: int) -> list[str]:
        with open(self.dest / "plan.txt", "rb") as f:
            f.seek(self.starts[k])
            return [json.loads(f.readline()) for _ in range(self.size(k))]


def _version() -> str:
    from .. import __version__

    return __version__


def _name(k: int) -> str:
    return f"shard-{k:06d}"


def _plan(src: Path, dest: Path, fs: float) -> Plan:
    """Write the plan, or read it and see that it is for the same records and settings."""
    records = find_records(src)
    file = dest / "plan.json"
    if dest.exists() and not dest.is_dir():
        raise ValueError(f"dest is {str(dest)!r}, a file; it must be a folder")
    if dest.is_dir() and not file.is_file() and any(not p.name.startswith(".") for p in dest.iterdir()):
        raise ValueError(f"dest is {str(dest)!r}, which holds other files; it must be new, empty or a store begun here")
    dest.mkdir(parents=True, exist_ok=True)
    listing = dest / f".plan.{os.getpid()}"
    n, crc = 0, 0
    with open(listing, "wb") as f:
        for record_id in records:
            line = json.dumps(record_id).encode() + b"\n"
            f.write(line)
            n, crc = n + 1, zlib.crc32(line, crc)
    plan = {"format": "physioclr-plan", "version": 1, "library": _version(), "fs": fs, "n_records": n, "crc32": crc}
    plan |= {"segment": SEGMENT, "feature_leads": list(FEATURE_LEADS)}
    plan["block"] = block = min(max(-(-n // 64), BLOCK_SIZES[0]), BLOCK_SIZES[1])
    try:
        if not n:
            raise ValueError(f"src is {str(src)!r}; it must have WFDB records (.hea files) in or below it")
        if file.is_file():
            _same_plan(file, plan)
        else:
            os.replace(listing, dest / "plan.txt")
            write_json(file, plan)
    finally:
        listing.unlink(missing_ok=True)
    starts = []
    with open(dest / "plan.txt", "rb") as f:
        offset = 0
        for i, line in enumerate(f):
            if i % block == 0:
                starts.append(offset)
            offset += len(line)
    return Plan(src, dest, fs, n, block, starts)


def _same_plan(file: Path, plan: dict[str, Any]) -> None:
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
        n = begun["n_records"]
    except (ValueError, KeyError, TypeError) as e:
        raise ValueError(f"{file} is damaged ({e}); prepare into a new folder") from None
    if begun == plan:
        return
    if (n, begun.get("crc32")) != (plan["n_records"], plan["crc32"]):
        what = f"over {n} records; src now has {plan['n_records']}" + (" others" if n == plan["n_records"] else "")
    else:
        what = ", ".join(f"with {k} = {begun.get(k)}, not {v}" for k, v in plan.items() if begun.get(k) != v)
    raise ValueError(f"the store {file.parent} was begun {what}; prepare into a new folder")


@contextlib.contextmanager
def _lock(dest: Path, name: str) -> Iterator[None]:
    """Refuse a second run over the same blocks. The system frees the lock when the process ends, however it does."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = dest / f".{name}.lock"
    with open(path, "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another `prepare` is at work in {dest}") from None
        except OSError:  # a file system without locks
            pass
        yield


def _clear(dest: Path, k: int) -> None:
    """Remove what a killed run left of a block."""
    shutil.rmtree(dest / _name(k), ignore_errors=True)
    for path in dest.glob(f".{_name(k)}.*"):
        shutil.rmtree(path, ignore_errors=True)


def _complete(plan: Plan) -> None:
    """Write the table and the manifest over all shards, unless they are there."""
    with _lock_waiting(plan.dest):
        if (plan.dest / MANIFEST).is_file():
            with contextlib.suppress(ValueError):
                open_store(plan.dest)
                return
        settings = {"library": _version(), "fs": plan.fs, "segment": SEGMENT, "feature_leads": list(FEATURE_LEADS)}
        write_index(plan.dest, [_name(k) for k in range(plan.n_blocks)], settings, CLASSES)


@contextlib.contextmanager
def _lock_waiting(dest: Path) -> Iterator[None]:
    for _ in range(600):
        try:
            with _lock(dest, "index"):
                yield
                return
        except ValueError:
            time.sleep(0.5)
    raise TimeoutError(f"another `prepare` has been completing {dest} for five minutes")


# ---- the work -----------------------------------------------------------------------------------------------------


def _run(plan: Plan, todo: list[int], jobs: int) -> Iterator[tuple[int, int]]:
    """Prepare blocks in any order; (stored, left out) of each as it is done.

    Processes start only after some seconds of work: importing costs each of them about one, and the first block has
    compiled the Numba code by then, or every process would.
    """
    queue, begun = iter(todo), time.monotonic()
    while jobs == 1 or time.monotonic() - begun < ALONE_SECONDS:
        k = next(queue, None)
        if k is None:
            return
        yield prepare_block(plan, k)
    context = multiprocessing.get_context("spawn")  # a forked child would inherit threads and locks
    pool = ProcessPoolExecutor(min(jobs, len(todo)), context, initializer=_single_threaded)
    waiting: set[Future] = set()
    try:
        while True:
            for k in itertools.islice(queue, 2 * jobs - len(waiting)):
                waiting.add(pool.submit(prepare_block, plan, k))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise RuntimeError(
            "a worker process of `prepare` died: killed, out of memory, or started by a script that lacks "
            '`if __name__ == "__main__":`. Finished shards are kept, and the same call goes on after them'
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _single_threaded() -> None:
    from .. import _core

    _core.set_num_threads(1)


class _Pending(NamedTuple):
    """A record that was read and waits for its R peaks and features."""

    record_id: str
    signal: np.ndarray
    scale: np.ndarray
    row: dict[str, Any]


def prepare_block(plan: Plan, k: int) -> tuple[int, int]:
    """Write shard k. How many records were stored and how many left out."""
    writer = ShardWriter(plan.dest, _name(k), N_FEATURES)
    pending: list[_Pending] = []
    size = 0
    try:
        for record_id in plan.records(k):
            try:
                record = read_record(os.path.join(plan.src, record_id), plan.src)
                signal, scale = standardise(record, plan.fs, SEGMENT)
                pending.append(_Pending(record_id, signal, scale, describe(plan.src, record_id, record.comments)))
                size += signal.nbytes
            except Exception as e:  # one record must not end the run
                writer.skip(record_id, _reason(e))
            if size > PENDING_BYTES:
                _write(writer, pending, plan.fs)
                pending, size = [], 0
        _write(writer, pending, plan.fs)
        return writer.commit()
    except BaseException:
        writer.discard()
        raise


def _reason(e: Exception) -> str:
    """Of a RecordError the text; of others also the type, so that a program error shows in the list."""
    return " ".join((str(e) if isinstance(e, RecordError) else f"{type(e).__name__}: {e}").split())


def _write(writer: ShardWriter, pending: list[_Pending], fs: float) -> None:
    """Compute and add records in their order, computing those of one length together."""
    results: dict[int, tuple[np.ndarray, np.ndarray] | Exception] = {}
    lengths: dict[int, list[int]] = {}
    for j, p in enumerate(pending):
        lengths.setdefault(p.signal.shape[1], []).append(j)
    for rows in lengths.values():
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            try:
                found = physiology([pending[j] for j in batch], fs)
            except Exception:  # find the record that it was
                found = [_alone(pending[j], fs) for j in batch]
            results |= dict(zip(batch, found, strict=True))
    for j, p in enumerate(pending):
        found = results[j]
        if isinstance(found, Exception):
            writer.skip(p.record_id, _reason(found))
        else:
            writer.add(p.signal, p.scale, *found, p.row)


def _alone(p: _Pending, fs: float) -> tuple[np.ndarray, np.ndarray] | Exception:
    try:
        return physiology([p], fs)[0]
    except Exception as e:
        return e


def physiology(records: list[_Pending], fs: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of records of one length: R peaks (P,) int32, and the features (S, N_FEATURES) of the 5 s segments."""
    import physioclr as pc

    x = np.empty((len(records), *records[0].signal.shape), np.float32)
    for y, p in zip(x, records, strict=True):
        np.multiply(p.signal, p.scale[:, None], out=y)
        missing = p.signal == MISSING
        if missing.any():
            y[missing] = np.nan
    peaks = pc.detect_rpeaks(x, fs)
    features = pc.physio_features(x, fs, peaks, lead=list(FEATURE_LEADS), segment=SEGMENT)
    return [(index[:count], f) for index, count, f in zip(peaks.index, peaks.count, features, strict=True)]
