"""Fetching what people have: folders, archives, tables, and files on the web."""

import gzip
import hashlib
import io
import lzma
import random
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from backports import zstd

from emotion.data.dataset import Dataset, open_dataset
from emotion.data.layouts.recognized import read_faces
from emotion.fetch import fetch
from emotion.params.sections import Params
from emotion.preprocess import preprocess
from emotion.runtime import paths
from emotion.runtime.errors import UserError
from support import layouts
from support.archives import layout, noise, write_zip


class Run:
    """Runs `fetch`, and `preprocess` after it, in a folder."""

    def __init__(self, params: Params, folder: Path) -> None:
        self.params, self.folder = params, folder
        self.archive, self.faces = folder / "raw/faces.zip", folder / "raw/faces.csv"
        self.source: dict[str, Any] = {}
        self.archive.parent.mkdir(parents=True)

    def __call__(self, path: Path | str, **changes: Any) -> pd.DataFrame:
        settings = self.params.fetch.model_copy(update={"source": "path", "path": str(path), **changes})
        self.source = fetch(settings, self.archive, self.faces)
        return read_faces(self.faces)

    def preprocess(self, **changes: Any) -> Dataset:
        settings = self.params.preprocess.model_copy(update=changes)
        preprocess(settings, self.archive, self.faces, self.source, self.folder / "faces", self.folder / "report")
        return open_dataset(self.folder / "faces")


@pytest.fixture
def run(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return Run(params, tmp_path / "run")


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        layouts.write(folder, name, content)
    return folder


def packed(folder: Path, kind: str) -> Path:
    """The files of a folder as an archive beside it."""
    if kind == "zip":
        return Path(shutil.make_archive(str(folder), "zip", folder))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, "")
    kinds: dict[str, Callable[[bytes], bytes]] = {
        "tar.gz": gzip.compress, "tar.xz": lzma.compress, "tar.zst": zstd.compress,
    }  # fmt: skip
    path = folder.with_suffix(f".{kind}")
    path.write_bytes(kinds[kind](buffer.getvalue()))
    return path


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz", "tar.zst"])
def test_a_folder_and_its_archives_give_the_same_dataset(run: Run, tmp_path: Path, kind: str) -> None:
    folder = unpacked(tmp_path / "photos", layout())
    expected, first = run(folder), run.preprocess()
    assert run.source["images"] == len(layout())
    pd.testing.assert_frame_equal(run(packed(folder, kind)), expected)
    second = run.preprocess()
    np.testing.assert_array_equal(first.images, second.images)
    pd.testing.assert_frame_equal(first.index, second.index)


def test_a_folder_is_fetched_to_the_same_bytes_every_time(run: Run, tmp_path: Path) -> None:
    run(unpacked(tmp_path / "photos", layout()))
    first = run.source["sha256"]
    run(unpacked(tmp_path / "again", layout()))
    assert run.source["sha256"] == first


