"""The means and variances that the normalizations of a trained network use."""

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf


def estimate_statistics(network: keras.Model, batches: Iterable[tf.Tensor]) -> None:
    """Replace moving means and variances by those of several batches (Wu and Johnson, 2021).

    The moving averages of the training are noisy, because they cover few batches, and are those of augmented images.

    Args:
        network: a network with its final weights; layers that do not train keep their statistics.
        batches: at least one batch, (batch, side, side, 1 or 3) float32, 0..255, of images like those to be classified.
    """
    layers = trained_normalizations(network)
    momenta = [layer.momentum for layer in layers]
    forward = tf.function(lambda images: network(images, training=True), autograph=False)
    means, variances = [], []  # of batches: of layers
    try:
        for layer in layers:
            layer.momentum = 0.0  # so that the statistics are those of one batch
        for images in batches if layers else ():
            forward(images)
            means.append([np.float64(layer.moving_mean) for layer in layers])
            variances.append([np.float64(layer.moving_variance) for layer in layers])
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for layer, of_means, of_variances in zip(
        layers, zip(*means, strict=True), zip(*variances, strict=True), strict=True
    ):
        layer.moving_mean.assign(np.mean(of_means, axis=0))
        # Within batches, and between them.
        layer.moving_variance.assign(np.mean(of_variances, axis=0) + np.var(of_means, axis=0))


def trained_normalizations(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the batch normalizations that are not frozen."""
    return [it for it in network.layers if isinstance(it, keras.layers.BatchNormalization) and it.trainable]
