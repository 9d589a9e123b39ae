"""Seeds while torch.compile traces: they have no value yet, and no part of our own code can look at them.

A result that is an int can only come from an operator. inductor wants a tensor among its arguments.
"""

from __future__ import annotations

from typing import Any

import torch

from .. import _core
from ._checks import check_int

SCHEMAS = (
    "seed_of(Tensor seeds, int which=0, str name='seed') -> SymInt",
    "view_seed(Tensor any, SymInt seed, SymInt epoch, SymInt view) -> SymInt",
)


def _seed_of(seeds: torch.Tensor, which: int = 0, name: str = "seed") -> int:
    return check_int(int(seeds.reshape(-1)[which]), name, 0)


def _view_seed(any: torch.Tensor, seed: int, epoch: int, view: int) -> int:
    epoch, view = check_int(epoch, "epoch", 0, 2**32 - 1), check_int(view, "view", 0, 2**32 - 1)
    return _core.view_seed(check_int(seed, "seed", 0), epoch, view)


def _unknown(*args: Any) -> Any:
    return torch.library.get_ctx().new_dynamic_size(min=0)


def register(lib: torch.library.Library) -> None:
    for schema, kernel in zip(SCHEMAS, (_seed_of, _view_seed), strict=True):
        name = schema.partition("(")[0]
        lib.define(schema)
        lib.impl(name, kernel, "CompositeExplicitAutograd")
        torch.library.register_fake(f"physioclr::{name}", _unknown, lib=lib)


def is_traced(*numbers: Any) -> bool:
    """Whether one of these has no value yet. Dynamo shows every int as one that may have none."""
    if torch.compiler.is_dynamo_compiling():
        return True
    unknown = (torch.SymInt, torch.Tensor) if torch.compiler.is_compiling() else torch.SymInt
    return any(isinstance(n, unknown) for n in numbers)


def traced_seed(seed: Any, name: str = "seed") -> Any:
    """An int of a trace, also from a tensor of one integer; anything else as it is."""
    if isinstance(seed, torch.Tensor) and seed.numel() == 1 and not seed.is_floating_point():
        return torch.ops.physioclr.seed_of(seed, 0, name)
    return seed


def traced_view_seed(seed: Any, epoch: Any, view: Any) -> Any:
    numbers = [traced_seed(*n) for n in ((seed, "seed"), (epoch, "epoch"), (view, "view"))]
    return torch.ops.physioclr.view_seed(torch.empty(0, device="cpu"), *numbers)
