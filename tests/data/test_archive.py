"""Validation of dataset archives."""

import copy
import random
import stat
import warnings
import zipfile
from pathlib import Path

import pytest

from emotion.data.sources import archive
from emotion.data.sources.archive import check, fetch_archive, parse
from emotion.runtime.errors import UserError
from support.archives import layout, noise, write_zip


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("train/train/happy/Training_1.jpg", ("train", "happy", "Training")),
        ("test/test/sad/PrivateTest_22.jpg", ("test", "sad", "PrivateTest")),
        ("test/fear/PublicTest_3.png", ("test", "fear", "PublicTest")),
        ("fer2013/train/train/Angry/x.JPEG", ("train", "angry", "")),
    ],
)
def test_folder_emotion_and_usage_are_parsed_from_the_path(name: str, label: tuple[str, str, str]) -> None:
    entry = parse(name)
    assert entry is not None
    assert (entry.folder, entry.emotion, entry.usage) == label


@pytest.mark.parametrize(
    "name",
    ["README.md", "train/train/happy/", "train/test/happy/1.jpg", "train/train/bored/1.jpg",
     "__MACOSX/train/train/happy/1.jpg", "train/train/happy/._1.jpg", "train/train/happy/notes.txt",
     "a/b/train/happy/1.jpg"],
)  # fmt: skip
def test_a_file_that_is_not_a_labelled_image_is_not_an_entry(name: str) -> None:
    assert parse(name) is None


def test_other_files_are_counted_and_ignored(tmp_path: Path) -> None:
    files = layout() | {"README.md": b"hello", "__MACOSX/x": b""}
    assert check(write_zip(tmp_path / "a.zip", files), "a.zip") == {"images": len(files) - 2, "ignored": 2}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "points outside"),
        ("../../x.jpg", "points outside"),
        ("train/..\\x.jpg", "points outside"),
        ("C:/x.jpg", "points outside"),
    ],
)
def test_path_traversal_is_rejected(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check(write_zip(tmp_path / "a.zip", layout() | {name: b""}), "a.zip")


def test_a_symbolic_link_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    with zipfile.ZipFile(path, "a") as opened:
        link = zipfile.ZipInfo("train/train/happy/link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="contains the symbolic link"):
        check(path, "a.zip")


def test_a_duplicate_entry_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    with zipfile.ZipFile(path, "a") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns about the duplicate
        opened.writestr("train/train/happy/Training_0.png", noise(1))
    with pytest.raises(UserError, match="twice"):
        check(path, "a.zip")


def test_an_encrypted_entry_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1  # the encryption flag in the last entry of the central directory
    path.write_bytes(content)
    with pytest.raises(UserError, match="is encrypted"):
        check(path, "a.zip")


def test_overlapping_entries_are_rejected(tmp_path: Path) -> None:
    """As in a zip bomb that lists one file under many names."""
    path = write_zip(tmp_path / "a.zip", layout())
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("big", random.randbytes(2**20))
        for number in range(3):
            duplicate = copy.copy(opened.getinfo("big"))
            duplicate.filename = f"big{number}"
            opened.filelist.append(duplicate)
    with pytest.raises(UserError, match="overlapping"):
        check(path, "a.zip")


def test_a_zip_bomb_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened:
        for number in range(8):
            opened.writestr(f"zeros{number}", bytes(30 * 2**20))
    with pytest.raises(UserError, match="would unpack"):
        check(path, "a.zip")


@pytest.mark.parametrize(
    ("bound", "reason"),
    [("MAX_ENTRIES", "entries"), ("MAX_ENTRY_BYTES", "bytes, more than"), ("MAX_BYTES", "would unpack")],
)
def test_too_many_or_too_large_entries_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, reason: str
) -> None:
    monkeypatch.setattr(archive, bound, 20)
    with pytest.raises(UserError, match=reason):
        check(write_zip(tmp_path / "a.zip", layout()), "a.zip")


def test_the_error_names_a_missing_emotion(tmp_path: Path) -> None:
    files = {name: content for name, content in layout().items() if "/disgust/" not in name}
    with pytest.raises(UserError, match=r"no images in train/disgust, test/disgust"):
        check(write_zip(tmp_path / "a.zip", files), "a.zip")


def test_an_unknown_layout_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no train/<emotion>/ and test/<emotion>/ folders"):
        check(write_zip(tmp_path / "a.zip", {"images/1.png": noise(0)}), "a.zip")


def test_a_truncated_zip_is_reported_as_truncated(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="truncated or damaged"):
        check(path, "a.zip")


def test_a_web_page_named_zip_is_reported_as_a_web_page(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_text("<!doctype html><html><body>Sign in to Kaggle</body></html>")
    with pytest.raises(UserError, match="web page"):
        check(path, "a.zip")


def test_an_empty_file_is_not_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="not a zip"):
        check(path, "a.zip")


def test_the_error_for_a_missing_archive_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no archive at .*none\.zip.*fetch\.archive"):
        fetch_archive(tmp_path / "none.zip", tmp_path / "faces.zip")


def test_images_with_other_labels_are_named_with_their_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = layout() | {f"train/contempt/{number}.jpg": b"" for number in range(3)} | {"test/bored/1.png": b""}
    assert check(write_zip(tmp_path / "a.zip", files), "a.zip")["ignored"] == 4
    assert "none of the emotions: 'contempt' (3), 'bored' (1).\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("label", "emotion"), [("hapy", "happy"), ("Fear ", "fear"), ("suprise", "surprise"), ("discust", "disgust")]
)
def test_a_misspelled_emotion_is_rejected(tmp_path: Path, label: str, emotion: str) -> None:
    files = layout() | {f"train/{label}/1.jpg": b"", f"train/{label}/2.jpg": b""}
    with pytest.raises(UserError, match=f"has 2 images labelled '{label}', which looks like {emotion}"):
        check(write_zip(tmp_path / "a.zip", files), "a.zip")
