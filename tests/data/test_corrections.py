"""Corrections of labels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emotion.data.dataset import Split
from emotion.data.preparation.corrections import apply_corrections
from emotion.runtime.errors import UserError

HEADER = "name,emotion,action,suggested\n"


def index() -> pd.DataFrame:
    return pd.DataFrame(
        {"name": ["a", "b", "c", "d"], "emotion": ["angry", "happy", "sad", "sad"], "split": ["train"] * 3 + ["test"]}
    )


def written(folder: Path, rows: str) -> Path:
    path = folder / "corrections.csv"
    path.write_text(HEADER + rows)
    return path


def test_each_action_changes_what_it_says(tmp_path: Path) -> None:
    rows = "a,angry,drop,sad\nb,happy,relabel,sad\nc,sad,soften,angry\nd,sad,keep,happy\nelsewhere,sad,drop,happy\n"
    corrected, done = apply_corrections(index(), written(tmp_path, rows))
    assert corrected["split"].tolist() == ["unused", "train", "train", "test"]
    assert corrected["emotion"].tolist() == ["angry", "sad", "sad", "sad"]
    votes = corrected[["votes.angry", "votes.happy", "votes.sad"]]
    assert votes.to_numpy()[2].tolist() == [0.5, 0, 0.5]
    counts = {key: value for key, value in done.items() if key != "sha256"}
    assert counts == {"keep": 1, "drop": 1, "relabel": 1, "soften": 1, "about_other_images": 1}
    assert len(str(done["sha256"])) == 64


def test_only_softened_images_have_soft_targets(tmp_path: Path) -> None:
    corrected, _ = apply_corrections(index(), written(tmp_path, "c,sad,soften,angry\n"))
    emotions = ("angry", "happy", "sad")
    labels = np.array([0, 1, 2, 2])
    split = Split(np.empty((4, 0, 0), np.uint8), labels, corrected, emotions)
    assert split.distributions.tolist() == [[1, 0, 0], [0, 1, 0], [0.5, 0, 0.5], [0, 0, 1]]


def test_a_relabelled_image_has_all_votes_for_its_new_label(tmp_path: Path) -> None:
    voted = index().assign(
        **{"votes.angry": [3.0, 0, 1, 0], "votes.happy": [1.0, 4, 1, 0], "votes.sad": [0.0, 0, 2, 5]}
    )
    corrected, _ = apply_corrections(voted, written(tmp_path, "a,angry,relabel,happy\n"))
    assert corrected["emotion"].tolist() == ["happy", "happy", "sad", "sad"]
    assert corrected.filter(like="votes.").to_numpy().tolist() == [[0, 1, 0], [0, 4, 0], [1, 1, 2], [0, 0, 5]]


def test_relabelling_makes_up_no_votes(tmp_path: Path) -> None:
    corrected, _ = apply_corrections(index(), written(tmp_path, "a,angry,relabel,happy\n"))
    assert list(corrected) == list(index())


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("a,happy,drop,sad\n", "it says that a is happy, but the data says angry"),
        ("a,angry,erase,sad\n", "has the action 'erase'; expected one of keep, drop, relabel, soften"),
        ("a,angry,drop,sad\na,angry,drop,sad\n", "corrects a twice"),
        ("a,angry,relabel,bored\n", "suggests 'bored', which is none of the data's emotions"),
    ],
)
def test_a_wrong_table_is_refused_with_one_message(tmp_path: Path, rows: str, reason: str) -> None:
    with pytest.raises(UserError) as error:
        apply_corrections(index(), written(tmp_path, rows))
    assert reason in str(error.value)
    assert str(error.value).endswith("or set preprocess.corrections to false.")


def test_a_missing_or_cut_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corrections\.csv is missing"):
        apply_corrections(index(), tmp_path / "corrections.csv")
    (tmp_path / "corrections.csv").write_text("name,emot")
    with pytest.raises(UserError, match=r"corrections\.csv is damaged"):
        apply_corrections(index(), tmp_path / "corrections.csv")
