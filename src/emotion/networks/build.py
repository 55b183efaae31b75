"""Builds the networks by name.

Every network takes raw pixels, (batch, size, size, 1 or 3) float32 in 0..255, scales them itself, and returns
probabilities, (batch, classes) float32 in the order of the dataset's emotions.
"""

import keras

from emotion.data.dataset import InputShape
from emotion.networks.basic_cnn import basic_cnn
from emotion.networks.residual import residual
from emotion.networks.transfer import APPLICATIONS, transfer
from emotion.networks.vgg import vgg
from emotion.params.sections import Transfer

ANY_SIZE = {"residual": residual, "vgg": vgg}  # networks that accept images of any size
NETWORKS = (*ANY_SIZE, "basic_cnn", *APPLICATIONS)


def build(
    name: str,
    width: int,
    dropout: float,
    pretrained: Transfer,
    classes: int,
    input_shape: InputShape,
    ensemble: int = 1,
) -> keras.Model:
    """Build an untrained network.

    Args:
        name: one of NETWORKS.
        width: channels of the first block; the other blocks scale in proportion.
        dropout: fraction of the features dropped during training, 0..1.
        pretrained: settings of the keras.applications networks, whose width is fixed.
        classes: number of emotions.
        input_shape: height, width and channels of an image; those of ANY_SIZE accept other heights and widths, too.
        ensemble: number of networks whose probabilities are averaged; only for residual and vgg.

    Raises:
        UserError: if pretrained weights cannot be loaded.
    """
    if name in ANY_SIZE:
        pixels = keras.Input((None, None, input_shape[2]), name="pixels")
        outputs = [ANY_SIZE[name](pixels, width, dropout, classes) for _ in range(ensemble)]
        probabilities = keras.layers.Average(dtype="float32")(outputs) if ensemble > 1 else outputs[0]
        return keras.Model(pixels, probabilities, name=name)
    if name == "basic_cnn":
        return basic_cnn(width, dropout, classes, input_shape)
    return transfer(name, dropout, pretrained, classes, input_shape)


def members(network: keras.Model) -> keras.Model:
    """Return a model that shares the network's weights and outputs each ensemble member's probabilities."""
    last = network.layers[-1]
    return keras.Model(network.input, last.input if isinstance(last, keras.layers.Average) else network.outputs)
