"""Draw what was found onto a picture."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from emotion.data.preparation.images import Picture
from emotion.serving.predictor import UNSURE, Face

COLOURS = {
    "angry": "#d62728", "disgust": "#2ca02c", "fear": "#9467bd", "happy": "#ff9f1c", "neutral": "#7f7f7f",
    "sad": "#1f77b4", "surprise": "#e377c2", UNSURE: "#444444",
}  # fmt: skip


def caption(face: Face) -> str:
    """The answer, with its confidence."""
    named = f"{face.answer}: " if face.answer == UNSURE else ""
    return f"{named}{face.emotion} {face.confidence:.0%}"


def annotated(picture: Picture, faces: Sequence[Face]) -> Image.Image:
    """The picture with a box and a caption for each face."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(11, round(min(image.size) / 32)))
    line = max(2, round(min(image.size) / 250))
    for face in faces:
        box, colour = face.box, COLOURS[face.answer]
        draw.rectangle((box.left, box.top, box.left + box.side, box.top + box.side), outline=colour, width=line)
        _write(draw, box.left, box.top, caption(face), colour, font, image.size)
    return image


def _write(
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    text: str,
    colour: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """White on the colour, above a box where there is room, and never beyond the border."""
    width, height = draw.textbbox((0, 0), text, font)[2:]
    x = min(max(left, 0), max(0, size[0] - round(width) - 6))
    y = max(0, top - round(height) - 6)
    draw.rectangle((x, y, x + width + 6, y + height + 6), fill=colour)
    draw.text((x + 3, y + 2), text, fill="white", font=font)
