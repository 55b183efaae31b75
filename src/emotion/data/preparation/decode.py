"""Decode the images of an archive into one array of faces."""

import hashlib
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emotion.data.dataset import InputShape
from emotion.data.preparation.images import UnreadableImageError, load_face
from emotion.data.sources.files import DamagedFileError, Files, ZipFiles, read_bytes
from emotion.runtime.progress import track


@dataclass
class DecodedArchive:
    """What is known about the decoded images, collected while their pixels are written to disk."""

    rows: list[int] = field(default_factory=list)  # of the table of faces
    pixel_hashes: list[str] = field(default_factory=list)
    blank: list[bool] = field(default_factory=list)
    quarantine: list[tuple[str, str]] = field(default_factory=list)  # name, reason

    def table(self, faces: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the decoded images, in the order of the array."""
        return faces.iloc[self.rows].reset_index(drop=True).assign(pixel_hash=self.pixel_hashes, blank=self.blank)


def decode_archive(
    archive: zipfile.ZipFile, faces: pd.DataFrame, path: Path, shape: InputShape, detect: bool = False
) -> DecodedArchive:
    """Decode all faces, in the order of the table, into one array on disk.

    Images are decoded one at a time, so memory use does not grow with their number.

    Args:
        archive: a zip file with the images.
        faces: a row per image; only the column `name` is used.
        path: the .npy file to write, an array of shape (n, height, width), or (n, height, width, 3) in color, and
            dtype uint8.
        shape: height, width and channels of an image.
        detect: whether the images are photographs, in each of which a face has to be found.
    """
    load = partial(load_face, shape=shape)
    if detect:
        from emotion.data.preparation.detection import Detector, load_detected_face  # TensorFlow, which takes seconds

        load = partial(load_detected_face, shape=shape, detector=Detector())
    with path.open("wb") as output:
        _write_header(output, len(faces), shape)
        start = output.tell()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about unusual metadata, which is not used here
            decoded = _decode_all(ZipFiles(archive), list(faces["name"]), output, load)
        output.seek(0)
        _write_header(output, len(decoded.rows), shape)
        assert output.tell() == start, "NumPy pads headers, so a smaller count should fit"
    return decoded


def _decode_all(
    files: Files, names: list[str], output: BinaryIO, load: Callable[[bytes], NDArray[np.uint8]]
) -> DecodedArchive:
    decoded = DecodedArchive()
    for row, name in enumerate(track(names, "Decoding", len(names))):
        try:
            pixels = load(read_bytes(files, name))
        except (UnreadableImageError, DamagedFileError) as reason:
            decoded.quarantine.append((name, str(reason)))
            continue
        _keep(decoded, row, pixels, output)
    return decoded


def _keep(decoded: DecodedArchive, row: int, pixels: NDArray[np.uint8], output: BinaryIO) -> None:
    content = pixels.tobytes()
    output.write(content)
    decoded.rows.append(row)
    decoded.pixel_hashes.append(hashlib.blake2b(content, digest_size=16).hexdigest())
    decoded.blank.append(content.count(content[:1]) == len(content))


def _write_header(output: BinaryIO, count: int, shape: InputShape) -> None:
    array = (count, *shape) if shape[2] == 3 else (count, *shape[:2])
    header = {"descr": "|u1", "fortran_order": False, "shape": array}
    np.lib.format.write_array_header_1_0(output, header)
