"""A small residual network in the style of David Page's ResNet-9 (2018)."""

import keras
from keras import layers

from emotion.networks.layers import Standardization, classifier_head, conv_bn_relu


def residual(pixels: keras.KerasTensor, width: int, dropout: float, classes: int) -> keras.KerasTensor:
    """Build a stride-2 stem and three convolutions with pooling, the last two followed by a residual pair.

    Args:
        pixels: (batch, height, width, 1 or 3); the last features are averaged over the image.
        width: channels of the stem; the stages have 2, 3 and 6 times as many.
        dropout: dropout rate before the last layer.
        classes: number of emotions.

    Returns:
        Probabilities, (batch, classes) float32.
    """
    features = Standardization(dtype="float32")(pixels)
    features = conv_bn_relu(features, width, kernel=4, strides=2)
    for channels, pairs in ((2 * width, 0), (3 * width, 1), (6 * width, 1)):
        features = conv_bn_relu(features, channels, pool=True)
        for _ in range(pairs):
            features = layers.Add()([features, conv_bn_relu(conv_bn_relu(features, channels), channels)])
    return classifier_head(features, dropout, classes)
