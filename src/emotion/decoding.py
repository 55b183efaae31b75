"""Image bytes to a 48x48 gray face."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from emotion.labels import SIZE

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
