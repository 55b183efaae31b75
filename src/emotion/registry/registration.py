"""Register a trained and evaluated SavedModel as a version in MLflow's registry."""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

from emotion.data.dataset import FIX, DatasetMetadata
from emotion.params.sections import Params
from emotion.registry import model_card
from emotion.registry.promotion.history import current_user
from emotion.registry.promotion.ledger import ledger_run
from emotion.registry.signature import SIGNATURE, classifier_of, input_example, saved_model_of
from emotion.registry.versions import (
    FILES_TAG,
    LOCK_TAG,
    UNSURE_BELOW_TAG,
    download_model,
    downloaded_digests,
    get_version,
)
from emotion.runtime.errors import UserError
from emotion.runtime.files import folder_digest, folder_size, read_json
from emotion.runtime.paths import CLASSIFIER, DATASET, METRICS, SAVED_MODEL
from emotion.runtime.tensorflow import load_tensorflow
from emotion.tracking import delivery, provenance
from emotion.tracking.client import connection
from emotion.tracking.delivery import RESTORED_FROM_TAG
from emotion.tracking.records import Metrics, Registered
from emotion.tracking.restore import resume_train_run

ORIGIN_TAG = "trained_in"  # the id of the run that trained a version, also if that run was lost and logged again
SET_ONCE = (FILES_TAG, LOCK_TAG, "registered_by")  # tags that registering a version again does not change
RUN_TAGS = (  # copied from the run of `train`
    "mlflow.source.git.commit", "git.dirty", "data.dvc_hash", "data.sha256", "dvc.experiment", "machine",
    "libraries", "precision", "temperature", "tune.run_id", "tune.trial", "tune.trial_run_id", "tune.score",
)  # fmt: skip


class EvaluatedSavedModel:
    """A flavor for `Model.log`: MLflow's Keras flavor with the SavedModel that was evaluated."""

    @staticmethod
    def save_model(path: str, mlflow_model: Model, classifier: Path, saved_model: Path, **options: Any) -> None:
        """Write an MLflow model folder to `path`."""
        load_tensorflow()
        import keras

        Path(path).mkdir()  # mlflow.keras writes the input example before it creates the folder
        # mlflow.keras exports a network itself. It gets one without layers, because its export is replaced.
        pixels = keras.Input(SIGNATURE.inputs.inputs[0].shape[1:])
        placeholder = keras.Model(pixels, pixels)
        with contextlib.redirect_stdout(io.StringIO()):  # a page of tensor names
            mlflow.keras.save_model(placeholder, path, True, mlflow_model=mlflow_model, **options)
        exported = saved_model_of(Path(path))
        shutil.rmtree(exported)
        shutil.copytree(saved_model, exported)
        shutil.copy(classifier, classifier_of(Path(path)))
        mlflow_model.model_size_bytes = folder_size(exported)
        mlflow_model.save(Path(path) / MLMODEL_FILE_NAME)


def register_trained(params: Params, card: Path, exit_callbacks: ExitStack) -> Registered:
    """Register the outputs of `train` and `evaluate`, in the run of `train`.

    Args:
        params: only the section `register` is used.
        card: the folder for the version's model card.
        exit_callbacks: callbacks that run whenever and however the process ends.

    Raises:
        UserError: if the MLflow server is unavailable.
    """
    if connection().is_offline:
        raise UserError(
            "registering a version needs the MLflow server, which is unavailable. The trained and evaluated model is"
            " saved, and its logs are queued. Run `dvc repro` again when the server is available."
        )
    delivery.flush()  # the run of `train` may still be queued
    metrics = read_json(METRICS, "Run `dvc repro --force evaluate`.", Metrics)
    name = params.register_.name
    with resume_train_run("register", params, exit_callbacks) as run:
        description = f"Trained on {metrics['data']}. Test accuracy {metrics['test']['accuracy']:.4f}."
        with connection().translate_errors(count_time=False):
            tags = version_tags(run.id, metrics, SAVED_MODEL)
            version = register(name, run.id, CLASSIFIER, SAVED_MODEL, tags, description)
        facts = {**get_version(name, str(version.version)).tags, "run_id": run.id}
        model_card.write(card, f"{name} version {version.version}", facts, metrics)
        run.log_files(card)
        if facts[LOCK_TAG] == tags[LOCK_TAG] != "unknown":
            run.log_files(Path("dvc.lock"), "source")
    return Registered(
        name=name, version=str(version.version), run_id=run.id, saved_model_sha256=tags["saved_model.sha256"]
    )


