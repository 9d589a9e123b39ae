"""The contrastive losses, forward + backward, beside eager PyTorch, the libraries that have them, and bare products.

pytest benchmarks/bench_contrastive.py                    times (pytest-benchmark), 2 threads
python benchmarks/bench_contrastive.py [N ...]            time and peak memory of each method, one process each, and
                                                          CPU seconds (all threads) where other programs run too
    --loss hybrid info_nce nt_xent supcon ...             of these losses
    --scale                                               N = 65,536, physioclr alone: all losses, memory and time;
                                                          what eager PyTorch would need is computed, not run
    --only WORD ...                                       the methods whose names contain one of the words
    --json FILE                                           the table as a list of objects
python benchmarks/bench_contrastive.py --small [N ...]    usual batches (128, 256, 512) in one process, the methods in
                                                          turn, so that all have the same company

A group is one loss at one N: every row but the floors takes the same embeddings to the same loss (checked) and to its
gradient by all of them, normalisation included. The second column of times is the ratio to the group's floor, the
third that to eager PyTorch. N is the number of segments: InfoNCE and the losses with features compare N rows with N,
SupCon N with themselves (labels of four rows each), NT-Xent 2 N with themselves.

floor: bare GEMMs      the products that autograd does for the loss, alone, results preallocated. Hybrid: h h^T, f f^T,
                       G h and G^T h. InfoNCE: a b^T, G b and G^T a; with features f f^T too. NT-Xent, SupCon: h h^T,
                       G h and G^T h.
floor: single G h      hybrid without G^T h, the least that any implementation without symmetry does
floor: mm on tiles     hybrid, what physioclr multiplies (each unordered tile once forward and once backward, G h_J and
                       G^T h_I) with MKL instead of its own kernel, without anything in between

Peers take part where they are installed and fit in memory; those that are missing are listed. Every one of them makes
N x N arrays.
"""

import argparse
import importlib
import importlib.util
import itertools
import json
import multiprocessing as mp
import statistics
import time

import pytest
import torch
from eager_contrastive import (
    SIGMA,
    TAU,
    hybrid_eager,
    info_nce_eager,
    nt_xent_eager,
    one_sided_eager,
    soft_eager,
    supcon_eager,
    unit,
    y_aware_eager,
)  # fmt: skip

import physioclr as pc

D, FEATURES, V, THREADS, TILE = 256, 50, 2, 2, 1024
SCALE = 65536
DENSE_LIMIT = 16384  # rows for which an N x N array and its copies are made


def embeddings(n, dtype=torch.float32):
    gen = torch.Generator().manual_seed(0)
    return [torch.randn(n, D, generator=gen).to(dtype).requires_grad_() for _ in range(2)]


def gradient(fn, inputs):
    """One forward and backward pass of the loss `fn`; the loss."""

    def step():
        loss = fn(*inputs)
        torch.autograd.grad(loss, inputs)
        return loss.detach()

    return step


# ---- the hybrid loss


def hybrid_inputs(n, dtype=torch.float32):
    gen = torch.Generator().manual_seed(0)
    anchor, views = (torch.randn(*s, n, D, generator=gen).to(dtype).requires_grad_() for s in ((), (V,)))
    return anchor, views, torch.randn(n, FEATURES, generator=gen)


def hybrid(fn, dtype=torch.float32):
    def make(n):
        anchor, views, features = hybrid_inputs(n, dtype)
        return gradient(lambda a, v: fn(a, v, features), (anchor, views))

    return make


def hybrid_products(single):
    def make(n):
        h, _, f = (x.detach() for x in hybrid_inputs(n))
        g, tile = torch.empty(n, D), torch.empty(n, n)

        def products():
            torch.mm(f, f.T, out=tile)
            torch.mm(h, h.T, out=tile)
            torch.mm(tile, h, out=g)
            if not single:
                torch.mm(tile.T, h, out=g)

        return products

    return make


