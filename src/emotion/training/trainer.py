"""Train a network on a split. Used by the trials of `tune` and by `train`."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from emotion.data.dataset import Split
from emotion.networks.build import build
from emotion.params.sections import Train
from emotion.runtime.errors import UserError
from emotion.runtime.progress import track
from emotion.training import precision
from emotion.training.batch_statistics import estimate_statistics, trained_normalizations
from emotion.training.callbacks import Callback, Row
from emotion.training.checkpoints import Arrays, Checkpoints
from emotion.training.input_pipeline import (
    batch_loader,
    class_weights,
    eval_dataset,
    predict_batches,
    steps_per_epoch,
    unaugmented_batches,
)
from emotion.training.optimizers import make_optimizer
from emotion.training.schedule import Schedule
from emotion.training.step import TrainingStep

CPU_PARTS = 2  # parts of a batch that a CPU computes in parallel
STATISTICS_STEPS = 100  # steps at most whose images determine the statistics of the trained network's normalizations
SYNC_STEPS = 20  # steps after which losses are read from a GPU, which has to finish them first


@dataclass
class TrainingResult:
    """A trained network, with the weights of its last epoch."""

    network: keras.Model
    rows: list[Row]  # one per epoch
    precision: str  # float32 or bfloat16, and the reason
    val_probabilities: NDArray[np.float32]  # (validation images, classes)

    @property
    def history(self) -> pd.DataFrame:
        """The metrics as a table with one row per epoch."""
        return pd.DataFrame(self.rows)


def fit(
    settings: Train,
    train: Split,
    validation: Split,
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
    should_stop: Callable[[list[Row]], bool] = lambda rows: False,
) -> TrainingResult:
    """Train a network and return it with its last weights.

    They are kept because the learning rate has fallen to zero: the epoch with the best validation metrics would be the
    luckiest one.

    Args:
        settings: the network and how to train it.
        train: the images to learn from.
        validation: the images that every epoch is scored on.
        callbacks: called with every epoch's metrics once its checkpoint is saved; also for epochs before resuming.
        checkpoints: where to resume from and where to save the state after every epoch, or None.
        should_stop: called after every epoch; True ends the training.

    Raises:
        UserError: if the loss becomes NaN or infinite.
    """
    trainer = Trainer(settings, train, validation)
    saved = checkpoints.load() if checkpoints else None
    if saved:
        trainer.restore(*saved)
        print(f"Resuming after epoch {len(trainer.rows)}.", flush=True)

    def report(row: Row) -> None:
        for callback in callbacks:
            callback(row)

    for row in trainer.rows:
        report(row)
    while not (trainer.done or (trainer.rows and should_stop(trainer.rows))):
        row = trainer.epoch()
        if checkpoints:
            checkpoints.save(len(trainer.rows), trainer.arrays(), trainer.metadata())
        report(row)
    return TrainingResult(trainer.network, trainer.rows, trainer.precision, trainer.val_probabilities)


class Trainer:
    """A training run: its network, optimizer and progress."""

    def __init__(self, settings: Train, train: Split, validation: Split) -> None:
        self.settings = settings
        chosen, reason = precision.choose(settings.precision)
        self.precision = f"{chosen}, {reason}"
        print(f"Precision: {self.precision}.", flush=True)
        precision.apply(chosen)
        keras.utils.set_random_seed(settings.seed)
        self.network = build(
            settings.network,
            settings.width,
            settings.dropout,
            settings.transfer,
            len(train.emotions),
            train.input_shape,
            settings.ensemble,
        )
        precision.apply("float32")  # for other layers that this process builds
        self.on_gpu = bool(tf.config.list_physical_devices("GPU"))
        if self.on_gpu:  # else its orthogonalization would be as imprecise as in bfloat16
            tf.config.experimental.enable_tensor_float_32_execution(False)
        self.optimizer = make_optimizer(settings)
        self.optimizer.build(self.network.trainable_variables)
        self.validation, self.validation_batches = validation, eval_dataset(validation)
        self.steps_per_epoch = steps_per_epoch(train, settings)
        self.batch_size = min(settings.batch_size, len(train))
        self.statistics_steps = min(self.steps_per_epoch, STATISTICS_STEPS)
        self.schedule = Schedule(settings, self.steps_per_epoch)
        self.step, self.done = 0, False
        self.rows: list[Row] = []
        self.val_probabilities = np.zeros((0, len(train.emotions)), np.float32)
        self.parts = 1 if self.on_gpu else min(CPU_PARTS, self.batch_size)
        self._load = batch_loader(train, settings, self.parts)
        weights = class_weights(train, settings.class_weight_power)
        self.train_step = TrainingStep(
            self.network, self.optimizer, self._load, self.parts, weights, compiled=self.on_gpu
        )
        self._predict = tf.function(lambda images: self.network(images, training=False), autograph=False)

    def epoch(self) -> Row:
        """Train for an epoch, or until the budget is spent, and validate."""
        first_step = self.step
        if not self.rows:
            self._begin()
        results = list(track(self.steps(), self._name(), self.steps_per_epoch, log_lines=False))
        losses, correct = np.sum([(float(loss), float(right)) for loss, right in results], axis=0)
        steps = self.step - first_step
        self.done = self.schedule.ends_after(self.step)
        if self.done:
            estimate_statistics(self.network, unaugmented_batches(self._load, self.statistics_steps, self.parts))
        before = self.schedule.seconds
        validation, self.val_probabilities = self.validate()
        row = {
            "epoch": len(self.rows) + 1,
            "loss": losses / steps,
            "accuracy": correct / steps / self.batch_size,
            **validation,
            "learning_rate": float(self.optimizer.learning_rate),
            "seconds": self.schedule.seconds,
        }
        self.schedule.validation_seconds = self.schedule.seconds - before
        self._print(row)
        self.rows.append(row)
        return row

    def _begin(self) -> None:
        """Start the clock, and estimate how long the validation and the statistics of the normalization will take."""
        images, _ = next(iter(self.validation_batches))
        self._predict(images)  # trace the function
        self.schedule.start(0)
        self._predict(images)
        per_image = self.schedule.seconds / len(images)
        self.schedule.validation_seconds = per_image * len(self.validation)
        if trained_normalizations(self.network):
            self.schedule.statistics_seconds = per_image * self.batch_size * self.statistics_steps
        needed = self.schedule.validation_seconds + self.schedule.statistics_seconds
        if self.schedule.budget and needed >= self.schedule.budget:
            raise UserError(
                f"statistics of the normalization and a validation take about {needed:.0f} s, but train.budget_minutes"
                f" allows {self.schedule.budget:.0f} s for the whole training. Increase train.budget_minutes."
            )

    def steps(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Yield the loss and the number of correct predictions of every step of an epoch, at least one."""
        first_step, waiting = self.step, []
        while self.step < first_step + self.steps_per_epoch:
            progress = self.schedule.progress(self.step)
            if progress >= 1 and self.step > first_step:
                break
            rate = self.schedule.learning_rate(progress)
            self.optimizer.learning_rate.assign(rate)
            loss, right = self.train_step(self.step)
            self.step += 1
            waiting.append((self.step, rate, loss))
            if not self.on_gpu or len(waiting) == SYNC_STEPS:
                self._check(waiting)
                waiting = []
            yield loss, right
        self._check(waiting)

    def _check(self, losses: list[tuple[int, float, Any]]) -> None:
        """Raise a UserError if the loss of a step is NaN or infinite.

        Args:
            losses: steps from 1, with their learning rates and losses.
        """
        for step, rate, loss in losses:
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss became {float(loss)} in step {step} (epoch {len(self.rows) + 1}) at a"
                    f" learning rate of {rate:.3g}: training diverged. Lower train.learning_rate (or its range"
                    " in tune.space)."
                )

    def validate(self) -> tuple[Row, NDArray[np.float32]]:
        """Return loss (cross-entropy in nats) and accuracy on the validation images, and the probabilities.

        Raises:
            UserError: if the loss is NaN.
        """
        probabilities = np.concatenate(predict_batches(self._predict, self.validation_batches))
        labels = self.validation.labels
        loss = float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean())
        self._check([(self.step, float(self.optimizer.learning_rate), loss)])
        return {"val_loss": loss, "val_accuracy": float((probabilities.argmax(axis=1) == labels).mean())}, probabilities

    def _state(self) -> list[Any]:
        """Return all variables that training changes, including the state of random generators."""
        return [*self.network.variables, *self.optimizer.variables]

    def arrays(self) -> Arrays:
        """Return the arrays of a checkpoint."""
        state = {f"state-{number}": variable.numpy() for number, variable in enumerate(self._state())}
        return state | {"val-probabilities": self.val_probabilities}

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of a checkpoint."""
        return {
            "step": self.step,
            "rows": self.rows,
            "seconds": self.schedule.seconds,
            "validation_seconds": self.schedule.validation_seconds,
            "statistics_seconds": self.schedule.statistics_seconds,
            "done": self.done,
        }

    def restore(self, arrays: Arrays, metadata: dict[str, Any]) -> None:
        """Restore the training state from a checkpoint."""
        for number, variable in enumerate(self._state()):
            variable.assign(arrays[f"state-{number}"])
        self.val_probabilities = arrays["val-probabilities"]
        self.step, self.rows, self.done = metadata["step"], metadata["rows"], metadata["done"]
        self.schedule.validation_seconds = metadata["validation_seconds"]
        self.schedule.statistics_seconds = metadata["statistics_seconds"]
        self.schedule.start(metadata["seconds"])

    def _name(self) -> str:
        number = len(self.rows) + 1
        return f"Epoch {number}" if self.schedule.budget else f"Epoch {number} of {self.settings.epochs}"

    def _print(self, row: Row) -> None:
        remaining = self.schedule.remaining(self.step)
        print(
            f"{self._name()}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.4f}, validation"
            f" {row['val_accuracy']:.4f}, {row['seconds']:.0f} s, about {remaining:.0f} s left",
            flush=True,
        )
