"""Commands about the library itself: info, demo, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import JsonOpt, app, out, show_table, tell, watched


@app.command(epilog="Example: physioclr info")
def info(as_json: JsonOpt = False) -> None:
    """Versions, backends, CUDA architectures, threads and device."""
    from ..info import info as collect

    found = collect()
    tell(found, "\n".join(f"{key + ':':14} {value}" for key, value in found.items()), as_json)


@app.command(epilog="Example: physioclr demo --out /tmp/demo")
def demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the pictures, the store and the run.")] = Path(
        "physioclr-demo"
    ),
    steps: Annotated[int, typer.Option(help="Training steps; the default fills about a minute on two cores.")] = 0,
    as_json: JsonOpt = False,
) -> None:
    """The whole way on the shipped sample: peaks, waves, features, training, evaluation. Offline, on the CPU."""
    from ..demo import run

    figures = run(out_dir, steps, stderr=as_json)
    if as_json:
        tell(figures, "", as_json)


@app.command(epilog="Example: physioclr bench --peers")
def bench(
    peers: Annotated[bool, typer.Option("--peers", help="The README's table: beside what other packages do.")] = False,
    seconds: Annotated[float, typer.Option(help="Time spent on each row, s.")] = 1.0,
    as_json: JsonOpt = False,
) -> None:
    """Time the operations on this machine beside plain PyTorch, medians taken in turns."""
    import math

    from ..bench import missing_peers, rows, text
    from ..info import info as collect

    with watched("bench", "rows") as update:
        found, missing = rows(peers, seconds, progress=update), missing_peers()
    if as_json:
        about = {k: str(v) for k, v in collect().items()}
        tell({"info": about, "rows": [r.as_dict() for r in found], "missing": missing}, "", as_json)
        return
    lines = []
    for row in found:
        beside = [] if math.isnan(row.beside_seconds) else [text(row.beside_seconds), row.beside_seconds / row.seconds]
        lines.append([row.name, text(row.seconds), row.beside, *(beside or ["", ""])])
    columns = ["", "physioclr", "beside it", "takes", "times as long"]
    show_table(f"medians, {collect()['threads']} threads, {collect()['cpu']}", columns, lines)
    if missing:
        names = ", ".join(missing)
        out.print(f"not installed, so not compared with: {names}; pip install 'physioclr[bench]'", markup=False)
