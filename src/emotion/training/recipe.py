"""Build, compile and fit a network on a split. Shared by `tune` and `train`."""

import math
import sys
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from emotion.errors import UserError
from emotion.faces import Split
from emotion.labels import EMOTIONS
from emotion.networks import build
from emotion.params import Train
from emotion.training.augmentation import augment


def training_batches(split: Split, settings: Train) -> tf.data.Dataset:
    """Augmented batches, without end.

    Order and augmentation depend only on the seed and the step.

    Yields:
        images (batch, 48, 48, 1) float32 0..255, labels (batch, 7) float32, smoothed: only
        training sees smoothed labels, so that validation losses can be compared.
    """
    smoothing = settings.label_smoothing
    images = tf.constant(split.images)
    labels = tf.constant(_one_hot(split) * (1 - smoothing) + smoothing / len(EMOTIONS))
    batch = min(settings.batch_size, len(split))

    def shuffled(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(len(split)), (settings.seed, epoch))
        return tf.data.Dataset.from_tensor_slices(order).batch(batch, drop_remainder=True)

    def load(step: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = tf.cast(tf.gather(images, rows), tf.float32)[..., None]
        pixels = augment(pixels, settings.augmentation, tf.stack([settings.seed, step]))
        return pixels, tf.gather(labels, rows)

    steps = tf.data.Dataset.range(2**62).flat_map(shuffled).enumerate()
    return steps.map(load, num_parallel_calls=2, deterministic=True).prefetch(2)


def plain_batches(split: Split, batch_size: int = 256) -> tf.data.Dataset:
    """The images as they are, in their order, once, with one-hot labels."""
    dataset = tf.data.Dataset.from_tensor_slices((split.images[..., None], _one_hot(split)))
    return dataset.batch(batch_size).map(lambda x, y: (tf.cast(x, tf.float32), y))


def _one_hot(split: Split) -> NDArray[np.float32]:
    return np.eye(len(EMOTIONS), dtype=np.float32)[split.labels]


@keras.saving.register_keras_serializable(package="emotion")
class WarmupThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to the peak, then linear to 0 (Goyal et al., 2017; Page, 2018)."""

    def __init__(self, peak: float, steps: int, warmup: float) -> None:
        self.peak, self.steps, self.warmup = peak, steps, warmup

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate at a step."""
        done = (tf.cast(step, tf.float32) + 1) / self.steps
        rise = done / self.warmup if self.warmup else tf.constant(1.0)
        fall = (1 - done) / (1 - self.warmup)
        return self.peak * tf.clip_by_value(tf.minimum(rise, fall), 0.0, 1.0)

    def get_config(self) -> dict[str, float]:
        """What `__init__` needs."""
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup}


def compile_network(settings: Train, schedule: WarmupThenDecay) -> keras.Model:
    """A network ready to be trained."""
    keras.utils.set_random_seed(settings.seed)
    network = build(settings.network, settings.width, settings.dropout)
    optimizer = keras.optimizers.SGD(
        schedule,
        momentum=settings.momentum,
        nesterov=True,
        weight_decay=settings.weight_decay or None,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    network.compile(optimizer, keras.losses.CategoricalCrossentropy(), metrics=["accuracy"])
    return network


class LearningRate(keras.callbacks.Callback):
    """Adds the learning rate of the last step to what every epoch reports."""

    def __init__(self, schedule: WarmupThenDecay) -> None:
        super().__init__()
        self.schedule = schedule

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Other callbacks and the history see the same dictionary."""
        if logs is not None:
            logs["learning_rate"] = float(self.schedule(self.model.optimizer.iterations - 1))


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """A diverged training is an error with a way out, not a bad model."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Raise UserError where the loss is no number any more."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise UserError(
                f"the loss became {logs['loss'] if logs else None} in epoch {epoch + 1}: the training"
                " diverged. Lower train.learning_rate (or the range in tune.space)."
            )


def fit(
    settings: Train, train: Split, validation: Split, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train a network and return it with its best weights.

    Returns:
        The network, and per epoch: loss, accuracy, val_loss, val_accuracy, learning_rate.

    Raises:
        UserError: where the loss is no number any more.
    """
    steps_per_epoch = max(1, len(train) // settings.batch_size)
    schedule = WarmupThenDecay(settings.learning_rate, steps_per_epoch * settings.epochs, settings.warmup)
    network = compile_network(settings, schedule)
    best = keras.callbacks.EarlyStopping(
        settings.select,
        patience=settings.patience,
        mode="max" if settings.select == "val_accuracy" else "min",
        restore_best_weights=True,
    )
    history = network.fit(
        training_batches(train, settings),
        steps_per_epoch=steps_per_epoch,
        epochs=settings.epochs,
        validation_data=plain_batches(validation),
        callbacks=[LearningRate(schedule), StopOnNonFiniteLoss(), best, *callbacks],
        shuffle=False,  # training_batches did
        verbose=1 if sys.stdout.isatty() else 2,
    )
    return network, history.history
