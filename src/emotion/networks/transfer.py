"""The earlier study's transfer learning: a keras.applications network with a new head."""

import warnings
import zipfile
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

import keras
import tensorflow as tf
from keras import applications, layers

from emotion.data.dataset import InputShape
from emotion.networks.layers import Resize
from emotion.params.sections import Transfer
from emotion.runtime.errors import UserError

MOMENTUM = 0.9  # of the moving moments; the networks' defaults (up to 0.999) adapt too slowly to train on faces
IMAGENET_MEAN = (103.939, 116.779, 123.68)  # in the channel order blue, green, red


@keras.saving.register_keras_serializable(package="emotion")
class ImageNetMean(layers.Layer):
    """Turns red, green and blue into blue, green and red, and subtracts ImageNet's mean, as VGG and ResNet expect."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Convert (batch, height, width, 3)."""
        return images[..., ::-1] - tf.constant(IMAGENET_MEAN, images.dtype)


# Each network and its preprocessing layer; EfficientNet scales pixels itself.
APPLICATIONS: dict[str, tuple[Callable[..., keras.Model], Callable[[], layers.Layer]]] = {
    "mobilenet_v2": (applications.MobileNetV2, lambda: layers.Rescaling(1 / 127.5, -1)),
    "vgg16": (applications.VGG16, ImageNetMean),
    "resnet50": (applications.ResNet50, ImageNetMean),
    "efficientnet_b0": (applications.EfficientNetB0, layers.Identity),
}


def transfer(name: str, dropout: float, pretrained: Transfer, classes: int, input_shape: InputShape) -> keras.Model:
    """Build a keras.applications network with dense 256, dropout, dense 64 and softmax on top.

    Args:
        name: a key of APPLICATIONS.
        dropout: dropout rate between the dense layers; 0.5 in the study.
        pretrained: the weights (imagenet, the path of a file without the top, or none, which trains the whole
            network), the size to which the faces are enlarged, and the first layer that is trained along with the
            head; None freezes the whole backbone. Pretrained batch normalization layers always stay frozen.
        classes: number of emotions.
        input_shape: height, width and channels of an image.

    Raises:
        UserError: if the weights cannot be loaded, or if the layer does not exist.
    """
    make, scaling = APPLICATIONS[name]
    pixels = keras.Input(input_shape, name="pixels")
    features = pixels if input_shape[2] == 3 else layers.Concatenate()([pixels, pixels, pixels])
    features = scaling()(Resize(pretrained.image_size)(features))
    backbone = make(include_top=False, weights=None, input_tensor=features)
    if pretrained.weights == "none":
        for layer in backbone.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = MOMENTUM
    else:
        _copy_weights(_pretrained(name, pretrained.weights, pretrained.image_size), backbone)
        _freeze(backbone, pretrained.fine_tune_from)
    features = layers.GlobalAveragePooling2D()(backbone.output)
    features = layers.Dense(256, activation="relu")(features)
    features = layers.Dropout(dropout)(features)
    features = layers.Dense(64, activation="relu")(features)
    probabilities = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(features)
    return keras.Model(pixels, probabilities, name=name)


def _pretrained(name: str, weights: str, image_size: int) -> keras.Model:
    """Return the pretrained network without preprocessing layers, which weights files do not contain."""
    make, _ = APPLICATIONS[name]
    shape = (image_size, image_size, 3)
    if weights == "imagenet":
        try:
            return make(include_top=False, weights="imagenet", input_shape=shape)
        except Exception as error:
            if "URL fetch failure" not in str(error):  # Keras raises no specific exception type
                raise
            raise UserError(
                f"the ImageNet weights of {name} could not be downloaded: {error}. Check the network,"
                " or download the file on another machine and set train.transfer.weights to its path, or set it"
                " to none to start from random weights."
            ) from error
    if not Path(weights).is_file():
        raise UserError(f"train.transfer.weights should be imagenet, none or the path of a file, got {weights!r}.")
    network = make(include_top=False, weights=None, input_shape=shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns about layers that are missing from the file
            network.load_weights(weights)
    except (ValueError, OSError, KeyError, UserWarning, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"train.transfer.weights: {weights} does not contain weights of {name} without its top: {reason}."
            " Use a file saved from the model with include_top=False."
        ) from error
    return network


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy weights layer by layer; `target` has additional layers without weights at its start."""
    pairs = zip(*([layer for layer in n.layers if layer.weights] for n in (source, target)), strict=True)
    for theirs, ours in pairs:
        ours.set_weights(theirs.get_weights())


def _freeze(backbone: keras.Model, fine_tune_from: str | None) -> None:
    names = [layer.name for layer in backbone.layers]
    if fine_tune_from is not None and fine_tune_from not in names:
        near = ", ".join(get_close_matches(fine_tune_from, names, n=3)) or f"{names[-1]} (the last)"
        raise UserError(f"train.transfer.fine_tune_from: no layer is named {fine_tune_from!r}. Did you mean {near}?")
    first = len(names) if fine_tune_from is None else names.index(fine_tune_from)
    for position, layer in enumerate(backbone.layers):
        layer.trainable = position >= first and not isinstance(layer, layers.BatchNormalization)
