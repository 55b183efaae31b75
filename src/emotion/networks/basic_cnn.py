"""The earlier study's network: four convolutions, each followed by pooling and dropout."""

import keras
from keras import layers

from emotion.data.dataset import InputShape


def basic_cnn(width: int, dropout: float, classes: int, input_shape: InputShape) -> keras.Model:
    """Build four 3x3 convolutions, dense layers with 512 and 256 units, and a softmax.

    Args:
        width: a quarter of the first convolution's filters; 32 gives the study's 128, 256,
            512 and 512.
        dropout: dropout rate after every block; 0.4 in the study.
        classes: number of emotions.
        input_shape: height, width and channels of an image.
    """
    pixels = keras.Input(input_shape, name="pixels")
    features = layers.Rescaling(1 / 255)(pixels)
    for filters in (4 * width, 8 * width, 16 * width, 16 * width):
        features = layers.Conv2D(filters, 3, activation="relu")(features)
        features = layers.MaxPooling2D()(features)
        features = layers.Dropout(dropout)(features)
    features = layers.Flatten()(features)
    for units in (512, 256):
        features = layers.Dense(units, activation="relu")(features)
        features = layers.Dropout(dropout)(features)
    probabilities = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(features)
    return keras.Model(pixels, probabilities, name="basic_cnn")
