"""What a network looked at: Grad-CAM (Selvaraju et al., 2017)."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from emotion.data.labels import EMOTIONS, SIZE
from emotion.networks.build import members

SMALLEST_MAP = 6  # pixels a side; the last maps of these networks are 3x3, too coarse to show a mouth


class HeatMap:
    """Heat maps of one network's answers. Threads may share it.

    Of an ensemble, the members' maps are averaged.

    Args:
        classifier: the network as `train` saved it.
    """

    def __init__(self, classifier: Path) -> None:
        network = keras.saving.load_model(classifier, compile=False)
        maps = [_last_map(answer) for answer in members(network).outputs]
        self._network = keras.Model(network.input, [maps, network.output])

    def of(self, faces: NDArray[np.uint8], emotions: list[str]) -> NDArray[np.float32]:
        """How much each place speaks for an emotion.

        Args:
            faces: (n, 48, 48) uint8, at least one.
            emotions: which one of each face.

        Returns:
            (n, 48, 48) float32, 0 to 1 in each; all 0 where nothing speaks for it.
        """
        pixels = tf.constant(faces[..., None], tf.float32)
        chosen = tf.one_hot([EMOTIONS.index(emotion) for emotion in emotions], len(EMOTIONS))
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            maps, answers = self._network(pixels, training=False)
            score = tf.reduce_sum(tf.math.log(tf.reduce_sum(answers * chosen, axis=1) + 1e-7))
        gradients = tape.gradient(score, maps)
        heats = [_heat(tf.cast(m, tf.float32), tf.cast(g, tf.float32)) for m, g in zip(maps, gradients, strict=True)]
        heat = np.asarray(tf.image.resize(tf.add_n(heats), (SIZE, SIZE), "bicubic"))[..., 0].clip(min=0)
        most = heat.max(axis=(1, 2), keepdims=True)
        return np.asarray(heat / np.where(most > 0, most, 1), np.float32)


def _heat(features: tf.Tensor, gradients: tf.Tensor) -> tf.Tensor:
    """(n, height, width, 1): the features that speak for the score, weighted by how much."""
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * features, axis=3, keepdims=True))


def _last_map(answer: keras.KerasTensor) -> keras.KerasTensor:
    """The last features before an answer that are still a map of some size."""
    candidates, queue = [], [answer]
    while queue:
        tensor = queue.pop(0)
        history = tensor._keras_history
        queue += history.operation._inbound_nodes[history.node_index].input_tensors
        if len(tensor.shape) == 4:
            candidates.append(tensor)
    (pixels,) = [tensor for tensor in candidates if isinstance(_made_by(tensor), keras.layers.InputLayer)][:1]
    shapes = keras.Model(pixels, candidates)(np.zeros((1, SIZE, SIZE, 1), np.float32))
    return next(t for t, value in zip(candidates, shapes, strict=True) if min(value.shape[1:3]) >= SMALLEST_MAP)


def _made_by(tensor: keras.KerasTensor) -> keras.Operation:
    return tensor._keras_history.operation
