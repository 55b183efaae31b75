"""A small residual network for 48x48 gray faces, in the manner of David Page's ResNet-9."""

import keras
from keras import layers

from emotion.labels import EMOTIONS, SIZE
from emotion.networks.layers import FusedBatchNormalization, Standardization


def residual(width: int, dropout: float) -> keras.Model:
    """Stride-2 stem, three convolutions with pooling, the last two with a residual pair.

    Args:
        width: channels of the stem; the stages have 2, 3 and 6 times as many.
        dropout: before the last layer.
    """
    pixels = keras.Input((SIZE, SIZE, 1), name="pixels")
    features = Standardization()(pixels)
    features = _convolution(features, width, kernel=4, strides=2)
    for channels, pairs in ((2 * width, 0), (3 * width, 1), (6 * width, 1)):
        features = layers.MaxPooling2D()(_convolution(features, channels))
        for _ in range(pairs):
            features = layers.Add()([features, _convolution(_convolution(features, channels), channels)])
    features = layers.GlobalAveragePooling2D()(features)
    features = layers.Dropout(dropout)(features)
    probabilities = layers.Dense(len(EMOTIONS), activation="softmax", name="probabilities")(features)
    return keras.Model(pixels, probabilities, name="residual")


def _convolution(features: keras.KerasTensor, channels: int, kernel: int = 3, strides: int = 1) -> keras.KerasTensor:
    features = layers.Conv2D(channels, kernel, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(
        features
    )
    return layers.ReLU()(FusedBatchNormalization(momentum=0.9)(features))
