"""How unlike the training faces an input is: distances of a network's features to those of the training faces.

The method combines the Mahalanobis distances of several layers (Lee et al., 2018), with features that are scaled to
length 1 (Mahalanobis++, Müller and Hein, 2025). `benchmarks/familiarity.py` compares it with others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from emotion.networks.build import ANY_SIZE, members

FAMILIAR_SHARE = 0.99  # of the validation images
SHRINKAGE = 1e-3  # of the correlations, so that those of few images can be inverted
EPSILON = 1e-6
# The blocks of a network, in pairs, and the weight of each pair. The first pair is left out: it tells how sharp a
# picture is, and would call most photographs unfamiliar to a model of FER-2013.
PAIR_WEIGHTS = (0.0, 1.0, 1.0, 0.25)

Features = list[NDArray[np.float32]]  # one array, (n, features), per pair of layers


@dataclass(frozen=True)
class Familiarity:
    """The features of familiar faces.

    The distance of an input is the sum of the squares of its projected features, and its novelty is the root of the
    sum of the squares of its distances.
    """

    means: Sequence[NDArray[np.float32]]  # (features,), one per pair of layers
    projections: Sequence[NDArray[np.float32]]  # (features, features)


def fit_familiarity(train: Features, validation: Features, weights: Sequence[float]) -> Familiarity:
    """Describe the features of familiar faces, such that 99% of the validation images have a novelty of at most 1.

    Args:
        train: features of training images.
        validation: features of validation images, which determine the scale.
        weights: of the squared distances, one for each array of features.
    """
    means, projections, distances = [], [], []
    for ours, theirs, weight in zip(train, validation, weights, strict=True):
        mean = ours.mean(axis=0, dtype=np.float64)
        deviation = ours.std(axis=0, dtype=np.float64) + EPSILON
        scaled = (ours - mean) / deviation
        correlation = (1 - SHRINKAGE) * (scaled.T @ scaled) / len(ours) + SHRINKAGE * np.eye(len(mean))
        # The rows of `scaled` times this matrix are uncorrelated.
        projection = np.linalg.cholesky(np.linalg.inv(correlation)) / deviation[:, None]
        distance = (((theirs - mean) @ projection) ** 2).sum(axis=1)
        scale = weight**0.5 / (float(np.median(distance)) + EPSILON)
        means.append(mean)
        projections.append(projection * np.sqrt(scale))
        distances.append(distance * scale)
    threshold = float(np.quantile(np.linalg.norm(distances, axis=0), FAMILIAR_SHARE)) + EPSILON
    return Familiarity(
        [mean.astype(np.float32) for mean in means],
        [(projection / np.sqrt(threshold)).astype(np.float32) for projection in projections],
    )


def layer_features(network: keras.Model) -> list[keras.KerasTensor]:
    """Return the features that are compared, each (batch, features) float32; `feature_weights` has their weights.

    For `residual` and `vgg`: the mean and the standard deviation of each channel of each pair of blocks, for each
    member of an ensemble. For other networks, which are far deeper: the input of the last layer.

    Args:
        network: a network from `build`, in float32.
    """
    features = []
    for output in members(network).outputs:
        if network.name in ANY_SIZE:
            blocks = [it for it in keras.Model(network.input, output).layers if isinstance(it, keras.layers.ReLU)]
            for number, weight in enumerate(PAIR_WEIGHTS):
                if weight:
                    pair = [ChannelStatistics()(block.output) for block in blocks[2 * number : 2 * number + 2]]
                    features.append(keras.layers.Concatenate()(pair))
        else:
            features.append(keras.layers.UnitNormalization()(output._keras_history.operation.input))
    return features


def feature_weights(network: keras.Model) -> list[float]:
    """Return the weights of the arrays of `layer_features`."""
    of_one = [weight for weight in PAIR_WEIGHTS if weight] if network.name in ANY_SIZE else [1.0]
    return of_one * len(members(network).outputs)


@keras.saving.register_keras_serializable(package="emotion")
class ChannelStatistics(keras.layers.Layer):
    """The mean and the standard deviation of each channel over the image, each scaled to length 1.

    (batch, height, width, channels) becomes (batch, 2 * channels).
    """

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """Return the statistics."""
        mean, variance = tf.nn.moments(maps, axes=(1, 2))
        deviation = tf.sqrt(variance + EPSILON)
        return tf.concat([tf.math.l2_normalize(it, axis=1, epsilon=EPSILON) for it in (mean, deviation)], axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the output of `call`."""
        return (input_shape[0], 2 * (input_shape[3] or 0))


class Novelty(keras.layers.Layer):
    """Computes the novelty of inputs, (batch,), from the list of their features.

    It is at most 1 for familiar inputs, and cannot be negative.
    """

    def __init__(self, familiarity: Familiarity, **options: Any) -> None:
        super().__init__(**options)
        self._familiarity = familiarity

    def build(self, input_shape: Sequence[tuple[int | None, ...]]) -> None:
        """Create the weights."""
        pairs = list(zip(self._familiarity.means, self._familiarity.projections, strict=True))
        self._terms = [[self._constant(array) for array in pair] for pair in pairs]

    def _constant(self, array: NDArray[np.float32]) -> keras.Variable:
        return self.add_weight(shape=array.shape, initializer=lambda *_, **__: array, trainable=False)

    def call(self, features: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the root of the sum of the squared distances; see `Familiarity`."""
        distances = [
            tf.reduce_sum(tf.square(tf.matmul(tensor - mean, projection)), axis=1)
            for tensor, (mean, projection) in zip(features, self._terms, strict=True)
        ]
        return tf.sqrt(tf.add_n([tf.square(distance) for distance in distances]))
