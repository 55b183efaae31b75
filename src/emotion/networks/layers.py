"""Layers that Keras lacks or implements more slowly, and blocks that the networks share."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="emotion")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization (Ioffe and Szegedy, 2015) as one TensorFlow operation.

    It has the same weights and results as the parent class for (batch, height, width, channels) input,
    normalized over channels. bfloat16 input stays bfloat16; its moments are float32.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.autocast = False  # the operation takes bfloat16 inputs with float32 weights

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Normalize with the batch's moments during training, and with the moving moments otherwise."""
        learning = bool(training and self.trainable)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma if self.scale else tf.ones_like(self.beta),
            offset=self.beta,
            mean=[] if learning else self.moving_mean,
            variance=[] if learning else self.moving_variance,
            epsilon=self.epsilon,
            is_training=learning,
        )
        if learning:
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs


# Pixels per side at which both implementations take about the same time, on one core.
SMALL_MAP = {"float32": 4, "bfloat16": 12}  # largest map whose filter gradient is a matrix product
TINY_MAP = 4  # largest map at which images are placed side by side


@keras.saving.register_keras_serializable(package="emotion")
class Convolution(keras.layers.Conv2D):
    """A convolution that trains fast on small feature maps, on a CPU.

    On small maps, oneDNN's filter gradient is much slower than a matrix product, especially in
    bfloat16, so it is computed as one matrix product per filter position. All of oneDNN's
    convolutions are slow if the rows of the map are shorter than the processor's registers,
    so tiny maps are placed side by side, with a column of zeros between them.
    This applies only to 3x3 filters with stride 1, padding "same" and no bias; everything else
    is left to the parent class.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Convolve (batch, height, width, channels)."""
        if not (training and self.is_small(inputs)) or tf.config.list_physical_devices("GPU"):
            return super().call(inputs)
        return _convolve_small(inputs, tf.convert_to_tensor(self.kernel))

    def is_small(self, inputs: tf.Tensor) -> bool:
        """Return whether the fast path applies to this layer and these inputs."""
        plain = self.kernel_size == (3, 3) and self.strides == (1, 1) and self.padding == "same" and not self.use_bias
        largest = SMALL_MAP.get(self.compute_dtype, 0)
        return plain and all(side is not None and side <= largest for side in inputs.shape[1:3])


@tf.custom_gradient
def _convolve_small(images: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    height, width, inputs = images.shape[1:]
    tiny = max(height, width) <= TINY_MAP

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        wide = _side_by_side(upstream) if tiny else upstream
        to_images = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.concat([tf.shape(wide)[:3], [inputs]], 0),
            filter=kernel, out_backprop=wide, strides=[1, 1, 1, 1], padding="SAME",
        )  # fmt: skip
        padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
        flat = tf.reshape(upstream, (-1, upstream.shape[-1]))
        products = [
            tf.matmul(tf.reshape(padded[:, y : y + height, x : x + width], (-1, inputs)), flat, transpose_a=True)
            for y in range(3)
            for x in range(3)
        ]
        return _apart(to_images, width) if tiny else to_images, tf.reshape(tf.stack(products), kernel.shape)

    outputs = tf.nn.conv2d(_side_by_side(images) if tiny else images, kernel, 1, "SAME")
    return _apart(outputs, width) if tiny else outputs, gradient


def _side_by_side(images: tf.Tensor) -> tf.Tensor:
    """Convert (batch, height, width, channels) to (1, height, batch * (width + 1), channels)."""
    height, _, channels = images.shape[1:]
    rows = tf.pad(tf.transpose(images, (1, 0, 2, 3)), [[0, 0], [0, 0], [0, 1], [0, 0]])
    return tf.reshape(rows, (1, height, -1, channels))


def _apart(image: tf.Tensor, width: int) -> tf.Tensor:
    """Invert `_side_by_side`."""
    height, _, channels = image.shape[1:]
    return tf.transpose(tf.reshape(image, (height, -1, width + 1, channels))[:, :, :width], (1, 0, 2, 3))


@keras.saving.register_keras_serializable(package="emotion")
class Standardization(keras.layers.Layer):
    """Scales every image to mean 0 and standard deviation 1, regardless of its brightness and contrast.

    Images are (batch, height, width, channels) float32. A uniform image becomes all zeros.
    """

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Standardize each image separately."""
        mean, variance = tf.nn.moments(images, axes=(1, 2, 3), keepdims=True)
        return (images - mean) * tf.math.rsqrt(tf.maximum(variance, 1.0))


@keras.saving.register_keras_serializable(package="emotion")
class Resize(keras.layers.Layer):
    """Resizes images to `side` x `side` pixels with bilinear interpolation.

    This replaces Keras' own Resizing (3.15), which puts all layers after it in training mode,
    including normalization and dropout, if a network is called without the `training` argument.
    """

    def __init__(self, side: int, **options: Any) -> None:
        super().__init__(**options)
        self.side = side

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Convert (batch, height, width, channels) to (batch, side, side, channels)."""
        return tf.image.resize(images, (self.side, self.side))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the output of `call`."""
        return (input_shape[0], self.side, self.side, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {**super().get_config(), "side": self.side}


def conv_bn_relu(
    features: keras.KerasTensor, channels: int, kernel: int = 3, strides: int = 1, pool: bool = False
) -> keras.KerasTensor:
    """Apply a convolution, normalization and ReLU; `pool` halves the feature map."""
    features = Convolution(
        channels, kernel, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(features)
    if pool:  # before the normalization, which then processes a quarter of the values
        features = keras.layers.MaxPooling2D()(features)
    # Without a scale parameter, so that it can be folded through the pooling into the convolution.
    return keras.layers.ReLU()(FusedBatchNormalization(momentum=0.9, scale=False)(features))


def classifier_head(features: keras.KerasTensor, dropout: float, classes: int) -> keras.KerasTensor:
    """Apply global average pooling, dropout, and a float32 softmax over the classes."""
    features = keras.layers.GlobalAveragePooling2D()(features)
    features = keras.layers.Dropout(dropout)(features)
    return keras.layers.Dense(classes, activation="softmax", dtype="float32")(features)
