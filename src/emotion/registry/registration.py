"""Register a trained and evaluated SavedModel as a version in MLflow's registry."""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

from emotion.data.dataset import describe_images, open_dataset
from emotion.evaluation.metrics import subset_name
from emotion.inference.load import load_saved_model
from emotion.params.sections import Params
from emotion.registry.change import describe_change
from emotion.registry.events import notify
from emotion.registry.model_card.write import write as write_card
from emotion.registry.promotion.history import current_user
from emotion.registry.promotion.ledger import ledger_run
from emotion.registry.signature import (
    classifier_of,
    has_only_saved_model,
    input_example,
    model_signature,
    saved_model_of,
)
from emotion.registry.signing.trained import check_may_change, sign_trained
from emotion.registry.version_page import describe, join_description, split_description
from emotion.registry.versions import (
    FILES,
    FILES_TAG,
    LOCK_TAG,
    SAVED_MODEL_TAG,
    UNSURE_BELOW_TAG,
    download_model,
    downloaded_digests,
    files_digest,
    get_version,
)
from emotion.runtime.errors import UserError
from emotion.runtime.files import file_digest, folder_digest, folder_size, read_json
from emotion.runtime.paths import CLASSIFIER, SAVED_MODEL, SCORES
from emotion.runtime.tensorflow import load_tensorflow
from emotion.tracking import delivery, provenance
from emotion.tracking.client import connection
from emotion.tracking.delivery import RESTORED_FROM_TAG
from emotion.tracking.metric_names import evaluation_metrics
from emotion.tracking.operations import MAX_DIGEST, current_milliseconds
from emotion.tracking.queries import get_run
from emotion.tracking.records import Registered, Scores, read_record
from emotion.tracking.restore import resume_train_run
from emotion.tracking.stage_runs import dataset_info
from emotion.tracking.views import update_views

ORIGIN_TAG = "trained_in"  # the id of the run that trained a version, also if that run was lost and logged again
MAX_TAG = 1000  # characters
SET_ONCE = (FILES_TAG, LOCK_TAG, "registered_by")  # tags that registering a version again does not change
RUN_TAGS = (  # copied from the run of `train`; its other tags and its parameters are only there
    "mlflow.source.git.commit", "git.dirty", "data.dvc_hash", "data.sha256", "dvc.experiment",
)  # fmt: skip
SCORE_TAGS = {"test": ("accuracy", "macro_f1"), "test_unseen": ("accuracy",)}


class EvaluatedSavedModel:
    """A flavor for `Model.log`: MLflow's Keras flavor with the SavedModel that was evaluated."""

    @staticmethod
    def save_model(path: str, mlflow_model: Model, classifier: Path, saved_model: Path, **options: Any) -> None:
        """Write an MLflow model folder to `path`."""
        load_tensorflow()
        import keras

        Path(path).mkdir()  # mlflow.keras writes the input example before it creates the folder
        # mlflow.keras exports a network itself. It gets one without layers, because its export is replaced.
        pixels = keras.Input(options["signature"].inputs.inputs[0].shape[1:])
        placeholder = keras.Model(pixels, pixels)
        with contextlib.redirect_stdout(io.StringIO()):  # a page of tensor names
            mlflow.keras.save_model(placeholder, path, True, mlflow_model=mlflow_model, **options)
        exported = saved_model_of(Path(path))
        shutil.rmtree(exported)
        shutil.copytree(saved_model, exported)
        shutil.copy(classifier, classifier_of(Path(path)))
        mlflow_model.model_size_bytes = folder_size(exported)
        mlflow_model.save(Path(path) / MLMODEL_FILE_NAME)


