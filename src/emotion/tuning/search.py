"""The hyperparameter search: KerasTuner's oracles propose trials over the space in params.yaml.

What the search has reached is on disk after every trial, so that a killed one goes on.
"""

import contextlib
import os
import pickle
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import keras_tuner

from emotion.params import Choice, Scalar, Space, Train, Tune, with_values
from emotion.runtime.errors import UserError
from emotion.runtime.paths import whole
from emotion.tracking import runs as tracking
from emotion.tracking import stage_runs as records
from emotion.tuning.executors import Executor
from emotion.tuning.trial import Curve, Request, Result

STATE = "search.pickle"


class NoTrialEndedWellError(UserError):
    """Of a search all of whose trials failed."""


@dataclass(frozen=True)
class Trial:
    """One that has ended."""

    name: str
    run_id: str
    values: dict[str, Scalar]
    epochs: int  # at most
    ended_after: float  # seconds of the search
    result: Result

    @property
    def score(self) -> float | None:
        """By the search's objective; None where the trial failed."""
        return self.result.metrics.get("score")


@dataclass
class State:
    """All that a search has reached."""

    oracle: Any
    ended: list[Trial] = field(default_factory=list)  # failed attempts included
    failures: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # by KerasTuner's id of the trial
    seconds: float = 0.0  # so far


def hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """KerasTuner's form of `tune.space`."""
    result = keras_tuner.HyperParameters()
    for name, dimension in space.items():
        with contextlib.ExitStack() as conditions:
            for parent, values in dimension.when.items():
                conditions.enter_context(result.conditional_scope(parent, list(values)))
            if isinstance(dimension, Choice):
                result.Choice(name, list(dimension.choice))
            else:
                declare = result.Int if dimension.is_whole else result.Float
                # KerasTuner rounds the number of steps down: of 0 to 0.3 by 0.1 it would leave 0.3 out.
                even = dimension.sampling == "linear" and not dimension.is_whole
                beyond = (dimension.step or 0) * 1e-6 if even else 0
                declare(name, dimension.min, dimension.max + beyond, dimension.step, dimension.sampling)
    return result


def make_oracle(settings: Tune) -> keras_tuner.Oracle:
    """KerasTuner's oracle of the name."""
    options: dict[str, Any] = {
        "objective": keras_tuner.Objective("score", "max" if settings.objective == "val_accuracy" else "min"),
        "hyperparameters": hyperparameters(settings.space),
        "seed": settings.seed + 1,  # KerasTuner takes 0 for "none given"
        "max_consecutive_failed_trials": 1 << 30,  # a failure costs one trial
    }
    if settings.oracle == "hyperband":
        oracle = keras_tuner.oracles.HyperbandOracle(max_epochs=settings.epochs, **options)
        oracle.max_trials = settings.max_trials
    else:
        kinds = {
            "random": keras_tuner.oracles.RandomSearchOracle,
            "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
            "grid": keras_tuner.oracles.GridSearchOracle,
        }
        oracle = kinds[settings.oracle](max_trials=settings.max_trials, **options)
    oracle.verbose = 0
    return oracle


