"""The hyperparameter search: KerasTuner over the space in params.yaml, a run in MLflow per trial."""

import re
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner
import keras_tuner.src.config

from emotion import records, tracking
from emotion.errors import UserError
from emotion.faces import Split
from emotion.params import Dimension, Range, Scalar, Train, Tune, with_values
from emotion.training.recipe import Row, fit


@dataclass(frozen=True)
class Trial:
    """One finished training of the search."""

    name: str
    run_id: str
    values: dict[str, Scalar]
    metrics: dict[str, float]  # of the best epoch by the objective, and what the trial cost


class Search(keras_tuner.RandomSearch):
    """Random search (Bergstra and Bengio, 2012) whose trials are child runs of the search's run."""

    def __init__(
        self, settings: Tune, base: Train, splits: tuple[Split, Split], record: Mapping[str, Any], folder: str
    ) -> None:
        self.settings, self.base, self.splits, self.record = settings, base, splits, record
        self.finished: list[Trial] = []
        super().__init__(
            objective=keras_tuner.Objective(settings.objective, _direction(settings.objective)),
            max_trials=settings.max_trials,
            seed=settings.seed + 1,  # KerasTuner takes 0 for "none given"
            hyperparameters=hyperparameters(settings.space),
            directory=folder,
        )

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Train once with the trial's values; KerasTuner calls it and keeps the score."""
        name = f"trial-{len(self.oracle.trials) - 1:03d}"
        try:
            return self._train(name, dict(trial.hyperparameters.values))
        except UserError as error:  # one trial's loss, not the search's
            print(f"{name} failed: {error}", flush=True)
            raise
        except Exception:
            traceback.print_exc()
            raise

    def _train(self, name: str, values: dict[str, Scalar]) -> dict[str, float]:
        settings = with_values(
            self.base, {**values, "epochs": self.settings.epochs, "budget_minutes": None}, f"tune.space, {name}"
        )
        start = time.monotonic()
        with records.trial_run(name, self.record, self.record["run_id"], values) as run_id:
            print(f"{name}: {values}", flush=True)
            fitted = fit(settings, *self.splits, [records.epoch_logger()])
            metrics = _best_epoch(fitted.rows, self.settings.objective)
            metrics |= {"seconds": time.monotonic() - start, "parameters": fitted.network.count_params()}
            tracking.log_metrics({key: metrics[key] for key in ("seconds", "parameters", "score")})
        self.finished.append(Trial(name, run_id, values, metrics))
        return {self.settings.objective: metrics[self.settings.objective]}


def hyperparameters(space: Mapping[str, Dimension]) -> keras_tuner.HyperParameters:
    """KerasTuner's form of `tune.space`."""
    result = keras_tuner.HyperParameters()
    for name, dimension in space.items():
        if not isinstance(dimension, Range):
            result.Choice(name, list(dimension.choice))
        elif isinstance(dimension.min, int) and isinstance(dimension.max, int):
            result.Int(name, dimension.min, dimension.max, sampling=dimension.sampling)
        else:
            result.Float(name, dimension.min, dimension.max, sampling=dimension.sampling)
    return result


def search(settings: Tune, base: Train, train: Split, validation: Split, record: Mapping[str, Any]) -> list[Trial]:
    """Run the trials, best first.

    Args:
        settings: how to search.
        base: what every trial has in common.
        train: the training images of every trial.
        validation: what every trial is scored on.
        record: of the stage, with the run that the trials belong to.

    Raises:
        UserError: where not one trial ended well.
    """
    if settings.max_trials == 0:
        return []
    keras_tuner.src.config.DEBUG = False  # it would print a traceback for every failed trial
    with tempfile.TemporaryDirectory() as folder:
        tuner = Search(settings, base, (train, validation), record, folder)
        try:
            tuner.search(verbose=0)
        except RuntimeError as error:  # too many failures in a row
            raise UserError(f"the search stopped: {_reason(tuner) or error}") from error
    if not tuner.finished:
        raise UserError(f"no trial of the search ended well: {_reason(tuner)}")
    return sorted(tuner.finished, key=lambda t: t.metrics["score"], reverse=_direction(settings.objective) == "max")


def _reason(tuner: Search) -> str:
    """What the last failed trial raised."""
    messages = [trial.message for trial in tuner.oracle.trials.values() if trial.message]
    raised = [line for message in messages for line in message.splitlines() if re.match(r"[\w.]+: ", line)]
    return raised[-1].partition(": ")[2] if raised else ""


def _direction(objective: str) -> str:
    return "max" if objective == "val_accuracy" else "min"


def _best_epoch(rows: list[Row], objective: str) -> Row:
    choose = max if _direction(objective) == "max" else min
    best = choose(rows, key=lambda row: row[objective])
    return {"score": best[objective], **{key: value for key, value in best.items() if key != "epoch"}}
