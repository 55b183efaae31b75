"""Draw boxes and captions onto an image."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from emotion.data.preparation.images import RGBImage
from emotion.serving.predictor import UNSURE, Face

COLORS = {
    "angry": "#d62728", "disgust": "#2ca02c", "fear": "#9467bd", "happy": "#ff9f1c", "neutral": "#7f7f7f",
    "sad": "#1f77b4", "surprise": "#e377c2", "contempt": "#8c564b", UNSURE: "#444444",
}  # fmt: skip
OTHER_COLOR = "#17becf"  # of emotions that have no color of their own
PADDING = 3  # pixels between a caption and its background's edge


def caption(face: Face) -> str:
    """The answer with its confidence; or that and why the model is unsure."""
    if not face.is_familiar:
        return f"{UNSURE}: unlike the training faces"
    prefix = f"{face.answer}: " if face.answer == UNSURE else ""
    return f"{prefix}{face.emotion} {face.confidence:.0%}"


def annotate(image: RGBImage, faces: Sequence[Face]) -> Image.Image:
    """A copy of the image with a box and a caption for each face."""
    annotated = Image.fromarray(image)
    draw = ImageDraw.Draw(annotated)
    font = ImageFont.load_default(size=max(11, round(min(annotated.size) / 32)))
    line = max(2, round(min(annotated.size) / 250))
    for face in faces:
        box, color = face.box, COLORS.get(face.answer, OTHER_COLOR)
        draw.rectangle((box.left, box.top, box.left + box.side, box.top + box.side), outline=color, width=line)
        _draw_caption(draw, face, font, annotated.size)
    return annotated


def _draw_caption(
    draw: ImageDraw.ImageDraw,
    face: Face,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Draw white text on the color of the answer, above the box if there is room, always inside the image."""
    text = caption(face)
    width, height = draw.textbbox((0, 0), text, font)[2:]
    x = min(max(face.box.left, 0), max(0, size[0] - round(width) - 2 * PADDING))
    y = max(0, face.box.top - round(height) - 2 * PADDING)
    draw.rectangle((x, y, x + width + 2 * PADDING, y + height + 2 * PADDING), fill=COLORS.get(face.answer, OTHER_COLOR))
    draw.text((x + PADDING, y + PADDING - 1), text, fill="white", font=font)
