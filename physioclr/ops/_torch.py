"""Torch operators over the same kernels: schemas, fakes, autograd. Imported when the first tensor arrives.

`torch.library.Library.define` + `impl` costs less per call than `custom_op` and passes the same opcheck. Every
`Operator` is registered here; `import physioclr.nn` (or any call with a tensor) does it, under `torch.ops.physioclr`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

from ._arrays import NUMPY, TorchArrays, torch_arrays
from ._checks import FLOATS, INTEGERS, TORCH_DTYPE_NAMES
from ._operator import OPERATORS, Operator
from ._traced_seeds import register as register_traced_seeds

TORCH_DTYPE_NAMES.update({getattr(torch, n): n for n in (*FLOATS, *INTEGERS)})
LIB = torch.library.Library("physioclr", "DEF")  # operators die with this object, so the module keeps it


OVERLOADS: dict[str, Any] = {}


def register(op: Operator) -> None:
    """`torch.ops.physioclr.<name>`, with its fake and autograd kernels."""

    def kernel(*args: Any) -> Any:
        args = op.complete(args)
        return op.run(torch_arrays(args[0]), *args)

    def fake(*args: Any) -> Any:
        args = op.complete(args)
        out = tuple([args[0].new_empty(s, dtype=getattr(torch, d)) for s, d in op.results(*args)])
        return out if op.several else out[0]

    LIB.define(op.schema)
    for device in ("CPU", "CUDA"):
        LIB.impl(op.name, kernel, device)
    torch.library.register_fake(f"physioclr::{op.name}", fake, lib=LIB)
    prepare = op.setup_context
    if op.backward is None or prepare is None:
        # By default the results would get a grad_fn that only warns; so they require no grad.
        LIB.impl(op.name, torch.library.fallthrough_kernel, "Autograd")
    else:

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            _refuse(op, inputs)  # of a call of torch.ops.physioclr.*
            prepare(ctx, inputs, output)

        torch.library.register_autograd(f"physioclr::{op.name}", op.backward, setup_context=setup_context, lib=LIB)
    OVERLOADS[op.name] = getattr(torch.ops.physioclr, op.name).default


def refuse_gradients(op: Operator, args: Iterable[Any]) -> None:
    """Any argument that requires a gradient and would get none."""
    if torch.is_grad_enabled():
        _refuse(op, args)


def _refuse(op: Operator, args: Iterable[Any]) -> None:
    args = tuple(args)
    for k in op.constant:
        x = args[k] if k < len(args) else None
        if x is not None and isinstance(x, torch.Tensor) and x.requires_grad:
            name = op.names[k]
            raise ValueError(f"{name} requires a gradient, which {op.name} does not give; pass {name}.detach()")


def call(op: Operator, args: tuple[Any, ...]) -> Any:
    """The operator with a tensor first. Wrong arguments raise our own errors, not the dispatcher's."""
    first, given = args[0], list(args)
    for k in op.arrays:
        x = given[k]
        if x is None:
            continue
        if k in op.written:
            x = given[k] = TorchArrays(first).adopt_out(x, op.names[k])
        if not isinstance(x, torch.Tensor) or x.device != first.device:
            x = given[k] = TorchArrays(first).adopt(x, op.names[k])
    if op.backward is not None:
        refuse_gradients(op, given)
    if nobody_looks(op, given):
        return _direct(op, given)
    if torch.compiler.is_compiling():  # checked once, while tracing
        op.results(*given)
        return OVERLOADS[op.name](*given)
    if op.backward is not None and (forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()):
        return _function(op).apply(*given)
    try:
        return OVERLOADS[op.name](*given)
    except (RuntimeError, TypeError, ValueError):
        try:
            op.results(*given)  # names an argument that the dispatcher refused, or quotes it as it was
        except (TypeError, ValueError) as e:
            raise e from None
        raise


_PLAIN = (torch.Tensor, torch.nn.Parameter)
_IN_NUMPY = {getattr(torch, n) for n in (*FLOATS, *INTEGERS)} - {torch.bfloat16}
FEW = 1 << 18  # elements of the first array; of more, the threads with which torch converts dtypes count