class Search:
    """One search, begun or gone on with.

    Args:
        settings: how to search.
        base: what every trial has in common.
        record: of the stage, with the run that the trials belong to.
        folder: where the search keeps what it has reached.
        executor: what runs the trials.
        dataset: what MLflow shows of the data.
    """

    def __init__(
        self,
        settings: Tune,
        base: Train,
        record: Mapping[str, Any],
        folder: Path,
        executor: Executor,
        dataset: dict[str, str],
    ) -> None:
        self.settings, self.base, self.record, self.folder, self.executor = settings, base, record, folder, executor
        self.dataset = dataset
        self.running: dict[str, Any] = {}  # KerasTuner's trials, by the names of ours
        self.run_ids: dict[str, str] = {}
        kept = _load(folder)
        self.state = kept or State(make_oracle(settings))
        if kept:
            print(f"Going on with a search of which {len(kept.ended)} trials have ended.", flush=True)
        self.start = time.time() - self.state.seconds

    def run(self) -> list[Trial]:
        """All trials, the best first; those that did not complete come after, and failed ones last.

        Raises:
            NoTrialEndedWellError: where all trials failed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            self.state.oracle._set_project_dir(scratch, "oracle")  # it writes files of its own
            try:
                with contextlib.closing(self.executor):
                    self._run()
            except BaseException:
                for name in self.running:
                    tracking.end(self.run_ids[name], "KILLED")
                raise
        if all(trial.score is None for trial in self.state.ended):
            raise NoTrialEndedWellError(f"no trial of the search ended well: {self.state.ended[-1].result.reason}")
        return self._ranked()

    def _run(self) -> None:
        for proposal in list(self.state.oracle.ongoing_trials.values()):
            self._start(proposal)
        while True:
            while len(self.running) < self.executor.capacity and (proposal := self._propose()):
                self._start(proposal)
            if not self.running:
                return
            self._end(*self.executor.wait())

    @property
    def _deadline(self) -> float | None:
        minutes = self.settings.budget_minutes
        return None if minutes is None else self.start + 60 * minutes

    def _propose(self) -> Any:
        """KerasTuner's next trial, or None: there is none (yet), or the time is up after one at least."""
        oracle = self.state.oracle
        if self._deadline and oracle.trials and time.time() >= self._deadline:
            return None
        with _quiet():
            proposal = oracle.create_trial(f"worker-{len(oracle.trials)}")
        if proposal.status != "RUNNING":
            return None
        self._save()
        return proposal

    def _start(self, proposal: Any) -> None:
        values, epochs = self._values(proposal)
        failed = self.state.failures[proposal.trial_id]
        name = f"trial-{int(proposal.trial_id):03d}" + (f"-retry-{failed}" if failed else "")
        print(f"{name}: {values}, {epochs} epochs", flush=True)
        own = {**values, "epochs": epochs, "select": self.settings.objective}
        run_id = records.begin_trial(name, self.record, own)
        self.running[name], self.run_ids[name] = proposal, run_id
        request = Request(
            run_id=run_id,
            train=with_values(self.base, {**own, "budget_minutes": None}, f"tune.space, {name}"),
            fraction=self.settings.fraction,
            subset_seed=self.settings.seed,
            executions=self.settings.executions_per_trial,
            objective=self.settings.objective,
            earlier=self._curves() if self.settings.pruning == "median" else (),
            deadline=self._deadline,
            dataset=self.dataset,
        )
        self.executor.start(name, request)

    def _values(self, proposal: Any) -> tuple[dict[str, Scalar], int]:
        """Of the space, and the epochs, which hyperband decides."""
        proposed = dict(proposal.hyperparameters.values)
        epochs = proposed.get("tuner/epochs", self.settings.epochs)
        return {
            key: self._readable(key, value) for key, value in proposed.items() if key in self.settings.space
        }, epochs

    def _readable(self, name: str, value: Scalar) -> Scalar:
        """A range's value with six digits at most: 0.3, where KerasTuner adds up steps to 0.30000000000000004."""
        dimension = self.settings.space[name]
        if isinstance(dimension, Choice) or not isinstance(value, float):
            return value
        return min(max(float(f"{value:.6g}"), dimension.min), dimension.max)

    def _curves(self) -> tuple[Curve, ...]:
        return tuple(trial.result.curve for trial in self.state.ended if trial.result.outcome == "completed")

    def _end(self, name: str, result: Result) -> None:
        proposal, oracle = self.running.pop(name), self.state.oracle
        trial = Trial(name, self.run_ids[name], *self._values(proposal), time.time() - self.start, result)
        self.state.ended.append(trial)
        if trial.score is None:
            print(f"{name} failed: {result.reason}", flush=True)
            tracking.end(trial.run_id, "FAILED", {"outcome": "failed", "reason": result.reason})
            self.state.failures[proposal.trial_id] += 1
            if self.state.failures[proposal.trial_id] <= self.settings.retries:
                self._save()
                self.executor.forget(name)
                self._start(proposal)
                return
            proposal.status, proposal.message = "FAILED", result.reason
        else:
            print(f"{name} {result.outcome}: {self.settings.objective} {trial.score:.4f}", flush=True)
            proposal.status = "COMPLETED"
            proposal.metrics.register("score", oracle.objective.direction)
            proposal.metrics.update("score", trial.score)
        with _quiet():
            oracle.end_trial(proposal)
        self._save()
        self.executor.forget(name)

    def _save(self) -> None:
        self.state.seconds = time.time() - self.start
        with whole(self.folder / STATE) as part, part.open("wb") as file:
            cloudpickle.dump(self.state, file)  # KerasTuner's oracles hold lambdas
            file.flush()
            os.fsync(file.fileno())

    def _ranked(self) -> list[Trial]:
        sign = -1 if self.settings.objective == "val_accuracy" else 1

        def key(trial: Trial) -> tuple[bool, bool, float]:
            failed = trial.score is None
            return failed, trial.result.outcome != "completed", 0.0 if trial.score is None else sign * trial.score

        return sorted(self.state.ended, key=key)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of KerasTuner's age, and of its Gaussian process where it is sure of little."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load(folder: Path) -> State | None:
    path = folder / STATE
    return pickle.loads(path.read_bytes()) if path.exists() else None  # noqa: S301  a file of our own
