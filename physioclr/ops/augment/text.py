"""A plan as the operators take it: text, and the numbers of the kernels' plan.

Text, because torch.compile takes it for a constant, where it would trace a list of numbers one by one.
"""

from __future__ import annotations

import functools

import numpy as np

from ... import _core
from ..._core import AUGMENTATIONS, NOISES, TIME_MAPS


def plan_text(rows: dict[str, tuple[float, ...]]) -> str:
    """ "gaussian_noise 0.5 0.005 0.02; ...": the probability, then the settings."""
    return "; ".join(" ".join([name, *(repr(float(v)) for v in row)]) for name, row in rows.items())


@functools.lru_cache(maxsize=256)
def plan_numbers(plan: str) -> np.ndarray:
    """The kernels' plan, (rows, settings); not writeable, because it is kept."""
    numbers = np.zeros(_core.PLAN_SHAPE)
    for row in filter(None, plan.split("; ")):
        name, *values = row.split(" ")
        if name not in AUGMENTATIONS or not 1 <= len(values) <= numbers.shape[1]:
            raise ValueError(
                f"plan has the row {row!r}; it must be one of {', '.join(AUGMENTATIONS)} and 1 to "
                f"{numbers.shape[1]} numbers"
            )
        numbers[AUGMENTATIONS.index(name), : len(values)] = [float(v) for v in values]
    numbers.flags.writeable = False
    return numbers


def moves_samples(plan: str) -> bool:
    """Whether the result cannot take the place of the input."""
    return any(plan_numbers(plan)[AUGMENTATIONS.index(row), 0] > 0 for row in TIME_MAPS)


@functools.lru_cache(maxsize=256)
def without_noise(plan: str) -> str:
    """The linear part: every row draws from its own stream, so the others draw as before."""
    return "; ".join(row for row in plan.split("; ") if row.partition(" ")[0] not in NOISES)


def shuffle_plan(cut: str) -> str:
    """The plan that shuffles the beats of every record, and nothing else."""
    check_choice(cut, "cut", ("r", "tp"))
    return plan_text({"beat_shuffle": (1.0, cut == "tp")})
