"""Every network of the earlier study: trained, exported, registered, and asked by MLflow."""

from pathlib import Path

import mlflow
import numpy as np
import pytest
from test_training import TRAIN, VALIDATION

from emotion.inference import op_allowlist as saved_model
from emotion.networks.build import NETWORKS
from emotion.networks.inference import export, serving_network
from emotion.params import Params
from emotion.registry import registration
from emotion.registry import versions as registry
from emotion.tracking import runs as tracking
from emotion.training.trainer import fit


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_trains_exports_registers_and_predicts(network: str, mlflow_store: Path, settings: Params) -> None:
    changes = {"network": network, "width": 2, "precision": "float32", "optimizer": "sgd", "learning_rate": 0.01}
    short = {"epochs": 1, "batch_size": 16}
    transfer = {"weights": "none", "image_size": 32}
    with tracking.run("train", {}, {}) as run_id:
        fitted = fit(settings.train.override({**changes, **short, "transfer": transfer}), TRAIN, VALIDATION)
        fitted.network.save(mlflow_store / "classifier.keras")
        export(serving_network(fitted.network, "flip"), mlflow_store / "saved_model")
        version = registration.register(
            "faces", run_id, mlflow_store / "classifier.keras", mlflow_store / "saved_model", {}, ""
        )
    images = VALIDATION.images[:3, ..., None].astype(np.float32)
    answers = mlflow.pyfunc.load_model(f"models:/faces/{version.version}").predict(images)
    views = np.stack([fitted.network(side).numpy() for side in (images, images[:, :, ::-1])])
    np.testing.assert_allclose(answers, views.mean(axis=0), atol=2e-5)
    folder = registry.download("faces", str(version.version), mlflow_store / "downloaded")
    assert not saved_model.forbidden_operations(registry.saved_model_of(folder))
    assert registry.has_the_signature(folder)
