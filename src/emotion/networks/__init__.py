"""The networks: the only place that defines layers.

Every network takes raw pixels, (batch, 48, 48, 1) float32 in 0..255, scales them itself, and
answers with probabilities, (batch, 7) float32 in the order of `emotion.labels.EMOTIONS`.
"""

from collections.abc import Callable

import keras

from emotion.networks.basic_cnn import basic_cnn
from emotion.networks.residual import residual

NETWORKS: dict[str, Callable[[int, float], keras.Model]] = {
    "basic_cnn": basic_cnn,
    "residual": residual,
}


def build(name: str, width: int, dropout: float) -> keras.Model:
    """Build an untrained network.

    Args:
        name: a key of NETWORKS.
        width: channels after the first convolution; the others follow in proportion.
        dropout: part of the features dropped in training, 0..1.
    """
    return NETWORKS[name](width, dropout)
