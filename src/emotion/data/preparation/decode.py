"""Decode an archive of images into one array of faces."""

import hashlib
import io
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from emotion.data.dataset import INDEX_COLUMNS, InputShape
from emotion.data.preparation.images import UnreadableImageError, load_face
from emotion.data.sources.archive import ATTRIBUTES, parse
from emotion.runtime.errors import UserError
from emotion.runtime.progress import track

MAX_ATTRIBUTES = 20


@dataclass
class DecodedArchive:
    """Metadata of the decoded images, collected while their pixels are written to disk."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)  # name, folder, emotion, usage
    pixel_hashes: list[str] = field(default_factory=list)
    blank: list[bool] = field(default_factory=list)
    quarantine: list[tuple[str, str]] = field(default_factory=list)  # name, reason

    def table(self) -> pd.DataFrame:
        """Return one row per image, in the order of the array."""
        table = pd.DataFrame(self.rows, columns=["name", "folder", "emotion", "usage"])
        return table.assign(pixel_hash=self.pixel_hashes, blank=self.blank)


def decode_archive(archive: zipfile.ZipFile, path: Path, shape: InputShape) -> DecodedArchive:
    """Decode all labeled images, sorted by name, into one array on disk.

    Images are decoded one at a time, so memory use does not grow with their number.

    Args:
        archive: a zip file in the layout described in `emotion.data.sources.archive`.
        path: the .npy file to write, an array of shape (n, height, width), or (n, height, width, 3) in color, and
            dtype uint8.
        shape: height, width and channels of an image.
    """
    with path.open("wb") as output:
        _write_header(output, len(archive.namelist()), shape)
        start = output.tell()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about unusual metadata, which is not used here
            decoded = _decode_all(archive, output, shape)
        output.seek(0)
        _write_header(output, len(decoded.rows), shape)
        assert output.tell() == start, "NumPy pads headers, so a smaller count should fit"
    return decoded


def read_attributes(archive: zipfile.ZipFile, shown: str) -> pd.DataFrame:
    """The table of attributes in an archive, as texts, with the column name; only that column if there is none.

    Raises:
        UserError: if it cannot be read, or its columns have the names of those of the index; it names `shown`.
    """
    if ATTRIBUTES not in archive.namelist():
        return pd.DataFrame({"name": pd.Series(dtype=str)})
    fix = f"Fix {ATTRIBUTES} in the archive, or remove it."
    try:
        table = pd.read_csv(io.BytesIO(archive.read(ATTRIBUTES)), dtype=str, keep_default_na=False)
    except (ValueError, zipfile.BadZipFile, zlib.error) as reason:
        raise UserError(f"{ATTRIBUTES} in {shown} cannot be read: {str(reason).splitlines()[0]}. {fix}") from None
    columns = [str(column) for column in table.columns]
    taken = sorted({*columns} & {*INDEX_COLUMNS} - {"name"})
    if "name" not in columns or taken or len(columns) > MAX_ATTRIBUTES + 1:
        problem = f"has the column {taken[0]}, which the dataset has" if taken else f"has the columns {columns[:9]}"
        raise UserError(
            f"{ATTRIBUTES} in {shown} {problem}; expected name and at most {MAX_ATTRIBUTES} attributes. {fix}"
        )
    if table["name"].duplicated().any():
        raise UserError(
            f"{ATTRIBUTES} in {shown} names {table['name'][table['name'].duplicated()].iloc[0]} twice. {fix}"
        )
    return table


def _decode_all(archive: zipfile.ZipFile, output: BinaryIO, shape: InputShape) -> DecodedArchive:
    decoded = DecodedArchive()
    names = sorted(name for name in archive.namelist() if parse(name))
    for name in track(names, "Decoding", len(names)):
        entry = parse(name)
        assert entry is not None
        try:
            pixels = load_face(archive.read(name), shape)
        except UnreadableImageError as reason:
            decoded.quarantine.append((name, str(reason)))
            continue
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as reason:
            decoded.quarantine.append((name, f"damaged in the archive: {reason}"))
            continue
        content = pixels.tobytes()
        output.write(content)
        decoded.rows.append((name, entry.folder, entry.emotion, entry.usage))
        decoded.pixel_hashes.append(hashlib.blake2b(content, digest_size=16).hexdigest())
        decoded.blank.append(content.count(content[:1]) == len(content))
    return decoded


def _write_header(output: BinaryIO, count: int, shape: InputShape) -> None:
    array = (count, *shape) if shape[2] == 3 else (count, *shape[:2])
    header = {"descr": "|u1", "fortran_order": False, "shape": array}
    np.lib.format.write_array_header_1_0(output, header)
