"""WFDB files to a store: `prepare`.

The list of records is written down first and cut into blocks; a block becomes a shard of the store. What is finished is
what has a shard: an interrupted run goes on with the blocks that have none, and several computers that share the folder
(or bring their shards together in one) each take every n-th block.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import multiprocessing
import multiprocessing.connection
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from ..ops._arrays import check_fs, check_int
from .block import FEATURE_LEADS, SEGMENT, prepare_block
from .labels import CLASSES
from .plan import Plan, lock, make_plan, shard_name, version
from .store import MANIFEST, open_store
from .store_writer import finished_shard, write_index

ALONE_SECONDS = 3.0  # of work before processes are started

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
    plan = make_plan(src, dest, fs)
    with lock(dest, f"prepare-{part}-of-{parts}"):
        mine = range(part, plan.n_blocks, parts)
        todo, n_done, n_skipped = [], 0, 0
        for k in mine:
            finished = finished_shard(dest, shard_name(k))
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
        finished = finished_shard(dest, shard_name(k))
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
        yield prepare_block(*plan.block(k))
    context = multiprocessing.get_context("spawn")  # a forked child would inherit threads and locks
    pool = ProcessPoolExecutor(min(jobs, len(todo)), context, initializer=_start_worker)
    waiting: set[Future] = set()
    try:
        while True:
            for k in itertools.islice(queue, 2 * jobs - len(waiting)):
                waiting.add(pool.submit(prepare_block, *plan.block(k)))
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


def _start_worker() -> None:
    """One thread for the ops, as there are other processes; and an end when the parent is killed.

    A worker of an executor would otherwise wait for work for ever: it holds both ends of the queue itself.
    """
    from .. import _core

    _core.set_num_threads(1)

    def watch() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _clear(dest: Path, k: int) -> None:
    """Remove what a killed run left of a block."""
    shutil.rmtree(dest / shard_name(k), ignore_errors=True)
    for path in dest.glob(f".{shard_name(k)}.*"):
        shutil.rmtree(path, ignore_errors=True)


def _complete(plan: Plan) -> None:
    """Write the table and the manifest over all shards, unless they are there."""
    with lock(plan.dest, "index", wait=600.0):
        if (plan.dest / MANIFEST).is_file():
            with contextlib.suppress(ValueError):
                open_store(plan.dest)
                return
        for left in (*plan.dest.glob(".index.[0-9]*"), *plan.dest.glob(f".{MANIFEST}.*")):  # by a killed run
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        settings = {"library": version(), "fs": plan.fs, "segment": SEGMENT, "feature_leads": list(FEATURE_LEADS)}
        write_index(plan.dest, [shard_name(k) for k in range(plan.n_blocks)], settings, CLASSES)
