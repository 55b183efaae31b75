"""Train a network on a split. Shared by `tune` and `train`."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS
from emotion.networks.build import build, members
from emotion.params import Train
from emotion.runtime.errors import UserError
from emotion.runtime.progress import track
from emotion.training import precision
from emotion.training.checkpoints import Arrays, Checkpoints
from emotion.training.input_pipeline import class_weights, plain_batches, steps_per_epoch, training_batches
from emotion.training.optimizers import make_optimizer
from emotion.training.schedule import Schedule

Row = dict[str, float]  # what is known of an epoch


@dataclass
class Fitted:
    """A trained network with the weights of its best epoch, and a row per epoch.

    The rows hold epoch, loss, accuracy (both of the augmented images), val_loss,
    val_accuracy (at full size), learning_rate and image_size (pixels a side) of the last step,
    and seconds (since the start).
    """

    network: keras.Model
    rows: list[Row]
    best_epoch: int  # from 1
    precision: str  # and why
    answers: NDArray[np.float32]  # (validation, 7) the probabilities in the best epoch

    @property
    def history(self) -> pd.DataFrame:
        """The rows as a table."""
        return pd.DataFrame(self.rows)


def fit(
    settings: Train,
    train: Split,
    validation: Split,
    listeners: Sequence[Callable[[Row], None]] = (),
    checkpoints: Checkpoints | None = None,
    hopeless: Callable[[list[Row]], bool] = lambda rows: False,
) -> Fitted:
    """Train a network and return it with its best weights.

    Args:
        settings: the network and the recipe.
        train: the images to learn from.
        validation: what the best weights are chosen on.
        listeners: told of every epoch once it is safe, also of those of an earlier attempt.
        checkpoints: where to go on from and to keep the state after every epoch, or None.
        hopeless: asked after every epoch; ends the training where it says so.

    Raises:
        UserError: where the loss is no number any more.
    """
    trainer = Trainer(settings, train, validation)
    kept = checkpoints.load() if checkpoints else None
    if kept:
        trainer.restore(*kept)
        print(f"Going on after epoch {len(trainer.rows)}.", flush=True)

    def tell(row: Row) -> None:
        for listener in listeners:
            listener(row)

    for row in trainer.rows:
        tell(row)
    while not (trainer.done or (trainer.rows and hopeless(trainer.rows))):
        row = trainer.epoch()
        if checkpoints:
            checkpoints.save(len(trainer.rows), trainer.arrays(), trainer.facts())
        tell(row)
    trainer.restore_best()
    return Fitted(trainer.network, trainer.rows, trainer.best_epoch, trainer.precision, trainer.best_answers)


def tensorboard_writer(folder: Path) -> Callable[[Row], None]:
    """A listener that writes what TensorBoard shows.

    The folder is emptied: a training that goes on tells of its earlier epochs again.
    """
    shutil.rmtree(folder, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(folder))

    def write(row: Row) -> None:
        with writer.as_default(step=int(row["epoch"])):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        writer.flush()

    return write


class Trainer:
    """One training: its network, its optimizer, and how far it is."""

    def __init__(self, settings: Train, train: Split, validation: Split) -> None:
        self.settings, self.train = settings, train
        chosen, reason = precision.choose(settings.precision)
        self.precision = f"{chosen}, {reason}"
        print(f"Precision: {self.precision}.", flush=True)
        precision.apply(chosen)
        keras.utils.set_random_seed(settings.seed)
        self.network = build(settings.network, settings.width, settings.dropout, settings.transfer, settings.ensemble)
        self.members = members(self.network)
        precision.apply("float32")  # for what else is built in this process
        self.optimizer = make_optimizer(settings, chosen)
        self.optimizer.build(self.network.trainable_variables)
        self.validation, self.validation_batches = validation, plain_batches(validation)
        self.weights = tf.constant(class_weights(train, settings.class_weighting))
        self.steps_per_epoch = steps_per_epoch(train, settings)
        self.schedule = Schedule(settings, self.steps_per_epoch)
        self.step = 0
        self.rows: list[Row] = []
        self.best: list[NDArray[Any]] = []
        self.answers = self.best_answers = np.zeros(
            (0, len(EMOTIONS)), np.float32
        )  # to validation, of now and of the best
        self.best_epoch = 0
        self._batches: Iterator[tuple[tf.Tensor, tf.Tensor]] = iter(())
        self._size = 0  # of the images in them
        # Functions of this object, so that another training traces its own; traced for every
        # image size anew, because fixed shapes are quicker.
        self.train_step = tf.function(self._train_on)
        self._answer = tf.function(lambda images: self.network(images, training=False))

    @property
    def done(self) -> bool:
        """Whether the schedule has ended, or, without a budget, validation has not improved for too long."""
        impatient = len(self.rows) - self.best_epoch >= self.settings.patience and not self.schedule.budget
        return bool(self.rows) and (self.schedule.progress(self.step) >= 1 or impatient)

    def epoch(self) -> Row:
        """Train for an epoch, or until the budget is spent, and look at validation."""
        started, losses, correct = self.step, 0.0, 0
        if not self.rows:
            self._begin()
        for loss, right in track(self.steps(), self._name(), self.steps_per_epoch, lines=False):
            losses, correct = losses + loss, correct + right
        steps = self.step - started
        before = self.schedule.seconds
        row = {
            "epoch": len(self.rows) + 1,
            "loss": losses / steps,
            "accuracy": correct / steps / min(self.settings.batch_size, len(self.train)),
            **self.validate(),
            "learning_rate": float(self.optimizer.learning_rate),
            "image_size": self._size,
            "seconds": self.schedule.seconds,
        }
        self.schedule.reserve = self.schedule.seconds - before
        self._report(row)
        self.rows.append(row)
        self._keep_best(row)
        return row

    def _begin(self) -> None:
        """Start the clock, with an estimate of what validation will take of a budget."""
        images, _ = next(iter(self.validation_batches))
        self._answer(images)  # traced
        self.schedule.start(0)
        self._answer(images)
        self.schedule.reserve = self.schedule.seconds * len(self.validation) / len(images)
        if self.schedule.budget and self.schedule.reserve >= self.schedule.budget:
            raise UserError(
                f"one look at the validation images takes about {self.schedule.reserve:.0f} s, and"
                f" train.budget_minutes gives {self.schedule.budget:.0f} s to all of the training. Give it more."
            )

    def steps(self) -> Iterator[tuple[float, int]]:
        """Loss and number of right answers of every step of an epoch; of one at least."""
        started = self.step
        while self.step < started + self.steps_per_epoch:
            progress = self.schedule.progress(self.step)
            if progress >= 1 and self.step > started:
                return
            rate = self.schedule.learning_rate(progress)
            self.optimizer.learning_rate.assign(rate)
            loss, right = self.train_step(*self._next_batch(progress))
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss became {float(loss)} in step {self.step + 1} (epoch {len(self.rows) + 1}) at a"
                    f" learning rate of {rate:.3g}: the training diverged. Lower train.learning_rate (or the"
                    " range in tune.space)."
                )
            self.step += 1
            yield float(loss), int(right)

    def _train_on(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            answers = keras.tree.flatten(self.members(images, training=True))
            losses = [keras.losses.categorical_crossentropy(labels, answer) for answer in answers]
            # The sum, so that every member learns as it would alone.
            loss = tf.reduce_mean(tf.add_n(losses) * tf.linalg.matvec(labels, self.weights))
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        right = tf.argmax(tf.add_n(answers), 1) == tf.argmax(labels, 1)
        return loss / len(answers), tf.reduce_sum(tf.cast(right, tf.int32))

    def _next_batch(self, progress: float) -> tuple[tf.Tensor, tf.Tensor]:
        size = self.schedule.image_size(progress)
        if size != self._size:
            self._size = size
            self._batches = iter(training_batches(self.train, self.settings, self.step, size))
        return next(self._batches)

    def validate(self) -> Row:
        """Loss (cross-entropy in nats) and accuracy of the validation images as they are."""
        answers = np.concatenate([self._answer(images).numpy() for images, _ in self.validation_batches])
        self.answers = answers
        labels = self.validation.labels
        return {
            "val_loss": float(-np.log(np.maximum(answers[np.arange(len(labels)), labels], 1e-7)).mean()),
            "val_accuracy": float((answers.argmax(axis=1) == labels).mean()),
        }

    def _keep_best(self, row: Row) -> None:
        name = self.settings.select
        best = self.rows[self.best_epoch - 1][name] if self.best_epoch else None
        if best is None or (row[name] > best if name == "val_accuracy" else row[name] < best):
            self.best = [weight.numpy() for weight in self.network.weights]
            self.best_answers = self.answers
            self.best_epoch = len(self.rows)

    def restore_best(self) -> None:
        """Give the network its best weights."""
        self.network.set_weights(self.best)

    def _state(self) -> list[Any]:
        """All that changes in training, the state of random generators included."""
        return [*self.network.variables, *self.optimizer.variables]

    def arrays(self) -> Arrays:
        """The state for a checkpoint."""
        now = {f"state-{number}": variable.numpy() for number, variable in enumerate(self._state())}
        best = {f"best-{number}": weight for number, weight in enumerate(self.best)}
        return now | best | {"best-answers": self.best_answers}

    def facts(self) -> dict[str, Any]:
        """The rest of the state."""
        return {
            "step": self.step,
            "rows": self.rows,
            "best_epoch": self.best_epoch,
            "seconds": self.schedule.seconds,
            "reserve": self.schedule.reserve,
        }

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        """Be where a checkpoint was written."""
        for number, variable in enumerate(self._state()):
            variable.assign(arrays[f"state-{number}"])
        self.best = [arrays[f"best-{number}"] for number in range(len(self.network.weights))]
        self.best_answers = arrays["best-answers"]
        self.step, self.rows, self.best_epoch = facts["step"], facts["rows"], facts["best_epoch"]
        self.schedule.reserve = facts["reserve"]
        self.schedule.start(facts["seconds"])

    def _name(self) -> str:
        number = len(self.rows) + 1
        return f"Epoch {number}" if self.schedule.budget else f"Epoch {number} of {self.settings.epochs}"

    def _report(self, row: Row) -> None:
        left = self.schedule.remaining(self.step)
        print(
            f"{self._name()}: loss {row['loss']:.4f}, accuracy {row['accuracy']:.4f}, validation"
            f" {row['val_accuracy']:.4f}, {row['seconds']:.0f} s, about {left:.0f} s left",
            flush=True,
        )
