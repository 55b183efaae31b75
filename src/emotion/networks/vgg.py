"""A plain stack of convolutions in the style of Simonyan and Zisserman (2014)."""

import keras

from emotion.networks.layers import Standardization, classifier_head, conv_bn_relu


def vgg(pixels: keras.KerasTensor, width: int, dropout: float, classes: int) -> keras.KerasTensor:
    """Build four pairs of 3x3 convolutions with normalization, each pair with pooling.

    The first convolution sees only nine gray values, so it has half the width: it runs at full
    resolution, where channels cost the most.

    Args:
        pixels: (batch, height, width, 1 or 3); the last features are averaged over the image.
        width: channels of the first pair; the others have 2, 4 and 4 times as many.
        dropout: dropout rate before the last layer.
        classes: number of emotions.

    Returns:
        Probabilities, (batch, classes) float32.
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
    return classifier_head(features, dropout, classes)
