"""A registry with versions that return fixed predictions."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS
from emotion.networks.build import build as build_network
from emotion.networks.inference import export
from emotion.params.sections import Params, Transfer
from emotion.registry import versions
from emotion.registry.promotion import promote
from emotion.registry.promotion.ledger import ledger_run
from emotion.registry.registration import register
from emotion.registry.signature import saved_model_of
from emotion.runtime.files import folder_digest
from emotion.tracking.client import connection
from emotion.tracking.runs import start_run
from support.build_once import build_once
from support.networks import SHAPE, to_export
from support.stores import connected_to
from support.versions import NAME, FromTable, numbered_images, subset_of_images, table, with_gate


@pytest.fixture(scope="session")
def registered_model(shared_folder: Path, migrated_store: Path) -> Path:
    """The downloaded files of a registered version: copy them, do not change them."""

    def build(folder: Path) -> None:
        folder.mkdir()
        shutil.copy(migrated_store, folder / "mlflow.db")
        with pytest.MonkeyPatch.context() as patch, connected_to(folder, patch):
            network = build_network("vgg", 1, 0.0, Transfer(weights="none", image_size=32), 7, SHAPE)
            network.save(folder / "classifier.keras")
            export(to_export(network, "plain"), folder / "saved_model", EMOTIONS)
            with start_run("train", {}, {}) as run:
                version = register(NAME, run.id, folder / "classifier.keras", folder / "saved_model", {})
            registered = versions.get_version(NAME, str(version.version))
            files = versions.downloaded_digests(versions.download_version(NAME, "1", folder / "downloaded"))
            assert registered.files_digest == versions.files_digest(files)
            assert {"MLmodel", "data/model/saved_model.pb"} <= set(files)
        keras.backend.clear_session()

    return build_once(shared_folder / "registered", build) / "downloaded"


@pytest.fixture
def project(mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An MLflow store, and the numbered test images."""

    class Dataset:
        def split(self, name: str) -> Split:
            return subset_of_images(0) if name == "gate" else numbered_images()

    monkeypatch.setattr(promote, "open_dataset", Dataset)
    return mlflow_store


@pytest.fixture
def lenient(params: Params) -> Params:
    """Parameters without limits on latency, which is noisy, and on calibration."""
    return with_gate(params, max_latency_ratio=1e6, max_calibration_error=1.0)


@pytest.fixture
def add(project: Path, registered_model: Path) -> Callable[..., str]:
    """Registers a version with the given wrong predictions and returns its number."""

    def add_version(wrong: np.ndarray, trick: Callable[[tf.Tensor], tf.Tensor] = tf.identity, **tags: str) -> str:
        with start_run("train", {}, {}) as run:
            pass
        folder = project / "models" / run.id
        shutil.copytree(registered_model, folder)
        model = saved_model_of(folder)
        shutil.rmtree(model)
        module = FromTable(table(wrong), trick)
        tf.saved_model.save(module, str(model), signatures=module.serve)
        ledger_run(NAME, create=True)
        version = connection().client.create_model_version(NAME, str(folder), run.id)
        digests = versions.downloaded_digests(folder)
        connection().client.log_text(run.id, json.dumps(digests), versions.FILES)
        facts = {
            versions.FILES_TAG: versions.files_digest(digests),
            versions.SAVED_MODEL_TAG: folder_digest(model),
            "git.commit": "c0ffee",
        }
        versions.tag_version(NAME, str(version.version), {**facts, **tags})
        return str(version.version)

    return add_version