def hybrid_tile_products(n):
    h, _, f = (x.detach() for x in hybrid_inputs(n))
    tile = min(TILE, n)
    s, t, g = torch.empty(tile, tile), torch.empty(tile, tile), torch.zeros_like(h)
    blocks = [slice(i, i + tile) for i in range(0, n, tile)]  # N is a multiple of the tile

    def products():
        for backward, (k, i) in itertools.product((False, True), enumerate(blocks)):
            for j in blocks[k:]:
                torch.mm(h[i], h[j].T, out=s)
                torch.mm(f[i], f[j].T, out=t)
                if backward:
                    g[i].addmm_(s, h[j])
                if backward and i is not j:
                    g[j].addmm_(s.T, h[i])

    return products


# ---- InfoNCE and NT-Xent


def rows_alone(fn):
    """A loss of (N, D) and labels that four rows share."""

    def make(n):
        labels = torch.arange(n) // 4
        return gradient(lambda x: fn(x, labels), embeddings(n)[:1])

    return make


def pair(fn, dtype=torch.float32):
    return lambda n: gradient(fn, embeddings(n, dtype))


def pair_products(sides, features=False):
    """h k^T, G k and G^T h: of N rows each (2), of N with themselves (1) or of 2 N (0)."""

    def make(n):
        h, k = (x.detach() for x in embeddings(n))
        f = hybrid_inputs(n)[2] if features else None
        h, k = {0: [torch.cat([h, k])] * 2, 1: [h, h], 2: [h, k]}[sides]
        g, tile = torch.empty_like(h), torch.empty(len(h), len(h))

        def products():
            if f is not None:
                torch.mm(f, f.T, out=tile)
            torch.mm(h, k.T, out=tile)
            torch.mm(tile, k, out=g)
            torch.mm(tile.T, h, out=g)

        return products

    return make


def told(fn):
    """A loss of two views and of features."""

    def make(n):
        f = hybrid_inputs(n)[2]
        return gradient(lambda a, b: fn(a, b, f), embeddings(n))

    return make


def open_clip_loss(n):
    loss, scale = importlib.import_module("open_clip.loss").ClipLoss(), torch.tensor(1 / TAU)
    return pair(lambda a, b: loss(unit(a), unit(b), scale))(n)


def lightly_nt_xent(n):
    loss = importlib.import_module("lightly.loss").NTXentLoss(temperature=TAU)
    return pair(loss)(n)


def metric_learning_nt_xent(n):
    losses = importlib.import_module("pytorch_metric_learning.losses")
    loss = losses.SelfSupervisedLoss(losses.NTXentLoss(temperature=TAU))
    return pair(loss)(n)


def metric_learning_supcon(n):
    return rows_alone(importlib.import_module("pytorch_metric_learning.losses").SupConLoss(temperature=TAU))(n)


