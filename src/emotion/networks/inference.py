"""The exported network, with folded normalization, averaged views, calibrated confidence, and a score of novelty."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from emotion.data.dataset import InputShape
from emotion.data.labels import write_labels
from emotion.networks.build import members
from emotion.networks.calibration import EPSILON
from emotion.networks.familiarity import Familiarity, Novelty, layer_features

SHIFT = 2  # pixels by which views are shifted
FAST_TTA = {"plain": "plain", "flip": "flip", "flip_and_shift": "flip"}  # the views of the fast signature, by `tta`


def inference_model(network: keras.Model, tta: str, input_shape: InputShape) -> keras.Model:
    """Convert a network for inference, without layers that only training needs.

    Args:
        network: a trained network from `build`, or an earlier result of `fold_normalization`, whose weights it shares.
        tta: plain, flip (averages the mirror image) or flip_and_shift (also averages shifted views).
        input_shape: height, width and channels of an image.

    Returns:
        A model from (batch, *input_shape) float32, 0..255, to a list: probabilities, (batch, classes) float32, which
        are those of `network` up to rounding, and the arrays of `layer_features`; all averaged over the views.
    """
    network = fold_normalization(network)
    name = f"{network.name}_{len(members(network).outputs)}_{tta}"
    network = keras.Model(network.input, [network.output, *layer_features(network)], name=network.name)
    pixels = keras.Input(input_shape, name="pixels")
    if tta == "plain":
        return keras.Model(pixels, network(pixels), name=name)
    shift, views = (SHIFT, 6) if tta == "flip_and_shift" else (0, 2)
    outputs = network(TestTimeAugmentation(shift)(pixels))
    return keras.Model(pixels, [AverageViews(views)(output) for output in outputs], name=name)


def inference_models(network: keras.Model, tta: str, input_shape: InputShape) -> tuple[keras.Model, keras.Model]:
    """Return the results of `inference_model` for all members with all views, and for half of them with FAST_TTA.

    Half is rounded up. They share the weights, and are the same if there is nothing to save.
    """
    network = fold_normalization(network)
    accurate, outputs = inference_model(network, tta, input_shape), members(network).outputs
    if len(outputs) == 1 and FAST_TTA[tta] == tta:
        return accurate, accurate
    half = outputs[: math.ceil(len(outputs) / 2)]
    averaged = layers.Average()(half) if len(half) > 1 else half[0]
    smaller = keras.Model(network.input, averaged, name=network.name)
    return accurate, inference_model(smaller, FAST_TTA[tta], input_shape)


@dataclass(frozen=True)
class Calibrated:
    """A model from `inference_model`, and the temperature that its probabilities are calibrated with."""

    model: keras.Model
    temperature: float

    def __call__(self, pixels: keras.KerasTensor) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
        """Return calibrated probabilities, and features."""
        probabilities, *features = self.model(pixels)
        return Temperature(self.temperature)(probabilities) if self.temperature != 1 else probabilities, features


def exported_model(accurate: Calibrated, fast: Calibrated, familiarity: Familiarity) -> keras.Model:
    """Finish a model for export.

    Args:
        accurate: the model with all views.
        fast: one with fewer networks or views.
        familiarity: of the features of `accurate`.

    Returns:
        A model from pixels to the dictionary `probabilities`, (batch, classes), `novelty`, (batch,), at most 1 for
        inputs that are like the training faces, and `fast`, (batch, classes), the probabilities of the fast model.
    """
    pixels = keras.Input(accurate.model.input.shape[1:], name="pixels")
    probabilities, features = accurate(pixels)
    fast_probabilities = probabilities if fast.model is accurate.model else fast(pixels)[0]
    outputs = {"probabilities": probabilities, "novelty": Novelty(familiarity)(features), "fast": fast_probabilities}
    return keras.Model(pixels, outputs, name=accurate.model.name)


def export(network: keras.Model, folder: Path, emotions: Sequence[str]) -> None:
    """Write a SavedModel with three endpoints, which are also its signatures, and the names of the emotions.

    `serve`, the default signature, returns the probabilities, as MLflow expects of a Keras model; `assess` returns a
    dictionary of `probabilities` and `novelty`; `fast` returns one of `probabilities` only, of half of the members,
    rounded up, and at most two views; see `inference_models`. This replaces Keras' own `export` (3.15), which writes
    every weight twice.
    """
    pixels = tf.TensorSpec((None, *network.input.shape[1:]), tf.float32, name="pixels")
    outputs = network.output

    def endpoint(returned: keras.KerasTensor | dict[str, keras.KerasTensor]) -> tf.types.experimental.GenericFunction:
        part = keras.Model(network.input, returned)  # without the layers that only other endpoints need
        return tf.function(partial(part, training=False), input_signature=[pixels], autograph=False)

    serve = endpoint(outputs["probabilities"])
    assess = endpoint({name: outputs[name] for name in ("probabilities", "novelty")})
    fast = endpoint({"probabilities": outputs["fast"]})

    module = tf.Module()
    module.weights = [weight.value for weight in network.weights]
    module.serve, module.assess, module.fast = serve, assess, fast
    signatures = {"serving_default": serve, "assess": assess, "fast": fast}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    write_labels(folder, emotions)


def fold_normalization(network: keras.Model, dtype: str = "float32") -> keras.Model:
    """Return a copy of a network with each batch normalization folded into the convolution before it.

    At inference, batch normalization is a scale and an offset per channel, which the convolution's
    filters and bias can apply (Jacob et al., 2018). A network that is folded already is returned itself.

    Args:
        network: a network from `build`, or an earlier result.
        dtype: float32, or float16 to store the copy in half the size.
    """
    normalized = any(isinstance(layer, layers.BatchNormalization) for layer in network.layers)
    if not normalized and {layer.compute_dtype for layer in network.layers} == {dtype}:
        return network
    folded = {
        convolution.name: layer
        for layer in network.layers
        if isinstance(layer, layers.BatchNormalization) and (convolution := _convolution_before(layer)) is not None
    }
    removed = {layer.name for layer in folded.values()}

    def copy(layer: layers.Layer) -> layers.Layer:
        config = {**layer.get_config(), "dtype": dtype}
        if layer.name in removed:
            return _Identity(name=layer.name)
        if layer.name in folded:
            config["use_bias"] = True
        return type(layer).from_config(config)

    result = keras.models.clone_model(network, clone_function=copy)
    for layer in network.layers:
        if layer.name in folded:
            result.get_layer(layer.name).set_weights(_folded_weights(layer, folded[layer.name]))
        elif layer.name not in removed and layer.weights:
            result.get_layer(layer.name).set_weights(layer.get_weights())
    return result


@keras.saving.register_keras_serializable(package="emotion")
class _Identity(layers.Layer):
    """Replaces a folded normalization; accepts the same call arguments."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        return inputs


