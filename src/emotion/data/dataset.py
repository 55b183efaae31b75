"""The dataset that `preprocess` writes: all faces in one array, and a table with one row per face.

data/faces/images.npy    (n, 48, 48) uint8, 0..255
data/faces/index.csv     name, emotion, usage, split, pixel_hash, duplicate_group,
                         seen_in_training; row i describes image i
data/faces/dataset.json  the source of the images, how they were split, and image counts
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.labels import EMOTIONS, IMAGE_SIZE
from emotion.runtime.errors import UserError
from emotion.runtime.files import read_json
from emotion.runtime.paths import DATASET

Images = NDArray[np.uint8]  # (n, 48, 48)
Labels = NDArray[np.int64]  # (n,), an index into EMOTIONS


@dataclass(frozen=True)
class Split:
    """A subset of the faces, with their labels and index rows."""

    images: Images
    labels: Labels
    index: pd.DataFrame

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """The whole dataset, with memory-mapped images."""

    images: Images
    index: pd.DataFrame
    metadata: dict[str, Any]  # dataset.json

    def split(self, name: str) -> Split:
        """Return one split (train, validation or test), loaded into memory."""
        rows = np.flatnonzero(self.index["split"] == name)
        index = self.index.iloc[rows].reset_index(drop=True)
        labels = pd.Categorical(index["emotion"], categories=EMOTIONS).codes.astype(np.int64)
        return Split(np.asarray(self.images[rows]), labels, index)

    @property
    def caption(self) -> str:
        """A description of the data for figures and reports."""
        return caption(self.metadata)


def caption(metadata: dict[str, Any]) -> str:
    """Describe where the faces come from and whether they are drawings.

    Args:
        metadata: the content of dataset.json.
    """
    source = metadata["source"]
    kind = "drawings, not photographs" if source["source"] == "synthetic" else "not drawn by this project"
    return f"{source['origin']} ({kind})"


def open_dataset(folder: Path = DATASET) -> Dataset:
    """Open the dataset that `preprocess` wrote.

    Raises:
        UserError: if a file is missing, or if the files do not match each other.
    """
    try:
        images = np.load(folder / "images.npy", mmap_mode="r")
        index = pd.read_csv(folder / "index.csv", keep_default_na=False)
        metadata = read_json(folder / "dataset.json", "Run `dvc repro --force preprocess`.")
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing. Run `dvc repro preprocess`.") from None
    if images.shape != (len(index), IMAGE_SIZE, IMAGE_SIZE) or images.dtype != np.uint8:
        raise UserError(
            f"{folder} is inconsistent: {len(index)} rows, but images of shape {images.shape} and"
            f" type {images.dtype}. Run `dvc repro --force --single-item preprocess`."
        )
    return Dataset(images, index, metadata)


def subset(split: Split, fraction: float, seed: int) -> Split:
    """Return a random fraction of a split, in the original order."""
    count = max(1, round(len(split) * fraction))
    rows = np.sort(np.random.default_rng(seed).permutation(len(split))[:count])
    return Split(split.images[rows], split.labels[rows], split.index.iloc[rows].reset_index(drop=True))
