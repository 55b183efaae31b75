"""The hyperparameter search: KerasTuner's oracles propose trials over the space in params.yaml.

The log of the search is saved after every trial, so that a killed search can be resumed.
"""

import contextlib
import os
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from keras_tuner.engine.trial import Trial as KerasTunerTrial

from emotion.params.sections import Train, with_values
from emotion.params.space import Choice, Scalar, Tune
from emotion.runtime.errors import UserError
from emotion.runtime.files import atomic_write
from emotion.tuning.oracle import BayesianOracle, RandomOracle, make_oracle
from emotion.tuning.protocol import Curve, Executor, TrialRequest, TrialResult
from emotion.tuning.results import Trial
from emotion.tuning.search_log import LOG, Proposal, SearchLog, fix, read_log


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

    def trial_continued(self, name: str, trial: Trial) -> str:
        """Called for each trial of an earlier search that this one continues with; returns the id of its run here."""

    def trial_killed(self, run_id: str) -> None:
        """Called when a trial was stopped because the search is ending."""


class Search:
    """A search, new or resumed.

    Args:
        settings: how to search.
        base: the values that all trials share.
        folder: where the search saves its state.
        executor: runs the trials.
        observer: receives the events of the search.
        finished: the trials of an earlier search over the same space and data, to continue with if this one is new.
    """

    def __init__(
        self, settings: Tune, base: Train, folder: Path, executor: Executor, observer: SearchObserver,
        finished: Sequence[Trial] = (),
    ) -> None:  # fmt: skip
        self.settings, self.base, self.folder, self.finished = settings, base, folder, finished
        self.executor, self.observer = executor, observer
        self.oracle = make_oracle(settings)
        self.running: dict[str, KerasTunerTrial] = {}  # KerasTuner's trials, by the names of ours
        self.run_ids: dict[str, str] = {}
        self.failures: dict[str, int] = defaultdict(int)  # by KerasTuner's id of the trial
        self.ended: list[Trial] = []  # including failed attempts
        log = read_log(folder)
        self.events = log.events
        self.start = time.time() - log.seconds

    def run(self) -> list[Trial]:
        """Run the search, and return all trials: completed ones first, ranked by score, and failed ones last.

        Raises:
            AllTrialsFailedError: if no trial has a score.
        """
        with tempfile.TemporaryDirectory() as scratch:
            self.oracle._set_project_dir(scratch, "oracle")  # it writes files of its own
            try:
                with contextlib.closing(self.executor):
                    self._run(self._replay())
            except BaseException:
                for name in self.running:
                    self.observer.trial_killed(self.run_ids[name])
                raise
        if all(trial.score is None for trial in self.ended):
            raise AllTrialsFailedError(f"all trials failed. Last error: {self.ended[-1].result.reason}")
        return self._ranked()

    def _replay(self) -> list[KerasTunerTrial]:
        """Bring the oracle to the state in the log, and return its trials that have not ended."""
        if not self.events:
            self._continue()
            return []
        print(
            f"Resuming a search. Trials finished so far: {sum(isinstance(event, Trial) for event in self.events)}.",
            flush=True,
        )
        unfinished: dict[str, KerasTunerTrial] = {}
        for event in self.events:
            if isinstance(event, Trial):
                if event.name not in unfinished:
                    raise UserError(f"{self.folder / LOG} is damaged: {event.name} never started. {fix(self.folder)}")
                proposal = unfinished.pop(event.name)
                if self._end(proposal, event):
                    unfinished[self._name(proposal)] = proposal
            else:
                proposal = self._propose(event.values)
                if event.values is not None:
                    unfinished[self._name(proposal)] = proposal
        return list(unfinished.values())

    def _continue(self) -> None:
        """Begin with the finished trials of an earlier search, if the oracle can learn from them."""
        if not self.finished:
            return
        if not isinstance(self.oracle, BayesianOracle | RandomOracle):
            print(f"tune.oracle {self.settings.oracle} has a sequence of its own, so earlier trials are not continued.")
            return
        for earlier in self.finished[: self.settings.max_trials]:
            proposal = self._propose(earlier.values)
            name = self._name(proposal)
            run_id = self.observer.trial_continued(name, earlier)
            trial = earlier.model_copy(update={"name": name, "run_id": run_id, "ended_after": 0.0})
            self._end(proposal, trial)
            self.events += [Proposal(values=earlier.values), trial]
        self._save()
        print(f"Continuing with {len(self.ended)} finished trials of an earlier search over the same space and data.")

    def _run(self, unfinished: list[KerasTunerTrial]) -> None:
        for proposal in unfinished:
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
        if self._deadline and self.oracle.trials and time.time() >= self._deadline:
            return None
        proposal = self._propose(self._first_values())
        is_trial = proposal.status == "RUNNING"
        self.events.append(Proposal(values=proposal.hyperparameters.values if is_trial else None))
        if not is_trial:
            return None
        self._save()
        return proposal

    def _propose(self, known_values: dict[str, Scalar] | None = None) -> KerasTunerTrial:
        if isinstance(self.oracle, BayesianOracle | RandomOracle):
            self.oracle.known_values = known_values
        with _silent_keras_tuner():
            return self.oracle.create_trial(f"worker-{len(self.oracle.trials)}")

    def _first_values(self) -> dict[str, Scalar] | None:
        """The values of `train` for the first trial, if they are in the space; None for those of the oracle."""
        is_first = not self.oracle.trials and isinstance(self.oracle, BayesianOracle | RandomOracle)
        if not (is_first and self.settings.start_from_train):
            return None
        values = self.settings.values_of(self.base)
        if values is None:
            print("The values under train are not in tune.space, so the first trial has others.")
        return values

    def _name(self, proposal: KerasTunerTrial) -> str:
        failures = self.failures[proposal.trial_id]
        return f"trial-{int(proposal.trial_id):03d}" + (f"-retry-{failures}" if failures else "")

    def _start(self, proposal: KerasTunerTrial) -> None:
        values, epochs = self._values(proposal)
        name = self._name(proposal)
        print(f"{name}: {values}, {epochs} epochs", flush=True)
        own: dict[str, Scalar] = {**values, "epochs": epochs}
        run_id = self.observer.trial_started(name, own)
        self.running[name], self.run_ids[name] = proposal, run_id
        request = TrialRequest(
            run_id=run_id,
            train=with_values(self.base, {**own, "budget_minutes": None}, f"tune.space, {name}"),
            fraction=self.settings.fraction,
            subset_seed=self.settings.seed,
            executions=self.settings.executions_per_trial,
            objective=self.settings.objective,
            penalties=self.settings.penalties,
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
        return tuple(trial.result.curve for trial in self.ended if trial.result.outcome == "completed")

    def _tell(self, name: str, result: TrialResult) -> None:
        """Record how a trial ended, and start it again if it is to be retried."""
        proposal = self.running.pop(name)
        values, epochs = self._values(proposal)
        trial = Trial(
            name=name, run_id=self.run_ids[name], values=values, epochs=epochs,
            ended_after=time.time() - self.start, result=result,
        )  # fmt: skip
        self.observer.trial_ended(trial)
        if trial.score is None:
            print(f"{name} failed: {result.reason}", flush=True)
        else:
            print(f"{name} {result.outcome}: score {trial.score:.4f}", flush=True)
        is_retried = self._end(proposal, trial)
        self.events.append(trial)
        self._save()
        self.executor.cleanup(name)
        if is_retried:
            self._start(proposal)

    def _end(self, proposal: KerasTunerTrial, trial: Trial) -> bool:
        """Tell the oracle how a trial ended; return whether to retry it instead, as `tune.retries` allows."""
        self.ended.append(trial)
        if trial.score is None:
            self.failures[proposal.trial_id] += 1
            if self.failures[proposal.trial_id] <= self.settings.retries:
                return True
            proposal.status, proposal.message = "FAILED", trial.result.reason
        else:
            proposal.status = "COMPLETED"
            proposal.metrics.register("score", self.oracle.objective.direction)
            proposal.metrics.update("score", trial.score)
        with _silent_keras_tuner():
            self.oracle.end_trial(proposal)
        return False

    def _save(self) -> None:
        log = SearchLog(events=self.events, seconds=time.time() - self.start)
        with atomic_write(self.folder / LOG) as tmp, tmp.open("w") as file:
            file.write(log.model_dump_json())
            file.flush()
            os.fsync(file.fileno())

    def _ranked(self) -> list[Trial]:
        sign = -1 if self.settings.objective.direction == "max" else 1

        def key(trial: Trial) -> tuple[bool, bool, float]:
            has_failed = trial.score is None
            return has_failed, trial.result.outcome != "completed", sign * (trial.score or 0.0)

        return sorted(self.ended, key=key)


@contextlib.contextmanager
def _silent_keras_tuner() -> Iterator[None]:
    """Suppress KerasTuner's deprecation warnings, and its Gaussian process's warnings about too little data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
