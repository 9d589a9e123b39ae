"""What every command shares: the parser, the two streams, progress, and how an interruption ends."""

from __future__ import annotations

import os
import time
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


app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

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


def show_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """A table on stdout; numbers to the right. What a row is about is never cut short, however narrow the terminal."""
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row])
    (out if out.is_terminal else Console(width=160, highlight=False)).print(table)  # a file has no edge to wrap at
