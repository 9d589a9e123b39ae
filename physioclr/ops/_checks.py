"""The checks every argument goes through. Messages have one form: the argument, what it was, what it must be."""

from __future__ import annotations

import math
import operator
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core

if TYPE_CHECKING:
    from ._arrays import Arrays

FLOATS = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int64", "int32", "int16", "uint8")  # of R peaks, record ids and the like
# Making them costs NumPy a microsecond. Nothing is added while an op runs: torch.compile guards the keys.
NUMPY_DTYPES: dict[str, np.dtype] = {n: np.dtype(n) for n in ("float16", "float32", "float64", *INTEGERS)}
DTYPE_NAMES: dict[Any, str] = {dtype: n for n, dtype in NUMPY_DTYPES.items()}
TORCH_DTYPE_NAMES: dict[Any, str] = {}  # apart: torch.compile of 2.6 guards no dict with NumPy's. `_torch` fills it
STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LEAD_NUMBERS = {name.lower(): k for k, name in enumerate(STANDARD_LEADS)}


def stack_level() -> int:
    """For warnings.warn, of the function that calls this: the first line outside this library and torch."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("physioclr", "torch"):
        frame, depth = frame.f_back, depth + 1
    return depth


def dtype_name(x: Any) -> str:
    """The dtype of an array of any library, as NumPy names it ("bfloat16" where it has no name)."""
    return TORCH_DTYPE_NAMES.get(x.dtype) or DTYPE_NAMES.get(x.dtype) or str(x.dtype).removeprefix("torch.")


def check_ndim(x: Any, name: str, ndims: tuple[int, ...], shape: str) -> None:
    if x.ndim not in ndims:
        one = (
            f"; a single record is {name}[None], of a list or pandas column np.asarray({name})[None]"
            if name == "ecg" and x.ndim == 1
            else ""
        )
        raise ValueError(f"{name} has shape {tuple(x.shape)}; it must be {shape}{one}")


def check_dtype(x: Any, name: str, allowed: tuple[str, ...]) -> None:
    dtype = dtype_name(x)
    if dtype not in allowed:
        raise TypeError(f"{name} has dtype {dtype}; it must be one of {', '.join(allowed)}")


def check_shape(x: Any, name: str, shape: tuple[int, ...], meaning: str) -> None:
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{name} has shape {tuple(x.shape)}; it must be {tuple(shape)} ({meaning})")


def shown(value: Any) -> str:
    """What was given, for the one line of an error."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of more digits than Python prints
        text = type(value).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def check_number(value: Any, name: str, low: float, high: float, *, open_low: bool = False, unit: str = "") -> float:
    """A finite float within [low, high], or (low, high] with open_low."""
    try:
        if isinstance(value, (str, bytes)):  # which float() would read
            raise TypeError
        v = float(value)
    except OverflowError:  # an integer beyond every float
        v = math.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {shown(value)}; it must be a number") from None
    if not ((v > low if open_low else v >= low) and v <= high and abs(v) < math.inf):  # torch.compile traces this
        sign = "above" if open_low else "at least"
        top = f" and at most {high:g}" if math.isfinite(high) else ""
        raise ValueError(f"{name} is {shown(value)}; it must be finite, {sign} {low:g}{top}{unit and ' ' + unit}")
    return v


def check_fs(fs: Any) -> float:
    return check_number(fs, "fs", 50.0, 4000.0, unit="Hz")


def check_int(value: Any, name: str, low: int, high: int = 2**63 - 1) -> int:
    try:
        v = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {shown(value)}; it must be an integer") from None
    if not low <= v <= high:
        raise ValueError(f"{name} is {shown(v)}; it must be from {low} to {high}")
    return v


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {shown(value)}; it must be one of {', '.join(map(repr, choices))}")
    return value


def check_rpeaks(rpeaks: Any, records: int) -> None:
    """What shape and dtype tell of the R peaks of a batch; every op that takes them checks them here."""
    check_dtype(rpeaks, "rpeaks", INTEGERS)
    check_ndim(rpeaks, "rpeaks", (2,), "(records, beats)")
    if rpeaks.shape[0] != records:
        raise ValueError(f"rpeaks has {rpeaks.shape[0]} rows; it must have {records}, one for each record")


def usable_rpeaks(xp: Arrays, rpeaks: Any, samples: int) -> Any:
    """R peaks as the kernels take them, int32: each row rising sample indices, then -1 to its end.

    Before the cast, or 2**32 + 50 would be sample 50. On a CUDA device nothing is looked at, because that would wait
    for the device: the kernels pass over what is not in order.

    Raises:
        ValueError: an index out of range or out of order.
    """
    if xp.device < 0:
        r = np.ascontiguousarray(xp.to_numpy(rpeaks))
        at = _core.first_wrong_rpeak(r, samples)
        if at >= 0:
            b, k = divmod(at, r.shape[1])
            raise ValueError(
                f"rpeaks[{b}, {k}] is {r[b, k]}; "
                f"each row must be rising sample indices from 0 to {samples - 1}, then -1"
            )
    return xp.contiguous(rpeaks, "int32")


def check_lead(lead: Any, n_leads: int, *, allow: tuple[str, ...] = ()) -> int | str:
    """A lead as an index into the lead axis, or one of the words in `allow` ("mean", "all") as it is."""
    if isinstance(lead, str):
        if lead in allow:
            return lead
        number = LEAD_NUMBERS.get(lead.lower())
        if number is None:
            raise ValueError(
                f"lead is {shown(lead)}; it must be one of {', '.join(STANDARD_LEADS + allow)}, or an index"
            )
        if n_leads != 12:
            raise ValueError(
                f"lead is {shown(lead)}, a name, but ecg has {n_leads} leads; names need the "
                "standard 12, or leads=[their names]; an index needs neither"
            )
        return number
    try:
        operator.index(lead)
    except TypeError:
        words = "".join(f", {word!r}" for word in allow)
        raise TypeError(f"lead is {shown(lead)}; it must be a lead's name, an index{words}") from None
    return check_int(lead, "lead", -n_leads, n_leads - 1) % n_leads
