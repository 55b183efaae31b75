"""The trials of a search that have ended."""

from collections.abc import Iterable, Sequence

import pandas as pd

from emotion.params.objective import Objective
from emotion.params.space import Scalar
from emotion.params.validation import Section
from emotion.tuning.protocol import TrialResult

COSTS = ("parameters", "latency_ms")  # metrics of a trial that should be low


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
        """The objective less the penalties; None if the trial failed."""
        return self.result.metrics.get("score")


def trials_table(trials: Sequence[Trial], space: Iterable[str], objective: Objective) -> pd.DataFrame:
    """A row per trial, with a column for every name of the space, and whether it is in the Pareto set."""
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
    table = pd.DataFrame(rows, columns=None if rows else [*columns, "ended_after", "score", "run_id", "reason"])
    return table.assign(pareto=_pareto_set(table, objective))


def _pareto_set(table: pd.DataFrame, objective: Objective) -> list[bool]:
    """Which trials no other completed trial surpasses in one of these without being worse in another.

    The objective, the number of parameters, and the latency if it was measured.
    """
    costs = pd.DataFrame({name: table[name] for name in COSTS if name in table}, index=table.index)
    if objective in table:
        costs[objective] = table[objective] * (-1 if objective.direction == "max" else 1)
    costs = costs[table["outcome"] == "completed"].dropna()
    chosen = {
        row
        for row in costs.index
        if not ((costs <= costs.loc[row]).all(axis=1) & (costs < costs.loc[row]).any(axis=1)).any()
    }
    return [row in chosen for row in table.index]
