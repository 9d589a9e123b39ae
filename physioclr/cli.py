"""The command line: `physioclr` or `python -m physioclr`. Each command is a few lines around a library function."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ._files import DamagedFile

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

StoreArg = Annotated[Path, typer.Argument(help="A store made by `physioclr prepare`.", show_default=False)]
RunArg = Annotated[
    Path, typer.Argument(help="A run folder made by `physioclr pretrain`, or `pretrained`.", show_default=False)
]


def progress_bar() -> Progress:
    """Count, a note of the caller's, elapsed and remaining time; silent where stderr is not a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, console=err, disable=not err.is_terminal)


class Lines:
    """Progress for a log: where stderr is no terminal, a line with rate and remaining time every `seconds`."""

    def __init__(self, name: str, unit: str, seconds: float = 30.0):
        self.name, self.unit, self.seconds = name, unit, seconds
        self._began = self._last = time.monotonic()
        self._first: int | None = None

    def rate(self, done: int) -> float:
        """Units a second since the first call; what was done before a continuation does not count."""
        if self._first is None:
            self._first = done
            self._began = time.monotonic()
        elapsed = time.monotonic() - self._began
        return (done - self._first) / elapsed if elapsed > 0 else 0.0

    def __call__(self, done: int, total: int, note: str = "") -> str:
        """Prints if it is time to; returns the rate as text."""
        rate = self.rate(done)
        text = f"{rate:.3g} {self.unit}/s"
        if not err.is_terminal and time.monotonic() - self._last >= self.seconds:
            self._last = time.monotonic()
            left = f", {(total - done) / rate:.0f} s left" if rate > 0 else ""
            err.print(f"{self.name}: {done} of {total}, {text}{left}{', ' + note if note else ''}", markup=False)
        return text


