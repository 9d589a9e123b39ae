"""An op, told once: the schema of its arguments, the checks that give its results, and the launch of its kernel.

    @operator("physio_similarity(Tensor a, Tensor? b=None, ...) -> Tensor", results)
    def similarity(xp, out, a, b, ...): ...

`results(*arguments)` checks everything that shapes, dtypes and settings can tell and gives (shape, dtype) of each
result. The decorated function fills them. From these follow the call with NumPy and CuPy arrays, torch's operator with
its fake kernel (`_torch`), and which arguments are arrays that must join the first one's library and device.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from ._arrays import Arrays, arrays_of, is_torch

OPERATORS: dict[str, Operator] = {}  # by name, in the order of the modules: what `_torch` registers

# What an op's checks give: (shape, dtype) of each result.
Results = Sequence[tuple[tuple[int, ...], str]]

_ARGUMENT = re.compile(r"(?P<type>[A-Za-z]+(?:\(\w!\))?(?:\[\])?\??) (?P<name>\w+)(?:=(?P<default>.+))?")


class Operator:
    """Called with all arguments of its schema, in its order; returns the results as the schema says."""

    def __init__(
        self,
        schema: str,
        results: Callable[..., Results],
        launch: Callable[..., None],
        setup_context: Callable[..., None] | None,
        backward: Callable[..., Any] | None,
        tangent: Callable[..., Any] | None,
        differentiable: tuple[str, ...] | None,
        stacked: bool,
    ):
        self.name, _, rest = schema.partition("(")
        arguments, _, returned = rest.rpartition(") -> ")
        parsed = [_argument(a) for a in arguments.split(", ")]
        self.schema, self.results, self.launch = schema, results, launch
        self.setup_context, self.backward, self.tangent = setup_context, backward, tangent
        self.several, self.stacked = returned.startswith("("), stacked
        self.names = tuple(a["name"] for a in parsed)
        self.differentiable = None if differentiable is None else tuple(n in differentiable for n in self.names)
        self.constant = tuple(k for k, d in enumerate(self.differentiable or ()) if not d)  # are given no gradient
        self.arrays = tuple(k for k, a in enumerate(parsed) if a["type"].startswith("Tensor"))
        self.settings = tuple(k for k in range(len(parsed)) if k not in self.arrays)
        self.written = tuple(k for k in self.arrays if "!" in parsed[k]["type"])
        self.defaults = tuple(ast.literal_eval(a["default"]) if a["default"] else None for a in parsed)
        OPERATORS[self.name] = self

    def __call__(self, *args: Any) -> Any:
        if is_torch(args[0]):
            from . import _torch

            return _torch.call(self, args)
        xp, first = arrays_of(args[0], self.names[0])
        given = [first, *args[1:]]
        for k in self.arrays[1:]:
            if given[k] is not None:
                adopt = xp.adopt_out if k in self.written else xp.adopt
                given[k] = adopt(given[k], self.names[k])
        return self.run(xp, *given)

    def run(self, xp: Arrays, *args: Any) -> Any:
        """Checks, allocates, launches; arrays of one library in, its arrays out."""
        return self.fill(xp, self.results(*args), args)

    def fill(self, xp: Arrays, results: Results, args: Sequence[Any]) -> Any:
        """Allocates what the checks gave and launches."""
        if self.stacked:
            shape, dtype = results[0]
            out = xp.empty((len(results), *shape), dtype)
            self.launch(xp, out, *args)
            return xp.rows(out)
        out = tuple([xp.empty(shape, dtype) for shape, dtype in results])
        self.launch(xp, out, *args)
        return out if self.several else out[0]

    def complete(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """With the trailing defaults, which torch's dispatcher leaves out."""
        return args + self.defaults[len(args) :]


def operator(
    schema: str,
    results: Callable[..., Results],
    *,
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
    tangent: Callable[..., Any] | None = None,
    differentiable: tuple[str, ...] | None = None,
    stacked: bool = False,
) -> Callable[[Callable[..., None]], Operator]:
    """Makes the decorated launch(xp, out, *arguments) an `Operator`.

    stacked: the results are alike, and `out` is one array of which they are the rows; otherwise a tuple of arrays.
    setup_context, backward: as torch.library.register_autograd takes them; without them the results carry no gradient.
    tangent(ctx, *tangents): the jvp of a torch.autograd.Function; without it a tangent that comes in is refused.
    differentiable: the arguments with a gradient; another one that requires it is refused. None: not looked at.
    """
    return lambda launch: Operator(schema, results, launch, setup_context, backward, tangent, differentiable, stacked)


def _argument(text: str) -> dict[str, str]:
    found = _ARGUMENT.fullmatch(text)
    assert found, text
    return found.groupdict()


class _Autograd(TypedDict):
    setup_context: Callable[..., None]
    backward: Callable[..., Any]


def no_double_backward(op: str) -> _Autograd:
    """Autograd arguments of a backward operator: differentiating it again is an error, not a silent 0."""

    def backward(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(f"physioclr.{op} has no second derivative: call autograd.grad without create_graph")

    return {"setup_context": lambda ctx, inputs, output: None, "backward": backward}
