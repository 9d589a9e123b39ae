"""Commands on recordings: prepare, verify, plot."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from .screen import JsonOpt, StoreArg, app, tell, watched


@app.command(epilog="Example: physioclr prepare path/to/ptb-xl stores/ptbxl --jobs 4")
def prepare(
    src: Annotated[
        Path,
        typer.Argument(
            help="Folder of WFDB records (Challenge, PTB-XL, MIMIC ...), HDF5, .npy, Parquet, EDF or DICOM."
        ),
    ],
    dest: Annotated[Path, typer.Argument(help="The store to make, or to go on with.")],
    fs: Annotated[float, typer.Option(help="Sampling rate of the store, Hz.")] = 500.0,
    jobs: Annotated[int, typer.Option(help="Records in work at a time.")] = 1,
    shard: Annotated[str | None, typer.Option(help="i/n: only the i-th of n parts, i from 1 to n.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: record_id, patient_id, age, sex, fold, split, labels.")
    ] = None,
    label_columns: Annotated[
        list[str] | None,
        typer.Option(help="Columns of the table that are labels; default those of 0 and 1, labels, dx."),
    ] = None,
    zero_seconds: Annotated[
        float, typer.Option(help="Exact zeros on all leads for so long are missing samples; 0: never.")
    ] = 0.2,
    feature_leads: Annotated[
        list[str] | None, typer.Option(help="Leads whose features are kept, or all; default II, V1, V5.")
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Enter links to folders, also outside SRC.")
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="wfdb, hdf5, npy, parquet, edf or dicom; default what SRC has.")
    ] = None,
    source_fs: Annotated[float | None, typer.Option(help="Sampling rate of bare arrays, Hz.")] = None,
    unit: Annotated[str, typer.Option(help="Unit of bare arrays: mV, uV, V, nV, or mV per unit (0.1).")] = "mV",
    leads: Annotated[list[str] | None, typer.Option(help="Leads of bare arrays, in order; default the 12.")] = None,
    as_json: JsonOpt = False,
) -> None:
    """Convert recordings into a store. Records that cannot be used are listed with the reason; all: status 1."""
    from ..data import prepare as convert
    from ..data.recipe import FEATURE_LEADS

    part = None
    if shard is not None:
        try:
            part = (int(shard.split("/")[0]) - 1, int(shard.split("/")[1]))
        except (ValueError, IndexError):
            raise ValueError(f"--shard is {shard!r}; it must be i/n, as 1/4 to 4/4") from None

    with watched("prepare", "records") as update:

        def show(done: int, total: int, left_out: int) -> None:
            update(done, total, f"{left_out} left out" if left_out else "")

        report = convert(
            src, dest, fs=fs, jobs=jobs, shard=part, progress=show, table=table, label_columns=label_columns or None,
            zero_seconds=zero_seconds, follow_links=follow_links, format=format, source_fs=source_fs, unit=unit,
            leads=leads or None, feature_leads=feature_leads or FEATURE_LEADS,
        )  # fmt: skip
    tell(dataclasses.asdict(report), str(report), as_json)
    if report.kept_nothing:
        raise typer.Exit(1)


@app.command(epilog="Example: physioclr verify stores/ptbxl")
def verify(store: StoreArg, as_json: JsonOpt = False) -> None:
    """Check a store: files, shapes, counts and checksums. Problems: status 1."""
    from ..data import verify as check

    with watched("verify", "files") as update:
        problems = check(store, progress=update)
    count = f"{len(problems)} problem{'s' * (len(problems) > 1)}" if problems else "no problems"
    tell({"store": store, "problems": problems}, "\n".join([*problems, f"{store}: {count}"]), as_json)
    if problems:
        raise typer.Exit(1)


@app.command(epilog="Example: physioclr plot path/to/record --out ecg.pdf --layout 3x4")
def plot(
    record: Annotated[Path, typer.Argument(help="A WFDB record: its header, or the path without suffix.")],
    path: Annotated[Path, typer.Option("--out", help="The picture to write (.png, .svg or .pdf).")] = Path("ecg.png"),
    start: Annotated[float, typer.Option(help="Where the picture begins, s.")] = 0.0,
    layout: Annotated[str, typer.Option(help="6x2 or 3x4 with a rhythm strip, or 12x1.")] = "6x2",
    patient: Annotated[
        str | None, typer.Option(help="Written below; default age and sex, if the header has them.")
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Draw a record on ECG paper with its R peaks, wave boundaries and intervals."""
    if not any(record.with_name(record.name + end).is_file() for end in ("", ".hea", ".HEA")):
        raise ValueError(f"record is '{record}'; there is neither a file of this name nor {record}.hea")
    from ..plots import draw_record

    made = draw_record(record, path, start=start, layout=layout, patient=patient)
    tell({"picture": made}, str(made), as_json)
