"""Versions of the model in MLflow's registry."""

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from emotion import restoring, tracking  # before mlflow, whose environment it sets
from emotion.errors import UserError
from emotion.labels import EMOTIONS, SIZE
from emotion.params import Params
from emotion.paths import CLASSIFIER, METRICS, SAVED_MODEL
from emotion.runtime import load_tensorflow
from emotion.sources.drawing import draw_face

import mlflow  # isort: skip
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

CHAMPION = "champion"

SIGNATURE = ModelSignature(
    inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, SIZE, SIZE, 1))]),
    outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(EMOTIONS)))]),
)


class EvaluatedSavedModel:
    """What `Model.log` takes for a flavor: MLflow's Keras flavor around the evaluated files.

    `mlflow.keras` exports the network anew; here the export that was evaluated takes its place.
    """

    @staticmethod
    def save_model(path: str, classifier: Path, saved_model: Path, **options: Any) -> None:
        """Write an MLflow model folder to `path`."""
        load_tensorflow()
        import keras

        from emotion import networks  # noqa: F401  registers the layers that the file names

        Path(path).mkdir()  # mlflow.keras writes the input example before it makes the folder
        network = keras.saving.load_model(classifier, compile=False)
        with contextlib.redirect_stdout(io.StringIO()):  # a page of tensor names
            mlflow.keras.save_model(network, path, save_exported_model=True, **options)
        exported = Path(path) / "data" / "model"
        shutil.rmtree(exported)
        shutil.copytree(saved_model, exported)


def register_trained(settings: Params) -> dict[str, str]:
    """Register what `train` and `evaluate` left, in the run of `train`.

    Returns:
        name, version, run_id and the digest of the SavedModel.
    """
    metrics = json.loads(METRICS.read_text())
    name = settings.register_.name
    with restoring.train_run("register", settings) as run_id:
        description = f"Trained on {metrics['data']}. Test accuracy {metrics['test']['accuracy']:.4f}."
        tags = version_tags(run_id, metrics, SAVED_MODEL)
        version = register(name, run_id, CLASSIFIER, SAVED_MODEL, tags, description)
    return {
        "name": name,
        "version": str(version.version),
        "run_id": run_id,
        "saved_model_sha256": tags["saved_model.sha256"],
    }


def register(
    name: str, run_id: str, classifier: Path, saved_model: Path, tags: Mapping[str, str], description: str
) -> ModelVersion:
    """Register a run's SavedModel as a new version, or find the version that it already has.

    The run must be the active one. A version's tags and description are brought up to date.
    """
    client = tracking.connect()
    known = [v for v in client.search_model_versions(f"name = '{name}'") if v.run_id == run_id]
    if known:
        version = known[0]
    else:
        info = Model.log(
            artifact_path=None,
            name="model",
            flavor=EvaluatedSavedModel,
            flavor_name="keras",
            classifier=classifier,
            saved_model=saved_model,
            signature=SIGNATURE,
            input_example=input_example(),
            pip_requirements=[
                f"{package}=={installed(package)}" for package in ("tensorflow", "keras", "numpy", "mlflow")
            ],
        )
        # By the model's own address: one below the run would not survive the run (mlflow#19036).
        version = mlflow.register_model(f"models:/{info.model_id}", name)
    for key, value in tags.items():
        client.set_model_version_tag(name, version.version, key, value)
    client.update_model_version(name, version.version, description)
    return version


def input_example() -> np.ndarray[Any, np.dtype[np.float32]]:
    """A drawn face, (1, 48, 48, 1), so that no photograph is passed on with a model."""
    face = np.asarray(draw_face("happy", np.random.default_rng(0)), dtype=np.float32)
    return face[None, ..., None]


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def version_tags(run_id: str, metrics: Mapping[str, Any], saved_model: Path) -> dict[str, str]:
    """What a version says of itself: commit, data, parameters, metrics, files."""
    run = tracking.connect().get_run(run_id).data
    kept = ("mlflow.source.git.commit", "git.dirty", "data.dvc_hash", "dvc.experiment")
    scores = {
        f"{split}.{key}": f"{metrics[split][key]:.4f}"
        for split in ("validation", "test", "test_unseen")
        for key in ("accuracy", "macro_f1", "loss")
        if split in metrics
    }
    return {
        **{key.removeprefix("mlflow.source."): run.tags[key] for key in kept if key in run.tags},
        "data": metrics["data"],
        "parameters": json.dumps(run.params, sort_keys=True),
        "saved_model.sha256": digest(saved_model),
        **scores,
    }


def promote(name: str, version: str) -> str | None:
    """Make a version the champion.

    Returns:
        The version that was champion before, None where there was none.

    Raises:
        UserError: where there is no such version.
    """
    client = tracking.connect()
    with tracking.explained():
        known = {str(v.version) for v in client.search_model_versions(f"name = '{name}'")}
        if version not in known:
            listed = ", ".join(sorted(known, key=int)) or "none; `dvc repro` or `emotion restore` makes one"
            raise UserError(f"{name} has no version {version}. It has: {listed}.")
        aliases = client.get_registered_model(name).aliases
        client.set_registered_model_alias(name, CHAMPION, version)
    return str(aliases[CHAMPION]) if CHAMPION in aliases else None
