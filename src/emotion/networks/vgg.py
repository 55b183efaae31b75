"""A plain stack of convolutions, in the manner of Simonyan and Zisserman (2014)."""

import keras

from emotion.networks.layers import Standardization, convolution, probabilities


def vgg(width: int, dropout: float) -> keras.Model:
    """Four pairs of 3x3 convolutions, each pair with pooling, with normalization throughout.

    Any image size will do: the last features are averaged over the image.

    Args:
        width: channels of the first pair; the others have 2, 4 and 4 times as many.
        dropout: before the last layer.
    """
    pixels = keras.Input((None, None, 1), name="pixels")
    features = Standardization(dtype="float32")(pixels)
    for channels in (width, 2 * width, 4 * width, 4 * width):
        features = convolution(features, channels)
        features = convolution(features, channels, pool=True)
    return keras.Model(pixels, probabilities(features, dropout), name="vgg")
