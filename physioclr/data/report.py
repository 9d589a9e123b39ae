"""What a run of `prepare` or `write_store` came to."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .store_writer import finished_shard

NAMED = 10  # records with a remark, or places passed over, that a report names


def remarks_on(said: Sequence[tuple[str, str]]) -> list[str]:
    """Lines on records, or on places, of which there may be many: (name, what there is to say)."""
    lines = [f"{name}: {text}" for name, text in said[:NAMED]]
    return lines + ([f"and {len(said) - NAMED} others like these"] if len(said) > NAMED else [])


@dataclass(frozen=True)
class Report:
    """What a run came to.

    Attributes:
        dest: the folder.
        n_found: records found below the source.
        n_records, n_skipped: of the blocks finished so far, by this run or before it: records stored, and left out.
        n_new: records that this run worked on (stored or left out).
        finished: whether the store is complete; False while other shards (i/n) are still to be prepared.
        seconds: how long this run took.
        unlabelled: scheme -> records stored whose source uses the scheme and says nothing of them: an unknown or empty
            diagnosis, a record of PTB-XL without a diagnostic superclass, an empty cell. They are not labelled, not
            "negative of every class".
        remarks: what else there is to say, a line each: of the source and the table, of places that were passed over
            (links, a second copy), of records stored whose amplitude no ECG has, as with a wrong unit.
        n_resampled: records stored of which a lead was recorded at another rate than the store's (table: `own_fs`).
        signals_left_out: signals that are not voltages, with the number of records stored without them (`left_out`).
    """

    dest: Path
    n_found: int
    n_records: int
    n_skipped: int
    n_new: int
    finished: bool
    seconds: float
    unlabelled: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    n_resampled: int = 0
    signals_left_out: dict[str, int] = field(default_factory=dict)

    @property
    def kept_nothing(self) -> bool:
        """Whether records were tried and none could be used."""
        return self.n_skipped > 0 and self.n_records == 0

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
        if self.kept_nothing:
            first = next(self.skipped(), None)
            text += f"; nothing could be used, for reasons such as {first[1]!r} ({first[0]})" if first else ""
        if self.unlabelled:
            text += "; not labelled: " + ", ".join(f"{n} in {scheme}" for scheme, n in self.unlabelled.items())
        if self.n_resampled:
            text += f"; {self.n_resampled} resampled"
        if self.signals_left_out:
            most = sorted(self.signals_left_out.items(), key=lambda item: -item[1])
            text += "; signals left out: " + ", ".join(f"{name} of {n}" for name, n in most[:8])
            text += f" and {len(most) - 8} others" if len(most) > 8 else ""
        text = text if self.finished else text + "; other shards are still to be prepared"
        return "\n".join((text, *self.remarks))
