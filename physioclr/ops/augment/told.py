"""What augment tells of a call whose numbers look right and are not: another unit, the same noise for every record."""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arrays import Arrays
from .._checks import check_choice, stack_level
from .._signals import UNITS, warn_of_unit
from .text import has_noise

_recent: deque[tuple[int, ...]] = deque(maxlen=8)  # seeds of the last calls of this worker with a batch of one
_warned = False


def tell(xp: Arrays, op: str, ecg: Any, sample_id: Any, scale: Any, plan: str, fs: float, seeds: Sequence[int]) -> None:
    """Warns of what shapes and dtypes do not show. Only additive noise needs mV."""
    warn_of_same_numbers(op, ecg.shape[0], sample_id, seeds)
    if has_noise(plan):
        warn_of_unit(xp, ecg, fs, op, _mv_of_unit(xp, scale))


def warn_of_same_numbers(op: str, records: int, sample_id: Any, seeds: Sequence[int]) -> None:
    """Once per process: a worker of a DataLoader that gives single records the same seed and no `sample_id`, so that
    each is record 0 and draws the same numbers. A seed of its own for each record is as good as a `sample_id`.
    """
    global _warned
    if _warned or records != 1 or sample_id is not None:
        return
    data = sys.modules.get("torch.utils.data")  # not there: nobody has a DataLoader
    if data is None or data.get_worker_info() is None:
        return
    key = tuple(int(s) for s in seeds)
    if key not in _recent:
        _recent.append(key)
        return
    _warned = True
    warnings.warn(
        f"{op}: seed {key[0]} comes again with a batch of one and no sample_id in a worker of a DataLoader: every "
        "record is record 0 and draws the same numbers. Pass sample_id=[index of the record], or a seed for each",
        stacklevel=stack_level(),
    )


def _mv_of_unit(xp: Arrays, scale: Any) -> float:
    """mV of one unit of int16 samples, for a look at their amplitude."""
    if scale is None or xp.device >= 0:
        return 1.0
    values = np.asarray(xp.to_numpy(scale), np.float64).reshape(-1)
    return float(values[len(values) // 2]) if len(values) else 1.0


def millivolts_per(unit: Any, ecg: Any, scale: Any) -> float:
    """mV of one `unit` of `ecg`."""
    factor = UNITS[check_choice(unit, "unit", tuple(UNITS))]
    if factor != 1.0 and (scale is not None or str(getattr(ecg, "dtype", "")).endswith("int16")):
        raise ValueError(f"unit is {unit!r}, but int16 samples have scale, the mV of one of them; leave unit out")
    return factor
