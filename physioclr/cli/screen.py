"""What every command shares: the parser, the two streams, progress, and how an interruption ends."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

INTERRUPTED = 130  # as a shell says of a command that Ctrl-C ended: `pretrain && probe` stops


class Commands(typer.core.TyperGroup):
    """Ctrl-C ends any command with INTERRUPTED, in every version of Typer."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("interrupted")
            raise typer.Exit(INTERRUPTED) from None


EXITS = (
    "Exit status: 0 done; 1 a file or store is at fault (damaged, or nothing in it can be used); "
    "2 the call is at fault (an option, a path, a value); 130 interrupted by Ctrl-C."
)

# Completion is Typer's: --install-completion, --show-completion
app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, epilog=EXITS)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

JsonOpt = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, for programs.")]
StoreArg = Annotated[Path, typer.Argument(help="A store made by `physioclr prepare`.", show_default=False)]


def first_process() -> bool:
    """Whether this is the one of torchrun's processes that speaks."""
    return int(os.environ.get("RANK", "0")) == 0


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
    return Progress(*columns, console=err, disable=not (err.is_terminal and first_process()))


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


@contextmanager
def watched(name: str, unit: str) -> Iterator[Callable[..., None]]:
    """update(done, total, note="") for a command's progress: on a terminal a bar with count, rate and remaining time,
    elsewhere a line of these every half minute; both on stderr."""
    with progress_bar() as bar:
        task = bar.add_task(name, total=None, note="")
        lines = Lines(name, unit)

        def update(done: int, total: int, note: str = "") -> None:
            rate = lines(done, total, note)
            bar.update(task, completed=done, total=total, note=f"{rate} {note}".rstrip())

        yield update


def plain(value: Any) -> Any:
    """What JSON can hold: NaN and infinity are null, paths are text, arrays lists."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def tell(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """A command's result on stdout: as JSON, or as text for people."""
    if as_json:
        print(json.dumps(plain(result), indent=1, ensure_ascii=False))
    else:
        out.print(text, markup=False)


def show_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table on stdout; numbers to the right. What a row is about is never cut short, however narrow the terminal."""
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row])
    (out if out.is_terminal else Console(width=160, highlight=False)).print(table)  # a file has no edge to wrap at