HYBRID_FLOOR = "floor: bare GEMMs h h^T, f f^T, G h, G^T h"
BFLOAT16 = "physioclr, bfloat16 in"
# loss -> method -> what makes its step for N segments; the first is the floor that ratios are of
METHODS = {
    "hybrid": {
        HYBRID_FLOOR: hybrid_products(False),
        "floor: single G h": hybrid_products(True),
        "floor: mm on tiles": hybrid_tile_products,
        "eager PyTorch": hybrid(hybrid_eager),
        "physioclr": hybrid(pc.hybrid_contrastive_loss),
        BFLOAT16: hybrid(pc.hybrid_contrastive_loss, torch.bfloat16),
    },
    "info_nce": {
        "floor: bare GEMMs a b^T, G b, G^T a": pair_products(2),
        "eager PyTorch": pair(info_nce_eager),
        "open_clip ClipLoss": open_clip_loss,
        "physioclr": pair(pc.info_nce),
        BFLOAT16: pair(pc.info_nce, torch.bfloat16),
    },
    "one_sided": {
        "floor: bare GEMMs a b^T, G b, G^T a": pair_products(2),
        "eager PyTorch": pair(one_sided_eager),
        "physioclr": pair(lambda a, b: pc.info_nce(a, b, symmetric=False)),
    },
    "nt_xent": {
        "floor: bare GEMMs h h^T, G h, G^T h": pair_products(0),
        "eager PyTorch": pair(nt_xent_eager),
        "lightly NTXentLoss": lightly_nt_xent,
        "pytorch-metric-learning NTXentLoss": metric_learning_nt_xent,
        "physioclr": pair(pc.nt_xent),
        BFLOAT16: pair(pc.nt_xent, torch.bfloat16),
    },
    "supcon": {
        "floor: bare GEMMs h h^T, G h, G^T h": pair_products(1),
        "eager PyTorch": rows_alone(supcon_eager),
        "pytorch-metric-learning SupConLoss": metric_learning_supcon,
        "physioclr": rows_alone(lambda x, labels: pc.supcon(x, labels, tau=TAU)),
    },
    "y_aware": {
        "floor: bare GEMMs a b^T, f f^T, G b, G^T a": pair_products(2, features=True),
        "eager PyTorch": told(y_aware_eager),
        "physioclr": told(lambda a, b, f: pc.y_aware_info_nce(a, b, f, sigma=SIGMA)),
    },
    "soft": {
        "floor: bare GEMMs a b^T, f f^T, G b, G^T a": pair_products(2, features=True),
        "eager PyTorch": told(soft_eager),
        "physioclr": told(pc.soft_contrast),
    },
}
PACKAGES = {"open_clip": "open_clip", "lightly": "lightly", "pytorch-metric-learning": "pytorch_metric_learning"}
NAMES = {
    "hybrid": f"hybrid loss, F = {FEATURES}, V = {V}", "info_nce": "InfoNCE, symmetric", "nt_xent": "NT-Xent",
    "one_sided": "InfoNCE, one-sided", "supcon": "SupCon", "y_aware": "y-aware InfoNCE, F = 50",
    "soft": "soft_contrast, F = 50",
}  # fmt: skip


def missing(method):
    """The package that a method needs and that is not installed."""
    name = next((p for word, p in PACKAGES.items() if method.startswith(word)), None)
    return name if name and importlib.util.find_spec(name) is None else None


def fits(loss, method, n):
    if method.startswith(("physioclr", "floor: mm on tiles")):
        return True
    rows = n * (2 if loss == "nt_xent" else 1)
    if "metric-learning NTXent" in method:  # every positive pair with every negative one, one by one
        return rows <= 256
    return rows <= (DENSE_LIMIT if "metric" not in method else DENSE_LIMIT // 4)  # SupConLoss: masks of 10 GB more


def eager_bytes(loss, n):
    """At least: the similarities, which the backward pass needs, and their gradient, float32."""
    return 2 * 4 * (n * (2 if loss == "nt_xent" else 1)) ** 2


def set_threads(threads):
    torch.set_num_threads(threads)
    pc.set_num_threads(threads)


ALL = [(loss, method) for loss, methods in METHODS.items() for method in methods]


@pytest.mark.parametrize("loss, method", ALL)
@pytest.mark.parametrize("n", [128, 512, 2048])
def test_forward_and_backward(benchmark, loss, method, n):
    if missing(method):
        pytest.skip(f"{missing(method)} is not installed")
    if not fits(loss, method, n):
        pytest.skip(f"N = {n} is too large for it")
    before = torch.get_num_threads(), pc.info()["threads"]
    set_threads(THREADS)
    benchmark.group = f"{NAMES[loss]}, forward + backward, N = {n}, D = {D}, {THREADS} threads"
    try:
        benchmark.pedantic(METHODS[loss][method](n), rounds=5, warmup_rounds=1)
    finally:
        torch.set_num_threads(before[0])
        pc.set_num_threads(before[1])


def same_loss(loss, n=100):
    """Rows of a group measure the same work: every method's loss is eager's, to the accuracy of its dtype."""
    want = METHODS[loss]["eager PyTorch"](n)()
    for method, make in METHODS[loss].items():
        if not method.startswith("floor") and not missing(method):
            torch.testing.assert_close(make(n)(), want, rtol=2e-2 if method == BFLOAT16 else 1e-4, atol=0)


def peak(field):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field)) / 1024


