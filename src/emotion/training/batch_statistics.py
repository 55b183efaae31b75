"""The means and variances that the normalizations of a trained network use."""

import keras
import numpy as np
import tensorflow as tf

from emotion.data.dataset import Split
from emotion.params.sections import Train
from emotion.training.augmentation import DISTORTIONS
from emotion.training.input_pipeline import batch_loader, steps_per_epoch

BATCHES = 100  # at most


def estimate_statistics(network: keras.Model, split: Split, settings: Train) -> None:
    """Replace moving means and variances by averages over batches (precise batch normalization, Wu and Johnson, 2021).

    Those of the training are noisy, because they cover few batches, and are those of augmented images. The network will
    see images without augmentation.

    Args:
        network: a network with its final weights; layers that do not train keep their statistics.
        split: the training images.
        settings: of the training; only flips remain of its augmentation.
    """
    layers = _normalizations(network)
    if not layers:
        return
    load = tf.function(batch_loader(split, settings.override(dict.fromkeys(DISTORTIONS, 0))), autograph=False)
    forward = tf.function(lambda images: network(images, training=True), autograph=False)
    statistics = [weight for layer in layers for weight in (layer.moving_mean, layer.moving_variance)]
    momenta = [layer.momentum for layer in layers]
    of_batches = []
    try:
        for layer in layers:
            layer.momentum = 0.0  # so that the statistics are those of one batch
        for step in range(_batch_count(split, settings)):
            forward(load(tf.constant(step, tf.int64))[0])
            of_batches.append([weight.numpy() for weight in statistics])
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for weight, values in zip(statistics, zip(*of_batches, strict=True), strict=True):
        weight.assign(np.mean(values, axis=0))


def image_count(network: keras.Model, split: Split, settings: Train) -> int:
    """Return the number of images that `estimate_statistics` looks at."""
    return _batch_count(split, settings) * min(settings.batch_size, len(split)) if _normalizations(network) else 0


def _batch_count(split: Split, settings: Train) -> int:
    return min(steps_per_epoch(split, settings), BATCHES)


def _normalizations(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
