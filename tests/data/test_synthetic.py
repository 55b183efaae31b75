"""The synthetic dataset."""

import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emotion.data.labels import EMOTIONS, USAGES
from emotion.data.layouts.describe import describe
from emotion.data.layouts.source import open_source
from emotion.data.layouts.words import LabelMap
from emotion.data.sources.drawing import ACTION_UNITS, action_units, draw_face
from emotion.data.sources.synthetic import fetch_synthetic


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / "faces.zip"
    fetch_synthetic(700, 0, path)
    return path


def test_the_same_seed_gives_identical_bytes(drawn: Path, tmp_path: Path) -> None:
    fetch_synthetic(700, 0, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == drawn.read_bytes()


def test_different_seeds_give_different_faces(drawn: Path, tmp_path: Path) -> None:
    fetch_synthetic(70, 1, tmp_path / "other.zip")
    with zipfile.ZipFile(drawn) as first, zipfile.ZipFile(tmp_path / "other.zip") as second:
        for name in second.namelist():
            assert first.read(name) != second.read(name)


def test_the_synthetic_archive_has_kaggles_layout(drawn: Path) -> None:
    with open_source(drawn, LabelMap(), "drawn") as source:
        found = describe(source)
    assert found["images"] == pytest.approx(700, rel=0.02)
    assert (found["other_files"], found["left_out"]) == (0, {})
    assert found["attributes"] == ["skin", "hair", "glasses", "pose", "light"]


def test_every_usage_has_the_class_distribution_of_fer2013(drawn: Path) -> None:
    with open_source(drawn, LabelMap(), "drawn") as source:
        faces = source.recognized.faces
    counts = Counter(zip(faces["usage"], faces["emotion"], strict=True))
    assert set(counts) == {(usage, emotion) for usage in USAGES for emotion in EMOTIONS}
    training = sum(count for (usage, _), count in counts.items() if usage == "Training")
    assert counts["Training", "happy"] / training == pytest.approx(7215 / 28709, abs=0.01)
    assert counts["Training", "disgust"] / training == pytest.approx(436 / 28709, abs=0.01)


def test_every_image_is_a_48x48_gray_jpeg(drawn: Path) -> None:
    with zipfile.ZipFile(drawn) as archive:
        for name in archive.namelist()[::50]:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                assert (image.format, image.size, image.mode) == ("JPEG", (48, 48), "L")


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_an_emotion_activates_only_its_own_action_units(emotion: str) -> None:
    rng = np.random.default_rng(0)
    mean = dict.fromkeys(action_units(emotion, rng), 0.0)
    for _ in range(200):
        for unit, intensity in action_units(emotion, rng).items():
            mean[unit] += intensity / 200
    assert {unit for unit, intensity in mean.items() if intensity > 0.3} == set(ACTION_UNITS[emotion])


@pytest.mark.parametrize("emotion", [emotion for emotion in EMOTIONS if emotion != "neutral"])
def test_an_emotion_changes_the_image_of_a_neutral_face(emotion: str) -> None:
    """Identity, pose and lighting are the same; only the expression differs."""
    face, neutral = (np.asarray(draw_face(e, np.random.default_rng(3)), float) for e in (emotion, "neutral"))
    assert np.abs(face - neutral).max() > 25