def nobody_looks(op: Operator, args: list[Any]) -> bool:
    """Whether nothing between here and the kernel would see the operator: plain tensors on the CPU, and none of what
    traces, transforms, counts or records operators. Then the dispatcher, which costs as much as a small op, is not
    asked.
    """
    return (
        args[0].device.type == "cpu"
        and all([type(x) in _PLAIN and x.layout is torch.strided for k in op.arrays if (x := args[k]) is not None])
        and not any([isinstance(args[k], torch.Tensor) for k in op.settings])  # which the dispatcher makes numbers
        and not (op.written and any([args[k] is not None for k in op.written]))  # the dispatcher notes the change
        and not torch.compiler.is_compiling()
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._len_torch_function_stack()
        and not torch._C._are_functorch_transforms_active()
        and torch._C._get_tracing_state() is None
        and forward_ad._current_level < 0
        and not torch.autograd.profiler._is_profiler_enabled
    )


def _direct(op: Operator, args: list[Any]) -> Any:
    if (
        op.backward is not None
        and torch.is_grad_enabled()
        and any([args[k] is not None and args[k].requires_grad for k in op.arrays])
    ):
        return _recorded(op).apply(*args)
    return _on_host(op, args)


def _on_host(op: Operator, args: Sequence[Any]) -> Any:
    """Of CPU tensors. Few samples go as NumPy arrays over the same memory, which are cheaper to ask and to make."""
    if args[0].numel() <= FEW and all([args[k].dtype in _IN_NUMPY for k in op.arrays if args[k] is not None]):
        given = list(args)
        for k in op.arrays:
            if (x := args[k]) is not None:
                given[k] = x.detach().numpy() if x.requires_grad else x.numpy()
        results = op.results(*args)
        if all([dtype != "bfloat16" for _, dtype in results]):
            out = op.fill(NUMPY, results, given)
            return tuple([torch.from_numpy(x) for x in out]) if out.__class__ is tuple else torch.from_numpy(out)
    return op.run(torch_arrays(args[0]), *args)


@functools.cache
def _recorded(op: Operator) -> type[torch.autograd.Function]:
    """The operator as a node of autograd's graph, without the dispatcher."""

    class Recorded(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:  # one function with its context: torch looks at no signature then
            assert op.setup_context is not None
            output = _on_host(op, inputs)
            op.setup_context(ctx, inputs, output)
            return output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            assert op.backward is not None
            return op.backward(ctx, *grads)

    return Recorded


@functools.cache
def _function(op: Operator) -> type[torch.autograd.Function]:
    """The operator within torch.func's transforms and forward_ad.dual_level. What torch.library registers does not take
    part in the former and drops a tangent without a word in the latter."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> Any:
            op.results(*inputs)  # where the dispatcher would refuse an argument, this names it
            return OVERLOADS[op.name](*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            assert op.setup_context is not None
            op.setup_context(ctx, inputs, output)
            ctx.set_materialize_grads(False)  # None is no tangent
            ctx.save_for_forward(*(ctx.to_save or ()))

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            assert op.backward is not None
            return op.backward(ctx, *grads)

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            carried = [k for k, t in enumerate(tangents) if t is not None]
            if op.tangent is None:
                raise RuntimeError(
                    f"{op.names[carried[0]]} carries a tangent, but physioclr.{op.name} has no forward-mode "
                    "derivative; use reverse mode (backward, torch.func.grad, torch.func.vjp)"
                )
            for k in carried:
                if op.differentiable is not None and not op.differentiable[k]:
                    raise ValueError(f"{op.names[k]} carries a tangent, which {op.name} does not pass on; detach it")
            return op.tangent(ctx, *tangents)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
            """One call after the other: every op has a batch axis of its own, which is the fast way."""
            moved = [(k, d) for k, d in enumerate(in_dims) if isinstance(d, int)]
            results = []
            for i in range(info.batch_size):
                one = list(args)
                for k, d in moved:
                    one[k] = args[k].select(d, i)
                results.append(Function.apply(*one))
            if not op.several:
                return torch.stack(results), 0
            return tuple(map(torch.stack, zip(*results, strict=True))), (0,) * len(results[0])

    return Function


for _op in OPERATORS.values():
    register(_op)
register_traced_seeds(LIB)
