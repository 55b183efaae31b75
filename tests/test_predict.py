"""Pictures in, faces with emotions out: detection, the Python API, `emotion predict`."""

import io
import json
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest
import requests
import skimage.data
import tensorflow as tf
from conftest import Project, free_port, image_bytes, serving
from PIL import Image
from typer.testing import CliRunner, Result

from emotion.cli import main as cli
from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import Picture, decode_face, decode_picture
from emotion.inference.load import load_saved_model
from emotion.registry import versions as registry
from emotion.runtime.errors import UserError
from emotion.serving import model_source as served
from emotion.serving.detection import Box, Detector
from emotion.serving.predictor import Predictor


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.fixture(scope="module")
def predictor(finished_project: Project) -> Predictor:
    return Predictor(load_saved_model(finished_project.folder / "models/saved_model"))


@pytest.fixture(scope="module")
def two(astronaut: Picture) -> Picture:
    """Side by side with its mirror image."""
    return np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)


class Asked:
    """Answers every face with "happy", and remembers how many it was asked about."""

    def __init__(self, confidence: float = 0.7) -> None:
        self.asked: list[int] = []
        rest = (1 - confidence) / 6
        self.answer = [confidence if emotion == "happy" else rest for emotion in EMOTIONS]

    def serve(self, pixels: Any) -> Any:
        self.asked.append(len(pixels))
        return np.tile(np.array(self.answer, np.float32), (len(pixels), 1))


@pytest.mark.parametrize("side", range(64, 1100, 74))
def test_a_face_is_found_whatever_the_size_of_the_picture(detector: Detector, astronaut: Picture, side: int) -> None:
    picture = np.asarray(Image.fromarray(astronaut).resize((side, side)))
    (face,) = detector.find(picture)
    middle = (face.box.left + face.box.side / 2, face.box.top + face.box.side / 2)
    np.testing.assert_allclose(np.array(middle) / side, (0.44, 0.23), atol=0.03)
    assert 0.17 < face.box.side / side < 0.26


def test_faces_come_from_left_to_right(detector: Detector, two: Picture) -> None:
    left, right = detector.find(two)
    assert left.box.left < 512 < right.box.left


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea", "text", "brick"])
def test_no_face_is_found_where_there_is_none(detector: Detector, name: str) -> None:
    """A cat is none."""
    pixels = getattr(skimage.data, name)()
    assert detector.find(np.asarray(Image.fromarray(pixels).convert("RGB"))) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 2000, 3), (3000, 8, 3), (12, 12, 3)])
def test_pictures_of_odd_shapes_have_no_face(detector: Detector, shape: tuple[int, int, int]) -> None:
    assert detector.find(np.zeros(shape, np.uint8)) == []


def test_beyond_the_border_a_box_repeats_it() -> None:
    picture = np.zeros((48, 48, 3), np.uint8)
    picture[:, 0] = 255
    pixels = Box(-48, 0, 96).cut(picture)
    assert pixels[:, :20].min() == 255
    assert pixels[:, 30:].max() == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_cut_face_is_what_training_saw_of_the_same_file(mode: str) -> None:
    """No other way of scaling in use than in `preprocess`."""
    content = image_bytes(Image.fromarray(skimage.data.astronaut()).crop((150, 50, 300, 200)).convert(mode))
    picture = decode_picture(content)
    np.testing.assert_allclose(Box.of_all(picture).cut(picture).astype(int), decode_face(content), atol=1)


def test_each_picture_has_its_faces_and_all_are_asked_about_at_once(astronaut: Picture, two: Picture) -> None:
    model = Asked()
    answers = Predictor(model).predict([two, skimage.data.coffee(), astronaut])
    assert [len(faces) for faces in answers] == [2, 0, 1]
    assert model.asked == [3]
    assert sum(answers[0][0].scores.values()) == pytest.approx(1)


