"""Several processes under torchrun, one batch: each takes its share of the pairs, all have the loss of the whole.

    torchrun --nproc-per-node 4 -m physioclr pretrain STORE --out RUN

NCCL where the run is on CUDA devices, gloo otherwise. A process that dies makes the others' next collective fail, and
torchrun ends them with the error of the first.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT = datetime.timedelta(minutes=10)  # a hung process ends the run then, at the latest


class World:
    """This process among all. The base is one process alone, where every method does nothing."""

    rank, size = 0, 1
    group: Any = None

    def device(self, device: torch.device) -> torch.device:
        return device

    def wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        return module

    def barrier(self) -> None:
        """Waits for all processes."""

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        return values


class Processes(World):
    def __init__(self, cuda: bool):
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.group, self._cuda = dist.group.WORLD, cuda
        self.index = int(os.environ.get("LOCAL_RANK", self.rank))

    def device(self, device: torch.device) -> torch.device:
        if device.type != "cuda":
            return device
        torch.cuda.set_device(self.index)
        return torch.device("cuda", self.index)

    def wrap(self, module: torch.nn.Module) -> torch.nn.Module:
        if self._cuda:
            module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)
            return torch.nn.parallel.DistributedDataParallel(module, device_ids=[self.index])
        return torch.nn.parallel.DistributedDataParallel(module)

    def barrier(self) -> None:
        dist.barrier(device_ids=[self.index] if self._cuda else None)

    def _tensor(self, values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=f"cuda:{self.index}" if self._cuda else "cpu")

    def any(self, flag: bool) -> bool:
        x = self._tensor([float(flag)])
        dist.all_reduce(x)
        return bool(x.item())

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        x = self._tensor([values[k] for k in values])
        dist.all_reduce(x)
        return dict(zip(values, (x / self.size).tolist(), strict=True))


@contextmanager
def world(cuda: bool) -> Iterator[World]:
    """The processes that torchrun started (WORLD_SIZE above 1), or this one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield World()
        return
    mine = not dist.is_initialized()
    if mine:
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if cuda else "gloo", timeout=TIMEOUT)
    try:
        yield Processes(cuda)
    finally:
        if mine:
            dist.destroy_process_group()
