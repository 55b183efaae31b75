"""Batches of images and labels as tf.data datasets."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from emotion.data.dataset import Split, as_pixels
from emotion.params.sections import Train
from emotion.runtime.errors import UserError
from emotion.training.augmentation import augment, mixup


def train_dataset(split: Split, settings: Train, step: int = 0, size: int | None = None) -> tf.data.Dataset:
    """Return an infinite dataset of augmented batches, starting at a given step.

    Each batch depends only on its step number and the seed, so training can resume at any step.
    Every epoch shows each image at most once, in full batches.

    Args:
        split: the training images.
        settings: batch size, augmentation, label smoothing, seed.
        step: the step to start at, counted from 0 over the whole training.
        size: size of the images, in pixels per side; None keeps that of the split.

    Yields:
        images (batch, size, size, 1 or 3) float32 0..255, labels (batch, classes) float32, smoothed. Only
        training uses smoothed labels and votes, so that validation losses can be compared.

    Raises:
        UserError: if the targets need votes, and the split has none.
    """
    smoothing, seed = settings.label_smoothing, settings.seed
    classes = len(split.emotions)
    if settings.targets != "hard" and not split.has_votes:
        raise UserError(
            f"train.targets={settings.targets} needs the votes of annotators, which this data does not have. Use hard,"
            " or data with votes, such as FER+ or a table with a column of votes per emotion."
        )
    images = tf.constant(as_pixels(split.images))
    targets = tf.constant(_one_hot(split) if settings.targets == "hard" else split.distributions)
    batch = min(settings.batch_size, len(split))
    per_epoch = steps_per_epoch(split, settings)
    flipped = np.random.default_rng(seed).random(len(split)) < 0.5  # in even epochs, if flips alternate

    @tf.autograph.experimental.do_not_convert
    def load(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch, within = number // per_epoch, number % per_epoch
        # A permutation computed element by element (Black and Rogaway, 2002), without a list to shuffle.
        rows = tf.random.experimental.index_shuffle(
            within * batch + tf.range(batch, dtype=tf.int64), tf.stack([seed, epoch]), len(split) - 1
        )
        pixels = tf.cast(tf.gather(images, rows), tf.float32)
        flips = tf.gather(flipped, rows) ^ (epoch % 2 == 1)
        batch_seed = tf.stack([tf.constant(seed, tf.int64), number])
        pixels = augment(pixels, settings.augmentation, batch_seed, size, flips)
        labels = tf.gather(targets, rows)
        if settings.targets == "drawn":
            labels = draw_labels(labels, batch_seed)
        return mixup(pixels, labels * (1 - smoothing) + smoothing / classes, settings.augmentation.mixup, batch_seed)

    numbers = tf.data.Dataset.range(step, 2**62)
    return _without_autotune(numbers.map(load, num_parallel_calls=2, deterministic=True).prefetch(2))


def draw_labels(distributions: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw one label for each image from the votes for it (Barsoum et al., 2016).

    Args:
        distributions: (batch, classes) float32, rows sum to 1.
        seed: (2,) int64.

    Returns:
        (batch, classes) float32, one-hot.
    """
    position = tf.random.stateless_uniform((tf.shape(distributions)[0], 1), tf.stack([seed[0] + 2, seed[1]]))
    # The first class whose cumulated share exceeds the position; rounding never leads beyond the last vote.
    below = tf.cast(tf.cumsum(distributions, axis=1) <= position * (1 - 1e-6), tf.int32)
    return tf.one_hot(tf.reduce_sum(below, axis=1), distributions.shape[1])


def steps_per_epoch(split: Split, settings: Train) -> int:
    """Return the number of full batches in an epoch, at least 1."""
    return max(1, len(split) // settings.batch_size)


def eval_dataset(split: Split, batch_size: int = 256) -> tf.data.Dataset:
    """Return the unaugmented images in order, once, with one-hot labels."""
    dataset = tf.data.Dataset.from_tensor_slices((as_pixels(split.images), _one_hot(split)))
    return _without_autotune(dataset.batch(batch_size).map(lambda x, y: (tf.cast(x, tf.float32), y)))


def predict_split(network: keras.Model, split: Split) -> list[NDArray[np.float32]]:
    """Return every output of a network that has several, for the images of a split."""
    batches = [network(images, training=False) for images, _ in eval_dataset(split)]
    return [np.concatenate(output) for output in zip(*batches, strict=True)]


def _without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Disable tf.data's autotuner, whose thread sleeps for as long as it has run and delays shutdown by that time."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def class_weights(split: Split, power: float) -> NDArray[np.float32]:
    """Return the loss weights of the emotions, (classes,), with mean 1 over the images.

    Args:
        split: the training images.
        power: exponent of the inverse frequency; 0 weights all images equally, 1 gives every emotion
            the same total weight.
    """
    counts = np.bincount(split.labels, minlength=len(split.emotions))
    weights = np.where(counts > 0, np.maximum(counts, 1) ** -float(power), 0)
    scaled: NDArray[np.float32] = (weights * len(split) / (weights * counts).sum()).astype(np.float32)
    return scaled


def _one_hot(split: Split) -> NDArray[np.float32]:
    return np.eye(len(split.emotions), dtype=np.float32)[split.labels]
