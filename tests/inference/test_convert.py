"""`emotion export`: exported files compared with the SavedModel."""

import json
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotion.cli.main import app
from emotion.data.dataset import open_dataset
from emotion.data.labels import EMOTIONS
from emotion.inference import convert as converting
from emotion.inference.convert import Format, Parity, convert
from emotion.inference.litert import LiteRT
from emotion.inference.load import load_saved_model, predict
from emotion.networks.build import build
from emotion.networks.inference import export
from emotion.params.sections import Transfer
from emotion.runtime.errors import UserError
from support.networks import SHAPE, to_export
from support.project import Project


@pytest.fixture(scope="module")
def fixed_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with random weights, so that it is the same on every processor."""
    folder = tmp_path_factory.mktemp("fixed") / "saved_model"
    keras.utils.set_random_seed(0)
    network = build("vgg", 4, 0.0, Transfer(weights="none", image_size=32), 7, SHAPE)
    export(to_export(network, "flip_and_shift"), folder, EMOTIONS)
    return folder


@pytest.mark.parametrize(("to_format", "largest"), [("litert", 1e-5), ("onnx", 1e-5), ("int8", 0.1)])
def test_an_exported_file_predicts_like_the_saved_model(
    in_champion_project: Project, fixed_model: Path, tmp_path: Path, to_format: Format, largest: float
) -> None:
    parity = convert(fixed_model, to_format, tmp_path / "model", open_dataset())
    assert parity.max_difference < largest
    assert parity.size_before_mib > 0
    assert parity.size_mib == (tmp_path / "model").stat().st_size / 2**20
    assert parity.speed["latency_ms_median"] > 0
    images = open_dataset().split("test").images[:20]
    before = predict(load_saved_model(fixed_model), images, 8)
    assert before.std() > 0
    if to_format == "onnx":
        session = onnxruntime.InferenceSession(tmp_path / "model")
        assert session.get_inputs()[0].shape == ["batch", 48, 48, 1]
        (after,) = session.run(["probabilities"], {"pixels": images[..., None].astype(np.float32)})
    else:
        after = predict(LiteRT(tmp_path / "model"), images, 8)
    np.testing.assert_allclose(after, before, atol=largest)


def test_export_shows_parity_and_predict_accepts_the_file(in_champion_project: Project, tmp_path: Path) -> None:
    target = tmp_path / "small.tflite"
    done = CliRunner().invoke(app, ["export", str(target), "--format", "litert"])
    assert done.exit_code == 0
    assert "facial-emotion version 1 as" in done.stdout
    for row in ("size", "largest difference", "same predicted emotion", "accuracy", "ms per image", "images/s"):
        assert row in done.stdout
    Image.fromarray(open_dataset().split("test").images[0]).save(tmp_path / "face.png")
    arguments = ["predict", str(tmp_path / "face.png"), "--no-detect", "--json", "--model", str(target)]
    (answer,) = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert sum(answer["faces"][0]["scores"].values()) == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize(("to_format", "converter"), [("litert", "_litert"), ("int8", "_litert"), ("onnx", "_onnx")])
def test_a_model_that_cannot_be_converted_is_reported_without_a_file(
    in_champion_project: Project,
    fixed_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    to_format: Format,
    converter: str,
) -> None:
    def fail(*arguments: object) -> bytes:
        raise ValueError("no such operation.\ndetails")

    monkeypatch.setattr(converting, converter, fail)
    expected = rf"cannot be converted to {to_format}: no such operation\. Nothing was written\."
    with pytest.raises(UserError, match=expected):
        convert(fixed_model, to_format, tmp_path / "model", open_dataset())
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(("to_format", "bound"), [("litert", "MAX_DIFFERENCE"), ("int8", "_check")])
def test_a_file_that_exceeds_a_limit_is_not_written(
    in_champion_project: Project,
    fixed_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    to_format: Format,
    bound: str,
) -> None:
    def refuse(parity: Parity, to_format: Format) -> None:
        raise UserError("nothing was written")

    monkeypatch.setattr(converting, bound, -1.0 if bound.isupper() else refuse)
    with pytest.raises(UserError, match="nothing was written"):
        convert(fixed_model, to_format, tmp_path / "model", open_dataset())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("accuracy", "p_value", "refused"),
    [(0.69, 1e-4, False), (0.67, 1e-4, True), (0.67, 0.5, False)],
)
def test_int8_is_rejected_for_a_large_and_significant_loss_of_accuracy(
    accuracy: float, p_value: float, refused: bool
) -> None:
    parity = Parity(1.0, 4.0, 0.1, 0.9, accuracy, 0.7, p_value, 0.1, 1.0, {}, {})
    if not refused:
        converting._check(parity, "int8")
        return
    with pytest.raises(UserError, match=r"int8 costs 3\.0% of validation accuracy \(p = 0\.0001\), more than 2%"):
        converting._check(parity, "int8")


def test_int8_is_rejected_if_it_changes_what_is_familiar() -> None:
    parity = Parity(1.0, 4.0, 0.1, 0.9, 0.7, 0.7, 1.0, 0.5, 0.95, {}, {})
    with pytest.raises(
        UserError, match=r"int8 changes whether an image is familiar for 5\.0% of the validation images"
    ):
        converting._check(parity, "int8")
