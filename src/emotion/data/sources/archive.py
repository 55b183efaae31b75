"""Checks that archives are safe before anything is read from them; turns tar archives into ZIP archives."""

import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backports import zstd  # part of Python from 3.14 on

from emotion.data.sources.files import IMAGES, MAX_FILE_BYTES, MAX_FILES, MAX_TABLE_BYTES, TABLES
from emotion.runtime.errors import UserError

MAX_BYTES = 64 * 2**30
MAX_RATIO = 100  # uncompressed size / compressed size, for the whole archive
ZSTD = b"\x28\xb5\x2f\xfd"  # the first bytes of a file


def open_archive(path: Path, shown: str) -> zipfile.ZipFile:
    """Open a zip file, called `shown` in error messages.

    Raises:
        UserError: if the file is missing, truncated, or not a zip file.
    """
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise UserError(f"{shown} is missing. Run `dvc repro fetch`.") from None
    except NotImplementedError as error:
        raise UserError(f"{shown} is a zip of an unknown kind ({error}). Pack it again.") from None
    except zipfile.BadZipFile as error:
        start = first_bytes(path)
        if start.startswith(b"PK"):
            raise UserError(f"{shown} is a truncated or damaged zip ({error}). Download it again.") from None
        kind = "a web page, perhaps a sign-in form" if b"<" in start[:64] else "not a zip or tar file"
        raise UserError(f"{shown} is {kind}. Expected such a file, a folder, or a table (.csv).") from None


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file, which tell its kind."""
    with path.open("rb") as file:
        return file.read(512)


def check_archive(path: Path, shown: str) -> None:
    """Check that a zip file is safe. Nothing is extracted; only the table of contents is read.

    Args:
        path: the zip file.
        shown: the name of the archive in error messages.

    Raises:
        UserError: for absolute or `..` paths, symbolic links, encrypted or duplicate entries, too many or too large
            entries, or a compression ratio above MAX_RATIO.
    """
    unpacked = packed = 0
    names = set()
    with open_archive(path, shown) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_FILES:
            raise _refusal(shown, f"has {len(entries)} entries, more than {MAX_FILES}")
        for entry in entries:
            _check_name(shown, entry.filename)
            _check_entry(shown, entry)
            if entry.filename in names:
                raise _refusal(shown, f"contains {entry.filename!r} twice")
            names.add(entry.filename)
            unpacked, packed = unpacked + entry.file_size, packed + entry.compress_size
    if packed > path.stat().st_size:
        raise _refusal(shown, "has overlapping entries")
    if unpacked > MAX_BYTES or unpacked > MAX_RATIO * max(packed, 1):
        raise _refusal(shown, f"would unpack from {packed} to {unpacked} bytes, which is suspiciously large")


def _refusal(shown: str, reason: str) -> UserError:
    return UserError(f"{shown} was rejected: it {reason}. Fix the archive, or use another one.")


def _check_name(shown: str, name: str) -> None:
    if name.startswith(("/", "\\")) or ":" in name.split("/")[0] or ".." in re.split(r"[/\\]", name):
        raise _refusal(shown, f"contains {name!r}, which points outside the archive")


def _check_entry(shown: str, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _refusal(shown, f"contains the symbolic link {name!r}")
    if entry.flag_bits & 0x1:
        raise _refusal(shown, f"is encrypted ({name!r})")
    _check_size(shown, name, entry.file_size)


def _check_size(shown: str, name: str, size: int) -> None:
    limit = MAX_TABLE_BYTES if name.lower().endswith(TABLES) else MAX_FILE_BYTES
    if size > limit and name.lower().endswith((*IMAGES, *TABLES)):  # others are not read
        raise _refusal(shown, f"contains {name!r} of {size} bytes, more than {limit}")


def is_tar(path: Path) -> bool:
    """Whether a file is a tar archive, compressed with gzip, xz, bzip2 or zstd, or not at all."""
    try:
        return first_bytes(path).startswith(ZSTD) or tarfile.is_tarfile(path)
    except EOFError:  # it is cut
        return True


def convert_tar(path: Path, shown: str, target: Path) -> None:
    """Write the files of a tar archive to a zip file, without unpacking them to disk.

    Raises:
        UserError: if it is damaged, or is not safe in the sense of `check_archive`.
    """
    limit = min(MAX_BYTES, MAX_RATIO * path.stat().st_size)
    names = set()
    unpacked = 0
    try:
        with _open_tar(path) as tar, zipfile.ZipFile(target, "w") as archive:
            for entry in tar:
                _check_name(shown, entry.name)
                if entry.isdir():
                    continue
                if not entry.isfile():
                    raise _refusal(shown, f"contains {entry.name!r}, which is a link or a device")
                _check_size(shown, entry.name, entry.size)
                name = entry.name.removeprefix("./")
                if name in names:
                    raise _refusal(shown, f"contains {entry.name!r} twice")
                names.add(name)
                unpacked += entry.size
                if len(names) > MAX_FILES or unpacked > limit:
                    raise _refusal(shown, f"has more than {MAX_FILES} files, or would unpack to over {limit} bytes")
                content = tar.extractfile(entry)
                assert content is not None, "it is a file"
                info = dated_entry(name)
                info.compress_type = zipfile.ZIP_DEFLATED if name.lower().endswith(TABLES) else zipfile.ZIP_STORED
                with content, archive.open(info, "w", force_zip64=True) as output:
                    shutil.copyfileobj(content, output)
    except (tarfile.TarError, EOFError, OSError, ValueError, lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
        raise UserError(f"{shown} is a truncated or damaged tar file ({error}). Fetch it again.") from None


def dated_entry(name: str) -> zipfile.ZipInfo:
    """An entry with a fixed date, because a zip file stores one for every entry."""
    return zipfile.ZipInfo(name, date_time=(2013, 1, 1, 0, 0, 0))


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    if first_bytes(path).startswith(ZSTD):
        with zstd.open(path, "rb") as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
            yield tar
    else:
        with tarfile.open(path, "r|*") as tar:
            yield tar
