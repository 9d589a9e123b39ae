"""What the augmentations of a plan have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from .._checks import check_number, shown


def bounds(value: Any, name: str, low: float, high: float, unit: str = "") -> tuple[float, float]:
    """(low, high) as two rising numbers within the bounds; a number stands for both."""
    pair = (value, value) if isinstance(value, (int, float)) else value
    try:
        a, b = pair
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {shown(value)}; it must be a number or a pair (low, high)") from None
    a, b = (check_number(v, name, low, high, unit=unit) for v in (a, b))
    if a > b:
        raise ValueError(f"{name} is {shown(value)}; its low end must not be above its high end")
    return a, b


class Field:
    name: ClassVar[str]  # of the field of Augment
    p: float  # probability; each augmentation has a default of its own

    def _check(self, **values: Any) -> None:
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def _probability(self) -> float:
        return check_number(self.p, f"{self.name}.p", 0.0, 1.0)

    def _settings(self) -> tuple[float, ...]:
        """The numbers of this row, in the order of core/augment_math.h."""
        raise TypeError(f"{type(self).__name__} is not an augmentation")