def test_below_the_threshold_the_answer_is_unsure(astronaut: Picture) -> None:
    ((sure,),) = Predictor(Asked(0.7), unsure_below=0.69).predict([astronaut], crop=True)
    ((unsure,),) = Predictor(Asked(0.7), unsure_below=0.71).predict([astronaut], crop=True)
    assert (sure.answer, sure.emotion) == ("happy", "happy")
    assert (unsure.answer, unsure.emotion) == ("unsure", "happy")


def test_threads_share_a_predictor(predictor: Predictor, astronaut: Picture, two: Picture) -> None:
    pictures = [two, astronaut, skimage.data.coffee(), two[:, ::-1]]
    alone = [predictor.predict([picture]) for picture in pictures]
    together: dict[int, Any] = {}

    def ask(number: int) -> None:
        together[number] = predictor.predict([pictures[number % 4]])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == len(threads)
    for number, answer in together.items():
        for mine, theirs in zip(answer[0], alone[number % 4][0], strict=True):
            assert mine.box == theirs.box
            assert list(mine.scores.values()) == pytest.approx(list(theirs.scores.values()), abs=1e-5)


def test_faces_of_another_shape_are_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"faces should be \(n, 48, 48\) uint8, got \(1, 64, 64\) uint8"):
        predictor.classify(np.zeros((1, 64, 64), np.uint8))
    assert predictor.classify(np.zeros((0, 48, 48), np.uint8)).shape == (0, 7)


def emotion(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli.app, ["predict", *arguments], input=stdin)


@pytest.fixture
def album(tmp_path: Path, astronaut: Picture, two: Picture) -> Path:
    """A folder with four files: a face, two faces below a folder, no face, and a text."""
    (tmp_path / "more").mkdir()
    Image.fromarray(astronaut).save(tmp_path / "astronaut.jpg")
    Image.fromarray(two).save(tmp_path / "more/two.png")
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "coffee.webp")
    (tmp_path / "text.jpg").write_text("not a picture")
    return tmp_path


def test_a_folder_is_answered_by_the_champion_and_a_bad_file_is_told(in_champion_project: Project, album: Path) -> None:
    done = emotion(str(album), "--json")
    assert done.exit_code == 1
    assert f"emotion: {album}/text.jpg: no image of a known format" in done.stderr
    answers = {Path(answer["picture"]).name: answer for answer in json.loads(done.stdout)}
    assert {name: len(answer.get("faces", ())) for name, answer in answers.items()} == {
        "astronaut.jpg": 1, "two.png": 2, "coffee.webp": 0, "text.jpg": 0,
    }  # fmt: skip
    (face,) = answers["astronaut.jpg"]["faces"]
    assert set(face["scores"]) == set(EMOTIONS)
    assert face["confidence"] == max(face["scores"].values())


def test_csv_has_a_row_per_face_and_patterns_work(in_champion_project: Project, album: Path) -> None:
    done = emotion(f"{album}/**/*.png", f"{album}/coffee.webp", "--csv")
    assert done.exit_code == 0
    table = pd.read_csv(io.StringIO(done.stdout))
    assert table["face"].tolist()[:2] == [1, 2]
    assert table["error"].tolist()[2] == "no face"
    assert table.loc[0, list(EMOTIONS)].sum() == pytest.approx(1, abs=0.001)


def test_a_picture_comes_by_standard_input(in_champion_project: Project, astronaut: Picture) -> None:
    done = emotion("-", "--unsure-below", "1", stdin=image_bytes(Image.fromarray(astronaut), "JPEG"))
    assert done.exit_code == 0
    assert "standard input" in done.stdout
    assert "unsure" in done.stdout


def test_annotated_pictures_keep_their_size_and_bear_boxes(
    in_champion_project: Project, album: Path, tmp_path: Path, two: Picture
) -> None:
    emotion(f"{album}/more/two.png", "--annotate", str(tmp_path / "out"))
    (drawn,) = (tmp_path / "out").rglob("*.png")
    pixels = np.asarray(Image.open(drawn))
    assert pixels.shape == two.shape
    changed = np.argwhere((pixels != two).any(axis=2))
    assert changed[:, 1].min() < 200
    assert changed[:, 1].max() > 800


