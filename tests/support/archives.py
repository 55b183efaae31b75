"""Small archives of distinct images."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from emotion.data.labels import EMOTIONS


def image_bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    """An encoded image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def noise(seed: int) -> bytes:
    """A 48x48 noise image that is unique for the seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)
    return image_bytes(Image.fromarray(pixels))


def layout(private: bool = True, each: int = 6) -> dict[str, bytes]:
    """Names and contents of a small, valid archive."""
    files: dict[str, bytes] = {}
    usages = {"Training": "train", "PublicTest": "test", **({"PrivateTest": "test"} if private else {})}
    for usage, folder in usages.items():
        for emotion in EMOTIONS:
            for number in range(each):
                name = f"{folder}/{folder}/{emotion}/{usage}_{number}.png"
                files[name] = noise(len(files))
    return files


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip of the given names and contents."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
