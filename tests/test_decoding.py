"""Image files of any kind become 48x48 gray."""

import io

import numpy as np
import pytest
from conftest import image_bytes, noise
from PIL import Image

from emotion import decoding
from emotion.decoding import UnreadableImageError, decode

RAMP = np.linspace(0, 255, 48 * 48).reshape(48, 48).astype(np.uint8)


def test_a_gray_48x48_image_keeps_its_pixels() -> None:
    np.testing.assert_array_equal(decode(image_bytes(Image.fromarray(RAMP))), RAMP)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK"])
def test_other_modes_become_gray(mode: str) -> None:
    image = Image.fromarray(RAMP).convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    np.testing.assert_allclose(decode(image_bytes(image, kind)), RAMP, atol=2)


def test_colour_becomes_luma() -> None:
    green = Image.new("RGB", (48, 48), (0, 255, 0))
    assert decode(image_bytes(green))[0, 0] == pytest.approx(0.587 * 255, abs=1)


def test_a_palette_is_looked_up() -> None:
    image = Image.fromarray(RAMP).convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
    np.testing.assert_allclose(decode(image_bytes(image)), RAMP, atol=4)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode(image_bytes(wide)), RAMP)


def test_one_bit_becomes_black_and_white() -> None:
    image = Image.fromarray(RAMP).convert("1", dither=Image.Dither.NONE)
    assert set(np.unique(decode(image_bytes(image)))) == {0, 255}


@pytest.mark.parametrize("size", [(96, 96), (24, 24), (100, 37), (1, 1)])
def test_other_sizes_are_resampled(size: tuple[int, int]) -> None:
    pixels = decode(image_bytes(Image.new("L", size, 77)))
    assert pixels.shape == (48, 48)
    assert pixels.dtype == np.uint8
    assert np.unique(pixels).tolist() == [77]


@pytest.mark.parametrize("size", [(60, 80), (48, 48)])
def test_a_rotated_photo_is_turned_upright(size: tuple[int, int]) -> None:
    tall = Image.new("L", size)
    tall.paste(255, (0, 0, size[0], size[1] // 2))  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees to see it upright"
    lying = tall.rotate(90, expand=True)
    buffer = io.BytesIO()
    lying.save(buffer, "PNG", exif=exif)
    pixels = decode(buffer.getvalue())
    assert pixels[5].mean() > 250
    assert pixels[-5].mean() < 5


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", noise(0)[:200], image_bytes(Image.fromarray(RAMP), "JPEG")[:300]],
)
def test_what_cannot_be_read_says_why(content: bytes) -> None:
    with pytest.raises(UnreadableImageError, match=r"\w+: .+"):
        decode(content)


def test_an_enormous_image_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_SIDE", 50)
    with pytest.raises(UnreadableImageError, match="60x48 pixels, more than 50"):
        decode(image_bytes(Image.new("L", (60, 48))))
