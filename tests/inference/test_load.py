"""Loading damaged models, and models with unusual names."""

import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion.inference.litert import LiteRT
from emotion.inference.load import load_saved_model
from emotion.networks.inference import export
from emotion.runtime.errors import UserError


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of one layer."""
    folder = tmp_path_factory.mktemp("model") / "saved_model"
    pixels = keras.Input((48, 48, 1), name="pixels")
    export(keras.Model(pixels, keras.layers.Dense(7)(keras.layers.Flatten()(pixels))), folder)
    return folder


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index", "fingerprint.pb"])
def test_a_damaged_saved_model_is_reported_with_what_to_do(saved_model: Path, tmp_path: Path, name: str) -> None:
    damaged = shutil.copytree(saved_model, tmp_path / "damaged")
    (damaged / name).write_text("of another format")
    with pytest.raises(UserError, match=r"damaged is damaged: .*`dvc checkout`"):
        load_saved_model(damaged)


def test_a_litert_file_with_a_name_that_is_not_utf8_is_loaded(saved_model: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.tflite")
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(saved_model)).convert())
    assert LiteRT(path).serve(np.zeros((2, 48, 48, 1), np.float32)).shape == (2, 7)
