"""`emotion predict`: images, videos, folders and invalid arguments."""

import io
import json
import os
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from emotion.cli.main import app
from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import RGBImage
from emotion.runtime.errors import UserError
from support.archives import image_bytes
from support.project import MODEL, Project


def emotion(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["predict", *arguments], input=stdin)


def test_the_champion_predicts_a_folder_and_a_bad_file_is_reported(in_champion_project: Project, album: Path) -> None:
    done = emotion(str(album), "--json")
    assert done.exit_code == 1
    assert f"emotion: {album}/text.jpg: not an image of a known format" in done.stderr
    answers = {Path(answer["image"]).name: answer for answer in json.loads(done.stdout)}
    assert {name: len(answer.get("faces", ())) for name, answer in answers.items()} == {
        "astronaut.jpg": 1, "two.png": 2, "coffee.webp": 0, "text.jpg": 0,
    }  # fmt: skip
    (face,) = answers["astronaut.jpg"]["faces"]
    assert set(face["scores"]) == set(EMOTIONS)
    assert face["confidence"] == max(face["scores"].values())


def test_csv_has_a_row_per_face_and_globs_are_expanded(in_champion_project: Project, album: Path) -> None:
    done = emotion(f"{album}/**/*.png", f"{album}/coffee.webp", "--csv")
    assert done.exit_code == 0
    table = pd.read_csv(io.StringIO(done.stdout))
    assert table["face"].tolist()[:2] == [1, 2]
    assert table["status"].tolist()[2] == "no face"
    assert set(table["status"][:2]) <= {"ok", "unsure"}
    assert table["model"].unique().tolist() == [f"{MODEL} version 1"]
    assert table.loc[0, list(EMOTIONS)].sum() == pytest.approx(1, abs=0.001)


def test_an_image_can_be_read_from_standard_input(in_champion_project: Project, astronaut: RGBImage) -> None:
    done = emotion("-", "--min-confidence", "1", stdin=image_bytes(Image.fromarray(astronaut), "JPEG"))
    assert done.exit_code == 0
    assert "standard input" in done.stdout
    assert "unsure" in done.stdout


def test_annotated_images_keep_their_size_and_show_boxes(
    in_champion_project: Project, album: Path, tmp_path: Path, two_astronauts: RGBImage
) -> None:
    (album / "notes.txt").write_text("no image")
    done = emotion(str(album), "--annotate", str(tmp_path / "out"))
    drawn = tmp_path / "out/more/two.png"
    assert (tmp_path / "out/astronaut.png").exists()
    assert "Skipped 1 file" in done.stderr
    pixels = np.asarray(Image.open(drawn))
    assert pixels.shape == two_astronauts.shape
    changed = np.argwhere((pixels != two_astronauts).any(axis=2))
    assert changed[:, 1].min() < 200
    assert changed[:, 1].max() > 800


def test_a_cropped_face_needs_no_detector(in_champion_project: Project, tmp_path: Path) -> None:
    paths = []
    for row, pixels in enumerate(np.load(in_champion_project.folder / "data/faces/images.npy")[:5]):
        paths.append(str(tmp_path / f"{row}.png"))
        Image.fromarray(pixels).save(paths[-1])
    answers = json.loads(emotion(*paths, "--no-detect", "--json").stdout)
    assert [len(answer["faces"]) for answer in answers] == [1] * 5
    assert answers[0]["faces"][0]["box"] == {"left": 0, "top": 0, "side": 48}


@pytest.fixture
def clip(tmp_path: Path, astronaut: RGBImage) -> Path:
    """Two seconds of video: one with the astronaut, one without a face."""
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


def test_a_video_is_predicted_frame_by_frame(in_champion_project: Project, clip: Path) -> None:
    answers = json.loads(emotion(str(clip), "--frame-interval", "0.5", "--json").stdout)
    times = [answer["image"].removeprefix(f"{clip} at ") for answer in answers]
    assert times == ["0.000 s", "0.500 s", "1.000 s", "1.500 s"]
    assert [len(answer["faces"]) for answer in answers] == [1, 1, 0, 0]


