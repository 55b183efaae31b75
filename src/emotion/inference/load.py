"""Load a SavedModel and run predictions with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotion.runtime.errors import UserError
from emotion.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:  # they import pandas and scikit-learn
    from emotion.data.dataset import Images
    from emotion.evaluation.metrics import Probabilities


NOVELTY_LIMIT = 1.0  # what is above is unfamiliar


class Model(Protocol):
    """A loaded SavedModel, or an object with the same endpoint.

    Models that `train` exports also have the endpoint `assess`, which maps the same pixels to a dictionary:
    `probabilities`, (n, 7) float32, and `novelty`, (n,) float32, at most 1 for inputs that are like the training faces.
    """

    def serve(self, pixels: NDArray[np.float32], /) -> ArrayLike:
        """Map (n, 48, 48, 1) float32, 0..255, to (n, 7) float32 probabilities."""


def load_saved_model(folder: Path) -> Model:
    """Load a SavedModel with a `serve` endpoint.

    Raises:
        UserError: if it is missing or damaged, or has no such endpoint.
    """
    if not (folder / "saved_model.pb").exists():
        raise UserError(f"no SavedModel in {folder}. Run `dvc repro train`.")
    load_tensorflow()
    import tensorflow as tf

    try:
        if (folder / "fingerprint.pb").exists():  # else TensorFlow ignores that it is damaged, and logs a traceback
            tf.saved_model.experimental.read_fingerprint(str(folder))
        model: Model = tf.saved_model.load(str(folder))
    except (tf.errors.OpError, ValueError, OSError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise UserError(
            f"the SavedModel in {folder} is damaged: {reason}. Run `dvc checkout` or `dvc repro --force train`."
        ) from error
    if not hasattr(model, "serve"):
        raise UserError(f"the SavedModel in {folder} has no endpoint `serve`. Export it with Keras' `Model.export`.")
    return model


def predict(model: Model, images: "Images", batch_size: int) -> "Probabilities":
    """Predict the probabilities of the seven emotions.

    Args:
        model: the model.
        images: (n, 48, 48) uint8, 0..255.
        batch_size: images per call of the model.

    Returns:
        (n, 7) float32.
    """
    return np.concatenate([np.asarray(model.serve(pixels)) for pixels in _batches(images, batch_size)])


def assess(model: Model, images: "Images", batch_size: int) -> "tuple[Probabilities, NDArray[np.float32]]":
    """Predict the probabilities of the seven emotions, and how unlike the training faces each image is.

    Args:
        model: the model.
        images: (n, 48, 48) uint8, 0..255.
        batch_size: images per call of the model.

    Returns:
        The probabilities, (n, 7) float32, and the novelty, (n,) float32, NaN if the model does not return it.
    """
    endpoint = getattr(model, "assess", None)
    if endpoint is None:
        return predict(model, images, batch_size), np.full(len(images), np.nan, np.float32)
    batches = [endpoint(pixels) for pixels in _batches(images, batch_size)]
    probabilities, novelty = (
        np.concatenate([np.asarray(batch[key]) for batch in batches]) for key in ("probabilities", "novelty")
    )
    return probabilities, novelty


def _batches(images: "Images", batch_size: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size, ..., None].astype(np.float32)
