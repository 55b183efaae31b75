"""A trained network is exported, registered and loaded by MLflow.

The other networks of the earlier study are built in networks/test_transfer.py and exported in
networks/test_inference.py.
"""

from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
from mlflow.models import Model

from emotion.inference.load import load_saved_model
from emotion.inference.op_allowlist import disallowed_ops
from emotion.networks.inference import export
from emotion.params.sections import Params
from emotion.registry import registration
from emotion.registry.signature import has_expected_signature, saved_model_of
from emotion.registry.versions import download_version
from emotion.runtime.errors import UserError
from emotion.runtime.files import folder_size
from emotion.tracking.client import connection
from emotion.tracking.runs import start_run
from emotion.training.trainer import fit
from support.networks import to_export
from support.training import TRAIN, VALIDATION


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras
@pytest.mark.parametrize("network", ["residual", "basic_cnn", "mobilenet_v2"])
def test_a_network_is_trained_exported_registered_and_loaded(
    network: str, mlflow_store: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"network": network, "width": 2, "precision": "float32", "optimizer": "sgd", "learning_rate": 0.01}
    short = {"epochs": 1, "batch_size": 16}
    transfer = {"weights": "none", "image_size": 32}
    with start_run("train", {}, {}) as run:
        fitted = fit(params.train.override({**changes, **short, "transfer": transfer}), TRAIN, VALIDATION)
        fitted.network.save(mlflow_store / "classifier.keras")
        export(to_export(fitted.network, "flip"), mlflow_store / "saved_model", TRAIN.emotions)
        version = registration.register(
            "faces", run.id, mlflow_store / "classifier.keras", mlflow_store / "saved_model", {}
        )
    assert "already exists" not in capsys.readouterr().err
    images = VALIDATION.images[:3, ..., None].astype(np.float32)
    answers = mlflow.pyfunc.load_model(f"models:/faces/{version.version}").predict(images)
    views = np.stack([fitted.network(side).numpy() for side in (images, images[:, :, ::-1])])
    np.testing.assert_allclose(answers, views.mean(axis=0), atol=2e-5)
    folder = download_version("faces", str(version.version), mlflow_store / "downloaded")
    assert not disallowed_ops(saved_model_of(folder))
    assert has_expected_signature(folder, load_saved_model(saved_model_of(folder)))
    assert Model.load(str(folder)).model_size_bytes == folder_size(saved_model_of(folder))


def test_a_classifier_whose_layers_contain_code_is_not_registered(mlflow_store: Path) -> None:
    classifier = mlflow_store / "classifier.keras"
    keras.Sequential([keras.Input((48, 48, 1)), keras.layers.Lambda(lambda pixels: pixels + 1)]).save(classifier)
    with (
        start_run("train", {}, {}) as run,
        pytest.raises(UserError, match=r"classifier\.keras cannot be loaded: .*Lambd"),
    ):
        registration.register("faces", run.id, classifier, mlflow_store, {})
    assert not connection().client.search_model_versions()


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_damaged_classifier_is_not_registered(mlflow_store: Path, damage: str) -> None:
    classifier = mlflow_store / "classifier.keras"
    keras.Sequential([keras.Input((48, 48, 1)), keras.layers.Flatten()]).save(classifier)
    whole = classifier.read_bytes()
    classifier.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"not a network"}[damage])
    with start_run("train", {}, {}) as run, pytest.raises(UserError, match=r"cannot be loaded: .+\. Run `dvc repro"):
        registration.register("faces", run.id, classifier, mlflow_store, {})
