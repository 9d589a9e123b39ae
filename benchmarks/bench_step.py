"""What a step of pretraining costs, method by method: milliseconds of one thread, batch in memory, reading apart.

    python benchmarks/bench_step.py STORE                                     # STORE: `physioclr prepare DIR STORE`
    python benchmarks/bench_step.py STORE --against SITE --set 'channels=[32,64,128,256]' --set amp=true

SITE is a folder that holds another state of the package (an unpacked wheel): both then take their steps turn by turn,
each in a process of its own, so that whatever else the machine does meets both. Times are CPU seconds of the thread;
the median of the steps and the least.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BEATS = {"mode": "supcon", "beat_weight": 2.0, "shuffle": False, "alpha": 0.0, "beta": 0.0}
METHODS = {
    "cmsc": {"method": "cmsc"},
    "simclr": {"method": "simclr", "augment": "preserving"},
    "physioclr": {},
    "physioclr, no decoder": {"alpha": 0.0, "beta": 0.0},
    "beats": BEATS,
    "predict": {**BEATS, "gamma": 10.0},
}
BATCHES, WARM = 6, 4


def serve(store_path: str, settings: list[str], names: list[str]) -> None:
    """A worker: one step of the method that a line of the input names, its milliseconds on a line of the output."""
    import torch

    import physioclr as pc
    from physioclr.train import Config
    from physioclr.train.distributed import world
    from physioclr.train.pretrain import Trainer

    torch.set_num_threads(1)
    store = pc.data.open_store(store_path)
    base = Config(steps=1000, workers=0, log_every=10, checkpoint_every=1_000_000, device="cpu").override(settings)
    made = {}
    with world(False) as processes, tempfile.TemporaryDirectory() as folder:
        records = range(min(len(store), 500))
        for k, name in enumerate(names):
            config = base.replace(**METHODS[name])
            trainer = Trainer(store, Path(folder) / str(k), config, False, list(records), processes)
            begun = time.thread_time()
            batches = [trainer.segments.batch(trainer.sampler(i)) for i in range(BATCHES)]
            read = (time.thread_time() - begun) / BATCHES
            trainer.model.train()
            made[name] = trainer, batches, read, [0]
        for line in sys.stdin:
            trainer, batches, read, done = made[json.loads(line)]
            k = done[0]
            begun = time.thread_time()
            trainer.update(k, [batches[k % BATCHES]], [0])
            took, done[0] = time.thread_time() - begun, k + 1
            print(json.dumps([1e3 * took, 1e3 * read]), flush=True)


def worker(site: str | None, args: argparse.Namespace) -> subprocess.Popen[str]:
    code = "import sys\n"
    if site:  # before an editable install of the package, which a finder of its own brings in
        code += "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        code += f"sys.path.insert(0, {str(Path(site).resolve())!r})\n"
    code += f"sys.path.append({str(Path(__file__).parent)!r})\nimport bench_step\n"
    code += f"bench_step.serve({str(args.store)!r}, {args.set!r}, {args.methods!r})\n"
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--against", metavar="SITE")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="over the configuration")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    workers = {"here": worker(None, args)} | ({args.against: worker(args.against, args)} if args.against else {})
    times: dict[tuple[str, str], list[list[float]]] = {}
    for step in range(WARM + args.steps):
        for name in args.methods:
            for where, process in workers.items():
                assert process.stdin and process.stdout
                process.stdin.write(json.dumps(name) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"the process of {where} ended with {process.wait()}")
                if step >= WARM:
                    times.setdefault((name, where), []).append(json.loads(line))
    for process in workers.values():
        assert process.stdin
        process.stdin.close()
        process.wait()
    print("ms of a step, median (least); " + ", ".join(args.set))
    print("| method | reading | " + " | ".join(workers) + " |\n|---|---|" + "---|" * len(workers))
    for name in args.methods:
        cells = []
        for where in workers:
            steps = sorted(t for t, _ in times[name, where])
            cells.append(f"{steps[len(steps) // 2]:.1f} ({steps[0]:.1f})")
        print(f"| {name} | {times[name, 'here'][0][1]:.1f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
