"""Spaces that a run fits on its records and keeps beside them: plain arrays in an .npz file, no pickle."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from .files import write_atomically


class SavedSpace:
    """Float32 arrays by name; a subclass says which, what to call them, and which shapes go together."""

    _FIELDS: ClassVar[tuple[str, ...]]
    _FORMAT: ClassVar[str]  # what the file says of itself
    _WHAT: ClassVar[str]  # what an error calls it

    def __init__(self, *arrays: Any):
        """The arrays in the order of `_FIELDS`."""
        for name, x in zip(self._FIELDS, arrays, strict=True):
            setattr(self, name, torch.as_tensor(np.array(x, np.float32)))

    @classmethod
    def _belong(cls, *shapes: tuple[int, ...]) -> bool:
        """Whether arrays of these shapes make a space."""
        raise NotImplementedError

    def _doubles(self, like: torch.Tensor) -> list[torch.Tensor]:
        """The arrays where `like` is, in float64: there autocast and set_float32_matmul_precision change nothing."""
        return [getattr(self, k).to(like.device).double() for k in self._FIELDS]

    def save(self, path: Path) -> None:
        data = io.BytesIO()
        np.savez(data, format=np.array(self._FORMAT), **{k: getattr(self, k).numpy() for k in self._FIELDS})
        write_atomically(path, data.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises: ValueError: it is no such file, or its arrays make no space. FileNotFoundError."""
        try:
            with open(path, "rb") as f, np.load(f, allow_pickle=False) as archive:
                if str(archive["format"]) != cls._FORMAT:
                    raise ValueError(f"its format is {str(archive['format'])!r}")
                fields = [archive[k] for k in cls._FIELDS]
                shapes = [x.shape for x in fields]
                if not cls._belong(*shapes):
                    raise ValueError(f"its arrays have the shapes {', '.join(map(str, shapes))}")
                for name, x in zip(cls._FIELDS, fields, strict=True):
                    if x.dtype.kind != "f" or not np.isfinite(x).all():
                        raise ValueError(f"its {name} is not finite")
                return cls(*fields)
        except FileNotFoundError:
            raise
        except Exception as e:
            raise ValueError(f"{str(path)!r} is not the {cls._WHAT} of a run: {e}") from None
