"""The search space in KerasTuner's terms, and the KerasTuner oracles that propose trials."""

import contextlib
from typing import Any

import keras_tuner
import numpy as np

from emotion.params.space import Choice, Scalar, Space, Tune


class _Repeatable(keras_tuner.Oracle):
    """Makes proposals that depend only on the seed and on the trials so far.

    A resumed search can therefore repeat earlier proposals without computing them, and a new search can begin with the
    trials of another one.

    Attributes:
        known_values: the values of the next proposal if they are known.
    """

    known_values: dict[str, Scalar] | None = None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the known values, or those that KerasTuner computes."""
        if self.known_values is not None:
            self._tried_so_far.add(self._compute_values_hash(self.known_values))
            return {"status": "RUNNING", "values": self.known_values}
        self._seed_state = self.seed + 1000 * len(self.trials)  # a trial uses one per hyperparameter and collision
        self._random_state = np.random.RandomState(self._seed_state)
        result: dict[str, Any] = super().populate_space(trial_id)
        return result


class BayesianOracle(_Repeatable, keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Bayesian optimization, repeatable."""


class RandomOracle(_Repeatable, keras_tuner.oracles.RandomSearchOracle):
    """KerasTuner's random search, repeatable."""


def to_keras_tuner(space: Space) -> keras_tuner.HyperParameters:
    """Convert `tune.space` to KerasTuner's hyperparameters."""
    result = keras_tuner.HyperParameters()
    for name, dimension in space.items():
        with contextlib.ExitStack() as conditions:
            for parent, values in dimension.when.items():
                conditions.enter_context(result.conditional_scope(parent, list(values)))
            if isinstance(dimension, Choice):
                result.Choice(name, list(dimension.choice))
            else:
                declare = result.Int if dimension.is_integer else result.Float
                # KerasTuner rounds the number of steps down: from 0 to 0.3 by 0.1 it would omit 0.3.
                has_even_steps = dimension.sampling == "linear" and not dimension.is_integer
                margin = (dimension.step or 0) * 1e-6 if has_even_steps else 0
                declare(name, dimension.min, dimension.max + margin, dimension.step, dimension.sampling)
    return result


def make_oracle(settings: Tune) -> keras_tuner.Oracle:
    """The oracle that `tune.oracle` names."""
    options: dict[str, Any] = {
        "objective": keras_tuner.Objective("score", settings.objective.direction),
        "hyperparameters": to_keras_tuner(settings.space),
        "seed": settings.seed + 1,  # KerasTuner treats 0 as no seed
        "max_consecutive_failed_trials": 1 << 30,  # a failure costs one trial
    }
    match settings.oracle:
        case "hyperband":
            oracle = keras_tuner.oracles.HyperbandOracle(max_epochs=settings.epochs, **options)
            oracle.max_trials = settings.max_trials
        case "random":
            oracle = RandomOracle(max_trials=settings.max_trials, **options)
        case "bayesian":
            oracle = BayesianOracle(max_trials=settings.max_trials, **options)
        case "grid":
            oracle = keras_tuner.oracles.GridSearchOracle(max_trials=settings.max_trials, **options)
    oracle.verbose = 0
    return oracle
