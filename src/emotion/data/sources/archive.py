"""Validates zip archives of labeled faces, and copies a local archive.

The expected layout is that of Kaggle's `facial-expression-dataset` (FER-2013):

    train/train/<emotion>/Training_<number>.jpg
    test/test/<emotion>/PublicTest_<number>.jpg, PrivateTest_<number>.jpg

The repeated folder level may be missing, and everything may be inside a single top-level folder. A table
attributes.csv at the top level may tell what else is known about the images: `name`, the path of an image in the
archive, and a column per attribute, such as age or glasses.
"""

import re
import shutil
import stat
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from emotion.data.labels import EMOTIONS, USAGES
from emotion.runtime.errors import UserError

ATTRIBUTES = "attributes.csv"
MAX_ENTRIES = 2_000_000
MAX_ENTRY_BYTES = 32 * 2**20
MAX_BYTES = 64 * 2**30
MAX_RATIO = 100  # uncompressed size / compressed size, for the whole archive

_IMAGE = re.compile(
    r"(?:(?!__MACOSX/|train/|test/)[^/]+/)?(?P<folder>train|test)/(?:(?P=folder)/)?"
    r"(?P<label>(?!(?:train|test)/)[^/]+)/(?P<file>[^/.][^/]*\.(?:jpe?g|png|bmp|gif|tiff?|webp))",
    re.IGNORECASE,
)
MIN_SIMILARITY = 0.75  # of an unknown label to an emotion, from which on it is taken for a misspelling


@dataclass(frozen=True)
class Entry:
    """One labeled image in an archive."""

    name: str  # path in the archive
    folder: str  # train | test
    emotion: str
    usage: str  # Training | PublicTest | PrivateTest, or empty if the file name does not state it


def parse(name: str) -> Entry | None:
    """Parse an entry's label from its path. Return None if the entry is not an image of one of the emotions."""
    match = _IMAGE.fullmatch(name)
    if match is None or match["label"].lower() not in EMOTIONS:
        return None
    prefix = match["file"].split("_")[0]
    usage = prefix if prefix in USAGES else ""
    # Interned to save memory: an archive may contain hundreds of thousands of entries.
    return Entry(name, sys.intern(match["folder"].lower()), sys.intern(match["label"].lower()), sys.intern(usage))


def open_archive(path: Path, shown: str) -> zipfile.ZipFile:
    """Open a zip file, called `shown` in error messages.

    Raises:
        UserError: if the file is missing, truncated, or not a zip file.
    """
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise UserError(f"{shown} is missing. Run `dvc repro fetch`.") from None
    except zipfile.BadZipFile as error:
        with path.open("rb") as file:
            start = file.read(512)
        if start.startswith(b"PK"):
            raise UserError(f"{shown} is a truncated or damaged zip ({error}). Download it again.") from None
        kind = "a web page, perhaps a sign-in form" if b"<" in start[:64] else "not a zip"
        raise UserError(f"{shown} is {kind}. Expected a zip file of faces. Download it again.") from None


def check(path: Path, shown: str) -> dict[str, int]:
    """Check that an archive is safe and has the expected layout.

    Nothing is extracted; only the table of contents is read.

    Args:
        path: the zip file.
        shown: the name of the archive in error messages.

    Returns:
        The number of `images` and the number of other files, which are `ignored`.

    Raises:
        UserError: for absolute or `..` paths, symbolic links, encrypted or duplicate entries, too many
            or too large entries, a compression ratio above MAX_RATIO, a missing emotion, or a misspelled one.
    """
    counts: Counter[tuple[str, str]] = Counter()
    unknown: Counter[str] = Counter()
    ignored = unpacked = packed = 0
    names = set()
    with open_archive(path, shown) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise _refusal(shown, f"has {len(entries)} entries, more than {MAX_ENTRIES}")
        for entry in entries:
            _check_entry(shown, entry)
            if entry.filename in names:
                raise _refusal(shown, f"contains {entry.filename!r} twice")
            names.add(entry.filename)
            unpacked, packed = unpacked + entry.file_size, packed + entry.compress_size
            face = parse(entry.filename)
            if face:
                counts[face.folder, face.emotion] += 1
            elif not entry.is_dir() and entry.filename != ATTRIBUTES:
                ignored += 1
                if image := _IMAGE.fullmatch(entry.filename):
                    unknown[image["label"]] += 1
    if packed > path.stat().st_size:
        raise _refusal(shown, "has overlapping entries")
    if unpacked > MAX_BYTES or unpacked > MAX_RATIO * max(packed, 1):
        raise _refusal(shown, f"would unpack from {packed} to {unpacked} bytes, which is suspiciously large")
    _check_labels(shown, unknown)
    _check_layout(shown, counts)
    return {"images": counts.total(), "ignored": ignored}


def _refusal(shown: str, reason: str) -> UserError:
    return UserError(f"{shown} was rejected: it {reason}. Fix the archive, or use another zip file of faces.")


def _check_entry(shown: str, entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    if name.startswith(("/", "\\")) or ":" in name.split("/")[0] or ".." in re.split(r"[/\\]", name):
        raise _refusal(shown, f"contains {name!r}, which points outside the archive")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _refusal(shown, f"contains the symbolic link {name!r}")
    if entry.flag_bits & 0x1:
        raise _refusal(shown, f"is encrypted ({name!r})")
    if entry.file_size > MAX_ENTRY_BYTES:
        raise _refusal(shown, f"contains {name!r} of {entry.file_size} bytes, more than {MAX_ENTRY_BYTES}")


def _check_labels(shown: str, unknown: Counter[str]) -> None:
    """Print the labels that are no emotions; refuse misspelled emotions."""
    for label, count in unknown.items():
        if similar := get_close_matches(label.strip().lower(), EMOTIONS, n=1, cutoff=MIN_SIMILARITY):
            raise _refusal(shown, f"has {count} images labelled {label!r}, which looks like {similar[0]}")
    if unknown:
        listed = ", ".join(f"{label!r} ({count})" for label, count in unknown.most_common(10))
        print(f"Ignored images, whose labels are none of the emotions: {listed}.")


def _check_layout(shown: str, found: Counter[tuple[str, str]]) -> None:
    folders = ("train", "test")
    missing = [f"{f}/{e}" for f in folders for e in EMOTIONS if not found[f, e]]
    if len(missing) == len(folders) * len(EMOTIONS):
        raise _refusal(shown, "has no train/<emotion>/ and test/<emotion>/ folders")
    if missing:
        raise _refusal(shown, f"has no images in {', '.join(missing)}")


def fetch_archive(source: Path, destination: Path) -> None:
    """Copy a local zip file to `destination`.

    Raises:
        UserError: if `source` does not exist.
    """
    if not source.is_file():
        raise UserError(
            f"no archive at {source.resolve()}. Put the zip file there, or set another path with"
            " `dvc exp run -S fetch.archive=PATH`."
        )
    shutil.copyfile(source, destination)
