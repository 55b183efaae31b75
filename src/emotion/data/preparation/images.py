"""Image decoding, shared by training and serving so that both see the same pixels."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from emotion.data.dataset import InputShape

RGBImage = NDArray[np.uint8]  # (height, width, 3), red, green and blue, 0..255

MAX_SIDE = 8192  # pixels per side of a face image; even a small file can declare an enormous size
MAX_PIXELS = 50_000_000  # per image
# Formats that Pillow decodes itself. For others, such as EPS, it starts external programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


class UnreadableImageError(Exception):
    """An image cannot be decoded. The message gives the reason."""


class TooLargeImageError(UnreadableImageError):
    """An image exceeds the maximum size."""


@contextmanager
def open_image(content: bytes) -> Iterator[Image.Image]:
    """Open an image file in one of FORMATS lazily: its size is known, but its pixels are not decoded yet.

    Raises:
        UnreadableImageError: if the file is invalid in any way, including errors while the image is in use.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            yield image
    except UnreadableImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLargeImageError(f"the image has more than {MAX_PIXELS:,} pixels; make it smaller") from None
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image of a known format") from None
    except Exception as error:  # noqa: BLE001  Pillow's decoders raise many exception types for broken input
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from None


def load_face(content: bytes, shape: InputShape) -> NDArray[np.uint8]:
    """Decode an image of a single cropped face, in one of FORMATS and any mode.

    Args:
        content: the bytes of an image file. 16 bits are converted to 8, and for gray images, colors to luma; other
            sizes are resampled (Lanczos) after the EXIF orientation is applied.
        shape: the height, width and channels of the result.

    Returns:
        (height, width) uint8, from 0 (black) to 255 (white); (height, width, 3) in color.

    Raises:
        UnreadableImageError: if the image cannot be decoded; the message gives the reason.
    """
    with open_image(content) as image:
        if max(image.size) > MAX_SIDE:
            raise TooLargeImageError(f"{image.width}x{image.height} pixels, more than {MAX_SIDE} per side")
        is_rotated = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        if is_rotated or image.mode != "L":
            return model_input(apply_exif_orientation(image), shape)
        return model_input(image, shape)


def load_image(content: bytes) -> RGBImage:
    """Decode an arbitrary image in one of FORMATS. Only the first frame of a multi-frame file is decoded.

    Raises:
        UnreadableImageError: if the image cannot be decoded. An image with more than MAX_PIXELS is rejected
            before decoding.
    """
    with open_image(content) as image:
        if image.width * image.height > MAX_PIXELS:
            raise TooLargeImageError(f"{image.width}x{image.height}, more than {MAX_PIXELS:,} pixels")
        return np.asarray(apply_exif_orientation(image).convert("RGB"))


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image, written fast rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def apply_exif_orientation(image: Image.Image) -> Image.Image:
    """Return the image upright, with 16 bits reduced to 8 and palettes converted to RGB."""
    if image.mode == "F":
        raise UnreadableImageError("its pixels are floating-point numbers of unknown range; convert it to 8 bits")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16 bits; Pillow's own conversion clips at 255
        wide = np.asarray(upright, dtype=np.int64)
        return Image.fromarray(np.clip(wide // 256, 0, 255).astype(np.uint8))
    return upright.convert("RGB") if upright.mode == "P" else upright


def model_input(image: Image.Image, shape: InputShape) -> NDArray[np.uint8]:
    """Convert an upright face image to the kind of images that a model takes: its largest central square.

    Args:
        image: of any size.
        shape: height, width, and 1 channel for gray or 3 for red, green and blue.

    Returns:
        (height, width) or (height, width, 3) uint8.
    """
    height, width, channels = shape
    converted = image.convert("RGB" if channels == 3 else "L")
    side = min(image.size)
    if image.width != image.height:
        left, top = (image.width - side) // 2, (image.height - side) // 2
        converted = converted.crop((left, top, left + side, top + side))
    if converted.size != (width, height):
        converted = converted.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(converted)