def measure(loss, method, n, repeats, pipe):
    set_threads(THREADS)
    METHODS[loss][method](256)()  # what the first call of anything needs is not counted
    run = METHODS[loss][method](n)
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the peak starts again from here (Linux)
    before, times, cpu_times = peak("VmRSS"), [], []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        run()
        times.append(time.perf_counter() - start)
        cpu_times.append(time.process_time() - cpu)
    pipe.send((statistics.median(times), statistics.median(cpu_times), peak("VmHWM") - before))


def large(loss, n, methods):
    """(seconds, CPU seconds, MB) of each method, in a process of its own."""
    context, table = mp.get_context("spawn"), {}
    for method in methods:
        ours, theirs = context.Pipe()
        process = context.Process(target=measure, args=(loss, method, n, 3 if n <= 8192 else 1, theirs))
        process.start()
        theirs.close()
        try:
            table[method] = ours.recv()
        except EOFError:
            print(f"  {method}: died, probably of memory")
        process.join()
    return table


def small(loss, n, methods, repeats):
    """The medians over rounds in which each method has its turn."""
    steps = {method: METHODS[loss][method](n) for method in methods}
    times, cpu_times = ({method: [] for method in methods} for _ in range(2))
    for round_ in range(repeats + 3):
        for method, step in steps.items():
            start, cpu = time.perf_counter(), time.process_time()
            step()
            if round_ >= 3:
                times[method].append(time.perf_counter() - start)
                cpu_times[method].append(time.process_time() - cpu)
    return {m: (statistics.median(times[m]), statistics.median(cpu_times[m]), None) for m in methods}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", metavar="N")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--rounds", type=int, default=41, help="of --small")
    parser.add_argument("--loss", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--only", nargs="*", default=[""], metavar="WORD")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    if args.scale:
        args.sizes = args.sizes or [SCALE]
    set_threads(THREADS)
    absent = {missing(method) for _, method in ALL} - {None}
    if absent:
        print("not installed, left out:", ", ".join(sorted(absent)))
    rows = []
    for loss, n in itertools.product(args.loss, args.sizes or ([128, 256, 512] if args.small else [2048, 8192])):
        same_loss(loss)
        names = [m for m in METHODS[loss] if fits(loss, m, n) and not missing(m) and any(w in m for w in args.only)]
        names = ["physioclr"] if args.scale else names
        print(f"{NAMES[loss]}, forward + backward, N = {n}, D = {D}, {THREADS} threads", flush=True)
        if args.scale:
            print(f"  {'eager PyTorch, computed':44s} at least {eager_bytes(loss, n) / 1e9:5.0f} GB")
        table = small(loss, n, names, args.rounds) if args.small else large(loss, n, names)
        floor, eager = (table.get(m, (float("nan"),))[0] for m in (next(iter(METHODS[loss])), "eager PyTorch"))
        for method, (seconds, cpu, megabytes) in table.items():
            memory = "" if megabytes is None else f"  {megabytes:6.0f} MB beyond the inputs"
            ratios = "" if args.scale else f"  {seconds / floor:5.2f} of the floor  {seconds / eager:5.2f} of eager"
            print(f"  {method:44s} {1e3 * seconds:9.2f} ms{ratios}  {cpu:8.3f} CPU s{memory}", flush=True)
            rows.append({"loss": loss, "n": n, "method": method, "seconds": seconds, "cpu_seconds": cpu,
                         "of_floor": seconds / floor, "of_eager": seconds / eager, "megabytes": megabytes})  # fmt: skip
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
