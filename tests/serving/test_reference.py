"""The reference model, which is part of the package."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import RGBImage
from emotion.data.sources.drawing import draw_face
from emotion.evaluation.report.familiarity import other_inputs
from emotion.inference.half_precision import write_half_precision
from emotion.inference.load import NOVELTY_LIMIT, assess, load_saved_model
from emotion.inference.op_allowlist import disallowed_ops
from emotion.networks.build import build
from emotion.networks.inference import export
from emotion.runtime.errors import UserError
from emotion.runtime.files import file_digest, folder_size
from emotion.serving.gradcam import GradCAM
from emotion.serving.hot_reload import load_model
from emotion.serving.model_source import CLASSIFIER, REFERENCE, REFERENCE_MODEL
from emotion.serving.predictor import Predictor
from emotion.serving.reference import write_reference
from support.networks import FACES, RANDOM, SHAPE, to_export
from support.project import ROOT, Project

BUNDLE = json.loads((REFERENCE_MODEL / "bundle.json").read_text())


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_source(REFERENCE)


def test_it_is_small_and_its_digests_are_those_of_its_files() -> None:
    assert folder_size(REFERENCE_MODEL) <= 4_000_000
    for name, digest in BUNDLE["sha256"].items():
        assert file_digest(REFERENCE_MODEL / name) == digest


def test_its_card_has_figures_with_intervals_for_all_and_for_unleaked_test_images_and_the_command() -> None:
    card = (REFERENCE_MODEL / "model_card.md").read_text()
    for subset, key in (("test", "test.accuracy"), ("test, without images seen in training", "test_unseen.accuracy")):
        row = next(line for line in card.splitlines() if line.startswith(f"| {subset} "))
        figures = re.search(r"(0\.\d+) \((0\.\d+) to (0\.\d+)\)", row)
        assert figures
        accuracy, low, high = map(float, figures.groups())
        assert accuracy == pytest.approx(float(BUNDLE["facts"][key]), abs=1e-3)
        assert low < accuracy < high
    for text in (BUNDLE["facts"]["git.commit"], BUNDLE["facts"]["data.sha256"], "make reference ARCHIVE=", "research"):
        assert text in card
    assert "reference:" in (ROOT / "Makefile").read_text()
    assert json.loads(BUNDLE["facts"]["parameters"])["train.network"] == "vgg"


def test_it_says_that_an_astronaut_is_happy(predictor: Predictor, astronaut: RGBImage) -> None:
    ((face,),) = predictor.predict([astronaut])
    assert (face.answer, face.is_familiar) == ("happy", True)


def test_drawings_and_other_inputs_are_unfamiliar_and_photographs_of_faces_are_not(predictor: Predictor) -> None:
    """The figures of many images are on its card; this bounds them on all processors."""
    generator = np.random.default_rng(5)
    drawn = np.stack([np.asarray(draw_face(emotion, generator)) for emotion in EMOTIONS for _ in range(10)])
    others = other_inputs(drawn, is_drawn=True)
    kinds = {"drawn": drawn, **{kind: others[kind][:100] for kind in ("photographs of faces", "textures", "noise")}}
    unfamiliar = {kind: (predictor.assess(images)[1] > NOVELTY_LIMIT).mean() for kind, images in kinds.items()}
    assert unfamiliar["drawn"] > 0.7
    assert unfamiliar["textures"] > 0.9
    assert unfamiliar["noise"] == 1
    assert unfamiliar["photographs of faces"] < 0.3


def test_it_has_heat_maps(astronaut: RGBImage) -> None:
    model = load_model(REFERENCE)
    assert model.gradcam is not None
    ((face,),) = model.predictor.predict([astronaut])
    heat = model.gradcam.heat_maps(face.box.crop(astronaut, SHAPE)[None], ["happy"])
    assert heat.max() == 1


def test_the_wheel_in_an_empty_environment_predicts_without_any_file_or_network(tmp_path: Path) -> None:
    environment, folder, wheels = tmp_path / "venv", tmp_path / "empty", tmp_path / "wheels"
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(wheels), str(source)]
    subprocess.run(built, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (wheel,) = wheels.glob("emotion-*.whl")
    installed = [*pip, "--python", str(environment / "bin/python"), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(installed, check=True)
    # The other packages are those of this environment, which has no `emotion` but the source's.
    (packages,) = (environment / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    folder.mkdir()
    Image.fromarray(skimage.data.astronaut()).save(folder / "photo.jpg")
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [environment / "bin/emotion", "predict", "photo.jpg", "--json"],
        cwd=folder, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **nowhere}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    ((face,),) = [result["faces"] for result in json.loads(done.stdout)]
    assert face["answer"] == "happy"
    assert (
        done.stderr.strip()
        == "There is no champion (`emotion promote VERSION` makes one): the reference model answers."
    )
    assert [path.name for path in folder.iterdir()] == ["photo.jpg"], "nothing is written"


def test_a_model_in_half_precision_predicts_nearly_the_same(tmp_path: Path) -> None:
    export(to_export(build("vgg", 8, 0.0, RANDOM, 7, SHAPE), "flip"), tmp_path / "full", EMOTIONS)
    write_half_precision(tmp_path / "full", tmp_path / "half")
    assert folder_size(tmp_path / "half") < 0.6 * folder_size(tmp_path / "full")
    assert not disallowed_ops(tmp_path / "half")
    (before, novelty_before), (after, novelty) = (
        assess(load_saved_model(tmp_path / name), FACES, 2) for name in ("full", "half")
    )
    np.testing.assert_allclose(after, before, atol=2e-3)
    np.testing.assert_allclose(novelty, novelty_before, rtol=0.05)


def test_a_version_can_be_made_the_reference_model_and_anything_else_is_refused(
    in_champion_project: Project, tmp_path: Path
) -> None:
    write_reference("models:/facial-emotion/1", tmp_path / "reference")
    model = load_model(str(tmp_path / "reference"))
    assert model.info.title == "reference model"
    assert model.info.is_of_drawings
    write_reference("models:/facial-emotion/1", tmp_path / "reference")  # again, over the first
    GradCAM(tmp_path / "reference" / CLASSIFIER, EMOTIONS, SHAPE)
    with pytest.raises(
        UserError, match=r"models/saved_model is not a registered version\. Give models:/NAME/VERSION\."
    ):
        write_reference("models/saved_model", tmp_path / "other")
    assert not (tmp_path / "other").exists()
