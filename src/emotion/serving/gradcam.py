"""Heat maps of what a prediction is based on: Grad-CAM (Selvaraju et al., 2017)."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from emotion.data.dataset import InputShape, as_pixels
from emotion.networks.build import members
from emotion.networks.inference import fold_normalization

MIN_MAP_SIZE = 6  # pixels per side; these networks' last feature maps are 3x3, too coarse to show a mouth


class GradCAM:
    """Heat maps of one network's predictions. Threads may share it.

    The maps of an ensemble's members are averaged.

    Args:
        classifier: the network as `train` saved it, or folded and in half precision.
        emotions: the names of its outputs.
        input_shape: the height, width and channels of the faces that it takes.
    """

    def __init__(self, classifier: Path, emotions: Sequence[str], input_shape: InputShape) -> None:
        self._emotions = list(emotions)
        network = fold_normalization(keras.saving.load_model(classifier, compile=False))
        maps = [_last_feature_map(output, input_shape) for output in members(network).outputs]
        self._network = keras.Model(network.input, [maps, network.output])

    def heat_maps(self, faces: NDArray[np.uint8], emotions: list[str]) -> NDArray[np.float32]:
        """Compute how much each region of a face contributes to the score of an emotion.

        Args:
            faces: (n, height, width) uint8, or (n, height, width, 3) in color, at least one.
            emotions: one for each face.

        Returns:
            (n, height, width) float32, each map scaled to 0..1; all 0 if nothing contributes.
        """
        pixels = tf.constant(as_pixels(faces), tf.float32)
        chosen = tf.one_hot([self._emotions.index(emotion) for emotion in emotions], len(self._emotions))
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            maps, probabilities = self._network(pixels, training=False)
            score = tf.reduce_sum(tf.math.log(tf.reduce_sum(probabilities * chosen, axis=1) + 1e-7))
        gradients = tape.gradient(score, maps)
        weighted = [
            _weight(tf.cast(features, tf.float32), tf.cast(gradient, tf.float32))
            for features, gradient in zip(maps, gradients, strict=True)
        ]
        heat = np.asarray(tf.image.resize(tf.add_n(weighted), faces.shape[1:3], "bicubic"))[..., 0].clip(min=0)
        largest = heat.max(axis=(1, 2), keepdims=True)
        return np.asarray(heat / np.where(largest > 0, largest, 1), np.float32)


def _weight(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """The features weighted by their mean gradients, (n, height, width, 1); only positive contributions."""
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * features, axis=3, keepdims=True))


def _last_feature_map(output: keras.KerasTensor, input_shape: InputShape) -> keras.KerasTensor:
    """The last features before an output that have at least MIN_MAP_SIZE pixels per side."""
    candidates, queue = [], [output]
    while queue:
        tensor = queue.pop(0)
        history = tensor._keras_history
        queue += history.operation._inbound_nodes[history.node_index].input_tensors
        if len(tensor.shape) == 4:
            candidates.append(tensor)
    pixels = next(t for t in candidates if isinstance(t._keras_history.operation, keras.layers.InputLayer))
    values = keras.Model(pixels, candidates)(np.zeros((1, *input_shape), np.float32))
    return next(t for t, value in zip(candidates, values, strict=True) if min(value.shape[1:3]) >= MIN_MAP_SIZE)
