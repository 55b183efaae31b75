"""The earlier study's network: four convolutions, each followed by pooling and dropout."""

import keras
from keras import layers

from emotion.labels import EMOTIONS, SIZE


def basic_cnn(width: int, dropout: float) -> keras.Model:
    """Four 3x3 convolutions, dense 512, dense 256, softmax.

    Args:
        width: a quarter of the first convolution's filters; 32 gives the study's 128, 256,
            512 and 512.
        dropout: after every block; 0.4 in the study.
    """
    network = keras.Sequential(name="basic_cnn")
    network.add(keras.Input((SIZE, SIZE, 1), name="pixels"))
    network.add(layers.Rescaling(1 / 255))
    for filters in (4 * width, 8 * width, 16 * width, 16 * width):
        network.add(layers.Conv2D(filters, 3, activation="relu"))
        network.add(layers.MaxPooling2D())
        network.add(layers.Dropout(dropout))
    network.add(layers.Flatten())
    for units in (512, 256):
        network.add(layers.Dense(units, activation="relu"))
        network.add(layers.Dropout(dropout))
    network.add(layers.Dense(len(EMOTIONS), activation="softmax", name="probabilities"))
    return network
