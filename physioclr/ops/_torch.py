"""Torch operators over the same kernels: schemas, fakes, autograd. Imported when the first tensor arrives.

`torch.library.Library.define` + `impl` costs less per call than `custom_op` and passes the same opcheck. Every
`Operator` is registered here; `import physioclr.nn` (or any call with a tensor) does it, under `torch.ops.physioclr`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.autograd import forward_ad

from .. import _core
from . import _operator
from ._arrays import NUMPY, TorchArrays, torch_arrays
from ._checks import FLOATS, INTEGERS, TORCH_DTYPE_NAMES
from ._operator import OPERATORS, Checked, Operator, remember
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


def call(op: Operator, args: tuple[Any, ...], first: bool = False) -> Any:
    """The operator with a tensor first; first: the first of its results alone. Wrong arguments raise our own errors,
    not those of the dispatcher."""
    if nobody_looks():
        known = op.known_tensors[torch.is_grad_enabled()]
        key = _core.signature(op.kinds, args, _PLAIN)
        checked = known.get(key)
        if checked is not None:
            return _direct(op, checked, args, first)
        given = _adopted(op, args)
        if _is_plain(op, given):
            checked = _check(op, given)
            if all([x is y for x, y in zip(given, args, strict=True)]):
                remember(known, key, checked)
            return _direct(op, checked, given, first)
    else:
        given = _adopted(op, args)
    out = _dispatched(op, given)
    return out[0] if first else out


def _adopted(op: Operator, args: tuple[Any, ...]) -> list[Any]:
    """The arguments, arrays as tensors of the first one's device."""
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
    return given


def _dispatched(op: Operator, given: list[Any]) -> Any:
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
_WIDE = {torch.float32, torch.float64}
FEW_ROWS = 64  # of a batch of which the gradient is made with the loss
FEW = 1 << 18  # elements of the first array; of more, the threads with which torch converts dtypes count
_is_compiling = torch.compiler.is_compiling
_dispatch_modes, _function_modes = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack
_transforms, _tracing = torch._C._are_functorch_transforms_active, torch._C._get_tracing_state
_profiler = torch.autograd.profiler


def nobody_looks() -> bool:
    """Whether nothing that traces, transforms, counts or records operators would see one. Then plain tensors on the CPU
    go to the kernel without the dispatcher, which costs as much as a small op.
    """
    return not (
        _is_compiling()
        or _dispatch_modes()
        or _function_modes()
        or _transforms()
        or _tracing() is not None
        or forward_ad._current_level >= 0
        or _profiler._is_profiler_enabled
    )


def _is_plain(op: Operator, args: list[Any]) -> bool:
    return (
        args[0].device.type == "cpu"
        and all([type(x) in _PLAIN and x.layout is torch.strided for k in op.arrays if (x := args[k]) is not None])
        and not any([isinstance(args[k], torch.Tensor) for k in op.settings])  # which the dispatcher makes numbers
        and not (op.written and any([args[k] is not None for k in op.written]))  # the dispatcher notes the change
    )


def _check(op: Operator, args: Sequence[Any]) -> Checked:
    checked = Checked(op.results(*args))
    checked.arrays = tuple([k for k in op.arrays if args[k] is not None])
    checked.detached = frozenset([k for k in checked.arrays if args[k].requires_grad])
    checked.recorded = op.backward is not None and torch.is_grad_enabled() and bool(checked.detached)
    in_numpy = all([args[k].dtype in _IN_NUMPY for k in checked.arrays])
    checked.few = args[0].numel() <= FEW and in_numpy and checked.made is not None
    if op.step is not None and checked.few and checked.recorded and len(args[0]) <= FEW_ROWS:
        alike = {args[k].dtype for k in checked.arrays if op.differentiable and op.differentiable[k] and args[k].ndim}
        checked.at_once = len(alike) == 1 and alike <= _WIDE  # float16 would lose what a factor brings back
    return checked


def _direct(op: Operator, checked: Checked, args: Sequence[Any], first: bool) -> Any:
    if checked.recorded:
        return (_stepped(op) if first and checked.at_once else _recorded(op, first)).apply(checked, *args)
    out = _on_host(op, checked, args)
    return out[0] if first else out


def _on_host(op: Operator, checked: Checked, args: Sequence[Any]) -> Any:
    """Of CPU tensors. Few samples go as NumPy arrays over the same memory, which are cheaper to ask and to make."""
    if not checked.few:
        return op.fill(torch_arrays(args[0]), checked.results, args)
    out = op.fill_checked(checked, _in_numpy(checked, args))
    return tuple([_from_numpy(x) for x in out]) if out.__class__ is tuple else _from_numpy(out)


def _in_numpy(checked: Checked, args: Sequence[Any]) -> list[Any]:
    given = list(args)
    for k in checked.arrays:
        x = args[k]
        given[k] = x.detach().numpy() if k in checked.detached else x.numpy()
    return given


_from_numpy = torch.from_numpy


@functools.cache
def _recorded(op: Operator, first: bool) -> type[torch.autograd.Function]:
    """The operator as a node of autograd's graph, without the dispatcher."""

    class Recorded(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, checked: Checked, *inputs: Any) -> Any:
            # One function with its context: torch looks at no signature then.
            assert op.setup_context is not None
            output = _on_host(op, checked, inputs)
            op.setup_context(ctx, inputs, output)
            return output[0] if first else output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            assert op.backward is not None
            return None, *op.backward(ctx, *grads)

    return Recorded


class _Scaled(torch.autograd.Function):
    """Gradients times the factor. They depend on the inputs as well, and how is not known."""

    @staticmethod
    def forward(ctx: Any, name: str, factor: Any, inputs: int, *arrays: Any) -> Any:
        ctx.name = name
        return tuple(g * factor for g in arrays[inputs:])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(f"physioclr.{ctx.name} has no second derivative: call autograd.grad without create_graph")


def scaled(name: str, factor: Any, inputs: tuple[Any, ...], grads: Any) -> list[Any]:
    """What a backward pass returns: gradients times what comes back, in the dtypes of the inputs, None for none."""
    if torch.is_grad_enabled():
        grads = _Scaled.apply(name, factor, len(inputs), *inputs, *grads)
    else:
        grads = [g * factor for g in grads]
    return [None if x is None else g.to(x.dtype) for x, g in zip(inputs, grads, strict=True)]


@functools.cache
def _stepped(op: Operator) -> type[torch.autograd.Function]:
    """The operator's first result and its gradients at once: of few rows, calls cost more than what they compute."""

    class Stepped(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, checked: Checked, *inputs: Any) -> Any:
            assert checked.made is not None and op.step is not None
            out = tuple([np.empty(shape, dtype) for shape, dtype in checked.made])
            found = op.step(NUMPY, out, *_in_numpy(checked, inputs))
            ctx.wanted = [k for k in found if ctx.needs_input_grad[k + 1]]
            ctx.grads = [_from_numpy(found[k]) for k in ctx.wanted]
            ctx.save_for_backward(*[inputs[k] for k in ctx.wanted])  # which must be as they were
            return _from_numpy(out[0])

        @staticmethod
        def backward(ctx: Any, factor: Any) -> Any:
            grads: list[Any] = [None] * (1 + len(op.names))
            for k, g in zip(ctx.wanted, scaled(op.name, factor, ctx.saved_tensors, ctx.grads), strict=True):
                grads[k + 1] = g
            return tuple(grads)

    return Stepped


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
_operator._with_tensors = call
register_traced_seeds(LIB)
