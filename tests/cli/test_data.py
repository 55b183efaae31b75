"""`emotion data`."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotion.cli.main import app
from emotion.data.preparation.corrections import read_corrections
from emotion.runtime.errors import UserError
from support import layouts
from support.project import Project


def shown(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["data", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_path_is_shown_without_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    layouts.own_folders(tmp_path / "photos")
    layouts.write(tmp_path / "photos", "ahegao/1.png")
    text = shown(tmp_path / "photos")
    for words in ("48 images: photos (folders of emotions)", "happy", "Joy", "without a split", "ahegao"):
        assert words in text
    assert text == shown("show", tmp_path / "photos")


def test_json_tells_what_source_json_would(tmp_path: Path) -> None:
    layouts.voted_table(tmp_path / "faces")
    found = json.loads(shown(tmp_path / "faces", "--json"))
    assert found["labels"] == {"angry": "angry", "contempt": "contempt", "happy": "happy"}
    assert (found["images"], found["votes"], found["attributes"]) == (54, True, ["age"])


def emotions_in(path: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(shown(path, "--labels", "fer2013", "--json"))["labels"]
    return found


@pytest.mark.parametrize("write", [layouts.own_folders, layouts.fer2013])
def test_the_sheet_shows_images_of_every_emotion(tmp_path: Path, write: layouts.Writer) -> None:
    write(tmp_path / "faces")
    shown(tmp_path / "faces", "--labels", "fer2013", "--sheet", tmp_path / "sheet.png")
    picture = np.asarray(Image.open(tmp_path / "sheet.png").convert("L")).astype(float)
    rows = np.array_split(picture[60:], len(emotions_in(tmp_path / "faces")))
    assert all(row[:, 200:].std() > 30 for row in rows), "a row of noise for each emotion"


def test_labels_are_given_as_in_the_parameters(tmp_path: Path) -> None:
    layouts.affectnet_folders(tmp_path / "faces")
    assert json.loads(shown(tmp_path / "faces", "--labels", "affectnet", "--json"))["labels"]["7"] == "contempt"
    mapping = "{0: calm, 1: happy, 2: null, 3: null, 4: null, 5: null, 6: null, 7: null}"
    found = json.loads(shown(tmp_path / "faces", "--labels", mapping, "--json"))
    assert found["labels"] == {"0": "calm", "1": "happy"}
    for wrong, reason in (("fer", "Give a numbering"), ("{0: angy}", "looks like 'angry'"), ("{", "not valid YAML")):
        with pytest.raises(UserError, match=reason):
            shown(tmp_path / "faces", "--labels", wrong)


def test_doubtful_labels_are_reviewed_and_corrected(copied_project: Project) -> None:
    done = copied_project.run("emotion", "data", "review", "--folds", "2", "--epochs", "1", "--rule", "drop", "--json")
    found = json.loads(done.stdout[done.stdout.index("\n{") :])
    assert found["images"] == copied_project.read_json("reports/data/counts.json")["images"]
    corrections = read_corrections(copied_project.folder / found["corrections"])
    assert len(corrections) == found["corrected"] > 0
    assert (copied_project.folder / found["page"]).stat().st_size > 10_000
    few = corrections.head(2)
    few.to_csv(copied_project.folder / "data/corrections.csv", index=False)
    copied_project.set_params(preprocess__corrections=True)
    done = copied_project.run("dvc", "repro", "preprocess")
    assert "Corrections: keep 0, drop 2, relabel 0, soften 0; 0 are about images that are not here." in done.stdout
    assert copied_project.read_json("reports/data/counts.json")["splits"]["unused"]
    assert "2 images dropped" in (copied_project.folder / "reports/data/card.md").read_text()
    done = copied_project.run("emotion", "data", "review", "--rule", "erase", check=False)
    assert done.stderr == "emotion: --rule erase is unknown. Choose drop, soften or relabel.\n"
