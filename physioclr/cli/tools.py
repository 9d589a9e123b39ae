"""Commands about the library itself: info, demo, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import app, out, show_table


@app.command()
def info() -> None:
    """Versions, backends, CUDA architectures, threads and device."""
    from ..info import info as collect

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
    from ..demo import run

    run(out_dir, steps)


@app.command()
def bench(
    peers: Annotated[bool, typer.Option("--peers", help="Also the detectors of other installed packages.")] = False,
    seconds: Annotated[float, typer.Option(help="Time spent on each row, s.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Rows, versions and missing peers as JSON.")] = False,
) -> None:
    """Time the operations on this machine beside plain PyTorch, medians taken in turns."""
    import json
    import math

    from ..bench import missing_peers, rows, text
    from ..info import info as collect

    found, missing = rows(peers, seconds), missing_peers()
    if as_json:
        about = {k: str(v) for k, v in collect().items()}
        print(json.dumps({"info": about, "rows": [r.as_dict() for r in found], "missing": missing}, indent=1))
        return
    lines = []
    for row in found:
        beside = [] if math.isnan(row.beside_seconds) else [text(row.beside_seconds), row.beside_seconds / row.seconds]
        lines.append([row.name, text(row.seconds), row.beside, *(beside or ["", ""])])
    columns = ["", "physioclr", "beside it", "takes", "times as long"]
    show_table(f"medians, {collect()['threads']} threads", columns, lines)
    if missing:
        names = ", ".join(missing)
        out.print(f"not installed, so not compared with: {names}; pip install 'physioclr[bench]'", markup=False)
