"""What of a user's own a configuration can name: "package.module:name", a method's class or an encoder's factory."""

from __future__ import annotations

import importlib
import re
from typing import Any

OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.<>]*")


def is_own(text: str) -> bool:
    """Whether the text has the form package.module:name; imports nothing."""
    return OWN.fullmatch(text) is not None


def name_of(thing: Any) -> str:
    """The text by which `load` finds a class or function again."""
    return f"{thing.__module__}:{thing.__qualname__}"


def load(text: str, key: str) -> Any:
    """The object that `key` of the configuration names.

    Raises:
        ValueError: it cannot be imported; the message says why.
    """
    module, _, name = text.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as e:  # whatever the module does when it is imported
        if "<locals>" in name:
            why = f"it was defined inside a function; pass it again: pretrain(..., {key}=...)"
        else:
            why = f"it cannot be imported ({type(e).__name__}: {e}); its folder must be on PYTHONPATH"
        raise ValueError(f"{key} is {text!r}; {why}") from e
    return found
