"""Recognizing the forms in which people hold labelled faces."""

import itertools
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emotion.data.labels import EMOTIONS
from emotion.data.layouts.recognized import Recognized, columns_of
from emotion.data.layouts.source import open_source
from emotion.data.layouts.words import LabelMap
from emotion.runtime.errors import UserError
from support import layouts
from support.archives import noise


def recognize(path: Path, labels: Any = None) -> Recognized:
    with open_source(path, LabelMap.from_parameter(labels), path.name) as source:
        return source.recognized


def emotions_of(found: Recognized) -> dict[str, str]:
    return dict(zip(found.faces["name"], found.faces["emotion"], strict=True))


@pytest.mark.parametrize(
    ("write", "labels"),
    [
        (layouts.fer2013, "fer2013"),
        (lambda folder: layouts.fer2013(folder, quirks=True), "fer2013"),
        (layouts.ferplus_tables, None),
        (layouts.ferplus_folders, None),
        (layouts.rafdb, None),
        (layouts.rafdb_folders, None),
        (lambda folder: layouts.rafdb(folder, {"train": [2] * 7, "test": [1] * 7}), "rafdb"),
        (layouts.affectnet, "affectnet"),
        (layouts.affectnet_folders, "affectnet"),
        (layouts.affectnet_table, None),
        (layouts.ckplus, None),
        (layouts.ckplus48, None),
        (layouts.jaffe, None),
        (layouts.own_folders, None),
        (layouts.voted_table, None),
    ],
    ids=lambda it: getattr(it, "__name__", str(it)),
)
def test_every_image_of_a_layout_has_its_emotion(tmp_path: Path, write: layouts.Writer, labels: Any) -> None:
    truth = write(tmp_path)
    assert emotions_of(recognize(tmp_path, labels)) == truth


def test_the_complete_fer2013_needs_no_statement_about_its_numbers(tmp_path: Path) -> None:
    layouts.published_fer2013(tmp_path)
    found = recognize(tmp_path)
    counts = found.faces.groupby(["usage", "emotion"]).size()
    assert counts["Training", "disgust"] == 436
    assert counts["PublicTest", "happy"] == 895
    assert counts["PrivateTest", "neutral"] == 626
    layouts.published_fer2013(tmp_path / "competition", usage=False)
    competition = recognize(tmp_path / "competition" / "train.csv")
    assert (competition.faces["emotion"] == "happy").sum() == 7215


TRANSPOSITIONS = list(itertools.combinations(range(7), 2))


@pytest.mark.parametrize(
    ("write", "first"),
    [(layouts.published_fer2013, 0), (layouts.rafdb, 1), (layouts.rafdb_folders, 1), (layouts.ckplus, 1)],
)
def test_permuted_numbers_are_never_taken_for_the_published_ones(
    tmp_path: Path, write: layouts.Writer, first: int
) -> None:
    swaps = TRANSPOSITIONS if first == 0 else random.sample(TRANSPOSITIONS, 2)  # the others take seconds
    for number, (one, other) in enumerate(swaps):
        folder = tmp_path / str(number)
        write(folder, permuted={one + first: other + first, other + first: one + first})
        with pytest.raises(UserError, match=r"has numbers as labels, .* Images per number: "):
            recognize(folder)


@pytest.mark.parametrize(
    ("write", "numberings"),
    [
        (
            layouts.fer2013,
            ["fer2013       0 angry 1 disgust 2 fear", "fetch.labels=fer2013;"],
        ),
        (layouts.affectnet, ["affectnet     0 neutral 1 happy 2 sad", "alphabetical8 0 angry 1 contempt"]),
        (layouts.affectnet_folders, ["--sheet FILE --labels"]),
    ],
)
def test_numbers_that_are_not_certain_are_refused_with_what_they_may_mean(
    tmp_path: Path, write: layouts.Writer, numberings: list[str]
) -> None:
    write(tmp_path)
    with pytest.raises(UserError) as error:
        recognize(tmp_path)
    for text in ("Images per number: 0: ", *numberings):
        assert text in str(error.value)


