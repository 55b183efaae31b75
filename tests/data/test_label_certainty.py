"""Ways in which a label could be taken wrongly: each is refused, or the image is left out and counted."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotion.data.layouts.recognized import Recognized
from emotion.data.layouts.source import open_source
from emotion.data.layouts.words import LabelMap
from emotion.runtime.errors import UserError
from support import layouts
from support.archives import noise

Rows = list[list[object]]
PAIR: Rows = [["a.png", "happy"], ["b.png", "sad"]]


def recognize(path: Path, labels: Any = None) -> Recognized:
    with open_source(path, LabelMap.from_parameter(labels), path.name) as source:
        return source.recognized


def images(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        layouts.write(folder, name, noise(number))


def table(folder: Path, header: list[str], rows: Rows, name: str = "labels.csv") -> None:
    layouts.write_csv(folder / name, [header, *rows])


def two_lists(folder: Path) -> None:
    """RAF-DB with its compound emotions, whose images have the same names."""
    layouts.rafdb(folder / "basic", {"train": [1] * 7, "test": [1] * 7})
    layouts.rafdb(folder / "compound", {"train": [1] * 7, "test": [1] * 7})


def two_images_for_a_label(folder: Path) -> None:
    layouts.ckplus(folder, [2] * 8)
    label = next(folder.rglob("*_emotion.txt"))
    images(folder, f"other/{label.name.removesuffix('_emotion.txt')}.png")


def fraction_in(write: Callable[[Path], object], pattern: str) -> Callable[[Path], None]:
    def written(folder: Path) -> None:
        write(folder)
        path = next(folder.rglob(pattern))
        if path.suffix == ".npy":
            np.save(path, np.array(2.7))
        else:
            path.write_text("5.6")

    return written


def shifted_votes(folder: Path) -> None:
    """FER+'s votes for the Training images, shifted by a row; those for the others are right."""
    layouts.ferplus_tables(folder, each=160)
    with (folder / "fer2013new.csv").open() as file:
        header, *rows = csv.reader(file)
    votes = [row[2:] for row in rows[:1120]]
    for row, shifted in zip(rows[:1120], votes[160:] + votes[:160], strict=True):
        row[2:] = shifted
    layouts.write_csv(folder / "fer2013new.csv", [header, *rows])


def folders(*names: str) -> Callable[[Path], None]:
    return lambda folder: images(folder, *names)


