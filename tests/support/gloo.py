"""Checks in four processes of a gloo group on this machine, and in the groups of its first three and two."""

import datetime
import traceback

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _worker(check, rank, init, results):
    try:
        torch.set_num_threads(1)
        timeout = datetime.timedelta(seconds=120)
        dist.init_process_group("gloo", init_method=init, rank=rank, world_size=4, timeout=timeout)
        check(rank, {4: dist.group.WORLD, 3: dist.new_group([0, 1, 2]), 2: dist.new_group([0, 1])})
        results.put(None)
    except BaseException:
        results.put(f"rank {rank}:\n{traceback.format_exc()}")
    finally:
        dist.destroy_process_group()


def in_four_processes(check, folder):
    """check(rank, groups), groups by their size, in each process; what they raise fails the test."""
    context = mp.get_context("spawn")
    results = context.SimpleQueue()
    processes = [context.Process(target=_worker, args=(check, r, f"file://{folder}/init", results)) for r in range(4)]
    for p in processes:
        p.start()
    try:
        errors = [e for e in (results.get() for _ in processes) if e]
    finally:
        for p in processes:
            p.join(30)
            if p.is_alive():
                p.kill()
    assert not errors, "\n".join(errors)
