"""How fast `prepare` is, on one core: reading alone beside wfdb's reader, and the whole way into a store.

    python benchmarks/bench_prepare.py [FOLDER ...]        folders with WFDB records; by default the shipped sample

Rates are per second of processor time and in ten-second records: a 30 s record counts three times. The first run warms
up (files enter the page cache); the table gives the median of the next ones.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import physioclr as pc
from physioclr.data.wfdb_source import RecordError, wfdb_quietly


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        seconds.append(time.process_time() - begun)
    return statistics.median(seconds)


def bench(folder: Path, repeats: int) -> list[tuple[str, float]]:
    ids = list(pc.data.find_records(folder))
    tens = 0.0
    for record_id in ids:
        try:
            record = pc.data.read_record(folder / record_id, folder)
        except RecordError:
            continue
        tens += record.samples.shape[1] / record.fs / 10

    def read_all() -> None:
        for record_id in ids:
            try:
                pc.data.read_record(folder / record_id, folder)
            except RecordError:
                pass

    def wfdb_all() -> None:
        with wfdb_quietly() as wfdb:
            for record_id in ids:
                wfdb.rdrecord(str(folder / record_id), physical=False)

    def prepare() -> None:
        with tempfile.TemporaryDirectory() as dest:
            reports.append(pc.data.prepare(folder, Path(dest) / "store"))

    reports: list[pc.data.Report] = []
    rows = [("wfdb, digital samples", tens / median_seconds(wfdb_all, repeats))]
    rows.append(("read_record", tens / median_seconds(read_all, repeats)))
    rows.append(("prepare, features included", tens / median_seconds(prepare, repeats)))
    print(f"\n{folder}: {reports[-1].n_records} of {reports[-1].n_found} records stored, {tens:.0f} times ten seconds")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, default=[pc.data.sample().path])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    pc.set_num_threads(1)
    for folder in arguments.folders:
        for name, rate in bench(folder, arguments.repeats):
            print(f"  {name:28} {rate:8.0f} ten-second records a second of one core")


if __name__ == "__main__":
    main()
