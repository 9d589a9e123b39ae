"""Methods of pretraining, one object each, and the register in which a configuration's `method` is looked up."""

from __future__ import annotations

import copy

from .. import own
from .contrast import CMSC, SimCLR
from .method import Method, Outputs
from .physioclr import PhysioCLR
from .supervised import Supervised
from .untrained import Features, Random

BUILT_IN: dict[str, type[Method]] = {
    "physioclr": PhysioCLR,
    "simclr": SimCLR,
    "cmsc": CMSC,
    "supervised": Supervised,
    "features": Features,
    "random": Random,
}
_passed: dict[str, type[Method]] = {}  # classes that `pretrain` was given, which may be of no importable name

__all__ = ["BUILT_IN", "CMSC", "Features", "Method", "Outputs", "PhysioCLR", "Random", "SimCLR", "Supervised", "named"]


def named(text: str) -> type[Method]:
    """The class of a built-in name, or of "package.module:Class".

    Raises:
        ValueError: there is no such class, or it is no subclass of `Method`.
    """
    found = BUILT_IN.get(text) or _passed.get(text)
    if found is None and not own.is_own(text):
        names = ", ".join(map(repr, BUILT_IN))
        raise ValueError(f"method is {text!r}; it must be one of {names}, or package.module:Class")
    if found is None:
        found = own.load(text, "method")
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ValueError(f"method is {text!r}, which is no class derived from physioclr.train.Method")
    return found


def traits(text: str) -> type[Method]:
    """The class, for what it says of a finished run; of a user's own nothing is imported, it embeds as any `Method`."""
    return BUILT_IN.get(text) or Method


def given(method: Method | type[Method] | str) -> tuple[str, Method]:
    """(the name for the configuration, an object for one run) of what `pretrain` was given."""
    if isinstance(method, str):
        return method, named(method)()
    cls = method if isinstance(method, type) else type(method)
    if not issubclass(cls, Method):
        raise TypeError(
            f"method is {method!r}; it must be a name, or a class derived from physioclr.train.Method or its object"
        )
    name = next((name for name, built_in in BUILT_IN.items() if built_in is cls), own.name_of(cls))
    if name not in BUILT_IN:
        _passed[name] = cls
    return name, cls() if isinstance(method, type) else copy.deepcopy(method)