def labelled(header: list[str], rows: Rows, *files: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        images(folder, *(files or ("a.png", "b.png")))
        table(folder, header, rows)

    return write


@pytest.mark.parametrize(
    ("write", "labels", "reason"),
    [
        (two_lists, "rafdb", "are lists of labels of several datasets"),
        (two_images_for_a_label, "ckplus", "may be about"),
        (fraction_in(layouts.affectnet, "*_exp.npy"), "affectnet", "contains '2.7'; expected a whole number"),
        (fraction_in(layouts.ckplus, "*_emotion.txt"), "ckplus", "contains '5.6'; expected a whole number"),
        (shifted_votes, None, "the rows do not belong together"),
        (lambda folder: layouts.rafdb(folder), "affectnet", "has exactly the images of rafdb, where 1 means surprise"),
        (folders("0/3/a.png", "1/2/b.png"), "fer2013", "two folders of 0/3/a.png are numbers"),
        (folders("0_happy/a.png", "1_happy/b.png", "2_sad/c.png"), None, "numbers happy as 0 and 1"),
        (folders("happy/a.png", "sad/b.png"), {"joy": "happy"}, "names 'joy', which is no label"),
        (labelled(["name", "emotion", "label"], [["a.png", "happy", "sad"], ["b.png", "sad", "sad"]]), None, "differ"),
        (labelled(["name", "Label", "label"], [["a.png", "happy", "sad"], ["b.png", "sad", "sad"]]), None, "two col"),
        (labelled(["name", "label", "set"], [["a.png", "sad", "train"], ["b.png", "sad", "eval"]]), None, "'eval'"),
        (labelled(["name", "emotion"], PAIR, "x/c.png", "y/d.png"), None, "of which 0 are here; 'a.png', for example"),
        (labelled(["name", "emotion"], [["a.png", "happy"], ["a.png", "sad"]]), None, "labels a.png twice"),
        (labelled(["name", "happy", "sad"], [["a.png", "-1", "2"], ["b.png", "3", "1"]]), None, "negative or infinite"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_refused(
    tmp_path: Path, write: Callable[[Path], object], labels: Any, reason: str
) -> None:
    write(tmp_path)
    with pytest.raises(UserError) as error:
        recognize(tmp_path, labels)
    assert reason in str(error.value)


def test_a_row_with_more_cells_than_the_header_is_refused(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    table(tmp_path, ["name", "emotion"], [["a.png", "happy", "x"], ["b.png", "sad"]])
    with pytest.raises(UserError, match=r"labels\.csv cannot be read: .*Correct it, or remove it"):
        recognize(tmp_path)


def emotions(found: Recognized) -> dict[str, str]:
    return dict(zip(found.faces["name"], found.faces["emotion"], strict=True))


def test_votes_for_one_emotion_are_summed_and_votes_for_none_count(tmp_path: Path) -> None:
    images(tmp_path, *(f"{n}.png" for n in range(4)))
    rows: Rows = [["0.png", 3, 3, 4, 0], ["1.png", 1, 0, 5, 0], ["2.png", 2, 0, 0, 8], ["3.png", 2, 2, 4, 0]]
    table(tmp_path, ["name", "joy", "happiness", "sad", "unknown"], rows)
    found = recognize(tmp_path)
    assert emotions(found) == {"0.png": "happy", "1.png": "sad"}
    assert found.left_out == {"without a label": 2}
    assert found.faces["votes.happy"].tolist() == [6, 1]


def test_a_name_is_never_taken_for_another_image_with_the_same_end(tmp_path: Path) -> None:
    images(tmp_path, "test/1.png", "train/2.png", "s3/01.png", "train/4.png")
    rows: Rows = [["train/1.png", "happy"], ["train/2.png", "sad"], ["s1/01.png", "happy"], ["./train\\4.png", "happy"]]
    table(tmp_path, ["image", "label"], rows)
    found = recognize(tmp_path)
    assert emotions(found) == {"train/2.png": "sad", "train/4.png": "happy"}
    assert found.left_out == {"rows without an image file": 2, "images without a label": 2}


def test_folders_inside_the_folder_of_an_emotion_that_may_deny_it_are_left_out(tmp_path: Path) -> None:
    images(tmp_path, "happy/1.png", "happy/day 1/2.png", "happy/not_happy/3.png", "sad/unhappy/4.png", "sad/5.png")
    found = recognize(tmp_path)
    assert emotions(found) == {"happy/1.png": "happy", "happy/day 1/2.png": "happy", "sad/5.png": "sad"}
    assert set(found.left_out) == {
        "label 'happy/not_happy': none of the emotions",
        "label 'sad/unhappy': none of the emotions",
    }


def test_numbers_among_words_are_named_and_left_out_unless_stated(tmp_path: Path) -> None:
    images(tmp_path, "happy/1.png", "sad/2.png", "3/3.png")
    assert recognize(tmp_path).left_out == {"label 'folder 3': none of the emotions": 1}
    assert emotions(recognize(tmp_path, {3: "fear"}))["3/3.png"] == "fear"


def test_a_table_that_is_given_counts_alone(tmp_path: Path) -> None:
    layouts.fer2013(tmp_path)
    images(tmp_path, "a.png", "b.png")
    table(tmp_path, ["name", "emotion"], PAIR, "mine.csv")
    assert emotions(recognize(tmp_path / "mine.csv")) == {"a.png": "happy", "b.png": "sad"}
    table(tmp_path, ["photo", "mood"], PAIR, "other.csv")
    with pytest.raises(UserError, match=r"other\.csv has the columns photo, mood, in which no names"):
        recognize(tmp_path / "other.csv")


def test_a_table_about_something_else_does_not_hide_the_folders_and_is_named(tmp_path: Path) -> None:
    layouts.own_folders(tmp_path)
    table(tmp_path, ["image", "class"], [["Joy/photo 1.png", "female"]], "gender.csv")
    (tmp_path / "notes.csv").write_bytes(b"caf\xe9,1\n")
    found = recognize(tmp_path)
    assert found.layout == "folders of emotions"
    assert found.notes == ("Tables that are not used: gender.csv, notes.csv.",)


def test_a_table_that_contradicts_the_folders_counts_and_this_is_said(tmp_path: Path) -> None:
    images(tmp_path, "happy/a.png", "sad/b.png", "sad/c.png")
    table(tmp_path, ["image", "emotion"], [["happy/a.png", "sad"], ["sad/b.png", "sad"], ["sad/c.png", "happy"]])
    assert recognize(tmp_path).notes == (
        "2 images are in a folder of another emotion than the table says; the table counts.",
    )


def test_folders_that_are_dates_do_not_matter_where_a_table_tells_the_labels(tmp_path: Path) -> None:
    images(tmp_path, "2021/05/a.png", "2021/06/b.png")
    table(tmp_path, ["image", "emotion"], [["2021/05/a.png", "happy"], ["2021/06/b.png", "sad"]])
    found = recognize(tmp_path)
    assert emotions(found) == {"2021/05/a.png": "happy", "2021/06/b.png": "sad"}
    assert found.notes == ()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_columns_may_be_separated_otherwise(tmp_path: Path, separator: str) -> None:
    images(tmp_path, "a.png", "b.png")
    (tmp_path / "labels.csv").write_text(f"name{separator}emotion\na.png{separator}happy\nb.png{separator}sad\n")
    assert emotions(recognize(tmp_path)) == {"a.png": "happy", "b.png": "sad"}


def test_links_pipes_and_strange_names_are_counted_and_not_followed(tmp_path: Path) -> None:
    layouts.own_folders(tmp_path)
    (tmp_path / "Joy/link.png").symlink_to("/etc/passwd")
    (tmp_path / "fear").symlink_to(tmp_path / "Joy")
    (tmp_path / "Joy/line\rbreak.png").write_bytes(noise(1))
    os.mkfifo(tmp_path / "Joy/pipe.png")
    left_out = recognize(tmp_path).left_out
    assert left_out == {"symbolic links": 2, "pipes, sockets and devices": 1, "names with unprintable characters": 1}


@pytest.mark.parametrize("labels", [{"Happy": "sad", "happy": "angry"}, {0: "happy", "00": "sad"}, {"-": "neutral"}])
def test_a_label_that_is_stated_twice_or_is_empty_is_refused(labels: dict[str | int, str | None]) -> None:
    with pytest.raises(ValueError, match=r"is given twice|is empty"):
        LabelMap.from_parameter(labels)