@pytest.mark.parametrize("write", [layouts.ckplus48, layouts.affectnet_table, layouts.own_folders])
def test_words_mean_the_same_in_any_order(tmp_path: Path, write: layouts.Writer) -> None:
    truth = write(tmp_path)
    emotions = sorted(set(truth.values()))
    permuted = dict(zip(emotions, random.sample(emotions, len(emotions)), strict=True))
    stated: dict[str | int, str | None] = {
        label: permuted[emotion] for label, emotion in recognize(tmp_path).label_map.items()
    }
    found = emotions_of(recognize(tmp_path, stated))
    assert found == {name: permuted[emotion] for name, emotion in truth.items()}


def test_votes_for_other_images_are_refused(tmp_path: Path) -> None:
    layouts.ferplus_tables(tmp_path, each=20, shuffled=True)
    with pytest.raises(UserError, match=r"agree with those of fer2013\.csv for only \d+% of some images"):
        recognize(tmp_path)
    layouts.ferplus_tables(tmp_path, each=20)
    path = tmp_path / "fer2013.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"fer2013new\.csv has other rows than fer2013\.csv: 420 and 419"):
        recognize(tmp_path)


def test_ferplus_votes_are_kept_without_single_ones_and_without_what_is_no_emotion(tmp_path: Path) -> None:
    layouts.ferplus_tables(tmp_path)
    found = recognize(tmp_path)
    assert found.annotation == "FER+"
    assert columns_of(found.faces, "votes") == [f"votes.{emotion}" for emotion in layouts.FERPLUS_WORDS.values()]
    first = found.faces.iloc[0]
    assert (first["emotion"], first["votes.angry"], first["votes.contempt"]) == ("angry", 7, 2)
    assert found.left_out == {"without a majority": 7, "not an emotion, or not a face": 7}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ({"train": "train", "test": "test"}, {"train", "test"}),
        ({"train": "Training", "validation": "val", "test": "Testing"}, {"train", "validation", "test"}),
        ({"train": "train_set", "validation": "valid"}, {"train", "validation"}),
        ({"train": "train/train", "validation": "dev", "test": "test/test"}, {"train", "validation", "test"}),
    ],
)
def test_splits_are_recognized_in_peoples_words(tmp_path: Path, names: dict[str, str], splits: set[str]) -> None:
    truth = layouts.split_folders(tmp_path, names)
    found = recognize(tmp_path)
    assert emotions_of(found) == truth
    assert set(found.faces["given_split"]) == splits


def test_labels_in_other_languages_are_stated(tmp_path: Path) -> None:
    layouts.own_folders(tmp_path, words=("fröhlich", "WÜTEND", "müde"))
    with pytest.raises(UserError, match="has no layout that is known"):
        recognize(tmp_path)
    found = recognize(tmp_path, {"Fröhlich": "happy", "wütend": "angry", "müde": None})
    assert set(found.faces["emotion"]) == {"happy", "angry"}
    assert found.left_out == {"label 'müde': left out by fetch.labels": 12}


def test_other_folders_are_left_out_and_counted_and_misspelled_ones_refused(tmp_path: Path) -> None:
    layouts.own_folders(tmp_path)
    layouts.write(tmp_path, "ahegao/1.png", noise(1))
    layouts.write(tmp_path, "notes.txt", "about these images")
    found = recognize(tmp_path)
    assert found.left_out == {"label 'ahegao': none of the emotions": 1}
    layouts.write(tmp_path, "suprise/1.png", noise(2))
    with pytest.raises(UserError, match=r"has 1 images labelled 'suprise', which looks like 'surprise'"):
        recognize(tmp_path)