def test_a_zip_file_is_kept_unchanged(run: Run, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    run(path)
    assert run.archive.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("quirks", [False, True])
def test_a_table_of_pixels_becomes_images_with_the_same_pixels(run: Run, tmp_path: Path, quirks: bool) -> None:
    truth = layouts.fer2013(tmp_path / "fer", quirks=quirks)
    table = next((tmp_path / "fer").iterdir())
    faces = run(table, labels="fer2013")
    assert dict(zip(faces["name"], faces["emotion"], strict=True)) == truth
    dataset = run.preprocess()
    assert dict(dataset.index["split"].value_counts()) == {"train": 28, "validation": 28, "test": 28}
    assert dataset.metadata["protocol"] == "challenge"
    row = int(np.flatnonzero(dataset.index["name"] == "fer0000007.png")[0])
    np.testing.assert_array_equal(dataset.images[row].ravel(), np.array(layouts.pixels(7).split(), np.uint8))


def test_a_row_that_is_not_an_image_goes_into_quarantine(run: Run, tmp_path: Path) -> None:
    layouts.fer2013(tmp_path, each=10)
    path = tmp_path / "fer2013.csv"
    lines = path.read_text().splitlines()
    for row, broken in ((3, "1 2 3"), (5, "300 " * 2304), (8, "x")):
        emotion, _, usage = lines[row + 1].split(",")
        lines[row + 1] = f"{emotion},{broken.strip()},{usage}"
    path.write_text("\n".join(lines))
    run(path, labels="fer2013")
    run.preprocess()
    quarantine = pd.read_csv(run.folder / "report/quarantine.csv")
    assert quarantine["name"].tolist() == ["fer0000003.png", "fer0000005.png", "fer0000008.png"]


def test_votes_reach_the_index(run: Run, tmp_path: Path) -> None:
    layouts.ferplus_tables(tmp_path, each=12)
    run(tmp_path)
    dataset = run.preprocess()
    assert run.source["annotation"] == "FER+"
    assert (dataset.index["votes.angry"] == 7).sum() == (dataset.index["emotion"] == "angry").sum()
    assert dataset.split("train").attributes.empty


def test_data_without_splits_is_split_with_every_emotion_in_each(run: Run, tmp_path: Path) -> None:
    layouts.own_folders(tmp_path / "own", each=40)
    run(tmp_path / "own")
    index = run.preprocess().index
    counts = pd.crosstab(index["split"], index["emotion"])
    assert (counts.loc["test"] == 6).all()  # 15% of 40
    assert (counts.loc["validation"] == 4).all()  # 10% of the others, at least
    assert run.preprocess(seed=1).index["split"].ne(index["split"]).any()


def test_a_person_and_identical_images_are_never_on_both_sides(run: Run, tmp_path: Path) -> None:
    layouts.jaffe(tmp_path / "jaffe")
    for name in ("YM.HA1.201.tiff", "KA.HA1.10.tiff"):  # an image of two persons ties them together
        layouts.write(tmp_path / "jaffe/jaffe", name, noise(999))
    run(tmp_path / "jaffe")
    index = run.preprocess().index
    splits = index.groupby("subject")["split"].nunique()
    assert (splits == 1).all()
    assert index.groupby("subject")["split"].first()[["YM", "KA"]].nunique() == 1
    assert not index["seen_in_training"].any()
    assert set(index["split"]) == {"train", "validation", "test"}


def test_a_missing_split_is_taken_from_training_and_the_others_stay(run: Run, tmp_path: Path) -> None:
    layouts.split_folders(tmp_path / "own", {"train": "train", "validation": "val"}, each=20)
    faces = run(tmp_path / "own")
    index = run.preprocess().index
    given = faces.set_index("name")["given_split"][index["name"]].to_numpy()
    assert set(index["split"][given == "validation"]) == {"validation"}
    assert set(index["split"][given == "train"]) == {"train", "test"}


def test_what_is_at_no_path_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is nothing at .*none\.zip.*fetch\.path=PATH"):
        run(tmp_path / "none.zip")
    (tmp_path / "notes.md").write_text("notes")
    with pytest.raises(UserError, match=r"notes\.md is not a zip or tar file\. Expected such a file, a folder"):
        run(tmp_path / "notes.md")


def test_another_checksum_is_refused_and_nothing_is_left(run: Run, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", layout())
    with pytest.raises(UserError, match=r"the SHA-256 of .* is .*, but fetch\.sha256 is 0000"):
        run(path, sha256="0" * 64)
    assert not list(run.archive.parent.iterdir())
    folder = unpacked(tmp_path / "photos", layout())
    run(folder)
    assert len(run(folder, sha256=run.source["sha256"])) == len(layout())


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("happy,happy,", "happy,,", "an image has no emotion"),
        (",train,", ",elsewhere,", "its column given_split contains 'elsewhere'"),
        ("Training_1.png", "Training_0.png", "twice"),
    ],
)
def test_a_damaged_table_of_faces_gives_one_message(run: Run, tmp_path: Path, old: str, new: str, reason: str) -> None:
    run(write_zip(tmp_path / "a.zip", layout()))
    run.faces.write_text(run.faces.read_text().replace(old, new))
    with pytest.raises(UserError, match=rf"faces\.csv is damaged: .*{reason}.*dvc repro"):
        read_faces(run.faces)


