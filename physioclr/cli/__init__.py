"""The command line: `physioclr` or `python -m physioclr`. Each command is a few lines around a library function."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .._files import DamagedFile
from . import records as records
from . import tools as tools
from . import training as training
from .screen import INTERRUPTED, Lines, app, err, out, progress_bar, show_table

__all__ = ["Lines", "app", "err", "expand_lists", "main", "out", "progress_bar", "show_table"]

LISTS = (
    "--fractions", "--set", "--inputs", "--test-folds", "--train-sources", "--test-sources",
    "--label-columns", "--leads",
)  # fmt: skip


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
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # for package.module:factory; last, so that it hides nothing
    try:
        app(args=argv)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
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


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        out.print(f"physioclr {__version__}")
        raise typer.Exit()


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Electrocardiograms: fast kernels, physiology and self-supervised training (PhysioCLR)."""
