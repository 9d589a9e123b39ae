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

import numpy as np

from .. import _core
from ._arrays import LARGE, NUMPY, Arrays, arrays_of, is_torch

OPERATORS: dict[str, Operator] = {}  # by name, in the order of the modules: what `_torch` registers

# What an op's checks give: (shape, dtype) of each result.
Results = Sequence[tuple[tuple[int, ...], str]]

MOST_KNOWN = 256  # signatures that an operator keeps: a Dataset has records of many lengths, but not for ever


class Checked:
    """What the checks of an op gave for one signature (`_core.signature`): the same for every call that has it."""

    __slots__ = ("arrays", "at_once", "detached", "few", "made", "recorded", "results")

    def __init__(self, results: Results):
        self.results = results
        self.made: list[tuple[tuple[int, ...], np.dtype]] | None = None  # NumPy's results; None: large, or not NumPy's
        if all([dtype != "bfloat16" for _, dtype in results]):
            made = [(shape, np.dtype(dtype)) for shape, dtype in results]
            if all([np.prod(shape, dtype=np.float64) * dtype.itemsize < LARGE for shape, dtype in made]):
                self.made = made
        # Of tensors (`_torch`): which arguments are arrays, and which of them require a gradient; whether they go to
        # the kernel as NumPy's; whether autograd has to know, and may have the gradients with the results.
        self.arrays: tuple[int, ...] = ()
        self.detached: frozenset[int] = frozenset()
        self.few = self.recorded = self.at_once = False


def remember(known: dict[Any, Checked], key: Any, checked: Checked) -> None:
    if key is not None:
        if len(known) >= MOST_KNOWN:
            known.clear()
        known[key] = checked


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
        numbers: tuple[str, ...],
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
        self.kinds = "".join(
            "a" if k in self.arrays else "n" if n in numbers else "s" for k, n in enumerate(self.names)
        )
        # step(xp, out, *arguments): fills the results; the gradients of the first, by argument. Arrays of one dtype.
        self.step: Callable[..., dict[int, Any]] | None = None
        self.known: dict[Any, Checked] = {}  # of NumPy arrays
        self.known_tensors: tuple[dict[Any, Checked], ...] = {}, {}  # without and with gradients
        OPERATORS[self.name] = self

    def __call__(self, *args: Any) -> Any:
        if type(args[0]) is np.ndarray:
            key = _core.signature(self.kinds, args, None)
            checked = self.known.get(key)
            if checked is not None:
                return self.fill_checked(checked, args)
        elif is_torch(args[0]):
            return _with_tensors(self, args)
        else:
            key = None
        xp, first = arrays_of(args[0], self.names[0])
        given = [first, *args[1:]]
        for k in self.arrays[1:]:
            if given[k] is not None:
                adopt = xp.adopt_out if k in self.written else xp.adopt
                given[k] = adopt(given[k], self.names[k])
        results = self.results(*given)
        if key is not None and not self.written and all([x is y for x, y in zip(given, args, strict=True)]):
            remember(self.known, key, Checked(results))
        return self.fill(xp, results, given)

    def first(self, *args: Any) -> Any:
        """The first of several results, the only one with a gradient: autograd has no more to keep."""
        return _with_tensors(self, args, True) if is_torch(args[0]) else self(*args)[0]

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

    def fill_checked(self, checked: Checked, args: Sequence[Any]) -> Any:
        """`fill` with NumPy arrays."""
        made = checked.made
        if made is None or self.stacked:
            return self.fill(NUMPY, checked.results, args)
        out = tuple([np.empty(shape, dtype) for shape, dtype in made])
        self.launch(NUMPY, out, *args)
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
    numbers: tuple[str, ...] = (),
) -> Callable[[Callable[..., None]], Operator]:
    """Makes the decorated launch(xp, out, *arguments) an `Operator`.

    stacked: the results are alike, and `out` is one array of which they are the rows; otherwise a tuple of arrays.
    setup_context, backward: as torch.library.register_autograd takes them; without them the results carry no gradient.
    tangent(ctx, *tangents): the jvp of a torch.autograd.Function; without it a tangent that comes in is refused.
    differentiable: the arguments with a gradient; another one that requires it is refused. None: not looked at.
    numbers: integers, of which the results depend on nothing but how many they are. Their values change with every call
        and have been checked when the operator is called with arrays.
    """
    return lambda launch: Operator(
        schema, results, launch, setup_context, backward, tangent, differentiable, stacked, numbers
    )


def _with_tensors(op: Operator, args: tuple[Any, ...], first: bool = False) -> Any:
    """`_torch.call`, which takes this one's place when the first tensor arrives."""
    from . import _torch

    return _torch.call(op, args, first)


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
