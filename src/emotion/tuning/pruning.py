"""Rules for stopping a trial before its last epoch."""

import statistics
import time

from emotion.params.objective import Objective
from emotion.training.callbacks import Row
from emotion.tuning.protocol import Curve, Outcome, TrialRequest

# Pruning needs at least this many completed trials, and this share of the trial's own epochs.
MIN_TRIALS, MIN_EPOCHS_FRACTION = 3, 1 / 3


def median_stopping_rule(curve: Curve, completed: tuple[Curve, ...], epochs: int, objective: Objective) -> bool:
    """Whether a trial should be stopped (Golovin et al., 2017).

    A trial is stopped if its best value so far is worse than the median of the completed trials' running averages
    at the same epoch.

    Args:
        curve: the curve of the trial so far.
        completed: the curves of completed trials.
        epochs: the number of epochs of the whole trial.
        objective: the objective of the search.
    """
    length = len(curve)
    averages = [statistics.fmean(other[:length]) for other in completed if len(other) >= length]
    if len(averages) < MIN_TRIALS or length < MIN_EPOCHS_FRACTION * epochs:
        return False
    return objective.is_better(statistics.median(averages), objective.best(curve))


class PruningCallback:
    """Stops a training run that should be pruned, or whose search has run out of time.

    Args:
        request: the settings of the trial.

    Attributes:
        outcome: the outcome of the trial so far.
        prunes: whether the median stopping rule applies; the deadline always does.
    """

    def __init__(self, request: TrialRequest) -> None:
        self.request = request
        self.outcome: Outcome = "completed"
        self.prunes = True

    def __call__(self, rows: list[Row]) -> bool:
        """Whether to stop after these epochs."""
        request, epochs = self.request, self.request.train.epochs
        curve = tuple(row[request.objective] for row in rows)
        if (
            self.prunes
            and len(rows) < epochs
            and median_stopping_rule(curve, request.completed_curves, epochs, request.objective)
        ):
            self.outcome = "pruned"
        return self.is_out_of_time() or self.outcome != "completed"

    def is_out_of_time(self) -> bool:
        """Whether the deadline of the search has passed."""
        if self.request.deadline and time.time() >= self.request.deadline:
            self.outcome = "timed_out"
        return self.outcome == "timed_out"
