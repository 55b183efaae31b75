"""A trained and evaluated SavedModel becomes a version in MLflow's registry."""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from emotion.data.sources.drawing import draw_face
from emotion.inference.op_allowlist import digest
from emotion.params import Params
from emotion.registry import model_card
from emotion.registry import versions as registry
from emotion.registry.promotion.history import person
from emotion.runtime.errors import UserError
from emotion.runtime.paths import CLASSIFIER, METRICS, SAVED_MODEL
from emotion.runtime.tensorflow import load_tensorflow
from emotion.tracking import client as store
from emotion.tracking import operations as delivery
from emotion.tracking import provenance
from emotion.tracking import restore as restoring
from emotion.tracking import runs as tracking

import mlflow  # isort: skip
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

FIRST_ONLY = (registry.LOCK, "registered_by")  # tags of a version that registering it again does not change


class EvaluatedSavedModel:
    """What `Model.log` takes for a flavor: MLflow's Keras flavor around the evaluated files.

    `mlflow.keras` exports the network anew; here the export that was evaluated takes its place.
    """

    @staticmethod
    def save_model(path: str, classifier: Path, saved_model: Path, **options: Any) -> None:
        """Write an MLflow model folder to `path`."""
        load_tensorflow()
        import keras

        Path(path).mkdir()  # mlflow.keras writes the input example before it makes the folder
        network = keras.saving.load_model(classifier, compile=False)
        with contextlib.redirect_stdout(io.StringIO()):  # a page of tensor names
            mlflow.keras.save_model(network, path, save_exported_model=True, **options)
        exported = registry.saved_model_of(Path(path))
        shutil.rmtree(exported)
        shutil.copytree(saved_model, exported)
        shutil.copy(classifier, registry.classifier_of(Path(path)))


def register_trained(settings: Params, card: Path) -> dict[str, str]:
    """Register what `train` and `evaluate` left, in the run of `train`.

    Args:
        settings: register is used.
        card: the folder to write the version's model card to.

    Returns:
        name, version, run_id and the digest of the SavedModel.
    """
    if store.is_away():
        raise UserError(
            "a version needs the MLflow server, which does not answer. What was trained and evaluated is kept, and what"
            " was logged waits: once the server is back, `dvc repro` goes on from here."
        )
    delivery.sync()  # the run of `train` may still wait
    metrics = json.loads(METRICS.read_text())
    if "test_answered" not in metrics:
        raise UserError(f"{METRICS} was written by an earlier version of this project. `dvc repro` evaluates anew.")
    name = settings.register_.name
    with restoring.train_run("register", settings) as run_id:
        description = f"Trained on {metrics['data']}. Test accuracy {metrics['test']['accuracy']:.4f}."
        with store.explained(patient=True):
            tags = version_tags(run_id, metrics, SAVED_MODEL)
            version = register(name, run_id, CLASSIFIER, SAVED_MODEL, tags, description)
        facts = {**registry.versions(name)[str(version.version)].tags, "run_id": run_id}
        model_card.write(card, f"{name} version {version.version}", facts, metrics)
        tracking.log_files(card)
        if facts[registry.LOCK] == tags[registry.LOCK] != "unknown":
            tracking.log_files(Path("dvc.lock"), "source")
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

    A version's tags and description are brought up to date.
    """
    client = store.connect()
    registry.history_run(name, make=True)
    known = [v for v in client.search_model_versions(f"name = '{name}'") if v.run_id == run_id]
    if known:
        version = known[0]
    else:
        info = Model.log(
            artifact_path=None,
            run_id=run_id,
            name="model",
            flavor=EvaluatedSavedModel,
            flavor_name="keras",
            classifier=classifier,
            saved_model=saved_model,
            signature=registry.SIGNATURE,
            input_example=input_example(),
            pip_requirements=[
                f"{package}=={installed(package)}" for package in ("tensorflow", "keras", "numpy", "mlflow")
            ],
        )
        # By the model's own address: one below the run would not survive the run (mlflow#19036).
        version = mlflow.register_model(f"models:/{info.model_id}", name)
    if registry.FILES not in version.tags:  # also where an earlier attempt was cut short
        with tempfile.TemporaryDirectory() as folder:
            downloaded = registry.download(name, str(version.version), Path(folder))
            if digest(registry.saved_model_of(downloaded)) != digest(saved_model):
                raise UserError(f"version {version.version} of {name} is not the SavedModel in {saved_model}.")
            files = json.dumps(registry.file_digests(downloaded))
        client.set_model_version_tag(name, version.version, registry.FILES, files)
    for key, value in tags.items():
        if key not in FIRST_ONLY or key not in version.tags:
            client.set_model_version_tag(name, version.version, key, value)
    client.update_model_version(name, version.version, description)
    return version


def input_example() -> np.ndarray[Any, np.dtype[np.float32]]:
    """A drawn face, (1, 48, 48, 1), so that no photograph is passed on with a model."""
    face = np.asarray(draw_face("happy", np.random.default_rng(0)), dtype=np.float32)
    return face[None, ..., None]


def version_tags(run_id: str, metrics: Mapping[str, Any], saved_model: Path) -> dict[str, str]:
    """What a version says of itself: commit, data, parameters, search, metrics, files, and who registered it."""
    run = store.connect().get_run(run_id).data
    kept = (
        "mlflow.source.git.commit", "git.dirty", "data.dvc_hash", "data.sha256", "dvc.experiment", "machine",
        "libraries", "precision", "temperature", "tune.run_id", "tune.trial", "tune.trial_run_id", "tune.score",
    )  # fmt: skip
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
        registry.UNSURE_BELOW: str(metrics["test_answered"]["unsure_below"]),
        registry.LOCK: provenance.lock_hash(),
        "registered_by": person(),
        **scores,
    }