def _convolution_before(layer: layers.BatchNormalization) -> layers.Layer | None:
    """Return the linear convolution that `layer` normalizes, or None if its output has other uses.

    Max pooling may come between them if the normalization has no scale parameter: an offset and a division
    by a standard deviation preserve the maximum, but a negative scale does not.
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


@keras.saving.register_keras_serializable(package="emotion")
class TestTimeAugmentation(keras.layers.Layer):
    """Adds the mirror image and shifted copies of every image along the batch axis.

    (batch, height, width, channels) becomes (views * batch, height, width, channels). With `shift` 0 there are 2 views,
    otherwise 6: unshifted, shifted by `shift` pixels to the lower right and to the upper left, with the border
    repeated, each with its mirror image.
    """

    def __init__(self, shift: int, **options: Any) -> None:
        super().__init__(**options)
        self.shift = shift

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Return all views of the images."""
        shifted = [images]
        if self.shift:
            border = [[0, 0], [1, 1], [1, 1], [0, 0]]
            padded = images
            for _ in range(self.shift):  # padding one pixel at a time repeats the border
                padded = tf.pad(padded, border, mode="SYMMETRIC")
            shifted += [
                padded[:, start : start + images.shape[1], start : start + images.shape[2]]
                for start in (0, 2 * self.shift)
            ]
        return tf.concat([view for image in shifted for view in (image, image[:, :, ::-1])], axis=0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "shift": self.shift}


@keras.saving.register_keras_serializable(package="emotion")
class AverageViews(keras.layers.Layer):
    """Averages the probabilities of each image's views: (views * batch, n) becomes (batch, n)."""

    def __init__(self, views: int, **options: Any) -> None:
        super().__init__(**options)
        self.views = views

    def call(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the averages."""
        return tf.reduce_mean(tf.reshape(probabilities, (self.views, -1, probabilities.shape[-1])), axis=0)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "views": self.views}


@keras.saving.register_keras_serializable(package="emotion")
class Temperature(keras.layers.Layer):
    """Calibrates probabilities, (batch, n), as in `emotion.networks.calibration.apply_temperature`."""

    def __init__(self, temperature: float, **options: Any) -> None:
        super().__init__(**options)
        self.temperature = temperature

    def call(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the calibrated probabilities."""
        return tf.nn.softmax(tf.math.log(tf.maximum(probabilities, EPSILON)) / self.temperature)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "temperature": self.temperature}
