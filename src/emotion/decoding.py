"""Image bytes to 48x48 gray faces, one or a whole archive of them."""

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
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from emotion.labels import SIZE
from emotion.progress import track
from emotion.sources.archive import parse

MAX_SIDE = 8192  # pixels; a small file can claim to be enormous


class UnreadableImageError(Exception):
    """Why an image was put aside."""


def decode(content: bytes) -> NDArray[np.uint8]:
    """Decode any format and mode that pillow reads.

    Args:
        content: a whole image file. Colour is reduced to luma, 16 bits to 8, and another
            size than 48x48 is resampled (Lanczos), after the camera's rotation is undone.

    Returns:
        (48, 48) uint8, 0 black to 255 white.

    Raises:
        UnreadableImageError: saying why.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pillow warns of odd metadata that we do not use
            with Image.open(io.BytesIO(content)) as image:
                if max(image.size) > MAX_SIDE:
                    raise UnreadableImageError(f"{image.width}x{image.height} pixels, more than {MAX_SIDE} a side")
                rotated = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
                if image.size != (SIZE, SIZE) or image.mode != "L" or rotated:
                    return np.asarray(_normalize(image))
                return np.asarray(image)
    except UnreadableImageError:
        raise
    except Exception as error:  # noqa: BLE001  pillow's decoders raise many kinds for broken input
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from None


def _normalize(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits; pillow's own conversion clips at 255
        wide = np.asarray(upright, dtype=np.int64)
        upright = Image.fromarray(np.clip(wide // 256, 0, 255).astype(np.uint8))
    elif upright.mode == "P":
        upright = upright.convert("RGB")
    gray = upright.convert("L")
    return gray if gray.size == (SIZE, SIZE) else gray.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


@dataclass
class Decoded:
    """What is kept of every image while its pixels go to the disk."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)  # name, folder, emotion, usage
    pixel_hashes: list[str] = field(default_factory=list)
    blank: list[bool] = field(default_factory=list)
    quarantine: list[tuple[str, str]] = field(default_factory=list)  # name, reason

    def table(self) -> pd.DataFrame:
        """A row per image, in the order of the array."""
        table = pd.DataFrame(self.rows, columns=["name", "folder", "emotion", "usage"])
        return table.assign(pixel_hash=self.pixel_hashes, blank=self.blank)


def _decode_all(archive: zipfile.ZipFile, output: BinaryIO) -> Decoded:
    decoded = Decoded()
    names = sorted(name for name in archive.namelist() if parse(name))
    for name in track(names, "Decoding", len(names)):
        entry = parse(name)
        assert entry is not None
        try:
            pixels = decode(archive.read(name))
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


def decode_archive(archive: zipfile.ZipFile, path: Path) -> Decoded:
    """Write every labelled image, in the order of their names, into one array on disk.

    One image at a time, so that memory does not grow with their number. `path` becomes
    (n, 48, 48) uint8 in numpy's format.
    """
    with path.open("wb") as output:
        _write_header(output, len(archive.namelist()))
        start = output.tell()
        decoded = _decode_all(archive, output)
        output.seek(0)
        _write_header(output, len(decoded.rows))
        assert output.tell() == start, "numpy pads headers so that a shorter count fits"
    return decoded


def _write_header(output: BinaryIO, count: int) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIZE, SIZE)}
    np.lib.format.write_array_header_1_0(output, header)
