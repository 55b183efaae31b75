"""The dataset that `preprocess` writes: all faces in one array, and a table with one row per face.

data/faces/images.npy    (n, size, size) uint8, 0..255, or (n, size, size, 3) in color
data/faces/index.csv     name, emotion, usage, split, pixel_hash, duplicate_group,
                         seen_in_training, and the attributes of the data, such as age or
                         glasses; row i describes image i
data/faces/dataset.json  the emotions, the source of the images, how they were split, and image counts
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from emotion.data.labels import GATE, IMAGE_SIZES, SPLITS, UNUSED
from emotion.runtime.errors import UserError
from emotion.runtime.files import read_csv, read_json
from emotion.runtime.paths import DATASET

Images = NDArray[np.uint8]  # (n, size, size) gray, or (n, size, size, 3) red, green and blue
Labels = NDArray[np.int64]  # (n,), an index into the emotions of the dataset
InputShape = tuple[int, int, int]  # of one image as a model takes it: height, width, and 1 or 3 channels


FIX = "Run `dvc checkout`, or `dvc repro --force --single-item preprocess`."
VOTES = "votes."  # columns with the annotators' votes for an emotion begin with this
INDEX_COLUMNS = ("name", "emotion", "usage", "split", "pixel_hash", "duplicate_group", "seen_in_training")


class SourceMetadata(BaseModel):
    """The content of data/raw/source.json: where the faces came from, and what was understood."""

    source: str
    origin: str
    sha256: str  # of the file that was fetched, or of the archive that was made of a folder
    bytes: int
    images: int
    other_files: int  # that are not used
    layout: str
    annotation: str  # who labelled the images, if they also exist with other labels
    license: str  # as the data states it; empty if it does not
    labels: dict[str, str]  # what each label means
    label_counts: dict[str, int]  # images per label
    given_splits: dict[str, int]  # images per split that the data states
    attributes: list[str]
    votes: bool  # whether annotators' votes are known
    left_out: dict[str, int]  # images by the reason why they are not used
    notes: list[str]  # what else the user should know


class DatasetMetadata(BaseModel):
    """The content of data/faces/dataset.json."""

    emotions: list[str]
    source: SourceMetadata
    protocol: str  # how the splits were made: challenge or folders
    preprocess: dict[str, Any]
    counts: dict[str, Any]
    corrections: dict[str, Any]  # of labels, by action; empty if none were applied


@dataclass(frozen=True)
class Split:
    """A subset of the faces, with their labels and index rows."""

    images: Images
    labels: Labels
    index: pd.DataFrame
    emotions: tuple[str, ...]  # the names of the labels

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input_shape(self) -> InputShape:
        """The shape of an image as a model takes it."""
        return input_shape(self.images)

    def select(self, rows: NDArray[np.integer]) -> "Split":
        """Return some of the faces."""
        index = self.index.iloc[rows].reset_index(drop=True)
        return replace(self, images=np.asarray(self.images[rows]), labels=self.labels[rows], index=index)

    @property
    def has_votes(self) -> bool:
        """Whether it is known for any image how annotators voted."""
        columns = [f"{VOTES}{emotion}" for emotion in self.emotions if f"{VOTES}{emotion}" in self.index]
        return bool((self.index[columns].to_numpy() > 0).any())

    @property
    def distributions(self) -> NDArray[np.float32]:
        """How annotators voted, (n, classes), rows sum to 1; without votes, everything is for the label."""
        certain = np.eye(len(self.emotions), dtype=np.float32)[self.labels]
        if not self.has_votes:
            return certain
        columns = [f"{VOTES}{emotion}" for emotion in self.emotions]
        votes = self.index.reindex(columns=columns, fill_value=0).to_numpy(np.float32, na_value=0)
        total = votes.sum(axis=1, keepdims=True)
        return np.where(total > 0, votes / np.maximum(total, 1e-9), certain).astype(np.float32)

    @property
    def attributes(self) -> pd.DataFrame:
        """The attributes that the data has, (n, number of attributes), as texts; empty where unknown."""
        others = [column for column in self.index if column not in INDEX_COLUMNS and not str(column).startswith(VOTES)]
        return self.index[others].astype(str)


@dataclass(frozen=True)
class Dataset:
    """The whole dataset, with memory-mapped images."""

    images: Images
    index: pd.DataFrame
    metadata: dict[str, Any]  # dataset.json

    def split(self, name: str) -> Split:
        """Return one split (train, validation, test or gate), loaded into memory."""
        return self.select(np.flatnonzero(self.index["split"] == name))

    def select(self, rows: NDArray[np.integer]) -> Split:
        """Return some of the faces, loaded into memory."""
        index = self.index.iloc[rows].reset_index(drop=True)
        labels = pd.Categorical(index["emotion"], categories=self.emotions).codes.astype(np.int64)
        return Split(np.asarray(self.images[rows]), labels, index, self.emotions)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions of the data, in the order of the labels."""
        return tuple(self.metadata["emotions"])

    @property
    def input_shape(self) -> InputShape:
        """The shape of an image as a model takes it."""
        return input_shape(self.images)

    @property
    def is_drawn(self) -> bool:
        """Whether the faces were drawn by this project."""
        return is_drawn(self.metadata)

    @property
    def caption(self) -> str:
        """A description of the data for figures and reports."""
        return caption(self.metadata)


def input_shape(images: Images) -> InputShape:
    """The shape in which a model takes each of these images: height, width, and 1 or 3 channels."""
    _, height, width, *channels = images.shape
    return height, width, channels[0] if channels else 1


def describe_classes(emotions: Sequence[str], shape: InputShape) -> str:
    """The emotions and the images, in a few words."""
    return f"{len(emotions)} emotions ({', '.join(emotions)}) in {describe_images(shape)}"


def describe_images(shape: InputShape) -> str:
    """The kind of images, in a few words."""
    height, width, channels = shape
    return f"{'color' if channels == 3 else 'gray'} images of {width}x{height} pixels"


def as_pixels(images: Images) -> Images:
    """The images with an axis for the channels, (n, size, size, 1 or 3) uint8, as models take them."""
    return images[..., None] if images.ndim == 3 else images


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
    for column, known in (("emotion", metadata["emotions"]), ("split", (*SPLITS, GATE, UNUSED))):
        if unknown := set(index[column].astype(str)) - set(known):
            raise UserError(f"{folder / 'index.csv'} is damaged: its column {column} contains {min(unknown)!r}. {FIX}")
    shapes = [(len(index), size, size, *color) for size in IMAGE_SIZES for color in ((), (3,))]
    if images.shape not in shapes or images.dtype != np.uint8:
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
    return split.select(np.sort(np.random.default_rng(seed).permutation(len(split))[:count]))
