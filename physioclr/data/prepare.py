"""Collections of recordings to a store: `prepare`.

The list of records is written down first and cut into blocks; a block becomes a shard of the store. What is finished is
what has a shard: an interrupted run goes on with the blocks that have none, and several computers that share the folder
(or bring their shards together in one) each take every n-th block. A block that left records out tries those again in
the next run, and is made anew if one can be read by then.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from .._process import end_with_parent
from ..ops._checks import check_fs, check_int, check_number
from .block import Done, prepare_block
from .plan import PreparePlan, lock, make_plan, shard_name, version
from .recipe import FEATURE_LEADS, SEGMENT, Describe, Recipe, check_feature_leads
from .record_table import RecordTable
from .report import Report, remarks_on
from .sources import open_source
from .store import open_store
from .store_files import MANIFEST
from .store_writer import finished_shard, index_of, write_index
from .zeros import ZERO_SECONDS

ALONE_SECONDS = 3.0  # of work before processes are started

Progress = Callable[[int, int, int], None]


def prepare(
    src: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    fs: float = 500.0,
    jobs: int = 1,
    shard: tuple[int, int] | None = None,
    progress: Progress | None = None,
    table: str | os.PathLike[str] | None = None,
    label_columns: Iterable[str] | None = None,
    describe: Describe | None = None,
    zero_seconds: float = ZERO_SECONDS,
    feature_leads: Sequence[str] | str = FEATURE_LEADS,
    follow_links: bool = False,
    format: str | None = None,
    source_fs: float | None = None,
    unit: str | float = "mV",
    leads: Sequence[str] | None = None,
) -> Report:
    """Turn every record of a collection into a store, with its R peaks and physiological features.

    A record that cannot be used (unreadable, truncated, shorter than 5 s, without the 12 standard leads, empty, its
    labels damaged) is left out and listed with its reason in `skipped.csv`; the others go on, and the next call tries
    it again. Any other error (permissions, memory, a full disk, a missing library, a mistake in the program) ends the
    call, and is held against no record. Stopped at any moment, even by SIGKILL, the same call goes on where it was:
    nothing is lost or doubled.

    Args:
        src: folder with records: PTB-XL, the Challenges 2020 and 2021, MIMIC-IV-ECG or any other WFDB files; or with
            HDF5 (CODE-15%), .npy, Parquet, EDF or DICOM files (docs/store.md), or one such file.
        dest: folder of the store; made if absent, continued if a run with the same source and settings began it.
        fs: sampling rate of the store, Hz; records of other rates are resampled.
        jobs: processes (started only where there is work for more than a few seconds). With more than one, a script
            needs the usual `if __name__ == "__main__":`.
        shard: (i, n), 0 <= i < n: do only every n-th block, for n computers that write to one folder. The one that
            finishes last completes the store.
        progress: called as progress(records done, records in all, records left out) after each block.
        table: a CSV or Parquet file: record_id, and patient_id, age, sex, fold, split, source or labels of your own
            (docs/store.md). A row that is damaged leaves its record out; a store that is begun again with a changed
            table makes the blocks anew whose rows have changed.
        label_columns: the columns of the table that are labels; by default those of 0 and 1, and those named labels,
            codes, dx and the like.
        describe: called as describe(record_id, row) with what is known of a record; returns what to change: patient_id,
            age, sex, fold, split, source, dx (list of codes), labels ({scheme: classes that apply, or None: not
            labelled}). With several jobs a function of a module, not a lambda.
        zero_seconds: a stretch of exact zeros over all standard leads is missing if it is this long (see
            `zeros_as_missing`). 0 leaves zeros as they are.
        feature_leads: the leads whose 159 features are kept, any of the standard 12 in the order of their columns;
            "all": all of them.
        follow_links: enter links to folders, also to some outside src (WFDB).
        format: wfdb, hdf5, npy, parquet, edf or dicom; by default what src has.
        source_fs, unit, leads: of bare arrays (hdf5, npy, parquet): the sampling rate in Hz where the files do not
            state it; mV, uV, V or nV, or mV per unit as a number; and the names of the leads in their order, by
            default the standard 12.

    Raises:
        ValueError: src is not a folder or has no records; dest holds something else, or a store begun with other
            settings or other records; another `prepare` is at work on the same shard; a label table that cannot be used
            at all, or fits no record.
        ImportError: a library that the format needs is not installed; the message names the extra.
    """
    begun = time.monotonic()
    src, dest, fs, jobs = Path(src), Path(dest), check_fs(fs), check_int(jobs, "jobs", 1, 1024)
    part, parts = _check_shard(shard)
    zero_seconds = check_number(zero_seconds, "zero_seconds", 0.0, 3600.0, unit="s")
    feature_leads = check_feature_leads(feature_leads)
    source = open_source(
        src,
        format=format,
        source_fs=None if source_fs is None else check_number(source_fs, "source_fs", 50.0, 4000.0, unit="Hz"),
        unit=unit,
        leads=None if leads is None else tuple(leads),
        follow_links=follow_links,
    )
    source.check()
    try:
        own = table or source.table()
        if label_columns is not None and own is None:
            raise ValueError("label_columns is given without a table")
        rows = RecordTable(Path(own), label_columns, named=bool(table), rates=source.bare) if own else None
        plan = make_plan(Recipe(source, fs, zero_seconds, rows, describe, feature_leads), dest)
        n_new, damaged = _prepare(plan, part, parts, jobs, progress)
    finally:
        source.close()
    complete, stored, left_out, resampled = True, 0, 0, 0
    unlabelled: Counter[str] = Counter()
    signals: Counter[str] = Counter()
    of_records: list[tuple[str, str]] = []
    for k in range(plan.n_blocks):
        finished = finished_shard(dest, shard_name(k))
        complete = complete and finished is not None
        stored += finished["n_records"] if finished else 0
        left_out += len(finished["skipped"]) if finished else 0
        unlabelled.update(finished.get("unlabelled", {}) if finished else {})
        resampled += finished.get("resampled", 0) if finished else 0
        signals.update(finished.get("left_out", {}) if finished else {})
        of_records += finished.get("remarks", ()) if finished else ()
    if complete:
        _complete(plan)
    seconds = time.monotonic() - begun
    counts = (plan.n_records, stored, left_out, n_new)
    again = [f"{damaged} damaged shard{'s' * (damaged > 1)} made again"] * (damaged > 0)
    said = (dict(unlabelled), (*again, *plan.remarks, *remarks_on(of_records)), resampled, dict(signals))
    return Report(dest, *counts, complete, seconds, *said)


def _prepare(plan: PreparePlan, part: int, parts: int, jobs: int, progress: Progress | None) -> tuple[int, int]:
    """Make this part's blocks that are not there whole or may come out otherwise now.

    What is there is read through against its checksums. How many records were worked on, and how many blocks were there
    damaged.
    """
    dest, table = plan.dest, plan.recipe.table
    with lock(dest, f"prepare-{part}-of-{parts}"):
        mine = range(part, plan.n_blocks, parts)
        _clear(dest, set(map(shard_name, mine)))
        todo, n_done, n_new, n_skipped, damaged = [], 0, 0, 0, 0
        for k in mine:
            finished = finished_shard(dest, shard_name(k), contents=True)
            if finished is None:
                damaged += (dest / shard_name(k)).exists()  # a shard is renamed when it is whole
                shutil.rmtree(dest / shard_name(k), ignore_errors=True)
            if finished is None or finished["skipped"]:
                todo.append(k)
            elif table is not None and finished.get("described") != table.crc(plan.records(k)):
                todo.append(k)
            else:
                n_done += plan.size(k)
        total = sum(plan.size(k) for k in mine)
        if progress:
            progress(n_done, total, n_skipped)
        for done in _run(plan, todo, jobs):
            n_done, n_skipped = n_done + done.kept + done.left_out, n_skipped + done.left_out
            n_new += done.kept + done.left_out if done.new else 0
            if progress:
                progress(n_done, total, n_skipped)
    return n_new, damaged


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


def _run(plan: PreparePlan, todo: list[int], jobs: int) -> Iterator[Done]:
    """Prepare blocks in any order; what came of each as it is done.

    Processes start only after some seconds of work: importing costs each of them about one.
    """
    queue, begun = iter(todo), time.monotonic()
    while jobs == 1 or time.monotonic() - begun < ALONE_SECONDS:
        k = next(queue, None)
        if k is None:
            return
        yield prepare_block(plan.recipe, *plan.block(k))
    context = multiprocessing.get_context("spawn")  # a forked child would inherit threads and locks
    initargs = plan.recipe, os.getpid()
    pool = ProcessPoolExecutor(min(jobs, len(todo)), context, initializer=_start_worker, initargs=initargs)
    waiting: set[Future[Done]] = set()
    try:
        while True:
            for k in itertools.islice(queue, 2 * jobs - len(waiting)):
                waiting.add(pool.submit(_prepare_block, *plan.block(k)))
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


_recipe: Recipe | None = None  # of a worker process


def _prepare_block(dest: Path, name: str, records: list[str]) -> Done:
    assert _recipe is not None  # _start_worker has set it
    return prepare_block(_recipe, dest, name, records)


def _start_worker(recipe: Recipe, parent: int) -> None:
    """One thread for the ops, as there are other processes; and an end when the parent is killed.

    A worker of an executor would otherwise wait for work for ever: it holds both ends of the queue itself.
    The recipe comes once: it may hold a table of all records.
    """
    end_with_parent(parent)
    from .. import _core

    global _recipe
    _recipe = recipe
    _core.set_num_threads(1)


def _clear(dest: Path, names: set[str]) -> None:
    """Remove what a killed run left of these blocks in hidden folders."""
    for path in dest.glob(".shard-*.*"):
        if path.name.split(".")[1] in names:
            shutil.rmtree(path, ignore_errors=True)


def _complete(plan: PreparePlan) -> None:
    """Write the table and the manifest over all shards, unless they are there."""
    names, classes = [shard_name(k) for k in range(plan.n_blocks)], plan.recipe.classes()
    with lock(plan.dest, "index", wait=600.0):
        if (plan.dest / MANIFEST).is_file():
            with contextlib.suppress(ValueError):
                store = open_store(plan.dest)
                manifest = store.manifest
                for name in manifest["files"]:
                    store.check_contents(name)
                if all(manifest.get(key) == value for key, value in index_of(plan.dest, names, classes).items()):
                    return
        for left in (*plan.dest.glob(".index.[0-9]*"), *plan.dest.glob(f".{MANIFEST}.*")):  # by a killed run
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        settings = {"library": version(), "fs": plan.fs, "segment": SEGMENT}
        settings["feature_leads"] = list(plan.recipe.feature_leads)
        write_index(plan.dest, names, settings, classes)
