"""Batches of images and labels."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from emotion.data.dataset import Split, as_pixels
from emotion.params.sections import Augmentation, Train
from emotion.runtime.errors import UserError
from emotion.runtime.progress import track
from emotion.training.augmentation import augment

# Distances between the seeds of ensemble members, and between those of the parts of a batch.
MEMBER_SEEDS, PART_SEEDS = 1_000_003, 2_000_003


class Batch(NamedTuple):
    """A part of a batch."""

    images: tf.Tensor  # (part, side, side, 1 or 3) float32, 0..255
    labels: tf.Tensor  # (part, classes) float32, smoothed


def batch_loader(split: Split, settings: Train, parts: int = 1) -> Callable[..., Batch]:
    """Return a function that loads a part of the batch of a step, with its own random augmentation.

    A batch depends only on its step number, the seed and the ensemble member, so training can resume at any step.
    Each epoch shows each image at most once, in full batches. Everything but the order of the images is computed on
    the device that trains.

    Args:
        split: the training images.
        settings: batch size, augmentation, targets, label smoothing, seed.
        parts: number of equal parts of a batch (nearly equal, if its size is not a multiple).

    Returns:
        A function of the step (an int64 scalar, counted from 0 over the whole training), the number of the ensemble
        member, which has an order and an augmentation of its own, the number of the part, and whether to augment the
        images or only flip them. Only training uses smoothed labels and votes, so that validation losses can be
        compared.

    Raises:
        UserError: if the targets need votes, and the split has none.
    """
    smoothing, classes = settings.label_smoothing, len(split.emotions)
    images = tf.constant(as_pixels(split.images))
    if tf.config.list_physical_devices("GPU"):
        images = tf.cast(images, tf.float16)  # exact; TensorFlow gathers no 8-bit integers on a GPU
    targets = tf.constant(_targets(split, settings.targets))
    batch = min(settings.batch_size, len(split))
    bounds = np.linspace(0, batch, parts + 1).astype(int)
    per_epoch = steps_per_epoch(split, settings)

    flips_only = Augmentation(flip=settings.augmentation.flip, rotation=0, zoom=0, translation=0, erasing=0)

    def load(step: tf.Tensor, member: int = 0, part: int = 0, augmented: bool = True) -> Batch:
        seed = settings.seed + MEMBER_SEEDS * member
        flipped = np.random.default_rng(seed).random(len(split)) < 0.5  # in even epochs, if flips alternate
        epoch, within = step // per_epoch, step % per_epoch
        # A permutation computed element by element (Black and Rogaway, 2002), without a list to shuffle.
        rows = tf.random.experimental.index_shuffle(
            within * batch + tf.range(bounds[part], bounds[part + 1], dtype=tf.int64),
            tf.stack([seed, epoch]),
            len(split) - 1,
        )
        pixels = tf.cast(tf.gather(images, rows), tf.float32)
        flips = tf.gather(flipped, rows) ^ (epoch % 2 == 1)
        part_seed = tf.stack([tf.constant(seed + PART_SEEDS * part, tf.int64), step])
        pixels = augment(pixels, settings.augmentation if augmented else flips_only, part_seed, flips)
        labels = tf.gather(targets, rows)
        if settings.targets == "drawn":
            labels = draw_labels(labels, part_seed)
        return Batch(pixels, labels * (1 - smoothing) + smoothing / classes)

    return load


def unaugmented_batches(load: Callable[..., Batch], steps: int, parts: int) -> Iterator[tf.Tensor]:
    """Yield the parts of the first steps' images, only flipped; `load` is a result of `batch_loader`."""
    unaugmented = tf.function(lambda step, part: load(step, 0, part, augmented=False).images, autograph=False)
    for step in range(steps):
        for part in range(parts):
            yield unaugmented(tf.constant(step, tf.int64), part)


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


def predict_split(network: keras.Model, split: Split, description: str) -> list[NDArray[np.float32]]:
    """Return every output of a network that has several, for the images of a split.

    Args:
        network: the network.
        split: the images.
        description: what this is, to show the progress.
    """
    predict = tf.function(lambda images: network(images, training=False), autograph=False)
    batches = eval_dataset(split)
    predicted = predict_batches(predict, track(batches, f"{description}, in batches", len(batches)))
    return [np.concatenate(output) for output in zip(*predicted, strict=True)]


def predict_batches(predict: Callable[[tf.Tensor], Any], batches: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> list[Any]:
    """Return the predictions for each batch; two batches are predicted at once, each on half of the cores."""
    predictions: list[Any] = []
    remaining = iter(batches)
    with ThreadPoolExecutor(2) as pool:
        while pair := [images for images, _ in islice(remaining, 2)]:
            predictions += pool.map(predict, pair)
    return predictions


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


def _targets(split: Split, kind: str) -> NDArray[np.float32]:
    """Return the label of each image, or the distribution of votes, (images, classes) float32."""
    if kind != "hard" and not split.has_votes:
        raise UserError(
            f"train.targets={kind} needs the votes of annotators, which this data does not have. Use hard,"
            " or data with votes, such as FER+ or a table with a column of votes per emotion."
        )
    return _one_hot(split) if kind == "hard" else split.distributions


def _one_hot(split: Split) -> NDArray[np.float32]:
    return np.eye(len(split.emotions), dtype=np.float32)[split.labels]
