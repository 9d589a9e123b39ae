"""Make of a finished run what others need of it: the encoder in float16, rounded, and what `open_run` reads beside it.

    python benchmarks/representation/ship.py RUN DEST --store "PTB-XL 1.0.3, folds 1 to 6, 100 Hz"

DEST is a run folder like any other (`embed`, `probe`, `similar`, `load_pretrained` take it), without optimiser,
projection, average beats and metrics. Prints how far its embeddings are from those of float32, and the revision.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from physioclr._files import file_entry
from physioclr.train import load_pretrained, open_run
from physioclr.train.checkpoint import FOLDER, STATE, WEIGHTS
from physioclr.train.files import json_text
from physioclr.train.folder import CONFIG, INFO, RECORDS, SPACE

FRACTION_BITS = 6


def rounded(x: Tensor) -> Tensor:
    """float16 with FRACTION_BITS of its 10 bits of fraction, to the nearest: the zeros behind them compress well."""
    unit = 1 << (10 - FRACTION_BITS)
    bits = x.half().view(torch.int16).int()  # sign and magnitude: a carry goes into the exponent, as it should
    return (((bits & 0x7FFF) + unit // 2) // unit * unit | (bits & -0x8000)).to(torch.int16).view(torch.float16)


def ship(run_folder: Path, dest: Path, store: str) -> None:
    run = open_run(run_folder)
    checkpoint = dest / FOLDER / f"step_{run.step:010d}"
    checkpoint.mkdir(parents=True)
    weights = run.encoder.state_dict()
    tensors = {f"encoder.{k}": rounded(v) if v.ndim > 1 else v for k, v in weights.items()}
    safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, checkpoint / WEIGHTS)
    (checkpoint / STATE).write_text(json_text({"step": run.step, "files": {WEIGHTS: file_entry(checkpoint / WEIGHTS)}}))
    for name in (CONFIG, RECORDS, SPACE):
        shutil.copy(run.path / name, dest / name)
    files = {name: file_entry(dest / name) for name in (RECORDS, SPACE)}
    info = {k: v for k, v in run.info.items() if k != "crc32"}
    info |= {"store": store, "config": run.config.as_dict(), "files": files}
    (dest / INFO).write_text(json_text(info))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("dest", type=Path)
    parser.add_argument("--store", required=True, help="what it was trained on, in words")
    args = parser.parse_args()
    ship(args.run, args.dest, args.store)
    whole, made = load_pretrained(args.run), load_pretrained(args.dest)
    x = torch.randn(64, 12, whole.pretrained_cfg["samples"]) * whole.pretrained_cfg["input_sd"]
    with torch.inference_mode():
        want = whole(x)
        error = (made(x) - want).abs().max() / want.abs().max()
    size = sum(f.stat().st_size for f in args.dest.rglob("*") if f.is_file())
    parameters = sum(p.numel() for p in made.encoder.parameters())
    print(
        f"revision {made.revision}, {parameters:,} parameters, {size:,} bytes, off by {error:.1e} of the largest value"
    )


if __name__ == "__main__":
    main()
