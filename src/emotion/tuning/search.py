"""The hyperparameter search: KerasTuner's oracles propose trials over the space in params.yaml.

The state of the search is saved after every trial, so that a killed search can be resumed.
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
from typing import Protocol

import cloudpickle
import keras_tuner
from keras_tuner.engine.trial import Trial as KerasTunerTrial

from emotion.params.sections import Train, with_values
from emotion.params.space import Choice, Scalar, Tune
from emotion.runtime.errors import UserError
from emotion.runtime.files import atomic_write
from emotion.tuning.oracle import make_oracle
from emotion.tuning.protocol import Curve, Executor, TrialRequest, TrialResult
from emotion.tuning.results import Trial

STATE = "search.pickle"


class AllTrialsFailedError(UserError):
    """No trial of the search has a score."""


class SearchObserver(Protocol):
    """Receives the events of a search, for example to log its trials."""

    def trial_started(self, name: str, values: Mapping[str, Scalar]) -> str:
        """Called when a trial starts, or restarts after the search was killed.

        Args:
            name: the name of the trial.
            values: the values that differ from the base settings, by name under `train`.

        Returns:
            The id of the run that the trial logs to; empty if nothing is logged.
        """

    def trial_ended(self, trial: Trial) -> None:
        """Called when a trial has ended."""

    def trial_killed(self, run_id: str) -> None:
        """Called when a trial was stopped because the search is ending."""


@dataclass
class SearchState:
    """The saved progress of a search."""

    oracle: keras_tuner.Oracle
    ended: list[Trial] = field(default_factory=list)  # including failed attempts
    failures: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # by KerasTuner's id of the trial
    seconds: float = 0.0  # so far


class Search:
    """A search, new or resumed.

    Args:
        settings: how to search.
        base: the values that all trials share.
        folder: where the search saves its state.
        executor: runs the trials.
        observer: receives the events of the search.
    """

    def __init__(self, settings: Tune, base: Train, folder: Path, executor: Executor, observer: SearchObserver) -> None:
        self.settings, self.base, self.folder = settings, base, folder
        self.executor, self.observer = executor, observer
        self.running: dict[str, KerasTunerTrial] = {}  # KerasTuner's trials, by the names of ours
        self.run_ids: dict[str, str] = {}
        saved = _load_state(folder)
        self.state = saved or SearchState(make_oracle(settings))
        if saved:
            print(f"Resuming a search. Trials finished so far: {len(saved.ended)}.", flush=True)
        self.start = time.time() - self.state.seconds

    def run(self) -> list[Trial]:
        """Run the search, and return all trials: completed ones first, ranked by score, and failed ones last.

        Raises:
            AllTrialsFailedError: if no trial has a score.
        """
        with tempfile.TemporaryDirectory() as scratch:
            self.state.oracle._set_project_dir(scratch, "oracle")  # it writes files of its own
            try:
                with contextlib.closing(self.executor):
                    self._run()
            except BaseException:
                for name in self.running:
                    self.observer.trial_killed(self.run_ids[name])
                raise
        if all(trial.score is None for trial in self.state.ended):
            raise AllTrialsFailedError(f"all trials failed. Last error: {self.state.ended[-1].result.reason}")
        return self._ranked()

    def _run(self) -> None:
        for proposal in list(self.state.oracle.ongoing_trials.values()):
            self._start(proposal)
        while True:
            while len(self.running) < self.executor.capacity and (proposal := self._ask()):
                self._start(proposal)
            if not self.running:
                return
            self._tell(*self.executor.wait())

    @property
    def _deadline(self) -> float | None:
        minutes = self.settings.budget_minutes
        return None if minutes is None else self.start + 60 * minutes

    def _ask(self) -> KerasTunerTrial | None:
        """KerasTuner's next trial; None if there is none yet, or if time is up and at least one trial has started."""
        oracle = self.state.oracle
        if self._deadline and oracle.trials and time.time() >= self._deadline:
            return None
        with _silent_keras_tuner():
            proposal = oracle.create_trial(f"worker-{len(oracle.trials)}")
        if proposal.status != "RUNNING":
            return None
        self._save()
        return proposal

    def _start(self, proposal: KerasTunerTrial) -> None:
        values, epochs = self._values(proposal)
        failures = self.state.failures[proposal.trial_id]
        name = f"trial-{int(proposal.trial_id):03d}" + (f"-retry-{failures}" if failures else "")
        print(f"{name}: {values}, {epochs} epochs", flush=True)
        own: dict[str, Scalar] = {**values, "epochs": epochs, "monitor": str(self.settings.objective)}
        run_id = self.observer.trial_started(name, own)
        self.running[name], self.run_ids[name] = proposal, run_id
        request = TrialRequest(
            run_id=run_id,
            train=with_values(self.base, {**own, "budget_minutes": None}, f"tune.space, {name}"),
            fraction=self.settings.fraction,
            subset_seed=self.settings.seed,
            executions=self.settings.executions_per_trial,
            objective=self.settings.objective,
            completed_curves=self._completed_curves() if self.settings.pruning == "median" else (),
            deadline=self._deadline,
        )
        self.executor.start(name, request)

    def _values(self, proposal: KerasTunerTrial) -> tuple[dict[str, Scalar], int]:
        """The values in the space, and the number of epochs, which hyperband decides."""
        proposed = dict(proposal.hyperparameters.values)
        epochs = proposed.get("tuner/epochs", self.settings.epochs)
        values = {key: self._round_value(key, value) for key, value in proposed.items() if key in self.settings.space}
        return values, epochs

    def _round_value(self, name: str, value: Scalar) -> Scalar:
        """Round to six significant digits: KerasTuner adds up steps to 0.30000000000000004 instead of 0.3."""
        dimension = self.settings.space[name]
        if isinstance(dimension, Choice) or not isinstance(value, float):
            return value
        return min(max(float(f"{value:.6g}"), dimension.min), dimension.max)

    def _completed_curves(self) -> tuple[Curve, ...]:
        return tuple(trial.result.curve for trial in self.state.ended if trial.result.outcome == "completed")

    def _tell(self, name: str, result: TrialResult) -> None:
        """Record how a trial ended, and retry a failed trial if `tune.retries` allows it."""
        proposal, oracle = self.running.pop(name), self.state.oracle
        trial = Trial(name, self.run_ids[name], *self._values(proposal), time.time() - self.start, result)
        self.state.ended.append(trial)
        self.observer.trial_ended(trial)
        if trial.score is None:
            print(f"{name} failed: {result.reason}", flush=True)
            self.state.failures[proposal.trial_id] += 1
            if self.state.failures[proposal.trial_id] <= self.settings.retries:
                self._save()
                self.executor.cleanup(name)
                self._start(proposal)
                return
            proposal.status, proposal.message = "FAILED", result.reason
        else:
            print(f"{name} {result.outcome}: {self.settings.objective} {trial.score:.4f}", flush=True)
            proposal.status = "COMPLETED"
            proposal.metrics.register("score", oracle.objective.direction)
            proposal.metrics.update("score", trial.score)
        with _silent_keras_tuner():
            oracle.end_trial(proposal)
        self._save()
        self.executor.cleanup(name)

    def _save(self) -> None:
        self.state.seconds = time.time() - self.start
        with atomic_write(self.folder / STATE) as tmp, tmp.open("wb") as file:
            cloudpickle.dump(self.state, file)  # KerasTuner's oracles contain lambdas
            file.flush()
            os.fsync(file.fileno())

    def _ranked(self) -> list[Trial]:
        sign = -1 if self.settings.objective.direction == "max" else 1

        def key(trial: Trial) -> tuple[bool, bool, float]:
            has_failed = trial.score is None
            return has_failed, trial.result.outcome != "completed", sign * (trial.score or 0.0)

        return sorted(self.state.ended, key=key)


@contextlib.contextmanager
def _silent_keras_tuner() -> Iterator[None]:
    """Suppress KerasTuner's deprecation warnings, and its Gaussian process's warnings about too little data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load_state(folder: Path) -> SearchState | None:
    path = folder / STATE
    return pickle.loads(path.read_bytes()) if path.exists() else None  # noqa: S301  a file of our own
