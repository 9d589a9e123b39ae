"""Contrastive losses of a batch that is spread over processes (gloo, one thread each), forward + backward.

    python benchmarks/bench_ring.py [N] [--processes 2] [--loss info_nce nt_xent supcon hybrid]

N rows of 256 altogether. gathered: every process gets the rows of all. ring: blocks of rows travel (`ring=True`), met
by the CPU's kernels; "blocks" by torch's own operations instead, as on other devices. Seconds are those of the slowest
process, CPU seconds of all together, MB the most that a process held beyond its inputs.
"""

import argparse
import statistics
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from bench_contrastive import FEATURES, D, embeddings, peak
from eager_contrastive import DELTA, TAU

import physioclr as pc
from physioclr.ops.contrastive import ring

FORMS = {"gathered": (False, True), "ring": (True, True), "blocks": (True, False)}


def losses(n):
    gen = torch.Generator().manual_seed(1)
    f = torch.randn(n, FEATURES, generator=gen)
    labels = torch.arange(n) // 4
    return {
        "info_nce": lambda a, b, own, **o: pc.info_nce(a, b, tau=TAU, **o),
        "nt_xent": lambda a, b, own, **o: pc.nt_xent(a, b, tau=TAU, **o),
        "supcon": lambda a, b, own, **o: pc.supcon(a, labels[own], tau=TAU, **o),
        "hybrid": lambda a, b, own, **o: pc.hybrid_contrastive_loss(a, b[None], f[own], tau=TAU, delta=DELTA, **o),
    }


def worker(rank, world, n, names, repeats, init, results):
    torch.set_num_threads(1)
    pc.set_num_threads(1)
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=world)
    own = slice(rank * n // world, (rank + 1) * n // world)
    whole = [x.detach() for x in embeddings(n)]
    for name in names:
        first = {}
        for form, (travels, kernels) in FORMS.items():
            ring.KERNELS = kernels
            a, b = (x[own].clone().requires_grad_() for x in whole)

            def step(a=a, b=b, travels=travels, name=name):
                options = {"process_group": dist.group.WORLD, "ring": travels}
                loss = losses(n)[name](a, b, own, **options)
                grad = torch.autograd.grad(loss, (a, b), allow_unused=True)[0]
                return loss.detach(), grad

            first[form] = step()
            with open("/proc/self/clear_refs", "w") as f:
                f.write("5")
            before, times, cpu = peak("VmRSS"), [], []
            for _ in range(repeats):
                dist.barrier()
                start, spent = time.perf_counter(), time.process_time()
                step()
                times.append(time.perf_counter() - start)
                cpu.append(time.process_time() - spent)
            results.put((name, form, statistics.median(times), statistics.median(cpu), peak("VmHWM") - before))
            loss, grad = first[form]
            want, wanted = first["gathered"]
            assert abs(loss - want) <= 1e-5 * abs(want) and (grad - wanted).norm() <= 1e-4 * wanted.norm()
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", type=int, nargs="?", default=8192, metavar="N")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loss", nargs="*", default=list(losses(1)), choices=list(losses(1)))
    args = parser.parse_args()
    context = mp.get_context("spawn")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        given = args.processes, args.n, args.loss, args.repeats, f"file://{folder}/init", results
        processes = [context.Process(target=worker, args=(r, *given)) for r in range(args.processes)]
        for p in processes:
            p.start()
        found = [results.get() for _ in range(args.processes * len(args.loss) * len(FORMS))]
        for p in processes:
            p.join()
    print(f"N = {args.n}, D = {D}, {args.processes} processes of one thread")
    for name in args.loss:
        for form in FORMS:
            rows = [r[2:] for r in found if r[:2] == (name, form)]
            seconds, cpu, memory = max(r[0] for r in rows), sum(r[1] for r in rows), max(r[2] for r in rows)
            print(f"  {name:10s} {form:10s} {seconds:8.3f} s  {cpu:8.3f} CPU s  {memory:6.0f} MB", flush=True)


if __name__ == "__main__":
    main()