def test_a_damaged_video_is_reported(in_champion_project: Project, clip: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:300])
    done = emotion(str(clip))
    assert done.exit_code == 1
    assert f"emotion: {clip}: InvalidDataError" in done.stderr


def test_a_missing_video_is_reported_without_a_class_name(
    in_champion_project: Project, album: Path, tmp_path: Path
) -> None:
    done = emotion(str(album / "astronaut.jpg"), str(tmp_path / "clip.mp4"))
    assert f"emotion: {tmp_path / 'clip.mp4'}: No such file or directory" in done.stderr


def test_missing_files_are_reported_and_the_rest_is_predicted(in_champion_project: Project, album: Path) -> None:
    names = [str(album / "astronaut.jpg"), str(album / "missing.jpg"), "a" * 300, str(album / "nothing*")]
    (album / "empty").mkdir()
    done = emotion(*names, str(album / "empty"), "--json")
    assert done.exit_code == 1
    told = {answer["image"]: answer.get("error", "") for answer in json.loads(done.stdout)}
    assert list(told.values()) == [
        "", "No such file or directory", "File name too long", "No such file or directory",
        "the folder contains no images or videos",
    ]  # fmt: skip


def test_annotated_images_of_the_same_name_do_not_overwrite_each_other(
    in_champion_project: Project, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album / "more")
    (album / "more/astronaut.jpg").write_bytes((album / "astronaut.jpg").read_bytes())
    model = str(in_champion_project.folder / "models/saved_model")
    emotion("../astronaut.jpg", "astronaut.jpg", "--model", model, "--annotate", str(tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"astronaut.png", "astronaut-2.png"}


def test_predictions_are_kept_if_annotated_images_cannot_be_written(in_champion_project: Project, album: Path) -> None:
    (album / "file").write_text("no folder")
    done = emotion(str(album / "astronaut.jpg"), "--annotate", str(album / "file"), "--json")
    assert done.exit_code == 1
    (answer,) = json.loads(done.stdout)
    assert len(answer["faces"]) == 1
    assert answer["error"].startswith("the annotated image could not be written: ")


@pytest.mark.parametrize("options", [(), ("--csv",), ("--json",)])
def test_control_characters_and_invalid_bytes_in_a_file_name_are_escaped(
    in_champion_project: Project, album: Path, options: tuple[str, ...]
) -> None:
    names = [album / os.fsdecode(b"\xff\x1b[2J.jpg"), album / os.fsdecode(b"bad\xff\x1b[2J.jpg")]
    names[0].write_bytes((album / "astronaut.jpg").read_bytes())
    names[1].write_text("no image")
    done = emotion(*map(str, names), *options)
    assert done.exit_code == 1
    assert "\\udcff" in done.stdout
    assert "bad\\udcff" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def failure(*arguments: str) -> str:
    done = emotion(*arguments)
    assert isinstance(done.exception, UserError)
    return str(done.exception)


def test_invalid_arguments_give_one_message(in_champion_project: Project, album: Path, tmp_path: Path) -> None:
    assert (
        failure(f"{tmp_path}/nothing*.jpg") == f"no image or video found at {tmp_path}/nothing*.jpg. Check the names."
    )
    image = str(album / "astronaut.jpg")
    assert "has no version 7" in failure(image, "--model", "models:/facial-emotion/7")
    assert "has no challenger" in failure(image, "--model", "models:/facial-emotion@challenger")
    assert failure(image, "--model", "").startswith("no model at ''")
    assert failure(image, "--model", "nowhere").startswith("facial-emotion has no version nowhere. Its versions: 1.")
    assert "no SavedModel in" in failure(image, "--model", str(album))
    (tmp_path / "broken.tflite").write_text("no model")
    assert "is not a LiteRT file" in failure(image, "--model", str(tmp_path / "broken.tflite"))
