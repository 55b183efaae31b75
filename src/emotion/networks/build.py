"""The networks: the only place that defines layers.

Every network takes raw pixels, (batch, 48, 48, 1) float32 in 0..255, scales them itself, and
answers with probabilities, (batch, 7) float32 in the order of `emotion.data.labels.EMOTIONS`.
"""

import keras

from emotion.networks.basic_cnn import basic_cnn
from emotion.networks.residual import residual
from emotion.networks.transfer import APPLICATIONS, transfer
from emotion.networks.vgg import vgg
from emotion.params.sections import Transfer

ANY_SIZE = {"residual": residual, "vgg": vgg}  # those for images of any size
NETWORKS = (*ANY_SIZE, "basic_cnn", *APPLICATIONS)


def build(name: str, width: int, dropout: float, pretrained: Transfer, ensemble: int = 1) -> keras.Model:
    """Build an untrained network.

    Args:
        name: one of NETWORKS.
        width: channels of the first block; the others follow in proportion.
        dropout: part of the features dropped in training, 0..1.
        pretrained: for the networks of keras.applications, whose width is fixed.
        ensemble: residual and vgg: how many of them are side by side, their answers averaged.

    Raises:
        UserError: for pretrained weights that cannot be had.
    """
    if name in ANY_SIZE:
        pixels = keras.Input((None, None, 1), name="pixels")
        answers = [ANY_SIZE[name](pixels, width, dropout) for _ in range(ensemble)]
        answer = keras.layers.Average(dtype="float32")(answers) if ensemble > 1 else answers[0]
        return keras.Model(pixels, answer, name=name)
    if name == "basic_cnn":
        return basic_cnn(width, dropout)
    return transfer(name, dropout, pretrained.weights, pretrained.image_size, pretrained.fine_tune_from)


def members(network: keras.Model) -> keras.Model:
    """The same layers and weights, from pixels to the answers of every member of the ensemble."""
    last = network.layers[-1]
    return keras.Model(network.input, last.input if isinstance(last, keras.layers.Average) else network.outputs)
