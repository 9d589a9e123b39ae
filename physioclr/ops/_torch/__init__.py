"""Torch operators over the same kernels: schemas, fakes, autograd. Imported when the first tensor arrives.

`torch.library.Library.define` + `impl` costs less per call than `custom_op` and passes the same opcheck. Each module
beside this one registers one op; `import physioclr.nn` (or any call with a tensor) registers them all under
`torch.ops.physioclr`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .._arrays import TorchArrays

LIB = torch.library.Library("physioclr", "DEF")  # operators die with this object, so the module keeps it


def define(
    schema: str,
    launch: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Any:
    """Registers `physioclr::<schema>`; returns the operator.

    launch(xp, *args) is a function of `ops._launch`; its first tensor decides the device. fake(*args) sees tensors
    without data. Both need the schema's defaults, because the dispatcher leaves out trailing arguments that equal
    them. Without `backward` the results carry no gradient.
    """
    name = schema.partition("(")[0]

    def kernel(*args: Any, **kwargs: Any) -> Any:
        return launch(TorchArrays(next(a for a in args if isinstance(a, torch.Tensor))), *args, **kwargs)

    LIB.define(schema)
    for device in ("CPU", "CUDA"):  # a launch function without a CUDA kernel says so itself
        LIB.impl(name, kernel, device)
    torch.library.register_fake(f"physioclr::{name}", fake, lib=LIB)
    if backward is not None:
        torch.library.register_autograd(f"physioclr::{name}", backward, setup_context=setup_context, lib=LIB)
    return getattr(torch.ops.physioclr, name)


def no_double_backward(op: str) -> dict[str, Callable[..., Any]]:
    """Autograd arguments of `define` for a backward operator: differentiating it again is an error, not a silent 0."""

    def backward(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(f"physioclr.{op} has no second derivative: call autograd.grad without create_graph")

    return {"setup_context": lambda ctx, inputs, output: None, "backward": backward}


from . import augment, contrastive, delineate, features, neighbors, reconstruction, rpeaks, similarity
