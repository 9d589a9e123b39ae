"""A large store for scaling tests, made from the shipped records in seconds instead of hours.

    python benchmarks/synthetic_store.py DEST --records 100000 --steps 100

Record i is shipped record i mod 80 with its own gain in every lead, its R peaks unchanged, its features with some
noise: enough to load and to train on, worth nothing for learning. A ten-second record takes 124 kB on disk. --steps
trains a small encoder on it in a process of its own and prints the most memory that this process held.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

import physioclr as pc
from physioclr.data.labels import CLASSES
from physioclr.data.store import Store
from physioclr.data.store_writer import ShardWriter, write_index

PER_SHARD = 256


def make(dest: Path, source: Store, n_records: int, seed: int = 0) -> None:
    dest.mkdir(parents=True)  # a folder that exists may hold anything
    names = [f"shard-{k:06d}" for k in range(-(-n_records // PER_SHARD))]
    originals = [(source.signal(j), source.scale(j), source.rpeaks(j), source.features(j)) for j in range(len(source))]
    classes, labels = source.labels["ptbxl_superclass"]
    for k, name in enumerate(names):
        writer = ShardWriter(dest, name, originals[0][3].shape[1])
        for i in range(k * PER_SHARD, min((k + 1) * PER_SHARD, n_records)):
            rng = np.random.default_rng([seed, i])
            j = i % len(originals)
            signal, scale, rpeaks, features = originals[j]
            gain = rng.uniform(0.7, 1.3, 12).astype(np.float32)
            noise = 1.0 + 0.05 * rng.standard_normal(features.shape, np.float32)
            row = {
                "record_id": f"synthetic/{i:08d}",
                "source": "synthetic",
                "patient_id": str(i // 2),
                "age": float(source.table["age"][j]),
                "sex": str(source.table["sex"][j]),
                "fold": i % 10,
                "quality": 1.0,
                "paced": False,
                "dx": [],
                "labels": {"ptbxl_superclass": [c for c, y in zip(classes, labels[j], strict=True) if y]},
            }
            writer.add(signal, scale * gain, rpeaks, features * noise, row)
        writer.commit()
    settings = {"library": pc.__version__, "fs": source.fs, "segment": source.segment}
    write_index(dest, names, settings | {"feature_leads": list(source.feature_leads)}, CLASSES)


def train(store: Path, steps: int) -> None:
    """The fast encoder at 125 Hz, one thread. Says what it took."""
    import torch

    from physioclr.train import Config, pretrain

    torch.set_num_threads(1)
    begun, rows = time.monotonic(), []
    config = Config(steps=steps, decimate=4, cache_mb=256, channels=[16, 32, 64, 128], log_every=10)
    with tempfile.TemporaryDirectory() as folder:
        pretrain(store, Path(folder) / "run", config, progress=rows.append)
    took = time.monotonic() - begun
    print(
        f"{steps} steps of {config.batch_size} segments in {took:.0f} s, {rows[-1]['seconds']:.0f} s of them in steps"
    )


def train_apart(store: Path, steps: int) -> None:
    """`train` in a process of its own; the memory is that process's, shared pages of the mapped store included."""
    process = multiprocessing.get_context("spawn").Process(target=train, args=(store, steps))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
    print(f"peak resident memory {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dest", type=Path)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="train for so many steps afterwards")
    arguments = parser.parse_args()
    begun = time.monotonic()
    if arguments.dest.exists():
        print(f"{arguments.dest} is there already")
    else:
        with tempfile.TemporaryDirectory() as folder:
            source = pc.data.sample_store(Path(folder) / "sample")
            make(arguments.dest, source, arguments.records, arguments.seed)
        print(f"{arguments.records} records in {arguments.dest} after {time.monotonic() - begun:.0f} s")
    if arguments.steps:
        train_apart(arguments.dest, arguments.steps)


if __name__ == "__main__":
    main()
