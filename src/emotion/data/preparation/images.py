"""Image files to pixels: one way for training and for use, so that both see the same face."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from emotion.data.labels import SIZE

Picture = NDArray[np.uint8]  # (height, width, 3), red, green and blue, 0..255

MAX_SIDE = 8192  # pixels of a face; a small file can claim to be enormous
MAX_PIXELS = 50_000_000  # of a picture
# What pillow decodes by itself, without other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


class UnreadableImageError(Exception):
    """Why an image was put aside."""


class TooLargeImageError(UnreadableImageError):
    """It has more pixels than are decoded."""


@contextmanager
def opened(content: bytes, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """A file's image, whose size is known and whose pixels are not decoded yet.

    Raises:
        UnreadableImageError: for whatever is wrong with it, also while it is used.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            yield image
    except UnreadableImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLargeImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImageError("no image of a known format") from None
    except Exception as error:  # noqa: BLE001  pillow's decoders raise many kinds for broken input
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from None


def decode_face(content: bytes) -> NDArray[np.uint8]:
    """Decode an image of a face alone, of any format and mode that pillow reads.

    Args:
        content: a whole image file. Colour is reduced to luma, 16 bits to 8, and another
            size than 48x48 is resampled (Lanczos), after the camera's rotation is undone.

    Returns:
        (48, 48) uint8, 0 black to 255 white.

    Raises:
        UnreadableImageError: saying why.
    """
    with opened(content) as image:
        if max(image.size) > MAX_SIDE:
            raise TooLargeImageError(f"{image.width}x{image.height} pixels, more than {MAX_SIDE} a side")
        rotated = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        if image.size != (SIZE, SIZE) or image.mode != "L" or rotated:
            return np.asarray(face(_upright(image)))
        return np.asarray(image)


def decode_picture(content: bytes) -> Picture:
    """Decode a picture of anything, of one of FORMATS; the first, where a file has several.

    Raises:
        UnreadableImageError: saying why; of what has more than MAX_PIXELS, before it is decoded.
    """
    with opened(content, FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise TooLargeImageError(f"{image.width}x{image.height}, more than {MAX_PIXELS:,} pixels")
        return np.asarray(_upright(image).convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """Without the camera's rotation, 16 bits and palettes."""
    if image.mode == "F":
        raise UnreadableImageError("pixels of unknown range (floating point)")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits; pillow's own conversion clips at 255
        wide = np.asarray(upright, dtype=np.int64)
        return Image.fromarray(np.clip(wide // 256, 0, 255).astype(np.uint8))
    return upright.convert("RGB") if upright.mode == "P" else upright


def face(image: Image.Image) -> Image.Image:
    """An upright image of a face as the networks see it: gray, 48x48."""
    gray = image.convert("L")
    return gray if gray.size == (SIZE, SIZE) else gray.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
