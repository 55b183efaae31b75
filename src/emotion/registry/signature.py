"""The signature of a version, and the files that a version may contain."""

from pathlib import Path

import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from emotion.data.dataset import InputShape, as_pixels
from emotion.data.preparation.images import model_input
from emotion.data.sources.drawing import draw_face
from emotion.inference.load import Model as LoadedModel

DOWNLOAD_METADATA = "registered_model_meta"  # a file that MLflow adds to what it downloads
ALLOWED_FILES = {  # in addition to the SavedModel
    "MLmodel", "classifier.keras", "conda.yaml", "data/keras_module.txt", "input_example.json", "python_env.yaml",
    "requirements.txt", "serving_input_example.json", DOWNLOAD_METADATA,
}  # fmt: skip


def model_signature(model: LoadedModel) -> ModelSignature:
    """The signature of a version: pixels in 0..255 to a probability per emotion."""
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *model.input_shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(model.emotions)))]),
    )


def input_example(shape: InputShape) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A drawn face, (1, *shape) float32, so that no photograph is distributed with a model."""
    face = model_input(draw_face("happy", np.random.default_rng(0)), shape)
    return as_pixels(face[None]).astype(np.float32)


def saved_model_of(folder: Path) -> Path:
    """The SavedModel of a downloaded version."""
    return folder / "data" / "model"


def classifier_of(folder: Path) -> Path:
    """The trained network of a downloaded version, in Keras' format."""
    return folder / "classifier.keras"


def has_expected_signature(folder: Path, model: LoadedModel) -> bool:
    """Whether a downloaded version has the signature of its SavedModel."""
    return bool(Model.load(str(folder)).signature == model_signature(model))


def has_only_saved_model(folder: Path) -> bool:
    """Whether MLflow, when it serves a downloaded version, runs the SavedModel and no other code."""
    flavors = Model.load(str(folder)).flavors
    keras, pyfunc = flavors.get("keras", {}), flavors.get("python_function", {})
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return (
        set(flavors) == {"keras", "python_function"}
        and pyfunc.get("loader_module") == "mlflow.keras"
        and not {"code", "data", "model_path"} & set(pyfunc)
        and (keras.get("data"), keras.get("save_exported_model")) == ("data", True)
        and all(path in ALLOWED_FILES or path.startswith("data/model/") for path in files)
    )
