"""`emotion export`: files for other runtimes, held to the SavedModel's answers."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from conftest import Project
from PIL import Image
from typer.testing import CliRunner

from emotion import cli
from emotion.errors import UserError
from emotion.faces import open_faces
from emotion.serving import exporting
from emotion.serving.exporting import Kind, export
from emotion.serving.litert import LiteRT
from emotion.serving.predict import load_saved_model, predict

SAVED_MODEL = Path("models/saved_model")


@pytest.mark.parametrize(("kind", "largest"), [("litert", 1e-5), ("onnx", 1e-5), ("int8", 0.2)])
def test_an_exported_file_answers_as_the_saved_model(
    in_champion_project: Project, tmp_path: Path, kind: Kind, largest: float
) -> None:
    parity = export(SAVED_MODEL, kind, tmp_path / "model", open_faces())
    assert parity.largest_difference < largest
    assert parity.accuracy == pytest.approx(parity.accuracy_before, abs=0.02)
    assert parity.size_before_mib > 0
    assert parity.size_mib == (tmp_path / "model").stat().st_size / 2**20
    assert parity.speed["latency_ms_median"] > 0
    images = open_faces().split("test").images[:20]
    before = predict(load_saved_model(SAVED_MODEL), images, 8)
    if kind == "onnx":
        session = onnxruntime.InferenceSession(tmp_path / "model")
        assert session.get_inputs()[0].shape == ["batch", 48, 48, 1]
        after = session.run(None, {"pixels": images[..., None].astype(np.float32)})[0]
    else:
        after = predict(LiteRT(tmp_path / "model"), images, 8)
    np.testing.assert_allclose(after, before, atol=largest)


def test_the_command_shows_parity_and_predict_takes_the_file(in_champion_project: Project, tmp_path: Path) -> None:
    target = tmp_path / "small.tflite"
    done = CliRunner().invoke(cli.app, ["export", str(target), "--format", "int8"])
    assert done.exit_code == 0
    assert "facial-emotion version 1 as" in done.stdout
    for row in ("size", "largest difference", "same answers", "accuracy", "one image, ms", "images/s"):
        assert row in done.stdout
    Image.fromarray(open_faces().split("test").images[0]).save(tmp_path / "face.png")
    asked = ["predict", str(tmp_path / "face.png"), "--crop", "--json", "--model", str(target)]
    (answer,) = json.loads(CliRunner().invoke(cli.app, asked).stdout)
    assert sum(answer["faces"][0]["scores"].values()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("kind", "bound"), [("litert", "LARGEST_DIFFERENCE"), ("int8", "LARGEST_LOSS")])
def test_a_file_beyond_the_bound_is_not_written(
    in_champion_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, bound: str
) -> None:
    monkeypatch.setattr(exporting, bound, -1.0)
    with pytest.raises(UserError, match="nothing was written"):
        export(SAVED_MODEL, kind, tmp_path / "model", open_faces())
    assert list(tmp_path.iterdir()) == []
