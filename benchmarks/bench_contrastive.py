"""hybrid_contrastive_loss, forward + backward, beside eager PyTorch and the matrix products that it cannot do without.

pytest benchmarks/bench_contrastive.py                    times (pytest-benchmark), 2 threads
python benchmarks/bench_contrastive.py [N ...]            time and peak memory of each method, one process each;
                                                          CPU seconds (all threads) where other programs run too
    --only WORD ...                                       the methods whose names contain one of the words

The products alone, results preallocated: "bare GEMMs" is h h^T, f f^T, G h and G^T h, which autograd does for the loss;
"single G h" leaves G^T h out, the least that any implementation without symmetry does; "torch.mm on tiles" is what
physioclr multiplies (each unordered tile once forward and once backward, G h_J and G^T h_I) with MKL instead of its own
kernel, without anything in between. pytorch-metric-learning (SupConLoss, integer labels) takes part where it is
installed and N <= 4096.
"""

import argparse
import multiprocessing as mp
import statistics
import time

import pytest
import torch

import physioclr as pc

D, F, V, TAU, DELTA, THREADS = 256, 50, 2, 0.1, 0.25, 2
METHODS = ["bare GEMMs", "bare GEMMs, single G h", "torch.mm on tiles", "eager PyTorch", "pytorch-metric-learning",
           "physioclr", "physioclr bfloat16"]  # fmt: skip
TILE = 1024


def inputs(n, dtype=torch.float32):
    gen = torch.Generator().manual_seed(0)
    anchor, views = (torch.randn(*s, n, D, generator=gen).to(dtype).requires_grad_() for s in ((), (V,)))
    return anchor, views, torch.randn(n, F, generator=gen)


def eager(anchor, views, features):
    h, v, f = (torch.nn.functional.normalize(x, dim=-1) for x in (anchor, views, features))
    similarity = f @ f.T
    e = torch.exp(h @ h.T / TAU)
    positive = (similarity >= DELTA).fill_diagonal_(False)
    negative = similarity < DELTA
    pos = (e * positive).sum(1) + torch.exp((h * v).sum(-1) / TAU).sum(0)
    return (torch.log((e * negative).sum(1)) - torch.log(pos)).mean()


def tile_products(h, f):
    tile = min(TILE, len(h))
    s, t, g = torch.empty(tile, tile), torch.empty(tile, tile), torch.zeros_like(h)
    blocks = [slice(i, i + tile) for i in range(0, len(h), tile)]  # N is a multiple of the tile

    def products():
        for backward in (False, True):
            for k, i in enumerate(blocks):
                for j in blocks[k:]:
                    torch.mm(h[i], h[j].T, out=s)
                    torch.mm(f[i], f[j].T, out=t)
                    if backward:
                        g[i].addmm_(s, h[j])
                    if backward and i is not j:
                        g[j].addmm_(s.T, h[i])

    return products


def step(method, n):
    """A function that does one forward and backward pass."""
    anchor, views, features = inputs(n, torch.bfloat16 if method.endswith("bfloat16") else torch.float32)
    if method == "torch.mm on tiles":
        return tile_products(anchor.detach(), features)
    if method.startswith("bare GEMMs"):
        h, g, tile = anchor.detach(), torch.empty(n, D), torch.empty(n, n)

        def products():
            torch.mm(features, features.T, out=tile)
            torch.mm(h, h.T, out=tile)
            torch.mm(tile, h, out=g)
            if not method.endswith("single G h"):
                torch.mm(tile.T, h, out=g)

        return products
    if method == "pytorch-metric-learning":
        from pytorch_metric_learning.losses import SupConLoss

        loss, labels = SupConLoss(temperature=TAU), torch.arange(n) // 4
        return lambda: torch.autograd.grad(loss(anchor, labels), anchor)
    fn = eager if method == "eager PyTorch" else pc.hybrid_contrastive_loss
    return lambda: torch.autograd.grad(fn(anchor, views, features), (anchor, views))


def available(method, n):
    if method != "pytorch-metric-learning":
        return n <= 16384 or method.startswith(("physioclr", "torch.mm on"))
    try:
        import pytorch_metric_learning  # noqa: F401
    except ImportError:
        return False
    return n <= 4096


def set_threads(threads):
    torch.set_num_threads(threads)
    pc.set_num_threads(threads)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [2048, 8192])
def test_forward_and_backward(benchmark, method, n):
    if not available(method, n):
        pytest.skip(f"{method} is not installed, or N is too large for it")
    before = torch.get_num_threads(), pc.info()["threads"]
    set_threads(THREADS)
    benchmark.group = f"hybrid contrastive loss, N = {n}, D = {D}, F = {F}, V = {V}, {THREADS} threads"
    try:
        benchmark.pedantic(step(method, n), rounds=5, warmup_rounds=1)
    finally:
        torch.set_num_threads(before[0])
        pc.set_num_threads(before[1])


def peak(field):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field)) / 1024


def measure(method, n, repeats, pipe):
    set_threads(THREADS)
    step(method, 256)()  # what the first call of anything needs is not counted
    run = step(method, n)
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # the peak starts again from here (Linux)
    before, times, cpu_times = peak("VmHWM"), [], []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        run()
        times.append(time.perf_counter() - start)
        cpu_times.append(time.process_time() - cpu)
    pipe.send((statistics.median(times), statistics.median(cpu_times), peak("VmHWM") - before))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[2048, 8192])
    parser.add_argument("--only", nargs="*", default=[""], metavar="WORD")
    args = parser.parse_args()
    context = mp.get_context("spawn")
    print(f"forward + backward, D = {D}, F = {F}, V = {V}, {THREADS} threads; MB beyond the inputs, gradients included")
    for n in args.sizes:
        for method in (m for m in METHODS if available(m, n) and any(word in m for word in args.only)):
            ours, theirs = context.Pipe()
            process = context.Process(target=measure, args=(method, n, 5 if n <= 8192 else 1, theirs))
            process.start()
            seconds, cpu, megabytes = ours.recv()
            process.join()
            print(f"N = {n:6d}  {method:24s} {seconds:8.3f} s {cpu:8.3f} CPU s {megabytes:8.0f} MB", flush=True)


if __name__ == "__main__":
    main()
