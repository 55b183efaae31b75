"""Load a SavedModel and run predictions with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotion.data.labels import IMAGE_SIZE, read_labels
from emotion.runtime.errors import UserError
from emotion.runtime.progress import track
from emotion.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:  # they import pandas and scikit-learn
    from emotion.data.dataset import Dataset, Images, InputShape
    from emotion.evaluation.metrics import Probabilities


NOVELTY_LIMIT = 1.0  # what is above is unfamiliar


class Model(Protocol):
    """A model in memory.

    Models that `train` exports also have the endpoint `assess`, which maps the same pixels to a dictionary:
    `probabilities`, (n, classes) float32, and `novelty`, (n,) float32, at most 1 for inputs that are like the training
    faces; and `fast`, which maps them to a dictionary of `probabilities` only, in less time.
    """

    emotions: tuple[str, ...]  # the classes, in the order of the probabilities
    input_shape: "InputShape"

    def serve(self, pixels: NDArray[np.float32], /) -> ArrayLike:
        """Map (n, *input_shape) float32, 0..255, to (n, classes) float32 probabilities."""


class SavedModel:
    """A loaded SavedModel, with the endpoints that it has.

    Args:
        loaded: what TensorFlow loaded.
        emotions: see `read_labels`.
    """

    def __init__(self, loaded: Any, emotions: tuple[str, ...]) -> None:
        self.loaded, self.emotions = loaded, emotions
        self.serve = loaded.serve
        if hasattr(loaded, "assess"):
            self.assess = loaded.assess
        if hasattr(loaded, "fast"):
            self.fast = loaded.fast
        self.input_shape = _input_shape(loaded)


def _input_shape(loaded: Any) -> "InputShape":
    """The shape that the signature states; FER-2013's if it states none."""
    signature = getattr(loaded, "signatures", {}).get("serving_default")
    specs = list(signature.structured_input_signature[1].values()) if signature else []
    shape = specs[0].shape.as_list() if len(specs) == 1 and specs[0].shape.rank == 4 else [None] * 4
    return shape[1] or IMAGE_SIZE, shape[2] or IMAGE_SIZE, shape[3] or 1


def load_saved_model(folder: Path) -> SavedModel:
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
        loaded: Any = tf.saved_model.load(str(folder))
    except (tf.errors.OpError, ValueError, OSError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise UserError(
            f"the SavedModel in {folder} is damaged: {reason}. Run `dvc checkout` or `dvc repro --force train`."
        ) from error
    if not hasattr(loaded, "serve"):
        raise UserError(f"the SavedModel in {folder} has no endpoint `serve`. Export it with Keras' `Model.export`.")
    return SavedModel(loaded, read_labels(folder))


class Fast:
    """The endpoint `fast` of a model, as a model of its own.

    Raises:
        UserError: if the model has no such endpoint.
    """

    def __init__(self, model: Model) -> None:
        if not hasattr(model, "fast"):
            raise UserError(
                "the model has no signature `fast`: it is the reference model, a converted file, or an older version."
                " Use it without --fast, or train a new version with `dvc repro`."
            )
        self.emotions, self.input_shape, self._model = model.emotions, model.input_shape, model

    def serve(self, pixels: NDArray[np.float32]) -> ArrayLike:
        """Map (n, *input_shape) float32, 0..255, to (n, classes) float32 probabilities."""
        probabilities: ArrayLike = self._model.fast(pixels)["probabilities"]
        return probabilities


def check_classes(model: Model, dataset: "Dataset") -> None:
    """Check that a model tells the emotions of a dataset, in images of its kind.

    Raises:
        UserError: if not.
    """
    from emotion.data.dataset import describe_classes  # pandas

    ours, theirs = (describe_classes(it.emotions, it.input_shape) for it in (model, dataset))
    if ours != theirs:
        raise UserError(
            f"the model tells {ours}, but data/faces has {theirs}. Check out the data that the model learned from, or"
            " train it again with `dvc repro`."
        )


def predict(model: Model, images: "Images", batch_size: int, description: str = "") -> "Probabilities":
    """Predict the probabilities of the emotions.

    Args:
        model: the model.
        images: (n, size, size) or (n, size, size, 3) uint8, 0..255.
        batch_size: images per call of the model.
        description: what this is, to show the progress; if empty, it is not shown.

    Returns:
        (n, classes) float32.
    """
    return np.concatenate([np.asarray(model.serve(pixels)) for pixels in _batches(images, batch_size, description)])


def assess(
    model: Model, images: "Images", batch_size: int, description: str = ""
) -> "tuple[Probabilities, NDArray[np.float32]]":
    """Predict the probabilities of the emotions, and how unlike the training faces each image is.

    Args:
        model: the model.
        images: (n, size, size) or (n, size, size, 3) uint8, 0..255.
        batch_size: images per call of the model.
        description: what this is, to show the progress; if empty, it is not shown.

    Returns:
        The probabilities, (n, classes) float32, and the novelty, (n,) float32, NaN if the model does not return it.
    """
    endpoint = getattr(model, "assess", None)
    if endpoint is None:
        return predict(model, images, batch_size, description), np.full(len(images), np.nan, np.float32)
    batches = [endpoint(pixels) for pixels in _batches(images, batch_size, description)]
    probabilities, novelty = (
        np.concatenate([np.asarray(batch[key]) for batch in batches]) for key in ("probabilities", "novelty")
    )
    return probabilities, novelty


def _batches(images: "Images", batch_size: int, description: str) -> Iterator[NDArray[np.float32]]:
    starts = range(0, len(images), batch_size)
    for start in track(starts, f"{description}, in batches", len(starts)) if description else starts:
        batch = images[start : start + batch_size].astype(np.float32)
        yield batch[..., None] if batch.ndim == 3 else batch
