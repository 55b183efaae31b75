"""A trial of a search: one or more training runs, and their score."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from emotion.data.dataset import InputShape, Split, subset
from emotion.runtime.errors import UserError
from emotion.training.callbacks import Callback
from emotion.training.checkpoints import Checkpoints
from emotion.training.trainer import TrainingResult, fit
from emotion.tuning.protocol import TrialRequest, TrialResult
from emotion.tuning.pruning import PruningCallback

LATENCY_CALLS = 100


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that did not fail."""

    result: TrialResult
    val_probabilities: NDArray[np.float32]  # (validation images, classes), of the first training run


def run_trial(
    request: TrialRequest,
    train: Split,
    validation: Split,
    folder: Path | None = None,
    callbacks: Callable[[int], Sequence[Callback]] = lambda execution: (),
) -> FinishedTrial:
    """Train as many times as requested, and score the training runs.

    Args:
        request: the settings of the trial.
        train: all training images.
        validation: the images that the trial is scored on.
        folder: the folder for saved training states; None saves nothing.
        callbacks: returns the callbacks of a training run, given its index from 0.

    Raises:
        UserError: if the loss becomes NaN or infinite.
    """
    start, pruning, objective = time.monotonic(), PruningCallback(request), request.objective
    images = subset(train, request.fraction, request.subset_seed)
    results = _train_all(request, images, validation, folder, pruning, callbacks)
    rows = [result.rows[-1] for result in results]
    scores = [row[objective] for row in rows]
    if not all(map(math.isfinite, scores)):
        raise UserError(f"{objective} is NaN or infinite: training diverged. Lower the learning rates in tune.space.")
    parameters = float(results[0].network.count_params())
    latency = {"latency_ms": _latency_ms(results[0].network, train.input_shape)} if request.penalties.latency else {}
    sign = 1 if objective.direction == "min" else -1
    penalty = sign * request.penalties.of(parameters, latency.get("latency_ms", 1.0))
    metrics = {key: value for key, value in rows[0].items() if key not in ("epoch", "seconds")} | {
        "score": statistics.fmean(scores) + penalty,
        "score_spread": statistics.stdev(scores) if len(scores) > 1 else 0.0,
        "duration": time.monotonic() - start,
        "training_seconds": sum(result.rows[-1]["seconds"] for result in results),
        "epochs": float(sum(len(result.rows) for result in results)),
        "parameters": parameters,
        **latency,
    }
    curve = tuple(row[objective] for row in results[0].rows)
    result = TrialResult(outcome=pruning.outcome, metrics=metrics, curve=curve)
    return FinishedTrial(result, results[0].val_probabilities)


def _latency_ms(network: "keras.Model", input_shape: InputShape) -> float:
    """The median latency of a network for one image, in milliseconds."""
    predict = tf.function(partial(network, training=False), autograph=False)
    image = tf.zeros((1, *input_shape))
    predict(image)
    seconds = []
    for _ in range(LATENCY_CALLS):
        start = time.perf_counter()
        predict(image)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def _train_all(
    request: TrialRequest,
    images: Split,
    validation: Split,
    folder: Path | None,
    pruning: PruningCallback,
    callbacks: Callable[[int], Sequence[Callback]],
) -> list[TrainingResult]:
    """Train once per execution. Only the first can be pruned; later ones count only if they complete."""
    results: list[TrainingResult] = []
    for execution in range(request.executions):
        settings = request.train.override({"seed": request.train.seed + execution})
        checkpoints = Checkpoints(folder / f"execution-{execution + 1}") if folder else None
        result = fit(settings, images, validation, callbacks(execution), checkpoints, pruning)
        if pruning.outcome == "completed" or not results:
            results.append(result)
        if len(results) < request.executions and (pruning.outcome != "completed" or pruning.is_out_of_time()):
            break
        pruning.prunes = False
    return results