def show_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table on stdout; numbers to the right. What a row is about is never cut short, however narrow the terminal."""
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row])
    (out if out.is_terminal else Console(width=160, highlight=False)).print(table)  # a file has no edge to wrap at


LISTS = ("--fractions", "--set", "--inputs", "--test-folds", "--train-sources", "--test-sources")
LISTS += ("--label-columns", "--leads")


def expand_lists(argv: list[str]) -> list[str]:
    """`--fractions 0.01 0.1 1` as the parser wants it: the option repeated before each value (all of LISTS)."""
    result: list[str] = []
    option = None
    for word in argv:
        if word.startswith("-"):
            option = word if word in LISTS else None
            if option is None:
                result.append(word)
        elif option is not None:
            result += [option, word]
        else:
            result.append(word)
    return result


def main() -> None:
    """Entry point: an error is one line on stderr, no traceback: exit status 2 for a call's, 1 for a damaged file's."""
    argv = expand_lists(sys.argv[1:])
    debug = "--traceback" in argv
    argv = [a for a in argv if a != "--traceback"]
    try:
        app(args=argv)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)
    except DamagedFile as e:
        if debug:
            raise
        err.print("[red]error:[/red] ", end="")
        err.print(str(e), markup=False)
        sys.exit(1)  # a file is at fault, as with `verify`; 2 is a fault of the call
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as e:
        if debug:
            raise
        err.print(f"[red]error:[/red] {type(e).__name__}: ", end="")
        err.print(str(e), markup=False)
        for note in getattr(e, "__notes__", ()):
            err.print(note, markup=False)
        err.print("(--traceback shows where)")
        sys.exit(2)


@app.callback()
def about() -> None:
    """Electrocardiograms: fast kernels, physiology and self-supervised training (PhysioCLR)."""


@app.command()
def info() -> None:
    """Versions, backends, CUDA architectures, threads and device."""
    from .info import info as collect

    for key, value in collect().items():
        out.print(f"{key + ':':14} {value}", markup=False)


@app.command()
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the pictures, the store and the run.")] = Path(
        "physioclr-demo"
    ),
    steps: Annotated[int, typer.Option(help="Training steps; the default fills about a minute on two cores.")] = 0,
) -> None:
    """The whole way on the shipped sample: peaks, waves, features, training, evaluation. Offline, on the CPU."""
    from .demo import run

    run(out_dir, steps)


@app.command()
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
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Enter links to folders, also outside SRC.")
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="wfdb, hdf5, npy, parquet, edf or dicom; default what SRC has.")
    ] = None,
    source_fs: Annotated[float | None, typer.Option(help="Sampling rate of bare arrays, Hz.")] = None,
    unit: Annotated[str, typer.Option(help="Unit of bare arrays: mV, uV, V or nV.")] = "mV",
    leads: Annotated[list[str] | None, typer.Option(help="Leads of bare arrays, in order; default the 12.")] = None,
) -> None:
    """Convert recordings into a store. Records that cannot be used are listed with the reason; all: status 1."""
    from .data import prepare as convert

    part = None
    if shard is not None:
        try:
            part = (int(shard.split("/")[0]) - 1, int(shard.split("/")[1]))
        except (ValueError, IndexError):
            raise ValueError(f"--shard is {shard!r}; it must be i/n, as 1/4 to 4/4") from None

    with progress_bar() as bar:
        task = bar.add_task("prepare", total=None, note="")

        lines = Lines("prepare", "records")

        def update(done: int, total: int, left_out: int) -> None:
            note = f"{left_out} left out" if left_out else ""
            rate = lines(done, total, note)
            bar.update(task, completed=done, total=total, note=f"{rate} {note}")

        report = convert(
            src, dest, fs=fs, jobs=jobs, shard=part, progress=update, table=table, label_columns=label_columns or None,
            zero_seconds=zero_seconds, follow_links=follow_links, format=format, source_fs=source_fs, unit=unit,
            leads=leads or None,
        )  # fmt: skip
    out.print(str(report), markup=False)
    if report.kept_nothing:
        raise typer.Exit(1)


@app.command()
def verify(store: StoreArg) -> None:
    """Check a store: files, shapes, counts and checksums."""
    from .data import verify as check

    problems = check(store)
    for problem in problems:
        out.print(problem, markup=False)
    count = f"{len(problems)} problem{'s' * (len(problems) > 1)}" if problems else "no problems"
    out.print(f"{store}: {count}", markup=False)
    if problems:
        raise typer.Exit(1)


@app.command()
def pretrain(
    store: StoreArg,
    run: Annotated[Path, typer.Option("--out", help="Run folder: configuration, metrics, checkpoints, loss curve.")],
    method: Annotated[
        str | None, typer.Option(help="physioclr, simclr, cmsc, supervised, features, random or package.module:Class.")
    ] = None,
    config: Annotated[str, typer.Option(help="A YAML file, or `fast`, `beats` or `published`.")] = "fast",
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, over the configuration.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the newest checkpoint of the run folder.")] = False,
) -> None:
    """Pretrain an encoder on a store. Ctrl-C saves a checkpoint, --resume goes on from it."""
    from .train import Config
    from .train import pretrain as train

    settings = list(settings or []) + ([f"method={method}"] if method else [])
    with progress_bar() as bar:
        task = bar.add_task("pretrain", total=None, note="")

        lines = Lines("pretrain", "steps")

        def update(metrics: dict[str, Any]) -> None:
            note = f"loss {metrics['loss']:.4f}" if "loss" in metrics else ""
            lines(metrics["step"], metrics["steps"], note)
            bar.update(task, completed=metrics["step"], total=metrics["steps"], note=note)

        result = train(store, run, Config.load(config).override(settings), resume=resume, progress=update)
    out.print(str(result), markup=False)


@app.command()
def probe(
    run: RunArg,
    store: StoreArg,
    fractions: Annotated[list[float] | None, typer.Option(help="Shares of the training labels.")] = None,
    seeds: Annotated[int, typer.Option(help="Draws of the labels at each fraction below 1.")] = 3,
    scheme: Annotated[str | None, typer.Option(help="Label scheme; by default that of most records.")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option(help="What the linear probe sees: embedding, features, demographics.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Make so many folds by patient; default the store's own.")] = None,
    test_folds: Annotated[list[int] | None, typer.Option(help="Score only these folds of the store.")] = None,
    train_sources: Annotated[list[str] | None, typer.Option(help="Fit on the records of these sources.")] = None,
    test_sources: Annotated[list[str] | None, typer.Option(help="Score those of these sources.")] = None,
    min_positives: Annotated[int, typer.Option(help="Classes with fewer in any draw are left out.")] = 2,
    finetune: Annotated[bool, typer.Option(help="Train encoder and head together instead of the probe.")] = False,
    epochs: Annotated[int, typer.Option(help="Passes over the labelled records with --finetune.")] = 20,
    path: Annotated[Path | None, typer.Option("--out", help="Folder of table and picture; default the run.")] = None,
) -> None:
    """Evaluate a run on labelled records by a linear probe or by fine-tuning: AUROC and AUPRC with intervals."""
    from .train import probe as evaluate

    given = {"inputs": inputs, "test_folds": test_folds, "train_sources": train_sources, "test_sources": test_sources}
    with progress_bar() as bar:
        task = bar.add_task("probe", total=None, note="")
        result = evaluate(
            run, store, fractions=tuple(fractions or (0.01, 0.1, 1.0)), seeds=seeds, scheme=scheme, folds=folds,
            finetune=finetune, epochs=epochs, out=path, min_positives=min_positives,
            **{k: v or None for k, v in given.items()},
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    out.print(str(result), markup=False)


@app.command()
def embed(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="[RUN] STORE", help="A run folder and a store; without RUN the shipped encoder."),
    ],
    path: Annotated[Path, typer.Option("--out", help="The .npy file to write.")],
) -> None:
    """Write the embedding of every record of a store, (records, width) float32."""
    if len(paths) > 2:
        raise ValueError(f"{len(paths)} paths are given; embed takes a run and a store, or a store alone")
    run, store = (Path("pretrained"), *paths)[-2:]
    import numpy as np

    from .train import embed as embeddings

    with progress_bar() as bar:
        task = bar.add_task("embed", total=None, note="")
        values = embeddings(run, store, progress=lambda done, total: bar.update(task, completed=done, total=total))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    out.print(f"{path}: {values.shape[0]} records, {values.shape[1]} columns", markup=False)


@app.command()
def bench(
    peers: Annotated[bool, typer.Option("--peers", help="Also the detectors of other installed packages.")] = False,
    seconds: Annotated[float, typer.Option(help="Time spent on each row, s.")] = 1.0,
) -> None:
    """Time the operations on this machine beside plain PyTorch, medians taken in turns."""
    import math

    from .bench import rows, text
    from .info import info as collect

    lines = []
    for row in rows(peers, seconds):
        beside = [] if math.isnan(row.beside_seconds) else [text(row.beside_seconds), row.beside_seconds / row.seconds]
        lines.append([row.name, text(row.seconds), row.beside, *(beside or ["", ""])])
    show_table(f"medians, {collect()['threads']} threads", ["", "physioclr", "beside it", "takes", "ratio"], lines)


@app.command()
def plot(
    record: Annotated[Path, typer.Argument(help="A WFDB record: its header, or the path without suffix.")],
    path: Annotated[Path, typer.Option("--out", help="The picture to write (.png, .svg or .pdf).")] = Path("ecg.png"),
    start: Annotated[float, typer.Option(help="Where the picture begins, s.")] = 0.0,
) -> None:
    """Draw a record on ECG paper with its R peaks, wave boundaries and intervals."""
    from .plots import draw_record

    out.print(str(draw_record(record, path, start=start)), markup=False)
