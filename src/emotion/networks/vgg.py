"""A plain stack of convolutions, in the manner of Simonyan and Zisserman (2014)."""

import keras

from emotion.networks.layers import Standardization, classifier_head, conv_bn_relu


def vgg(pixels: keras.KerasTensor, width: int, dropout: float) -> keras.KerasTensor:
    """Four pairs of 3x3 convolutions, each pair with pooling, with normalization throughout.

    The first convolution sees nine gray values and has half the width: it works at full size,
    where channels cost most.

    Args:
        pixels: (batch, height, width, 1); the last features are averaged over the image.
        width: channels of the first pair; the others have 2, 4 and 4 times as many.
        dropout: before the last layer.

    Returns:
        (batch, 7).
    """
    features = Standardization(dtype="float32")(pixels)
    for inner, channels in (
        (width // 2, width),
        (2 * width, 2 * width),
        (4 * width, 4 * width),
        (4 * width, 4 * width),
    ):
        features = conv_bn_relu(features, max(1, inner))
        features = conv_bn_relu(features, channels, pool=True)
    return classifier_head(features, dropout)