def register_trained(
    params: Params, card: Path, exit_callbacks: ExitStack, exports: pd.DataFrame | None = None
) -> Registered:
    """Register the outputs of `train` and `evaluate`, in the run of `train`.

    Args:
        params: only the sections `register` and `evaluate` are used.
        card: the folder for the version's model card.
        exit_callbacks: callbacks that run whenever and however the process ends.
        exports: from `measure_exports`, for the card.

    Raises:
        UserError: if the MLflow server is unavailable.
    """
    if connection().is_offline:
        raise UserError(
            "registering a version needs the MLflow server, which is unavailable. The trained and evaluated model is"
            " saved, and its logs are queued. Run `dvc repro` again when the server is available."
        )
    delivery.flush()  # the run of `train` may still be queued
    update_views()
    scores = read_json(SCORES, "Run `dvc repro --force evaluate`.", Scores)
    name = params.register_.name
    with resume_train_run("register", params, exit_callbacks) as run:
        with connection().translate_errors(count_time=False):
            tags = {**version_tags(run.id, scores, SAVED_MODEL), **params.register_.intended_use.tags()}
            registered = register(name, run.id, CLASSIFIER, SAVED_MODEL, tags)
            _log_model_metrics(run.id, registered.source.removeprefix("models:/"), evaluation_metrics(scores))
            version, trained = get_version(name, str(registered.version)), get_run(run.id)
            assert trained is not None
            trained = replace(trained, params=read_record("train").params)  # which nobody can edit in MLflow
            _, verdicts = split_description(version.description)
            text = describe(
                name, version.number, trained, scores, params.register_.intended_use, join_description("", verdicts)
            )
            connection().client.update_model_version(name, version.number, text)
            title = f"{name} version {version.number}"
            files = _check_files(f"models:/{name}/{version.number}", title, SAVED_MODEL, CLASSIFIER)
            sign_trained(name, version.number, files, evaluation_metrics(scores))
        change = describe_change(name, version.number, trained)
        write_card(card, title, trained, version, scores, params, change, verdicts, exports)
        run.log_files(card)
        if version.tags[LOCK_TAG] == tags[LOCK_TAG] != "unknown":
            run.log_files(Path("dvc.lock"), "source")
    facts = {"run_id": run.id, "test_accuracy": scores["test"]["accuracy"], "by": version.tags["registered_by"]}
    notify("registered", name, version.number, facts)
    return Registered(name=name, version=version.number, run_id=run.id, saved_model_sha256=tags[SAVED_MODEL_TAG])


def register(name: str, run_id: str, classifier: Path, saved_model: Path, tags: Mapping[str, str]) -> ModelVersion:
    """Register a run's SavedModel as a new version, or find the version that it already has, and update its tags.

    Raises:
        UserError: if the registered files are lost, or differ from the SavedModel.
    """
    client = connection().client
    ledger_run(name, create=True)
    tags = {**tags, ORIGIN_TAG: client.get_run(run_id).data.tags.get(RESTORED_FROM_TAG, run_id)}
    if known := _versions_of(name, tags[ORIGIN_TAG]):
        version = known[0]
        title = f"{name} version {version.version}"
        tags |= _record_files(run_id, _check_files(f"models:/{name}/{version.version}", title, saved_model, classifier))
    else:
        version = _create_version(name, run_id, classifier, saved_model, tags)
    changed = {
        key: value for key, value in tags.items()
        if key not in version.tags or (key not in SET_ONCE and version.tags[key] != value)
    }  # fmt: skip
    if changed:
        check_may_change(name, str(version.version), changed)
    for key, value in changed.items():
        client.set_model_version_tag(name, version.version, key, value)
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
    model = load_saved_model(saved_model)
    client = connection().client
    info = Model.log(
        artifact_path=None,
        run_id=run_id,
        name="model",
        flavor=EvaluatedSavedModel,
        flavor_name="keras",
        classifier=classifier,
        saved_model=saved_model,
        signature=model_signature(model),
        input_example=input_example(model.input_shape),
        pip_requirements=[
            f"{package}=={installed_version(package)}" for package in ("tensorflow", "keras", "numpy", "mlflow")
        ],
    )
    # Use the URI of the model: the URI of the run would break if the run is deleted (mlflow#19036).
    uri = f"models:/{info.model_id}"
    files = _record_files(run_id, _check_files(uri, "the uploaded model", saved_model, classifier))
    # With its tags, so that other processes see what it was trained in as soon as it exists.
    with contextlib.redirect_stderr(io.StringIO()):  # that the model, which `ledger_run` creates, already exists
        version = mlflow.register_model(uri, name, tags={**tags, **files})
    first = _versions_of(name, tags[ORIGIN_TAG])[0]
    if first.version != version.version:
        client.delete_model_version(name, version.version)
        client.delete_logged_model(info.model_id)
    return first