def register(
    name: str, run_id: str, classifier: Path, saved_model: Path, tags: Mapping[str, str], description: str
) -> ModelVersion:
    """Register a run's SavedModel as a new version, or find the version that it already has.

    The tags and the description of a version are updated.

    Raises:
        UserError: if the registered files are lost, or differ from the SavedModel.
    """
    client = connection().client
    ledger_run(name, create=True)
    tags = {**tags, ORIGIN_TAG: client.get_run(run_id).data.tags.get(RESTORED_FROM_TAG, run_id)}
    if known := _versions_of(name, tags[ORIGIN_TAG]):
        version = known[0]
        title = f"{name} version {version.version}"
        tags |= {FILES_TAG: _check_files(f"models:/{name}/{version.version}", title, saved_model)}
    else:
        version = _create_version(name, run_id, classifier, saved_model, tags)
    for key, value in tags.items():
        if key not in version.tags or (key not in SET_ONCE and version.tags[key] != value):
            client.set_model_version_tag(name, version.version, key, value)
    client.update_model_version(name, version.version, description)
    return version


def _versions_of(name: str, origin: str) -> list[ModelVersion]:
    """The versions of one training, the oldest first.

    Args:
        name: the name of the model.
        origin: the id of the run that trained it, which MLflow may have lost since.
    """
    found = connection().client.search_model_versions(f"name = '{name}'")
    ours = [version for version in found if origin in (version.tags.get(ORIGIN_TAG), version.run_id)]
    return sorted(ours, key=lambda version: int(version.version))


def _create_version(
    name: str, run_id: str, classifier: Path, saved_model: Path, tags: Mapping[str, str]
) -> ModelVersion:
    """Register a SavedModel; if several processes do so at the same time, all return the first one's version."""
    _check_classifier(classifier)
    client = connection().client
    info = Model.log(
        artifact_path=None,
        run_id=run_id,
        name="model",
        flavor=EvaluatedSavedModel,
        flavor_name="keras",
        classifier=classifier,
        saved_model=saved_model,
        signature=SIGNATURE,
        input_example=input_example(),
        pip_requirements=[
            f"{package}=={installed_version(package)}" for package in ("tensorflow", "keras", "numpy", "mlflow")
        ],
    )
    # Use the URI of the model: the URI of the run would break if the run is deleted (mlflow#19036).
    uri = f"models:/{info.model_id}"
    files = _check_files(uri, "the uploaded model", saved_model)
    # With its tags, so that other processes see what it was trained in as soon as it exists.
    version = mlflow.register_model(uri, name, tags={**tags, FILES_TAG: files})
    first = _versions_of(name, tags[ORIGIN_TAG])[0]
    if first.version != version.version:
        client.delete_model_version(name, version.version)
        client.delete_logged_model(info.model_id)
    return first


def _check_classifier(classifier: Path) -> None:
    """Check that Keras can load the trained network, and without running code from the file, as a Lambda layer does."""
    import keras

    from emotion.networks import build  # noqa: F401  registers its layers

    try:
        keras.saving.load_model(classifier, compile=False)
    except Exception as error:  # Keras raises many kinds
        reason = str(error).strip().splitlines()[0][:200].rstrip(".")
        raise UserError(f"{classifier} cannot be loaded: {reason}. Run `dvc repro --force train`.") from error


def _check_files(uri: str, title: str, saved_model: Path) -> str:
    """Compare the files at a URI with the SavedModel; return their digests as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        downloaded = download_model(uri, Path(folder))
        found = saved_model_of(downloaded)
        if not found.exists():
            raise UserError(
                f"the files of {title} are no longer in MLflow's artifact store. Put them back where they were, or"
                " delete the version in MLflow and run `emotion restore`, which registers it again."
            )
        if folder_digest(found) != folder_digest(saved_model):
            raise UserError(
                f"{title} differs from the SavedModel in {saved_model}. Run `dvc repro --force train`, then"
                " `dvc repro`."
            )
        return json.dumps(downloaded_digests(downloaded))


def version_tags(run_id: str, metrics: Mapping[str, Any], saved_model: Path) -> dict[str, str]:
    """The tags of a version: commit, data, parameters, search, metrics, files, and who registered it."""
    run = connection().client.get_run(run_id).data
    scores = {
        f"{split}.{key}": f"{metrics[split][key]:.4f}"
        for split in ("validation", "test", "test_unseen")
        for key in ("accuracy", "macro_f1", "loss")
        if split in metrics
    }
    return {
        **{key.removeprefix("mlflow.source."): run.tags[key] for key in RUN_TAGS if key in run.tags},
        "data": metrics["data"],
        "data.source": read_json(DATASET / "dataset.json", FIX, DatasetMetadata)["source"]["source"],
        "parameters": json.dumps(run.params, sort_keys=True),
        "saved_model.sha256": folder_digest(saved_model),
        UNSURE_BELOW_TAG: str(metrics["test_answered"]["unsure_below"]),
        LOCK_TAG: provenance.lock_hash(),
        "registered_by": current_user(),
        **scores,
    }
