"""Files in a folder or a ZIP archive, by their names."""

import csv
import io
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from emotion.runtime.errors import UserError

ATTRIBUTES = "attributes.csv"  # tells what else is known about images, whatever tells their labels
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TABLES = (".csv", ".tsv")
MAX_FILES = 2_000_000
MAX_FILE_BYTES = 32 * 2**20  # of an image
MAX_TABLE_BYTES = 4 * 2**30


class Files(Protocol):
    """Named files, which are only read."""

    @property
    def names(self) -> list[str]:
        """The names, sorted; folders are separated by `/`."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files are not seen, by the reason."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""


class FolderFiles:
    """The regular files in a folder and in the folders in it, without hidden ones.

    Args:
        folder: the folder.
        only: the name of the only file to see; None for all.
    """

    def __init__(self, folder: Path, only: str | None = None) -> None:
        self._folder = folder
        self.skipped: Counter[str] = Counter()
        self.names = [only] if only else sorted(self._find())

    def _find(self) -> Iterator[str]:
        count = 0
        for root, folders, files in os.walk(self._folder):  # which does not follow symbolic links
            parent = Path(root)
            self.skipped["symbolic links"] += sum((parent / name).is_symlink() for name in folders)
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                count += 1
                if count > MAX_FILES:
                    raise UserError(f"{self._folder} has more than {MAX_FILES:,} files. Choose a folder with fewer.")
                relative = (parent / name).relative_to(self._folder).as_posix()
                if name.startswith("."):
                    continue
                if (parent / name).is_symlink():
                    self.skipped["symbolic links"] += 1
                elif not (parent / name).is_file():
                    self.skipped["pipes, sockets and devices"] += 1
                elif not relative.isprintable():
                    self.skipped["names with unprintable characters"] += 1
                else:
                    yield relative

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        return (self._folder / name).open("rb")


class ZipFiles:
    """The files in a ZIP archive that was checked; see `emotion.data.sources.archive`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.skipped: Mapping[str, int] = {}
        self.names = sorted(name for name in archive.namelist() if not name.endswith("/"))

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        return io.BufferedReader(self._archive.open(name))  # type: ignore[type-var]


class DamagedFileError(Exception):
    """A file cannot be read. The message gives the reason."""


def read_bytes(files: Files, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
    """The content of a file.

    Raises:
        DamagedFileError: if it cannot be read, or has more than `limit` bytes.
    """
    try:
        with files.open(name) as file:
            content = file.read(limit + 1)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise DamagedFileError(f"damaged: {error}") from None
    if len(content) > limit:
        raise DamagedFileError(f"larger than {limit // 2**20} MiB")
    return content


@contextmanager
def open_text(files: Files, name: str) -> Iterator[io.TextIOWrapper]:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: if it cannot be read, or is not such a text.
    """
    try:
        with files.open(name) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            yield text
    except UnicodeDecodeError:
        raise UserError(f"{name} is not a text in UTF-8. Convert it.") from None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, csv.Error) as error:
        raise UserError(f"{name} cannot be read: {error}. Fetch it again.") from None
