"""The dataset that `preprocess` writes: all faces in one array, and a table with one row per face.

data/faces/images.npy    (n, 48, 48) uint8, 0..255
data/faces/index.csv     name, emotion, usage, split, pixel_hash, duplicate_group,
                         seen_in_training, and the attributes of the data, such as age or
                         glasses; row i describes image i
data/faces/dataset.json  the source of the images, how they were split, and image counts
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from emotion.data.labels import EMOTIONS, GATE, IMAGE_SIZE, SPLITS, UNUSED
from emotion.runtime.errors import UserError
from emotion.runtime.files import read_csv, read_json
from emotion.runtime.paths import DATASET

Images = NDArray[np.uint8]  # (n, 48, 48)
Labels = NDArray[np.int64]  # (n,), an index into EMOTIONS


FIX = "Run `dvc checkout`, or `dvc repro --force --single-item preprocess`."
INDEX_COLUMNS = ("name", "emotion", "usage", "split", "pixel_hash", "duplicate_group", "seen_in_training")


class SourceMetadata(BaseModel):
    """The content of data/raw/source.json: where an archive came from."""

    source: str
    origin: str
    sha256: str
    bytes: int
    images: int
    ignored: int


class DatasetMetadata(BaseModel):
    """The content of data/faces/dataset.json."""

    source: SourceMetadata
    preprocess: dict[str, Any]
    counts: dict[str, Any]


@dataclass(frozen=True)
class Split:
    """A subset of the faces, with their labels and index rows."""

    images: Images
    labels: Labels
    index: pd.DataFrame

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def attributes(self) -> pd.DataFrame:
        """The attributes that the data has, (n, number of attributes), as texts; empty where unknown."""
        return self.index.drop(columns=[*INDEX_COLUMNS], errors="ignore").astype(str)


@dataclass(frozen=True)
class Dataset:
    """The whole dataset, with memory-mapped images."""

    images: Images
    index: pd.DataFrame
    metadata: dict[str, Any]  # dataset.json

    def split(self, name: str) -> Split:
        """Return one split (train, validation, test or gate), loaded into memory."""
        rows = np.flatnonzero(self.index["split"] == name)
        index = self.index.iloc[rows].reset_index(drop=True)
        labels = pd.Categorical(index["emotion"], categories=EMOTIONS).codes.astype(np.int64)
        return Split(np.asarray(self.images[rows]), labels, index)

    @property
    def is_drawn(self) -> bool:
        """Whether the faces were drawn by this project."""
        return is_drawn(self.metadata)

    @property
    def caption(self) -> str:
        """A description of the data for figures and reports."""
        return caption(self.metadata)


def is_drawn(metadata: dict[str, Any]) -> bool:
    """Whether the faces that dataset.json describes were drawn by this project."""
    return bool(metadata["source"]["source"] == "synthetic")


def caption(metadata: dict[str, Any]) -> str:
    """Describe where the faces come from and whether they are drawings.

    Args:
        metadata: the content of dataset.json.
    """
    kind = "drawings, not photographs" if is_drawn(metadata) else "not drawn by this project"
    return f"{metadata['source']['origin']} ({kind})"


def open_dataset(folder: Path = DATASET) -> Dataset:
    """Open the dataset that `preprocess` wrote.

    Raises:
        UserError: if a file is missing or damaged, or if the files do not match each other.
    """
    images = _read_images(folder / "images.npy")
    index = read_csv(folder / "index.csv", INDEX_COLUMNS, FIX, keep_default_na=False)
    metadata = read_json(folder / "dataset.json", FIX, DatasetMetadata)
    for column, known in (("emotion", EMOTIONS), ("split", (*SPLITS, GATE, UNUSED))):
        if unknown := set(index[column].astype(str)) - set(known):
            raise UserError(f"{folder / 'index.csv'} is damaged: its column {column} contains {min(unknown)!r}. {FIX}")
    if images.shape != (len(index), IMAGE_SIZE, IMAGE_SIZE) or images.dtype != np.uint8:
        raise UserError(
            f"{folder} is inconsistent: {len(index)} rows, but images of shape {images.shape} and"
            f" type {images.dtype}. {FIX}"
        )
    return Dataset(images, index, metadata)


def _read_images(path: Path) -> Images:
    try:
        images = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise UserError(f"{path} is missing. {FIX}") from None
    except (ValueError, EOFError, SyntaxError):  # cut, or pickled
        images = None
    if not isinstance(images, np.ndarray):
        raise UserError(f"{path} is damaged: it is not an array of images. {FIX}")
    return images


def subset(split: Split, fraction: float, seed: int) -> Split:
    """Return a random fraction of a split, in the original order."""
    count = max(1, round(len(split) * fraction))
    rows = np.sort(np.random.default_rng(seed).permutation(len(split))[:count])
    return Split(split.images[rows], split.labels[rows], split.index.iloc[rows].reset_index(drop=True))
