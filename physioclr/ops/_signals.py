"""What every op that reads an ECG asks of it: axes in the right order, millivolts, leads that are what they are called.

A wrong layout, unit or order of leads would give numbers that look right, so these are told.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import numpy as np

from ._arrays import Arrays, cuda_memory, host_array, is_jax, is_torch, kind_of, to_jax
from ._checks import check_choice, check_lead, check_ndim, shown, stack_level

FORM = "(records, samples) or (records, leads, samples)"
UNITS = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "μV": 1e-3, "V": 1e3, "nV": 1e-6}
MOST_MV, LEAST_MV = 50.0, 0.002  # median peak-to-peak that no ECG in mV has
LOOKED_AT = 4  # rows whose amplitude is looked at: a wrong unit is that of the whole call


def as_batch(ecg: Any) -> Any:
    """One record (T,), a list or a pandas column included, as the batch of one that it is; anything else as it is.

    Raises:
        TypeError: a path, or a `physioclr.data.Record`.
    """
    if is_torch(ecg) or is_jax(ecg) or isinstance(ecg, np.ndarray) or kind_of(ecg) == "cupy":
        return ecg[None] if ecg.ndim == 1 else ecg
    if isinstance(ecg, (str, bytes, os.PathLike)):
        raise TypeError(
            f"ecg is {shown(ecg)}; it must be an array, such as physioclr.data.read_record(path).millivolts()"
        )
    if hasattr(ecg, "millivolts"):
        raise TypeError(
            "ecg is a Record; it must be an array: record.millivolts(standard=True)[None], with fs=record.fs"
        )
    if getattr(ecg, "ndim", 1) != 1 or cuda_memory(ecg):
        return ecg
    ecg = host_array(ecg, "ecg")
    return ecg[None] if ecg.ndim == 1 else ecg


PublicOp = TypeVar("PublicOp", bound=Callable[..., Any])


def takes_records(f: PublicOp) -> PublicOp:
    """For a public op with `ecg` first: (T,) is a batch of one, and JAX arrays give JAX arrays back."""

    @functools.wraps(f)
    def op(*args: Any, **kwargs: Any) -> Any:
        if args:
            ecg = args[0]
            if (type(ecg) is np.ndarray or is_torch(ecg)) and ecg.ndim > 1:
                return f(*args, **kwargs)
            out = f(as_batch(ecg), *args[1:], **kwargs)
        elif "ecg" in kwargs:
            ecg = kwargs["ecg"]
            kwargs["ecg"] = as_batch(ecg)
            out = f(**kwargs)
        else:
            return f(**kwargs)  # a TypeError
        return to_jax(out) if is_jax(ecg) else out

    return cast(PublicOp, op)


def check_layout(ecg: Any, fs: float, *, short: bool = False) -> None:
    """(records, leads, samples), not (samples, leads) as wfdb has it.

    short: whether records of less than a second make sense to the op. A last axis of 1 to 15 never is a record's beside
    a long one.
    """
    check_ndim(ecg, "ecg", (2, 3), FORM)
    other, samples = ecg.shape[-2:]
    if type(other) is not int or type(samples) is not int:
        return  # traced with sizes left open: the kernel looks again when they are known
    few = 1 <= samples <= 15 and other >= max(50, 4 * samples)
    if few or (not short and 1 <= samples < fs <= other):
        turned = "ecg.T" if ecg.ndim == 2 else "ecg.swapaxes(1, 2)"
        raise ValueError(
            f"ecg has shape {tuple(ecg.shape)}: {samples} samples, {samples / fs:.3g} s; it must be {FORM}. "
            f"If it is {'(samples, leads)' if ecg.ndim == 2 else '(records, samples, leads)'}, pass {turned}"
            + ("[None] for one record (of a DataFrame ecg.to_numpy().T[None])" if ecg.ndim == 2 else "")
        )


def in_millivolts(ecg: Any, unit: str) -> Any:
    """ecg in mV; unit: what it is in."""
    factor = UNITS[check_choice(unit, "unit", tuple(UNITS))]
    if factor == 1.0:
        return ecg
    return (ecg if hasattr(ecg, "dtype") else np.asarray(ecg)) * factor


_told: ContextVar[bool] = ContextVar("unit_told", default=False)


@contextlib.contextmanager
def unit_is_told() -> Iterator[None]:
    """No warning of a unit: the caller looks at the amplitudes itself, and says of which record it is."""
    token = _told.set(True)
    try:
        yield
    finally:
        _told.reset(token)


def unlikely_unit(heights: np.ndarray) -> str | None:
    """What to say of an amplitude that no ECG in mV has; None of any other. heights: peak-to-peak of leads, mV."""
    height = np.sort(heights[np.isfinite(heights) & (heights > 0)])  # a flat or missing lead says nothing
    if not len(height) or LEAST_MV <= (median := float(height[len(height) // 2])) <= MOST_MV:
        return None
    likely = "uV" if median > MOST_MV else "V"
    return f"a median peak-to-peak of {median:.3g}, which no ECG in mV has; it seems to be in {likely}"


def warn_of_unit(xp: Arrays, ecg: Any, fs: float, op: str, scale: float = 1.0) -> None:
    """Warns, once a call, of an amplitude that no ECG in mV has, in records of a second or more.

    Not on a CUDA device: that would wait for it.
    """
    if _told.get() or xp.device >= 0 or 0 in ecg.shape or ecg.shape[-1] < fs:
        return
    rows = ecg.reshape((-1, ecg.shape[-1])) if ecg.ndim == 2 else ecg[:, ecg.shape[1] // 2]
    rows = xp.to_numpy(xp.contiguous(rows[:: -(-rows.shape[0] // LOOKED_AT)], "float32"))
    with np.errstate(all="ignore"):
        height = (np.fmax.reduce(rows, axis=1) - np.fmin.reduce(rows, axis=1)) * scale
    said = unlikely_unit(height)
    if said is not None:
        likely = said.rpartition(" ")[2]
        warnings.warn(
            f"{op}: ecg has {said}. Pass unit={likely!r}, or ecg * {UNITS[likely]:g}", stacklevel=stack_level()
        )


def lead_text(lead: Any) -> str:
    """A lead as a schema carries it: a name, or the digits of an index."""
    if isinstance(lead, str):
        return lead
    try:
        return str(operator.index(lead))
    except TypeError:
        raise TypeError(f"lead is {shown(lead)}; it must be a lead's name, an index, 'mean', 'all'") from None


def lead_of_text(text: str, n_leads: int, allow: tuple[str, ...]) -> int | str:
    lead: int | str = int(text) if text.removeprefix("-").isdecimal() else text
    return check_lead(lead, n_leads, allow=allow)


def chosen_lead(ecg: Any, lead: Any, leads: Any) -> Any:
    """`lead` of a public function: an index where the names of the leads are given, "II" where nothing is said.

    Raises:
        ValueError: a lead of an ecg (records, samples) of several records, which are more likely the leads of one;
            names that do not fit.
    """
    shape = getattr(ecg, "shape", None) or np.shape(ecg)
    if len(shape) == 2:
        if shape[0] > 1 and (lead is not None or leads is not None):
            given = shown(lead)
            raise ValueError(
                f"lead is {given}, but ecg has shape {tuple(shape)}, {shape[0]} records of one lead each; it must be "
                "left out, or ecg must be (records, leads, samples): ecg[None] if these are the leads of one record"
            )
        return 0
    lead = "II" if lead is None else lead
    if leads is None or len(shape) != 3:
        return lead
    names = [str(n).lower() for n in leads]
    if len(names) != shape[1]:
        raise ValueError(f"leads has {len(names)} names; it must have {shape[1]}, as ecg has leads")
    many = lead if isinstance(lead, (list, tuple)) else [lead]
    found = [names.index(n.lower()) if isinstance(n, str) and n.lower() in names else n for n in many]
    for n in found:
        if isinstance(n, str) and n not in ("mean", "all"):
            raise ValueError(f"lead is {shown(n)}; it must be one of leads, {', '.join(map(str, leads))}")
    return found if isinstance(lead, (list, tuple)) else found[0]