def test_an_archive_with_other_archives_in_it_is_accepted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of FER-2013's competition, which contains a large fer2013.tar.gz beside the tables."""
    monkeypatch.setattr("emotion.data.sources.archive.MAX_FILE_BYTES", 5000)
    layouts.fer2013(tmp_path / "competition", quirks=True)
    layouts.write(tmp_path / "competition", "fer2013.tar.gz", random.randbytes(10_000))
    layouts.write(tmp_path / "competition", "example_submission.csv", "emotion\n0\n")
    layouts.write(tmp_path / "competition", "test.csv", f"pixels\n{layouts.pixels(1)}\n")
    assert len(run(packed(tmp_path / "competition", "zip"), labels="fer2013")) == 84


def test_a_file_of_the_user_among_the_downloads_stays(run: Run, tmp_path: Path) -> None:
    path = tmp_path / paths.DOWNLOADS / "mine.zip"
    path.parent.mkdir(parents=True)
    run(write_zip(path, layout()))
    assert path.exists()
    run(unpacked(tmp_path / paths.DOWNLOADS / "folder", layout()))


def test_the_digest_of_a_table_with_images_is_that_of_all_images(run: Run, tmp_path: Path) -> None:
    layouts.voted_table(tmp_path / "faces")
    run(tmp_path / "faces/annotations.csv")
    first = run.source["sha256"]
    layouts.write(tmp_path / "faces", "faces/0.png", noise(12345))
    run(tmp_path / "faces/annotations.csv")
    assert run.source["sha256"] != first


class Web(ThreadingHTTPServer):
    """A server with one file that can drop connections."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), WebHandler)
        self.content, self.cuts, self.ranges = content, 0, list[str]()
        self.honors_ranges = True


class WebHandler(BaseHTTPRequestHandler):
    server: Web

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if not self.path.startswith("/faces.zip"):
            self.send_error(404)
            return
        self.server.ranges.append(self.headers.get("Range", ""))
        start = 0
        if self.headers.get("Range") and self.server.honors_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
        else:
            self.send_response(200)
        content = self.server.content[start:]
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            content = content[: len(content) // 2]
        self.wfile.write(content)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    server = Web(write_zip(tmp_path / "web.zip", layout()).read_bytes())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("honors_ranges", [True, False])
def test_a_download_is_resumed_and_checked(run: Run, web: Web, tmp_path: Path, honors_ranges: bool) -> None:
    url = f"http://127.0.0.1:{web.server_port}/faces.zip?token=secret"
    digest = hashlib.sha256(web.content).hexdigest()
    web.cuts, web.honors_ranges = 1, honors_ranges
    with pytest.raises(UserError, match=r"was interrupted .*Run the command again to resume it") as error:
        run(url, sha256=digest)
    assert "secret" not in str(error.value)
    assert len(run(url, sha256=digest)) == len(layout())
    assert web.ranges[0] == ""
    assert 0 < int(web.ranges[1].strip("bytes=-")) <= len(web.content) // 2
    assert run.archive.read_bytes() == web.content
    assert run.source["origin"] == f"http://127.0.0.1:{web.server_port}/faces.zip"
    assert not [path for path in (tmp_path / paths.DOWNLOADS).rglob("*") if path.is_file()]


def test_an_address_without_a_checksum_or_with_another_one_is_refused(run: Run, web: Web, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{web.server_port}/faces.zip"
    with pytest.raises(UserError, match=r"not downloaded without a checksum.*fetch\.sha256"):
        run(url)
    assert not web.ranges
    with pytest.raises(UserError, match=r"but fetch\.sha256 is 1111.*the download was deleted"):
        run(url, sha256="1" * 64)
    assert not [path for path in (tmp_path / paths.DOWNLOADS).rglob("*") if path.is_file()]
    with pytest.raises(UserError, match=r"HTTP 404\. Check fetch\.path"):
        run(f"http://127.0.0.1:{web.server_port}/other.zip", sha256="1" * 64)