def _log_model_metrics(run_id: str, model_id: str, metrics: Mapping[str, float]) -> None:
    """Log metrics to a model, with the dataset that they were measured on."""
    data, now = dataset_info(), current_milliseconds()
    connection().client.log_batch(
        run_id,
        [
            Metric(key, value, now, 0, model_id, data.origin, data.digest[:MAX_DIGEST], run_id)
            for key, value in metrics.items()
        ],
    )


def _check_classifier(classifier: Path) -> None:
    """Check that Keras can load the trained network, and without running code from the file, as a Lambda layer does."""
    load_tensorflow()
    import keras

    from emotion.networks import build  # noqa: F401  registers its layers

    try:
        keras.saving.load_model(classifier, compile=False)
    except Exception as error:  # Keras raises many kinds
        reason = str(error).strip().splitlines()[0][:200].rstrip(".")
        raise UserError(f"{classifier} cannot be loaded: {reason}. Run `dvc repro --force train`.") from error


def _check_files(uri: str, title: str, saved_model: Path, classifier: Path) -> dict[str, str]:
    """Compare the files at a URI with the SavedModel and the network; return their digests, by path."""
    with tempfile.TemporaryDirectory() as folder:
        downloaded = download_model(uri, Path(folder))
        found = saved_model_of(downloaded)
        if not found.exists():
            raise UserError(
                f"the files of {title} are no longer in MLflow's artifact store. Put them back where they were, or"
                " delete the version in MLflow and run `emotion restore`, which registers it again."
            )
        network = classifier_of(downloaded)
        is_same_network = network.exists() and file_digest(network) == file_digest(classifier)
        if folder_digest(found) != folder_digest(saved_model) or not is_same_network:
            raise UserError(
                f"{title} differs from the SavedModel in {saved_model}, or from its network. Run `dvc repro --force"
                " train`, then `dvc repro`."
            )
        if not has_only_saved_model(downloaded):
            raise UserError(
                f"{title} has other files or code in MLflow's artifact store. Delete the version in MLflow."
            )
        return downloaded_digests(downloaded)


def _record_files(run_id: str, digests: Mapping[str, str]) -> dict[str, str]:
    """Log the digests of a version's files in its run; return the tag that they are checked against."""
    connection().client.log_text(run_id, json.dumps(digests, indent=2, sort_keys=True), FILES)
    return {FILES_TAG: files_digest(digests)}


def version_tags(run_id: str, scores: Mapping[str, Any], saved_model: Path) -> dict[str, str]:
    """The tags of a version: commit, data, headline scores, files, and who registered it."""
    known = {**connection().client.get_run(run_id).data.tags, **read_record("train").tags}  # which nobody can edit
    dataset = open_dataset()
    source = dataset.metadata["source"]
    return {
        **{key.removeprefix("mlflow.source."): known[key] for key in RUN_TAGS if known.get(key)},
        "data": scores["data"],
        "data.source": source["source"],
        "data.label_map": json.dumps(source["labels"], ensure_ascii=False)[:MAX_TAG],
        "emotions": ", ".join(dataset.emotions),
        "images": describe_images(dataset.input_shape),
        SAVED_MODEL_TAG: folder_digest(saved_model),
        UNSURE_BELOW_TAG: str(scores["test_answered"]["unsure_below"]),
        LOCK_TAG: provenance.lock_hash(),
        "registered_by": current_user(),
        **{
            f"{subset_name(subset, scores.get('annotation', ''))}.{key}": f"{scores[subset][key]:.4f}"
            for subset, keys in SCORE_TAGS.items() if subset in scores for key in keys
        },
    }  # fmt: skip
