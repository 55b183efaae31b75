"""Loading damaged models, and models with unusual names."""

import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from emotion.data.labels import EMOTIONS
from emotion.inference.litert import LiteRT
from emotion.inference.load import assess, load_saved_model, predict
from emotion.networks.inference import export
from emotion.runtime import progress
from emotion.runtime.errors import UserError


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of one layer."""
    folder = tmp_path_factory.mktemp("model") / "saved_model"
    pixels = keras.Input((48, 48, 1), name="pixels")
    flat = keras.layers.Flatten()(pixels)
    probabilities, novelty, fast = (keras.layers.Dense(size)(flat) for size in (7, 1, 7))
    outputs = {"probabilities": probabilities, "novelty": novelty, "fast": fast}
    export(keras.Model(pixels, outputs), folder, EMOTIONS)
    return folder


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index", "fingerprint.pb"])
def test_a_damaged_saved_model_is_reported_with_what_to_do(saved_model: Path, tmp_path: Path, name: str) -> None:
    damaged = shutil.copytree(saved_model, tmp_path / "damaged")
    (damaged / name).write_text("of another format")
    with pytest.raises(UserError, match=r"damaged is damaged: .*`dvc checkout`"):
        load_saved_model(damaged)


def test_a_litert_file_with_a_name_that_is_not_utf8_is_loaded(saved_model: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.tflite")
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=["assess"]).convert())
    assert LiteRT(path).serve(np.zeros((2, 48, 48, 1), np.float32)).shape == (2, 7)
    assert set(LiteRT(path).assess(np.zeros((2, 48, 48, 1), np.float32))) == {"probabilities", "novelty"}


def test_a_litert_file_without_novelty_predicts_but_does_not_assess(saved_model: Path, tmp_path: Path) -> None:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=["serving_default"])
    (tmp_path / "model.tflite").write_bytes(converter.convert())
    model = LiteRT(tmp_path / "model.tflite")
    assert model.serve(np.zeros((2, 48, 48, 1), np.float32)).shape == (2, 7)
    assert not hasattr(model, "assess")


def test_long_predictions_show_their_progress_in_plain_lines(
    saved_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, images = load_saved_model(saved_model), np.zeros((5, 48, 48), np.uint8)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1)
    lines = [f"Test images, in batches: {done}" for done in ("0 of 3", "1 of 3", "2 of 3", "3 done")]
    assert len(predict(model, images, 2, "Test images")) == 5
    assert capsys.readouterr().out.splitlines() == lines
    assert len(assess(model, images, 2, "Test images")[0]) == 5
    assert capsys.readouterr().out.splitlines() == lines
    assert len(predict(model, images, 2)) == 5
    assert not capsys.readouterr().out
