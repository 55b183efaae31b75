"""Opens labelled faces wherever they are: in a folder, a zip or tar file, or a table."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from emotion.data.layouts.pixel_tables import image_name, read_pixels
from emotion.data.layouts.recognize import recognize
from emotion.data.layouts.recognized import Recognized
from emotion.data.layouts.tables import header
from emotion.data.layouts.words import LabelMap
from emotion.data.preparation.images import encode_png
from emotion.data.sources.archive import check_archive, convert_tar, dated_entry, is_tar, open_archive
from emotion.data.sources.files import TABLES, DamagedFileError, Files, FolderFiles, ZipFiles, read_bytes
from emotion.runtime.errors import UserError
from emotion.runtime.progress import track

LICENSE_NAMES = ("license", "licence", "license.txt", "licence.txt", "license.md", "licence.md", "copying")
MAX_LICENSE = 200  # characters of its first line


@dataclass(frozen=True)
class Source:
    """Labelled faces that were recognized.

    Attributes:
        files: the files.
        recognized: the faces among them.
        archive: the zip file that the files are in; None if they are in a folder.
    """

    files: Files
    recognized: Recognized
    archive: Path | None

    @property
    def license(self) -> str:
        """The first line of a license file; empty if there is none."""
        for name in self.files.names:
            if name.rsplit("/", 1)[-1].lower() in LICENSE_NAMES:
                try:
                    lines = read_bytes(self.files, name).decode("utf-8", "replace").splitlines()
                except DamagedFileError:
                    continue
                return next((line.strip()[:MAX_LICENSE] for line in lines if line.strip()), "")
        return ""


@contextmanager
def open_source(path: Path, labels: LabelMap, shown: str) -> Iterator[Source]:
    """Open a folder, a zip or tar file, or a table, and recognize the faces in it.

    Args:
        path: where it is.
        labels: what labels mean, beside the usual words.
        shown: what to call it in messages.

    Raises:
        UserError: if there is nothing, an archive is damaged or not safe, no layout fits, or what a label means is not
            certain.
    """
    with ExitStack() as resources:
        archive, table = None, None
        files: Files
        if path.is_dir():
            files = FolderFiles(path)
        elif not path.is_file():
            raise UserError(f"there is nothing at {shown}. Expected a folder, a zip or tar file, or a table (.csv).")
        elif path.suffix.lower() in TABLES:
            # Its images are its pixels, or files beside it.
            files = FolderFiles(path.parent, path.name)
            if "pixels" not in header(files, path.name):
                files, table = FolderFiles(path.parent), path.name
        else:
            archive = path
            if not zipfile.is_zipfile(path) and is_tar(path):
                archive = Path(resources.enter_context(tempfile.TemporaryDirectory())) / "faces.zip"
                convert_tar(path, shown, archive)
            check_archive(archive, shown)
            files = ZipFiles(resources.enter_context(open_archive(archive, shown)))
        yield Source(files, recognize(files, labels, shown, table), archive)


def read_images(source: Source, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of image files; a file that cannot be read is empty.

    Images in a table of pixels become PNG files.

    Args:
        source: the faces.
        names: from the table of faces, in its order.
    """
    if source.recognized.pixels:
        wanted = set(names)
        for row, pixels in enumerate(read_pixels(source.files, source.recognized.pixels)):
            if (name := image_name(row)) in wanted:
                yield name, b"" if pixels is None else encode_png(pixels)
        return
    for name in names:
        try:
            yield name, read_bytes(source.files, name)
        except DamagedFileError:
            yield name, b""


def write_archive(source: Source, target: Path) -> None:
    """Write the faces to a zip file: an archive as it is, all else as the images that have a label."""
    if source.archive and not source.recognized.pixels:
        shutil.copyfile(source.archive, target)
        return
    names = list(source.recognized.faces["name"])
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in track(read_images(source, names), "Copying", len(names)):
            archive.writestr(dated_entry(name), content)
