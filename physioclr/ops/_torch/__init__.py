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
from .._operator import OPERATORS, Operator

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
    if backward is None:
        no_gradient(name)
    else:
        torch.library.register_autograd(f"physioclr::{name}", backward, setup_context=setup_context, lib=LIB)
    return getattr(torch.ops.physioclr, name)


def no_gradient(name: str) -> None:
    """Results of an operator without a backward require no grad; by default they get a grad_fn that only warns."""
    LIB.impl(name, torch.library.fallthrough_kernel, "Autograd")


def no_double_backward(op: str) -> dict[str, Callable[..., Any]]:
    """Autograd arguments of `define` for a backward operator: differentiating it again is an error, not a silent 0."""

    def backward(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(f"physioclr.{op} has no second derivative: call autograd.grad without create_graph")

    return {"setup_context": lambda ctx, inputs, output: None, "backward": backward}


OVERLOADS: dict[str, Any] = {}


def register(op: Operator) -> None:
    """`torch.ops.physioclr.<name>`, with its fake and autograd kernels."""

    def kernel(*args: Any) -> Any:
        args = op.complete(args)
        return op.run(TorchArrays(args[0]), *args)

    def fake(*args: Any) -> Any:
        args = op.complete(args)
        out = tuple([args[0].new_empty(s, dtype=getattr(torch, d)) for s, d in op.results(*args)])
        return out if op.several else out[0]

    LIB.define(op.schema)
    for device in ("CPU", "CUDA"):
        LIB.impl(op.name, kernel, device)
    torch.library.register_fake(f"physioclr::{op.name}", fake, lib=LIB)
    if op.backward is None:
        no_gradient(op.name)
    else:
        torch.library.register_autograd(f"physioclr::{op.name}", op.backward, setup_context=op.setup_context, lib=LIB)
    OVERLOADS[op.name] = getattr(torch.ops.physioclr, op.name).default


def call(op: Operator, args: tuple[Any, ...]) -> Any:
    """The operator with a tensor first. Wrong arguments raise our own errors, not the dispatcher's."""
    first, given = args[0], list(args)
    for k in op.arrays:
        x = given[k]
        if x is None:
            continue
        if not isinstance(x, torch.Tensor) or x.device != first.device:
            x = given[k] = TorchArrays(first).adopt(x, op.names[k])
    if torch.compiler.is_compiling():  # checked once, while tracing
        op.results(*given)
        return OVERLOADS[op.name](*given)
    try:
        return OVERLOADS[op.name](*given)
    except (RuntimeError, TypeError, ValueError):
        try:
            op.results(*given)  # names an argument that the dispatcher refused, or quotes it as it was
        except (TypeError, ValueError) as e:
            raise e from None
        raise


for _op in OPERATORS.values():
    register(_op)

from . import augment, contrastive