def test_many_other_labels_are_counted_together(tmp_path: Path) -> None:
    layouts.own_folders(tmp_path)
    for number in range(40):
        layouts.write(tmp_path, f"person{'x' * number}/1.png", noise(1))
    left_out = recognize(tmp_path).left_out
    assert len(left_out) == 21
    assert left_out["20 other labels"] == 20


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("happy/sad/1.png", "name two emotions, happy and sad"),
        ("train/test/happy/1.png", "name two splits, train and test"),
    ],
)
def test_a_path_that_says_two_things_is_refused(tmp_path: Path, path: str, reason: str) -> None:
    layouts.own_folders(tmp_path)
    layouts.write(tmp_path, path, noise(1))
    with pytest.raises(UserError, match=reason):
        recognize(tmp_path)


def test_numbers_and_words_are_not_mixed(tmp_path: Path) -> None:
    layouts.write_csv(tmp_path / "labels.csv", [["name", "emotion"], ["1.png", "happy"], ["2.png", "3"]])
    for number in (1, 2):
        layouts.write(tmp_path, f"{number}.png", noise(number))
    with pytest.raises(UserError, match=r"both numbers \('3'\) and words \('happy'\)"):
        recognize(tmp_path)


def test_people_are_known_where_names_tell_them(tmp_path: Path) -> None:
    layouts.jaffe(tmp_path / "jaffe")
    assert recognize(tmp_path / "jaffe").faces["subject"].nunique() == 10
    layouts.ckplus48(tmp_path / "ck")
    assert sorted(set(recognize(tmp_path / "ck").faces["subject"])) == [f"S00{n}" for n in range(1, 7)]


def test_attributes_of_a_table_are_kept(tmp_path: Path) -> None:
    layouts.voted_table(tmp_path)
    found = recognize(tmp_path)
    assert columns_of(found.faces, "attributes") == ["age"]
    assert set(found.faces["age"]) == {"young", "old"}
    assert set(found.faces["given_split"]) == {"train", "validation", "test"}
    layouts.rafdb(tmp_path / "raf", {"train": [2] * 7, "test": [1] * 7})
    raf = recognize(tmp_path / "raf", "rafdb").faces.set_index("name")
    described = raf.loc["Image/aligned/train_00001_aligned.jpg"]
    assert (described["gender"], described["race"], described["age"]) == ("female", "Asian", "40 to 69")


def test_a_table_may_be_given_itself(tmp_path: Path) -> None:
    truth = layouts.affectnet_table(tmp_path)
    layouts.write_csv(tmp_path / "other.csv", [["image", "label"], ["anger/image0000001.jpg", "sad"]])
    with pytest.raises(UserError, match="twice"):
        recognize(tmp_path)
    assert emotions_of(recognize(tmp_path / "labels.csv")) == truth


def test_a_folder_in_which_nothing_is_recognized_says_what_was_seen(tmp_path: Path) -> None:
    for number in range(3):
        layouts.write(tmp_path, f"holiday/{number}.png", noise(number))
    with pytest.raises(UserError) as error:
        recognize(tmp_path)
    assert "It has 3 files; the folders with most images: holiday (3). Expected folders" in str(error.value)
    assert "fetch.labels" in str(error.value)


def test_the_index_names_no_column_twice(tmp_path: Path) -> None:
    layouts.write_csv(tmp_path / "labels.csv", [["name", "emotion", "pixel_hash"], *_rows(tmp_path)])
    with pytest.raises(UserError, match="has the column pixel_hash, which the dataset has"):
        recognize(tmp_path)


def _rows(folder: Path) -> list[list[object]]:
    rows: list[list[object]] = []
    for number, emotion in enumerate(EMOTIONS):
        layouts.write(folder, f"{number}.png", noise(number))
        rows.append([f"{number}.png", emotion, "x"])
    return rows


def test_the_table_of_faces_has_a_row_per_image_in_the_order_of_names(tmp_path: Path) -> None:
    layouts.own_folders(tmp_path)
    names = recognize(tmp_path).faces["name"]
    pd.testing.assert_series_equal(names, names.sort_values(ignore_index=True))
