"""What training costs, and what that predicts for a large store: the figures of docs/scaling.md.

    python benchmarks/bench_scaling.py STORE [--steps 3] [--only fast fast-125 published]

Measured here, on one thread: the seconds of a step and of reading a record, the bytes that the backward pass keeps of a
segment, the table that an open store maps. Counted: floating-point operations (torch's counter). Predicted from these,
and marked so: the time on H200s, from the vendor's peak and an assumed share of it.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

import physioclr as pc
from physioclr.train import Config
from physioclr.train.dataset import Segments
from physioclr.train.run import build_model

CORES = 16  # assumed beside each GPU
RECORDS = 800_000  # MIMIC-IV-ECG has about as many, of 10 s
PEAK = 989e12  # bf16 operations a second without sparsity, NVIDIA's data sheet of the H200
SHARE = {"fast": 0.05, "fast-125": 0.05, "published": 0.35}  # assumed: small convolutions wait for memory
CONFIGS = {
    "fast": (Config(), 16),
    "fast-125": (Config(decimate=4), 64),
    "published": (Config.load("published").replace(amp=False), 4),
}


def inputs(n: int, samples: int, fs: float) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    beats = torch.arange(int(0.4 * fs), samples, int(0.8 * fs), dtype=torch.int32)
    return {
        "anchor": torch.randn(n, 12, samples, generator=g),
        "features": torch.randn(n, 50, generator=g),
        "group": torch.arange(n) // 2,
        "shuffled": torch.randn(n, 12, samples, generator=g),
        "pair": torch.arange(n) ^ 1,
        "rpeaks": beats.repeat(n, 1),
    }


def kept_bytes(model: torch.nn.Module, rows: dict[str, torch.Tensor]) -> int:
    """Bytes of the tensors that the graph keeps for the backward pass, without the parameters."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        total = model(**rows).total
    del total
    return sum(seen.values())


def encoder_costs(name: str, steps: int) -> dict[str, float]:
    config, n = CONFIGS[name]
    fs = 500.0 / config.decimate
    samples = round(5 * fs)
    model = build_model(config, fs)
    rows = inputs(n, samples, fs)
    with FlopCounterMode(display=False) as counter:
        model(**rows).total.backward()
    kept = kept_bytes(model, rows)
    optimizer = torch.optim.AdamW(model.parameters())
    taken = []
    for _ in range(steps):
        begun = time.process_time()
        optimizer.zero_grad()
        model(**rows).total.backward()
        optimizer.step()
        taken.append(time.process_time() - begun)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": sorted(taken)[len(taken) // 2] / n,
        "flops": counter.get_total_flops() / n,
        "kept": kept / n,
    }


def reading(store, config: Config) -> float:
    """Processor seconds of reading, filtering and transforming one record, both segments, without any cache."""
    segments = Segments(store, config.replace(cache_mb=0))
    segments.feature_space = pc.FeatureSpace.fit(segments.training_features()[:2000])
    pairs = min(64, len(segments))
    segments.batch(range(pairs))  # the first one compiles and maps
    begun = time.process_time()
    segments.batch(range(pairs))
    return (time.process_time() - begun) / pairs


def span(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    pc.set_num_threads(1)
    store = pc.data.open_store(args.store)
    table = sum(column.dtype.itemsize * column[:1].size for column in store.table.values())
    print(
        f"table of an open store: {table} bytes a record, mapped; {RECORDS * table / 1e9:.2f} GB at {RECORDS} records"
    )
    print("\n| configuration | parameters | step, ms a segment | GFLOP a segment | kept for backward, MB a segment |")
    print("|---|---|---|---|---|")
    costs = {}
    for name in args.only:
        costs[name] = c = encoder_costs(name, args.steps)
        cells = [
            f"{c['parameters']:,}",
            f"{1e3 * c['seconds']:.1f}",
            f"{c['flops'] / 1e9:.2f}",
            f"{c['kept'] / 1e6:.2f}",
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    print("\nboth views of a segment, forward and backward, decoder and loss included\n")
    head = ["configuration", "read and filter, ms a record", "arithmetic, 1 H200", f"reading, {CORES} cores"]
    head += ["epoch, 1 H200", f"epoch, 8 H200s with {CORES} cores each"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name, c in costs.items():
        read = reading(store, CONFIGS[name][0])
        arithmetic = 2 * RECORDS * c["flops"] / (PEAK * SHARE[name])
        feed = RECORDS * read / CORES
        epoch = max(arithmetic, feed)
        print(f"| {name} | {1e3 * read:.2f} | {' | '.join(map(span, (arithmetic, feed, epoch, epoch / 8)))} |")
    print(f"\npredicted for {RECORDS} records of 10 s, not measured")


if __name__ == "__main__":
    main()
