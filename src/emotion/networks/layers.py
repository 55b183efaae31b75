"""Layers that Keras does not have, or has slower."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="emotion")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization (Ioffe and Szegedy, 2015) as one TensorFlow operation.

    Same weights and results as the parent class for (batch, height, width, channels)
    float32 input, normalized over channels.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Normalize by the batch's moments in training, by the moving ones otherwise."""
        if not (training and self.trainable):
            return tf.compat.v1.nn.fused_batch_norm(
                inputs, self.gamma, self.beta, self.moving_mean, self.moving_variance,
                epsilon=self.epsilon, is_training=False,
            )[0]  # fmt: skip
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable(package="emotion")
class Standardization(keras.layers.Layer):
    """Give every image mean 0 and standard deviation 1, whatever its light and contrast.

    (batch, height, width, channels) float32; an image of one tone becomes all 0.
    """

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Standardize each image by itself."""
        mean, variance = tf.nn.moments(images, axes=(1, 2, 3), keepdims=True)
        return (images - mean) * tf.math.rsqrt(tf.maximum(variance, 1.0))
