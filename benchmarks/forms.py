"""Write an archive of faces in every form in which people hold such data, and compare what the pipeline makes of it.

    python benchmarks/forms.py ARCHIVE

Each form is fetched and preprocessed with the parameters in the table. The last column is the difference from the
archive itself: of the pixels and their emotions, and of the splits.
"""

import csv
import shutil
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from emotion.data.dataset import Dataset, open_dataset
from emotion.data.layouts.source import open_source, read_images
from emotion.data.layouts.words import NUMBERINGS, LabelMap
from emotion.data.preparation.images import load_face
from emotion.fetch import fetch
from emotion.params.load import load_params
from emotion.preprocess import preprocess

OTHER_WORDS = {"angry": "Anger", "disgust": "DISGUSTED", "fear": "fearful", "happy": "joy", "neutral": "Neutral",
               "sad": "sadness", "surprise": "surprised"}  # fmt: skip
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
VOTED = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear")
USAGES = {"train": "Training", "test": "PublicTest"}
Form = Callable[[Path], Path]


class Faces:
    """The faces of the archive, which are written in other forms.

    Args:
        archive: a zip file with a train and a test split.
    """

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        with open_source(archive, LabelMap(), archive.name) as source:
            self.table = source.recognized.faces
            self.contents = dict(read_images(source, list(self.table["name"])))

    def rows(self) -> Iterator[tuple[int, str, str, bytes]]:
        """Yield each face's number, emotion, split and file, training first, as FER-2013 has them."""
        ordered = self.table.sort_values(["given_split", "name"], ascending=[False, True])
        for number, row in enumerate(ordered.to_dict("records")):
            yield number, row["emotion"], row["given_split"], self.contents[row["name"]]

    def number(self, numbering: str, emotion: str) -> int:
        """The number of an emotion."""
        return next(number for number, name in NUMBERINGS[numbering].items() if name == emotion)

    def as_pixel_table(self, folder: Path, quirks: bool = False) -> Path:
        """`fer2013.csv`; with quirks, `icml_face_data.csv`."""
        path = folder / ("icml_face_data.csv" if quirks else "fer2013.csv")
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["emotion", " Usage", " pixels"] if quirks else ["emotion", "pixels", "Usage"])
            for _, emotion, split, content in self.rows():
                pixels = " ".join(map(str, load_face(content, (48, 48, 1)).ravel()))
                label = self.number("fer2013", emotion)
                writer.writerow([label, USAGES[split], pixels] if quirks else [label, pixels, USAGES[split]])
        return path

    def as_ferplus(self, folder: Path) -> Path:
        """FER+'s folders and its table, with all votes for the label."""
        votes = [["Usage", "Image name", *VOTES]]
        for number, emotion, split, content in self.rows():
            name = f"fer{number:07d}.png"
            write(folder / ("FER2013Train" if split == "train" else "FER2013Valid") / name, content)
            votes.append([USAGES[split], name, *("10" if it == emotion else "0" for it in (*VOTED, "", "", ""))])
        with (folder / "fer2013new.csv").open("w", newline="") as file:
            csv.writer(file).writerows(votes)
        return folder

    def as_rafdb(self, folder: Path) -> Path:
        """RAF-DB's list of labels and aligned images."""
        lines = []
        for number, emotion, split, content in self.rows():
            stem = f"{split}_{number:05d}"
            write(folder / f"Image/aligned/{stem}_aligned.jpg", content)
            lines.append(f"{stem}.jpg {self.number('rafdb', emotion)}\n")
        write(folder / "EmoLabel/list_patition_label.txt", "".join(lines).encode())
        return folder

    def as_affectnet(self, folder: Path) -> Path:
        """AffectNet's images, with the label of each in a file."""
        for number, emotion, split, content in self.rows():
            place = folder / ("train_set" if split == "train" else "test_set")
            write(place / f"images/{number}.jpg", content)
            (place / "annotations").mkdir(exist_ok=True)
            np.save(place / f"annotations/{number}_exp.npy", np.array(str(self.number("affectnet", emotion))))
        return folder

    def as_folders(self, folder: Path, train: str = "Training", test: str = "Testing") -> Path:
        """Folders in other words; without splits if these are empty."""
        for number, emotion, split, content in self.rows():
            write(folder / (train if split == "train" else test) / OTHER_WORDS[emotion] / f"{number}.jpg", content)
        return folder

    def as_tar(self, folder: Path) -> Path:
        """The archive's files in a tar file."""
        shutil.unpack_archive(self.archive, folder / "unpacked")
        with tarfile.open(folder / "faces.tar.gz", "w:gz", compresslevel=1) as tar:
            tar.add(folder / "unpacked", "")
        return folder / "faces.tar.gz"


def write(path: Path, content: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def prepare(path: Path, labels: Any, folder: Path) -> Dataset:
    """Run the work of `fetch` and `preprocess`."""
    params = load_params()
    archive, faces = folder / "faces.zip", folder / "faces.csv"
    settings = params.fetch.model_copy(update={"source": "path", "path": str(path), "labels": labels})
    source = fetch(settings, archive, faces)
    preprocess(params.preprocess, archive, faces, source, folder / "faces", folder / "report")
    return open_dataset(folder / "faces")


def contents(index: pd.DataFrame, *columns: str) -> Counter[tuple[str, ...]]:
    """How often each image has the values in some columns."""
    return Counter(zip(*(index[column] for column in ("pixel_hash", *columns)), strict=True))


def main() -> None:
    """Write and read every form, and print the differences."""
    faces = Faces(Path(sys.argv[1]).resolve())
    forms: dict[str, tuple[Form, Any]] = {
        "the archive": (lambda folder: faces.archive, None),
        "tar.gz": (faces.as_tar, None),
        "fer2013.csv": (faces.as_pixel_table, "fer2013"),
        "icml_face_data.csv": (lambda folder: faces.as_pixel_table(folder, quirks=True), "fer2013"),
        "FER+ folders": (faces.as_ferplus, None),
        "RAF-DB": (faces.as_rafdb, "rafdb"),
        "AffectNet": (faces.as_affectnet, "affectnet"),
        "folders, other words and splits": (faces.as_folders, None),
        "folders without splits": (lambda folder: faces.as_folders(folder, "", ""), None),
    }
    table = Table("form", "fetch.labels", "images", "seconds", "other pixels or emotions", "images in another split")
    expected: pd.DataFrame | None = None
    for name, (form, labels) in forms.items():
        with tempfile.TemporaryDirectory() as scratch:
            path = form(Path(scratch))
            start = time.monotonic()
            work = Path(scratch) / "work"
            work.mkdir()
            index = prepare(path, labels, work).index
            expected = index if expected is None else expected
            differing = (contents(expected, "emotion") - contents(index, "emotion")).total()
            moved = (contents(expected, "emotion", "split") - contents(index, "emotion", "split")).total()
            seconds = f"{time.monotonic() - start:.0f}"
            table.add_row(name, str(labels or ""), f"{len(index):,}", seconds, f"{differing:,}", f"{moved:,}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
