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
from emotion.networks.build import build, members
from emotion.params.sections import Train
from emotion.runtime.errors import UserError
from emotion.runtime.progress import track
from emotion.training import precision
from emotion.training.callbacks import Callback, Row
from emotion.training.checkpoints import Arrays, Checkpoints
from emotion.training.input_pipeline import class_weights, eval_dataset, steps_per_epoch, train_dataset
from emotion.training.optimizers import make_optimizer
from emotion.training.schedule import Schedule


@dataclass
class TrainingResult:
    """A trained network with the weights of its best epoch."""

    network: keras.Model
    rows: list[Row]  # one per epoch
    best_epoch: int  # from 1
    precision: str  # float32 or bfloat16, and the reason
    val_probabilities: NDArray[np.float32]  # (validation images, classes), in the best epoch

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
    """Train a network and return it with its best weights.

    Args:
        settings: the network and how to train it.
        train: the images to learn from.
        validation: the images that decide which weights are the best.
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
    trainer.restore_best()
    return TrainingResult(
        trainer.network, trainer.rows, trainer.best_epoch, trainer.precision, trainer.best_probabilities
    )


class Trainer:
    """A training run: its network, optimizer and progress."""

    def __init__(self, settings: Train, train: Split, validation: Split) -> None:
        self.settings, self.train = settings, train
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
        self.members = members(self.network)
        precision.apply("float32")  # for other layers that this process builds
        self.optimizer = make_optimizer(settings, chosen)
        self.optimizer.build(self.network.trainable_variables)
        self.validation, self.validation_batches = validation, eval_dataset(validation)
        self.weights = tf.constant(class_weights(train, settings.class_weight_power))
        self.steps_per_epoch = steps_per_epoch(train, settings)
        self.schedule = Schedule(settings, self.steps_per_epoch, train.input_shape[0])
        self.step = 0
        self.rows: list[Row] = []
        self.best: list[NDArray[Any]] = []
        self.best_epoch = 0
        self.best_probabilities = np.zeros((0, len(train.emotions)), np.float32)
        self._batches: Iterator[tuple[tf.Tensor, tf.Tensor]] = iter(())
        self._image_size = 0  # of the images in _batches
        # Created per instance, so that each training run traces its own functions. They are traced once per
        # image size, because fixed shapes are faster. Without AutoGraph, which they do not need, tracing is faster.
        self.train_step = tf.function(self._train_on, autograph=False)
        self._predict = tf.function(lambda images: self.network(images, training=False), autograph=False)

    @property
    def done(self) -> bool:
        """Whether the schedule has ended or, without a budget, validation has not improved for `patience` epochs."""
        out_of_patience = len(self.rows) - self.best_epoch >= self.settings.patience and not self.schedule.budget
        return bool(self.rows) and (self.schedule.progress(self.step) >= 1 or out_of_patience)

    def epoch(self) -> Row:
        """Train for an epoch, or until the budget is spent, and validate."""
        first_step, losses, correct = self.step, 0.0, 0
        if not self.rows:
            self._begin()
        for loss, right in track(self.steps(), self._name(), self.steps_per_epoch, log_lines=False):
            losses, correct = losses + loss, correct + right
        steps = self.step - first_step
        before = self.schedule.seconds
        validation, probabilities = self.validate()
        row = {
            "epoch": len(self.rows) + 1,
            "loss": losses / steps,
            "accuracy": correct / steps / min(self.settings.batch_size, len(self.train)),
            **validation,
            "learning_rate": float(self.optimizer.learning_rate),
            "image_size": self._image_size,
            "seconds": self.schedule.seconds,
        }
        self.schedule.validation_seconds = self.schedule.seconds - before
        self._print(row)
        self.rows.append(row)
        self._keep_best(row, probabilities)
        return row

    def _begin(self) -> None:
        """Start the clock, and estimate how long validation takes."""
        images, _ = next(iter(self.validation_batches))
        self._predict(images)  # trace the function
        self.schedule.start(0)
        self._predict(images)
        self.schedule.validation_seconds = self.schedule.seconds * len(self.validation) / len(images)
        if self.schedule.budget and self.schedule.validation_seconds >= self.schedule.budget:
            raise UserError(
                f"validating once takes about {self.schedule.validation_seconds:.0f} s, but train.budget_minutes"
                f" allows {self.schedule.budget:.0f} s for the whole training. Increase train.budget_minutes."
            )

    def steps(self) -> Iterator[tuple[float, int]]:
        """Yield the loss and the number of correct predictions of every step of an epoch, at least one."""
        first_step = self.step
        while self.step < first_step + self.steps_per_epoch:
            progress = self.schedule.progress(self.step)
            if progress >= 1 and self.step > first_step:
                return
            rate = self.schedule.learning_rate(progress)
            self.optimizer.learning_rate.assign(rate)
            loss, right = self.train_step(*self._next_batch(progress))
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss became {float(loss)} in step {self.step + 1} (epoch {len(self.rows) + 1}) at a"
                    f" learning rate of {rate:.3g}: training diverged. Lower train.learning_rate (or its range"
                    " in tune.space)."
                )
            self.step += 1
            yield float(loss), int(right)

    def _train_on(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            probabilities = keras.tree.flatten(self.members(images, training=True))
            losses = [keras.losses.categorical_crossentropy(labels, member) for member in probabilities]
            # Summed, so that every member trains as it would on its own.
            loss = tf.reduce_mean(tf.add_n(losses) * tf.linalg.matvec(labels, self.weights))
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        right = tf.argmax(tf.add_n(probabilities), 1) == tf.argmax(labels, 1)
        return loss / len(probabilities), tf.reduce_sum(tf.cast(right, tf.int32))

    def _next_batch(self, progress: float) -> tuple[tf.Tensor, tf.Tensor]:
        size = self.schedule.image_size(progress)
        if size != self._image_size:
            self._image_size = size
            self._batches = iter(train_dataset(self.train, self.settings, self.step, size))
        return next(self._batches)

    def validate(self) -> tuple[Row, NDArray[np.float32]]:
        """Return loss (cross-entropy in nats) and accuracy on full-size validation images, and the probabilities."""
        probabilities = np.concatenate([self._predict(images).numpy() for images, _ in self.validation_batches])
        labels = self.validation.labels
        row = {
            "val_loss": float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean()),
            "val_accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        }
        return row, probabilities

    def _keep_best(self, row: Row, probabilities: NDArray[np.float32]) -> None:
        monitor = self.settings.monitor
        if not self.best_epoch or monitor.is_better(row[monitor], self.rows[self.best_epoch - 1][monitor]):
            self.best = [weight.numpy() for weight in self.network.weights]
            self.best_probabilities = probabilities
            self.best_epoch = len(self.rows)

    def restore_best(self) -> None:
        """Restore the network's weights from its best epoch."""
        self.network.set_weights(self.best)

    def _state(self) -> list[Any]:
        """Return all variables that training changes, including the state of random generators."""
        return [*self.network.variables, *self.optimizer.variables]

    def arrays(self) -> Arrays:
        """Return the arrays of a checkpoint."""
        state = {f"state-{number}": variable.numpy() for number, variable in enumerate(self._state())}
        best = {f"best-{number}": weight for number, weight in enumerate(self.best)}
        return state | best | {"best-probabilities": self.best_probabilities}

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of a checkpoint."""
        return {
            "step": self.step,
            "rows": self.rows,
            "best_epoch": self.best_epoch,
            "seconds": self.schedule.seconds,
            "validation_seconds": self.schedule.validation_seconds,
        }

    def restore(self, arrays: Arrays, metadata: dict[str, Any]) -> None:
        """Restore the training state from a checkpoint."""
        for number, variable in enumerate(self._state()):
            variable.assign(arrays[f"state-{number}"])
        self.best = [arrays[f"best-{number}"] for number in range(len(self.network.weights))]
        self.best_probabilities = arrays["best-probabilities"]
        self.step, self.rows, self.best_epoch = metadata["step"], metadata["rows"], metadata["best_epoch"]
        self.schedule.validation_seconds = metadata["validation_seconds"]
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
