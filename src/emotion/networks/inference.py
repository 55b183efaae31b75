"""The network as it ships: normalization folded into the convolutions, views averaged."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from emotion.data.labels import SIZE
from emotion.networks.layers import MeanOverViews, Temperature, Views

SHIFT = 2  # pixels, of the view that is moved


def serving_network(network: keras.Model, views: str) -> keras.Model:
    """A network for answers alone.

    Args:
        network: from `build`, trained.
        views: plain, flip (the mirror image is averaged in) or flip_and_shift (and both moved).

    Returns:
        From (batch, 48, 48, 1) float32 0..255 to (batch, 7) float32; the answers are those of
        `network`, averaged over the views, but for rounding.
    """
    network = fold_normalization(network)
    if views == "plain":
        return network
    shift, count = (SHIFT, 6) if views == "flip_and_shift" else (0, 2)
    pixels = keras.Input((SIZE, SIZE, 1), name="pixels")
    return keras.Model(pixels, MeanOverViews(count)(network(Views(shift)(pixels))), name=network.name)


def at_temperature(network: keras.Model, temperature: float) -> keras.Model:
    """The same network with its probabilities scaled; itself at a temperature of 1."""
    if temperature == 1:
        return network
    return keras.Model(network.input, Temperature(temperature)(network.output), name=network.name)


def export(network: keras.Model, folder: Path) -> None:
    """Write a SavedModel whose `serve`, and default signature, is the network.

    Keras' own `export` writes every weight twice (3.15).
    """

    @tf.function(input_signature=[tf.TensorSpec((None, *network.input.shape[1:]), tf.float32, name="pixels")])
    def serve(pixels: tf.Tensor) -> tf.Tensor:
        return network(pixels, training=False)

    module = tf.Module()
    module.weights = [weight.value for weight in network.weights]
    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures=serve)


def fold_normalization(network: keras.Model) -> keras.Model:
    """A float32 copy in which every normalization right after a convolution is part of it.

    Batch normalization at inference is a scale and an offset per channel, which the
    convolution's filters and bias take up (Jacob et al., 2018).
    """
    folded = {
        convolution.name: layer
        for layer in network.layers
        if isinstance(layer, layers.BatchNormalization) and (convolution := _convolution_before(layer)) is not None
    }
    gone = {layer.name for layer in folded.values()}

    def copy(layer: layers.Layer) -> layers.Layer:
        config = {**layer.get_config(), "dtype": "float32"}
        if layer.name in gone:
            return _Nothing(name=layer.name)
        if layer.name in folded:
            config["use_bias"] = True
        return type(layer).from_config(config)

    result = keras.models.clone_model(network, clone_function=copy)
    for layer in network.layers:
        if layer.name in folded:
            result.get_layer(layer.name).set_weights(_folded_weights(layer, folded[layer.name]))
        elif layer.name not in gone and layer.weights:
            result.get_layer(layer.name).set_weights(layer.get_weights())
    return result


class _Nothing(layers.Layer):
    """What is left of a normalization; called as that was."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        return inputs


def _convolution_before(layer: layers.BatchNormalization) -> layers.Layer | None:
    """The linear convolution whose only use is to be normalized by `layer`.

    Pooling may stand between them where nothing is scaled: a maximum keeps its place under an
    offset and a division by a standard deviation, but not under a negative scale.
    """
    (node,) = layer._inbound_nodes
    before = node.parent_nodes[0].operation
    if isinstance(before, layers.MaxPooling2D) and not layer.scale and len(before._outbound_nodes) == 1:
        before = before._inbound_nodes[0].parent_nodes[0].operation
    fits = isinstance(before, layers.Conv2D | layers.DepthwiseConv2D) and before.activation is keras.activations.linear
    return before if fits and len(before._outbound_nodes) == 1 else None


def _folded_weights(convolution: layers.Layer, normalization: layers.BatchNormalization) -> list[np.ndarray]:
    kernel, *bias = (np.asarray(weight, np.float64) for weight in convolution.get_weights())
    weights = {weight.name: np.asarray(weight, np.float64) for weight in normalization.weights}
    scale = weights.get("gamma", 1.0) / np.sqrt(weights["moving_variance"] + normalization.epsilon)
    offset = ((bias[0] if bias else 0.0) - weights["moving_mean"]) * scale + weights.get("beta", 0.0)
    # A depthwise filter is (height, width, channels, 1), any other (height, width, inputs, channels).
    axis = 2 if isinstance(convolution, layers.DepthwiseConv2D) else 3
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    return [kernel * scale.reshape(shape), offset]
