"""Searches with a formula in place of training, and with in-memory records."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emotion.params.load import load_params
from emotion.params.sections import Params
from emotion.params.space import Scalar
from emotion.tuning.protocol import TrialRequest, TrialResult
from emotion.tuning.results import Trial
from emotion.tuning.search import Search
from support.project import ROOT

SPACE = {
    "network": {"choice": ["vgg", "residual", "basic_cnn"]},
    "ensemble": {"choice": [1, 2], "when": {"network": ["vgg", "residual"]}},
    "learning_rate": {"min": 0.001, "max": 0.1, "sampling": "log"},
    "augmentation.erasing": {"min": 0.0, "max": 0.4, "step": 0.2},
}


class Formula:
    """An executor without training: scores are a formula of the hyperparameters."""

    def __init__(self, capacity: int = 1, cut_at: int | None = None, fails: Callable[[str], bool] = lambda name: False):
        self.capacity, self.cut_at, self.fails = capacity, cut_at, fails
        self.running: list[tuple[str, TrialRequest]] = []
        self.requests: list[TrialRequest] = []

    def start(self, name: str, request: TrialRequest) -> None:
        self.requests.append(request)
        self.running.append((name, request))
        assert len(self.running) <= self.capacity

    def wait(self) -> tuple[str, TrialResult]:
        if self.cut_at is not None and len(self.requests) > self.cut_at:
            raise KeyboardInterrupt
        name, request = self.running.pop(0)
        if self.fails(name):
            return name, TrialResult(outcome="failed", reason="it was told to")
        train = request.train
        score = 0.9 - 0.1 * abs(math.log10(train.learning_rate) + 2) - 0.1 * train.augmentation.erasing
        return name, TrialResult(outcome="completed", metrics={"score": score}, curve=(score,))

    def cleanup(self, name: str) -> None:
        pass

    def close(self) -> None:
        self.running.clear()


class Runs:
    """A `SearchObserver` that keeps trial runs in memory: one per name, as in MLflow."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def trial_started(self, name: str, values: Mapping[str, Scalar]) -> str:
        self.status[name] = "RUNNING"
        return name

    def trial_ended(self, trial: Trial) -> None:
        self.status[trial.run_id] = "FAILED" if trial.score is None else "FINISHED"
        self.reasons[trial.run_id] = trial.result.reason

    def trial_continued(self, name: str, trial: Trial) -> str:
        self.status[name] = f"continued from {trial.run_id}"
        return name

    def trial_killed(self, run_id: str) -> None:
        self.status[run_id] = "KILLED"


def params_with(**changes: Any) -> Params:
    """The default parameters with a search over SPACE."""
    content = load_params(ROOT / "params.yaml").model_dump(by_alias=True)
    content["tune"] |= {"max_trials": 8, "epochs": 9, "space": SPACE, **changes}
    return Params.model_validate(content)


def search(folder: Path, executor: Formula, runs: Runs | None = None, **changes: Any) -> list[Trial]:
    """Run a search and return its trials, best first."""
    finished = changes.pop("finished", ())
    params = params_with(**changes)
    return Search(params.tune, params.train, folder, executor, runs or Runs(), finished).run()


def short_request(params: Params, **changes: Any) -> TrialRequest:
    """A trial of two short trainings."""
    short = {"width": 4, "epochs": 3, "batch_size": 16, "precision": "float32"}
    content = {
        "run_id": "", "train": params.train.override(short), "fraction": 1.0, "subset_seed": 0, "executions": 2,
        "objective": "val_loss",
    }  # fmt: skip
    return TrialRequest.model_validate(content | changes)
