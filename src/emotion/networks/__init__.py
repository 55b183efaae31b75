"""The networks: the only place that defines layers.

Every network takes raw pixels, (batch, 48, 48, 1) float32 in 0..255, scales them itself, and
answers with probabilities, (batch, 7) float32 in the order of `emotion.labels.EMOTIONS`.
"""

import keras

from emotion.networks.basic_cnn import basic_cnn
from emotion.networks.residual import residual
from emotion.networks.transfer import APPLICATIONS, transfer
from emotion.networks.vgg import vgg
from emotion.params import Transfer

NETWORKS = ("residual", "vgg", "basic_cnn", *APPLICATIONS)


def build(name: str, width: int, dropout: float, pretrained: Transfer) -> keras.Model:
    """Build an untrained network.

    Args:
        name: one of NETWORKS.
        width: channels after the first convolution; the others follow in proportion.
        dropout: part of the features dropped in training, 0..1.
        pretrained: for the networks of keras.applications, whose width is fixed.

    Raises:
        UserError: for pretrained weights that cannot be had.
    """
    if name == "residual":
        return residual(width, dropout)
    if name == "vgg":
        return vgg(width, dropout)
    if name == "basic_cnn":
        return basic_cnn(width, dropout)
    return transfer(name, dropout, pretrained.weights, pretrained.image_size, pretrained.fine_tune_from)
