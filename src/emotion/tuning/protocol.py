"""The interface between a search and its trials: requests, results and executors."""

from typing import Literal, Protocol

from pydantic import Field

from emotion.params.objective import Objective
from emotion.params.sections import Train
from emotion.params.space import Penalties
from emotion.params.validation import Section

NO_PENALTIES = Penalties(parameters=0, latency=0)
Curve = tuple[float, ...]  # the objective after each epoch
Outcome = Literal["completed", "pruned", "timed_out", "failed"]


class TrialRequest(Section):
    """A request to run a trial."""

    run_id: str  # the MLflow run that the worker logs to; empty if nothing is logged
    train: Train
    fraction: float  # share of the training images to use
    subset_seed: int  # selects these images
    executions: int  # number of training runs, with consecutive seeds from train.seed
    objective: Objective
    penalties: Penalties = NO_PENALTIES
    completed_curves: tuple[Curve, ...] = ()  # of earlier trials, for pruning; empty without pruning
    deadline: float | None = None  # in seconds since 1970


class TrialResult(Section):
    """How a trial ended."""

    outcome: Outcome
    reason: str = ""  # why the trial failed
    # Of the last epoch: loss, accuracy, val_loss, val_accuracy and learning_rate. Of the trial: score, score_spread,
    # duration and training_seconds (in seconds), epochs, parameters, and latency_ms if it counts.
    metrics: dict[str, float] = Field(default_factory=dict)
    curve: Curve = ()


class Executor(Protocol):
    """Runs trials, each in a fresh process."""

    capacity: int  # trials at a time

    def start(self, name: str, request: TrialRequest) -> None:
        """Start a trial."""

    def wait(self) -> tuple[str, TrialResult]:
        """Wait for the next trial that ends; return its name and its result."""

    def cleanup(self, name: str) -> None:
        """Delete what is saved to resume a trial."""

    def close(self) -> None:
        """Stop all running trials."""
