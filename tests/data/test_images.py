"""Loading image files as 48x48 grayscale faces or as RGB images."""

import io
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emotion.data.preparation import images
from emotion.data.preparation.images import UnreadableImageError, load_face, load_image
from support.archives import image_bytes, noise
from support.networks import SHAPE

RAMP = np.linspace(0, 255, 48 * 48).reshape(48, 48).astype(np.uint8)


def test_a_gray_48x48_image_keeps_its_pixels() -> None:
    np.testing.assert_array_equal(load_face(image_bytes(Image.fromarray(RAMP)), SHAPE), RAMP)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_other_modes_are_converted_to_grayscale(mode: str) -> None:
    image = Image.fromarray(RAMP).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    np.testing.assert_allclose(load_face(image_bytes(image, kind), SHAPE), RAMP, atol=2)


def test_colour_is_converted_to_luma() -> None:
    green = Image.new("RGB", (48, 48), (0, 255, 0))
    assert load_face(image_bytes(green), SHAPE)[0, 0] == pytest.approx(0.587 * 255, abs=1)


def test_palette_indices_are_resolved() -> None:
    image = Image.fromarray(RAMP).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    np.testing.assert_allclose(load_face(image_bytes(image), SHAPE), RAMP, atol=4)


def test_sixteen_bit_images_are_scaled_and_not_clipped() -> None:
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    np.testing.assert_array_equal(load_face(image_bytes(image), SHAPE), RAMP)


def test_one_bit_images_become_black_and_white() -> None:
    image = Image.fromarray(RAMP).convert("1", dither=Image.Dither.NONE)
    assert set(np.unique(load_face(image_bytes(image), SHAPE))) == {0, 255}


@pytest.mark.parametrize("size", [(96, 96), (24, 24), (100, 37), (1, 1)])
def test_other_sizes_are_resampled(size: tuple[int, int]) -> None:
    pixels = load_face(image_bytes(Image.new("L", size, 77)), SHAPE)
    assert pixels.shape == (48, 48)
    assert pixels.dtype == np.uint8
    assert np.unique(pixels).tolist() == [77]


@pytest.mark.parametrize("size", [(60, 80), (48, 48)])
def test_exif_orientation_is_applied(size: tuple[int, int]) -> None:
    tall = Image.new("L", size)
    tall.paste(255, (0, 0, size[0], size[1] // 2))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    rotated = tall.rotate(90, expand=True)
    buffer = io.BytesIO()
    rotated.save(buffer, "PNG", exif=exif)
    pixels = load_face(buffer.getvalue(), SHAPE)
    assert pixels[5].mean() > 250
    assert pixels[-5].mean() < 5


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", noise(0)[:200], image_bytes(Image.fromarray(RAMP), "JPEG")[:300]],
)
def test_the_error_for_an_unreadable_image_gives_the_reason(content: bytes) -> None:
    with pytest.raises(UnreadableImageError, match=r"\w+: .+|not an image of a known format"):
        load_face(content, SHAPE)


def test_an_oversized_image_is_rejected_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_SIDE", 50)
    with pytest.raises(UnreadableImageError, match="60x48 pixels, more than 50"):
        load_face(image_bytes(Image.new("L", (60, 48))), SHAPE)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "I;16"])
def test_an_image_of_any_mode_has_three_channels(mode: str) -> None:
    picture = load_image(image_bytes(Image.new("RGB", (30, 20), (200, 100, 50)).convert("L").convert(mode)))
    assert picture.shape == (20, 30, 3)
    assert picture.dtype == np.uint8


def test_an_image_with_too_many_pixels_is_rejected_before_decoding() -> None:
    """20,000 by 20,000 white pixels are 50 kB as a PNG, and 1.2 GB decoded."""
    content = image_bytes(Image.new("1", (20_000, 20_000)))
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match=r"more than 50,000,000 pixels"):
        load_image(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


@pytest.mark.parametrize("load", [partial(load_face, shape=SHAPE), load_image])
@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO"])
def test_formats_that_pillow_delegates_are_rejected(kind: str, load: Callable[[bytes], Any]) -> None:
    with pytest.raises(UnreadableImageError, match="not an image of a known format"):
        load(image_bytes(Image.new("RGB", (64, 64)), kind))
