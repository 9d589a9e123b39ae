"""A plan as the operators take it, text such as "gaussian_noise 0.5 0.005 0.02; ...": of each row the probability, then
the settings.

Text, because torch.compile takes it for a constant, where it would trace a list of numbers one by one.
"""

from __future__ import annotations

import functools

import numpy as np

from ... import _core

ROWS: tuple[str, ...] = _core.AUGMENTATIONS
TIME_MAPS: tuple[str, ...] = _core.TIME_MAPS
"""The rows that move samples: with one of them, the result cannot take the place of the input."""


def plan_text(rows: dict[str, tuple[float, ...]]) -> str:
    return "; ".join(" ".join([name, *(repr(float(v)) for v in row)]) for name, row in rows.items())


@functools.lru_cache(maxsize=256)
def plan_numbers(plan: str) -> np.ndarray:
    """The kernels' plan, (rows, settings). Kept, so not writeable."""
    numbers = np.zeros(_core.PLAN_SHAPE)
    width = numbers.shape[1]
    for row in filter(None, plan.split("; ")):
        name, *values = row.split(" ")
        if name not in ROWS or not 1 <= len(values) <= width:
            raise ValueError(f"plan has the row {row!r}; it must be one of {', '.join(ROWS)} and 1 to {width} numbers")
        numbers[ROWS.index(name), : len(values)] = [float(v) for v in values]
    numbers.flags.writeable = False
    return numbers


def moves_samples(plan: str) -> bool:
    return any(plan_numbers(plan)[ROWS.index(row), 0] > 0 for row in TIME_MAPS)


@functools.lru_cache(maxsize=256)
def has_noise(plan: str) -> bool:
    """Whether something in mV is added."""
    return any(plan_numbers(plan)[ROWS.index(row), 0] > 0 for row in _core.NOISES)


@functools.lru_cache(maxsize=256)
def without_noise(plan: str) -> str:
    """The linear part. Every row draws from its own stream, so the others draw as before."""
    return "; ".join(row for row in plan.split("; ") if row.partition(" ")[0] not in _core.NOISES)


SHUFFLE_PLANS = {cut: plan_text({"beat_shuffle": (1.0, cut == "tp")}) for cut in ("r", "tp")}
"""By cut: the plan that shuffles the beats of every record, and nothing else."""
