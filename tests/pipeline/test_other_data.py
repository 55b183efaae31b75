"""The whole pipeline on other data than FER-2013's: other emotions, sizes, colors, votes, and photographs."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageEnhance, ImageOps

from emotion.data.dataset import open_dataset
from emotion.data.labels import read_labels
from emotion.data.preparation.detection import Detector, load_detected_face
from emotion.data.sources.drawing import draw_face
from support import layouts
from support.archives import image_bytes
from support.project import MODEL, Project, make_project

EIGHT = ("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
WORDS = {"happy": "fröhlich (!)", "angry": "anger", "sad": "Sadness", "surprise": "surprised", "fear": "fear"}


@pytest.fixture
def project(tmp_path: Path, warm_programs: None) -> Project:
    return make_project(tmp_path / "project")


def drawn(emotion: str, seed: int, size: int) -> bytes:
    """A drawn face in color; contempt is a turned neutral face."""
    face = draw_face("neutral" if emotion == "contempt" else emotion, np.random.default_rng(seed))
    tinted = ImageOps.colorize(face, "navy", "bisque").resize((size, size))
    return image_bytes(tinted.rotate(90) if emotion == "contempt" else tinted)


def test_eight_emotions_in_color_with_votes_go_through_to_the_champion_and_its_files(
    project: Project, tmp_path: Path
) -> None:
    table: list[list[object]] = [["name", *EIGHT, "split", "age"]]
    for number in range(8 * 12):
        emotion = EIGHT[number % 8]
        layouts.write(tmp_path / "faces", f"images/{number}.png", drawn(emotion, number, 80))
        votes = [6 if it == emotion else int(number % 5 == 0) for it in EIGHT]
        split = ("train", "train", "val", "test")[number // 8 % 4]
        table.append([f"images/{number}.png", *votes, split, ("young", "old")[number % 2]])
    layouts.write_csv(tmp_path / "faces/labels.csv", table)
    project.set_params(
        fetch__source="path", fetch__path=str(tmp_path / "faces"), preprocess__image_size=64, preprocess__colors="rgb",
        tune__max_trials=1, train__network="vgg", train__targets="drawn",
        train__width=4, register__gate__min_accuracy=0, register__gate__max_calibration_error=1,
    )  # fmt: skip
    project.run("dvc", "repro")
    scores = project.read_json("reports/evaluation/scores.json")
    assert list(scores["test_per_class"]) == list(EIGHT)
    assert scores["test"]["distribution_loss"] > 0
    assert set(scores["test_groups"]["age"]) == {"young", "old"}
    assert read_labels(project.folder / "models/saved_model") == EIGHT
    version = project.client.get_model_version(MODEL, "1")
    assert version.tags["emotions"] == ", ".join(EIGHT)
    assert version.tags["images"] == "color images of 64x64 pixels"
    card = (project.folder / "models/model_card/model_card.md").read_text()
    assert f"A classifier of 8 emotions ({', '.join(EIGHT)}) in color images of 64x64 pixels." in card
    assert "promoted" in project.run("emotion", "promote", "1").stdout.lower()
    photo = tmp_path / "face.png"
    photo.write_bytes(drawn("contempt", 999, 200))
    answer = project.run("emotion", "predict", "--no-detect", "--json", str(photo)).stdout
    (face,) = json.loads(answer)[0]["faces"]
    assert list(face["scores"]) == list(EIGHT)
    for kind in ("litert", "onnx"):
        project.run("emotion", "export", f"model.{kind}", "--format", kind)
    again = project.run("emotion", "predict", "--no-detect", "--json", "--model", "model.litert", str(photo)).stdout
    (exported,) = json.loads(again)[0]["faces"]
    assert exported["scores"] == pytest.approx(face["scores"], abs=2e-3)
    shown = project.run("emotion", "predict", "--no-detect", str(photo)).stdout
    assert f"8 emotions ({', '.join(EIGHT)}) in color images of 64x64 pixels" in shown


def test_five_emotions_in_own_words_without_splits_go_through(project: Project, tmp_path: Path) -> None:
    for emotion, word in WORDS.items():
        for number in range(16):
            layouts.write(tmp_path / "faces", f"{word}/photo {number}.jpg", drawn(emotion, number, 48))
    project.set_params(
        fetch__source="path", fetch__path=str(tmp_path / "faces"), fetch__labels={"Fröhlich (!)": "happy"},
        tune__max_trials=0, train__epochs=2,
    )  # fmt: skip
    project.run("dvc", "repro")
    scores = project.read_json("reports/evaluation/scores.json")
    assert list(scores["test_per_class"]) == sorted(WORDS)
    assert project.run_of("train").data.metrics.keys() >= {f"test_recall/{emotion}" for emotion in WORDS}
    assert project.run_of("fetch").data.params["fetch.labels"] == '{"Fröhlich (!)": "happy"}'
    source = project.read_json("data/raw/source.json")
    assert source["labels"] == {word: emotion for emotion, word in WORDS.items()}


def test_photographs_are_cut_out_and_those_without_one_face_are_counted(project: Project, tmp_path: Path) -> None:
    astronaut = Image.fromarray(skimage.data.astronaut())
    two = Image.new("RGB", (1024, 512))
    two.paste(astronaut, (0, 0))
    two.paste(astronaut, (512, 0))
    for number in range(14):
        changed = ImageEnhance.Brightness(astronaut).enhance(0.7 + 0.04 * number)
        layouts.write(tmp_path / "photos", f"{('happy', 'sad')[number % 2]}/{number}.jpg", image_bytes(changed, "JPEG"))
    layouts.write(tmp_path / "photos", "happy/coffee.jpg", image_bytes(Image.fromarray(skimage.data.coffee()), "JPEG"))
    layouts.write(tmp_path / "photos", "sad/two.jpg", image_bytes(two, "JPEG"))
    project.set_params(
        fetch__source="path", fetch__path=str(tmp_path / "photos"), preprocess__detect_faces=True,
        preprocess__image_size=96, preprocess__colors="rgb", preprocess__max_bad_fraction=0.2,
        tune__max_trials=0, train__epochs=1, train__width=2,
    )  # fmt: skip
    done = project.run("dvc", "repro")
    assert "Of 16 photographs, 1 show no face that was found, and 1 show several." in done.stdout
    faces = open_dataset(project.folder / "data/faces")
    assert faces.images.shape == (14, 96, 96, 3)
    # The face fills the crop, as that of the untouched photograph does.
    expected = load_detected_face(image_bytes(astronaut), (96, 96, 3), Detector()).astype(float)
    for image in faces.images.astype(float):
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.7  # 0.02 for the whole photograph
    assert project.client.get_model_version(MODEL, "1").tags["images"] == "color images of 96x96 pixels"
