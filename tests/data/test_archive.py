"""Validation of dataset archives."""

import copy
import gzip
import io
import random
import stat
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest
from backports import zstd

from emotion.data.sources import archive
from emotion.data.sources.archive import check_archive, convert_tar, is_tar
from emotion.runtime.errors import UserError
from support.archives import layout, noise, write_zip


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
        check_archive(write_zip(tmp_path / "a.zip", layout() | {name: b""}), "a.zip")


def test_a_symbolic_link_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    with zipfile.ZipFile(path, "a") as opened:
        link = zipfile.ZipInfo("train/train/happy/link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="contains the symbolic link"):
        check_archive(path, "a.zip")


def test_a_duplicate_entry_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    with zipfile.ZipFile(path, "a") as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns about the duplicate
        opened.writestr("train/train/happy/Training_0.png", noise(1))
    with pytest.raises(UserError, match="twice"):
        check_archive(path, "a.zip")


def test_an_encrypted_entry_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1  # the encryption flag in the last entry of the central directory
    path.write_bytes(content)
    with pytest.raises(UserError, match="is encrypted"):
        check_archive(path, "a.zip")


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
        check_archive(path, "a.zip")


def test_a_zip_bomb_is_rejected(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened:
        for number in range(8):
            opened.writestr(f"zeros{number}", bytes(30 * 2**20))
    with pytest.raises(UserError, match="would unpack"):
        check_archive(path, "a.zip")


@pytest.mark.parametrize(
    ("bound", "reason"),
    [("MAX_FILES", "entries"), ("MAX_FILE_BYTES", "bytes, more than"), ("MAX_BYTES", "would unpack")],
)
def test_too_many_or_too_large_entries_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, reason: str
) -> None:
    monkeypatch.setattr(archive, bound, 20)
    with pytest.raises(UserError, match=reason):
        check_archive(write_zip(tmp_path / "a.zip", layout()), "a.zip")


def test_a_truncated_zip_is_reported_as_truncated(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="truncated or damaged"):
        check_archive(path, "a.zip")


def test_a_web_page_named_zip_is_reported_as_a_web_page(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_text("<!doctype html><html><body>Sign in to Kaggle</body></html>")
    with pytest.raises(UserError, match="web page"):
        check_archive(path, "a.zip")


def test_an_empty_file_is_not_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"")
    with pytest.raises(UserError, match="not a zip"):
        check_archive(path, "a.zip")


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w", *others: tarfile.TarInfo) -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry in others:
            tar.addfile(entry)
    return path


@pytest.mark.parametrize("kind", ["", "gz", "xz", "bz2", "zst"])
def test_a_tar_archive_becomes_the_same_files_in_a_zip(tmp_path: Path, kind: str) -> None:
    files = {f"./{name}": content for name, content in layout(each=1).items()}
    path = tmp_path / f"faces.tar.{kind}"
    if kind == "zst":
        path.write_bytes(zstd.compress(write_tar(tmp_path / "faces.tar", files).read_bytes()))
    else:
        write_tar(path, files, f"w:{kind}")
    assert is_tar(path)
    convert_tar(path, path.name, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert {f"./{name}": opened.read(name) for name in opened.namelist()} == files


def entry_of(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.linkname = kind, size, "/etc/passwd"
    return entry


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (entry_of("../x.jpg"), "points outside"),
        (entry_of("/etc/x.jpg"), "points outside"),
        (entry_of("train/happy/x.jpg", tarfile.SYMTYPE), "is a link or a device"),
        (entry_of("train/happy/x.jpg", tarfile.LNKTYPE), "is a link or a device"),
        (entry_of("train/happy/x.jpg", tarfile.FIFOTYPE), "is a link or a device"),
        (entry_of("train/train/happy/Training_0.png"), "twice"),
    ],
)
def test_a_tar_archive_that_is_not_safe_is_rejected(tmp_path: Path, entry: tarfile.TarInfo, reason: str) -> None:
    path = write_tar(tmp_path / "faces.tar", layout(each=1), "w", entry)
    with pytest.raises(UserError, match=reason):
        convert_tar(path, "faces.tar", tmp_path / "a.zip")


def test_a_tar_bomb_and_a_large_file_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = write_tar(tmp_path / "bomb.tar.gz", {f"{n}.png": bytes(2**20) for n in range(8)}, "w:gz")
    with pytest.raises(UserError, match="would unpack to over"):
        convert_tar(bomb, "bomb.tar.gz", tmp_path / "a.zip")
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 20)
    with pytest.raises(UserError, match="bytes, more than 20"):
        convert_tar(write_tar(tmp_path / "b.tar", layout(each=1)), "b.tar", tmp_path / "b.zip")


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_truncated_tar_archive_is_reported_as_truncated(tmp_path: Path, kind: str) -> None:
    content = write_tar(tmp_path / "faces.tar", layout()).read_bytes()
    path = tmp_path / f"cut.tar.{kind}"
    path.write_bytes((gzip.compress(content) if kind == "gz" else zstd.compress(content))[:-1000])
    with pytest.raises(UserError, match="truncated or damaged tar"):
        convert_tar(path, path.name, tmp_path / "a.zip")