def test_a_cut_out_face_needs_no_detector(in_champion_project: Project, tmp_path: Path) -> None:
    paths = []
    for row, pixels in enumerate(np.load(in_champion_project.folder / "data/faces/images.npy")[:5]):
        paths.append(str(tmp_path / f"{row}.png"))
        Image.fromarray(pixels).save(paths[-1])
    answers = json.loads(emotion(*paths, "--crop", "--json").stdout)
    assert [len(answer["faces"]) for answer in answers] == [1] * 5
    assert answers[0]["faces"][0]["box"] == {"left": 0, "top": 0, "side": 48}


@pytest.fixture
def clip(tmp_path: Path, astronaut: Picture) -> Path:
    """Two seconds: the astronaut, then nobody."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as video:
        stream = video.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 512
        stream.pix_fmt = "yuv420p"
        for number in range(20):
            pixels = astronaut if number < 10 else np.zeros_like(astronaut)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        video.mux(stream.encode(None))
    return path


def test_a_video_is_answered_frame_by_frame(in_champion_project: Project, clip: Path) -> None:
    answers = json.loads(emotion(str(clip), "--every", "0.5", "--json").stdout)
    times = [answer["picture"].removeprefix(f"{clip} at ") for answer in answers]
    assert times == ["0.000 s", "0.500 s", "1.000 s", "1.500 s"]
    assert [len(answer["faces"]) for answer in answers] == [1, 1, 0, 0]


def test_a_damaged_video_is_told(in_champion_project: Project, clip: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:300])
    done = emotion(str(clip))
    assert done.exit_code == 1
    assert f"emotion: {clip}: InvalidDataError" in done.stderr


def test_what_is_not_there_is_told_and_the_rest_is_answered(in_champion_project: Project, album: Path) -> None:
    names = [str(album / "astronaut.jpg"), str(album / "missing.jpg"), "a" * 300, str(album / "nothing*")]
    (album / "empty").mkdir()
    done = emotion(*names, str(album / "empty"), "--json")
    assert done.exit_code == 1
    told = {answer["picture"]: answer.get("error", "") for answer in json.loads(done.stdout)}
    assert list(told.values()) == [
        "", "No such file or directory", "File name too long", "No such file or directory", "no picture or video in it",
    ]  # fmt: skip


def test_annotated_pictures_of_the_same_name_do_not_overwrite_each_other(
    in_champion_project: Project, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album / "more")
    (album / "more/astronaut.jpg").write_bytes((album / "astronaut.jpg").read_bytes())
    model = str(in_champion_project.folder / "models/saved_model")
    emotion("../astronaut.jpg", "astronaut.jpg", "--model", model, "--annotate", str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"astronaut.jpg.png", "astronaut.jpg-2.png"}


def test_annotated_pictures_that_cannot_be_written_leave_the_answers(in_champion_project: Project, album: Path) -> None:
    (album / "file").write_text("no folder")
    done = emotion(str(album / "astronaut.jpg"), "--annotate", str(album / "file"), "--json")
    assert done.exit_code == 1
    (answer,) = json.loads(done.stdout)
    assert len(answer["faces"]) == 1
    assert answer["error"].startswith("its annotated picture was not written: ")


def test_pictures_of_another_shape_are_refused(predictor: Predictor) -> None:
    for picture in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32)):
        with pytest.raises(ValueError, match=r"pictures should be \(height, width, 3\) uint8"):
            predictor.predict([picture], crop=True)  # type: ignore[list-item]


def failure(*arguments: str) -> str:
    done = emotion(*arguments)
    assert isinstance(done.exception, UserError)
    return str(done.exception)


def test_what_cannot_be_asked_is_one_message(in_champion_project: Project, album: Path, tmp_path: Path) -> None:
    assert failure(f"{tmp_path}/nothing*.jpg") == f"no picture or video at {tmp_path}/nothing*.jpg."
    picture = str(album / "astronaut.jpg")
    assert "has no version 7" in failure(picture, "--model", "models:/facial-emotion/7")
    assert "has no challenger" in failure(picture, "--model", "models:/facial-emotion@challenger")
    assert failure(picture, "--model", "nowhere").startswith("no model at nowhere")
    assert "no SavedModel in" in failure(picture, "--model", str(album))
    (tmp_path / "broken.tflite").write_text("no model")
    assert "is no LiteRT file" in failure(picture, "--model", str(tmp_path / "broken.tflite"))


def test_without_a_champion_it_says_how_to_have_one(mlflow_store: Path, album: Path) -> None:
    registry.history_run("facial-emotion", make=True)
    (mlflow_store / "params.yaml").write_text((Path(__file__).parents[1] / "params.yaml").read_text())
    with pytest.raises(UserError, match=r"facial-emotion has no champion\. `emotion promote VERSION`"):
        Predictor.from_champion()


def test_a_version_with_changed_files_is_not_loaded(
    in_champion_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = registry.download

    def tampered(name: str, number: str, folder: Path) -> Path:
        downloaded = download(name, number, folder)
        with (registry.saved_model_of(downloaded) / "saved_model.pb").open("ab") as file:
            file.write(b" ")
        return downloaded

    monkeypatch.setattr(registry, "download", tampered)
    with pytest.raises(UserError, match="the files of facial-emotion version 1 are not those that were registered"):
        Predictor.from_champion()


def test_a_model_that_does_more_than_compute_is_not_loaded(tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec((None, 48, 48, 1), tf.float32)])
    def serve(pixels: Any) -> Any:
        tf.io.write_file(str(tmp_path / "written"), "x")
        return pixels[:, 0, :7, 0]

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "model"))
    with pytest.raises(UserError, match="its graph holds WriteFile, which may do more than compute"):
        Predictor.from_address(str(tmp_path / "model"))
    command = ["space", str(tmp_path / "space"), "--model", str(tmp_path / "model")]
    assert "its graph holds WriteFile" in str(CliRunner().invoke(cli.app, command).exception)
    assert not (tmp_path / "space").exists()
    assert not (tmp_path / "written").exists()


def test_the_champion_brings_its_figures_its_threshold_and_its_card(in_champion_project: Project) -> None:
    metrics = json.loads((in_champion_project.folder / "reports/metrics.json").read_text())
    with served.brought(None) as it:
        assert it.title == "facial-emotion version 1"
        assert it.unsure_below == metrics["test_answered"]["unsure_below"]
        assert float(it.facts["test.accuracy"]) == pytest.approx(metrics["test"]["accuracy"], abs=1e-4)
        assert it.card.startswith("# facial-emotion version 1")
        assert it.classifier is not None
        assert it.classifier.exists()


def test_mlflow_serves_the_champion_to_the_readmes_curl(champion_project: Project, tmp_path: Path) -> None:
    """With the request that every version brings along."""
    port, model = free_port(), "models:/facial-emotion@champion"
    project = Project(champion_project.folder)
    project.environment |= {"MLFLOW_TRACKING_URI": project.store}
    project.run("mlflow", "artifacts", "download", "-u", f"{model}/serving_input_example.json", "-d", str(tmp_path))
    command = ["mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--port", str(port)]
    with serving(command, project, port, says_something=False):
        answered = requests.post(
            f"http://127.0.0.1:{port}/invocations", (tmp_path / "serving_input_example.json").read_bytes(),
            headers={"Content-Type": "application/json"}, timeout=30,
        )  # fmt: skip
    (answer,) = answered.json()["predictions"]
    assert len(answer) == 7
    assert sum(answer) == pytest.approx(1, abs=1e-4)
