"""Load a SavedModel and run predictions with it."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotion.runtime.errors import UserError
from emotion.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:  # they import pandas and scikit-learn
    from emotion.data.dataset import Images
    from emotion.evaluation.metrics import Probabilities


class Model(Protocol):
    """A loaded SavedModel, or an object with the same endpoint."""

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
    batches = [
        np.asarray(model.serve(images[start : start + batch_size, ..., None].astype(np.float32)))
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(batches)
