"""Image files to pixels: the same code for training and for serving, so that both see the same face."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from emotion.data.labels import IMAGE_SIZE

RGBImage = NDArray[np.uint8]  # (height, width, 3), red, green and blue, 0..255

MAX_SIDE = 8192  # pixels per side of a face; a small file can claim to be enormous
MAX_PIXELS = 50_000_000  # of an image
# The formats that pillow decodes by itself, without other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


class UnreadableImageError(Exception):
    """Why an image cannot be used."""


class TooLargeImageError(UnreadableImageError):
    """The image has more pixels than are decoded."""


@contextmanager
def open_image(content: bytes, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """Open an image file; its size is known, its pixels are not decoded yet.

    Raises:
        UnreadableImageError: for anything that is wrong with the file, also while the image is used.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            yield image
    except UnreadableImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLargeImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image of a known format") from None
    except Exception as error:  # noqa: BLE001  pillow's decoders raise many kinds for broken input
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from None


def load_face(content: bytes) -> NDArray[np.uint8]:
    """Decode an image that shows one face and nothing else, of any format and mode that pillow reads.

    Args:
        content: a whole image file. Colors are converted to luma and 16 bits to 8; other sizes than
            48x48 are resampled (Lanczos) after the EXIF orientation is applied.

    Returns:
        (48, 48) uint8, 0 black to 255 white.

    Raises:
        UnreadableImageError: with the reason.
    """
    with open_image(content) as image:
        if max(image.size) > MAX_SIDE:
            raise TooLargeImageError(f"{image.width}x{image.height} pixels, more than {MAX_SIDE} per side")
        is_rotated = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        if image.size != (IMAGE_SIZE, IMAGE_SIZE) or image.mode != "L" or is_rotated:
            return np.asarray(to_model_input(apply_exif_orientation(image)))
        return np.asarray(image)


def load_image(content: bytes) -> RGBImage:
    """Decode an image of anything, in one of FORMATS; of a file with several images, the first.

    Raises:
        UnreadableImageError: with the reason; for more than MAX_PIXELS, before anything is decoded.
    """
    with open_image(content, FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise TooLargeImageError(f"{image.width}x{image.height}, more than {MAX_PIXELS:,} pixels")
        return np.asarray(apply_exif_orientation(image).convert("RGB"))


def apply_exif_orientation(image: Image.Image) -> Image.Image:
    """The upright image, with 16 bits reduced to 8 and palettes resolved."""
    if image.mode == "F":
        raise UnreadableImageError("pixels of unknown range (floating point)")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits; pillow's own conversion clips at 255
        wide = np.asarray(upright, dtype=np.int64)
        return Image.fromarray(np.clip(wide // 256, 0, 255).astype(np.uint8))
    return upright.convert("RGB") if upright.mode == "P" else upright


def to_model_input(image: Image.Image) -> Image.Image:
    """An upright image of a face as the networks expect it: gray, 48x48."""
    gray = image.convert("L")
    if gray.size == (IMAGE_SIZE, IMAGE_SIZE):
        return gray
    return gray.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.LANCZOS)
