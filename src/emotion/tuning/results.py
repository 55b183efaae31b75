"""The trials of a search that have ended."""

from collections.abc import Iterable, Sequence

import pandas as pd

from emotion.params.space import Scalar
from emotion.params.validation import Section
from emotion.tuning.protocol import TrialResult


class Trial(Section):
    """A trial that has ended."""

    name: str
    run_id: str  # from the observer
    values: dict[str, Scalar]
    epochs: int  # maximum number of epochs
    ended_after: float  # seconds since the search began
    result: TrialResult

    @property
    def score(self) -> float | None:
        """The value of the search's objective; None if the trial failed."""
        return self.result.metrics.get("score")


def trials_table(trials: Sequence[Trial], space: Iterable[str]) -> pd.DataFrame:
    """A row per trial, with a column for every name of the space."""
    columns = ["trial", "outcome", *(f"train.{name}" for name in space)]
    rows = [
        {
            **dict.fromkeys(columns),
            "trial": trial.name,
            "outcome": trial.result.outcome,
            **{f"train.{key}": value for key, value in trial.values.items()},
            "train.epochs": trial.epochs,
            "ended_after": trial.ended_after,
            **trial.result.metrics,
            "run_id": trial.run_id,
            "reason": trial.result.reason,
        }
        for trial in trials
    ]
    return pd.DataFrame(rows, columns=None if rows else [*columns, "ended_after", "score", "run_id", "reason"])
