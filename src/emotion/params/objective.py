"""The objective of a training run or a search."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal


class Objective(StrEnum):
    """A validation metric, and whether a higher value is better."""

    VAL_ACCURACY = "val_accuracy"
    VAL_LOSS = "val_loss"

    @property
    def direction(self) -> Literal["max", "min"]:
        """The direction of the optimization, in KerasTuner's terms."""
        return "max" if self is Objective.VAL_ACCURACY else "min"

    def is_better(self, value: float, other: float) -> bool:
        """Return whether `value` is strictly better than `other`."""
        return value > other if self.direction == "max" else value < other

    def best(self, values: Sequence[float]) -> float:
        """Return the best of one or more values."""
        return max(values) if self.direction == "max" else min(values)
