"""What the demo shows, as HTML: everything in the page itself, so that nothing is kept on disk."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from emotion.data.preparation.images import Picture
from emotion.serving.annotation import COLOURS, annotated, caption
from emotion.serving.predictor import UNSURE, Face

LONGEST = 960  # pixels a side of a picture that is shown
FACE = 144  # pixels a side of a face
STYLE = """
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem; }
.faces article { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .8rem; }
.faces h3 { margin: 0 0 .5rem; }
.faces .pair { display: flex; gap: .6rem; margin-bottom: .6rem; }
.picture { margin: 0 0 1rem; }
.faces figure { margin: 0; flex: 0 1 50%; }
.faces img { width: 100%; border-radius: 6px; display: block; }
.faces figcaption { font-size: .8rem; color: var(--body-text-color-subdued); }
.faces table { width: 100%; border-collapse: collapse; font-size: .9rem; }
.faces table, .faces tbody, .faces tr, .faces th, .faces td { border: none !important; background: none; }
.faces th { font-weight: normal; text-align: left; width: 5.5rem; padding: .1rem 0 !important; }
.faces td { padding: .1rem 0 !important; }
.faces td:last-child { text-align: right; width: 3.2rem; font-variant-numeric: tabular-nums; }
.faces .bar { height: .75rem; border-radius: 3px; min-width: 1px; }
.picture img { max-width: 100%; border-radius: 8px; display: block; margin-bottom: .8rem; }
.served { font-size: .95rem; line-height: 1.5; }
"""


def found(
    picture: Picture,
    faces: Sequence[Face],
    cut: Sequence[Picture],
    heats: NDArray[np.float32] | None,
    more: int = 0,
) -> str:
    """A picture, and each of its faces with all scores.

    Args:
        picture: what was shown to the predictor.
        faces: what it answered.
        cut: each face as the model saw it, (48, 48) uint8.
        heats: (faces, 48, 48), what spoke for each answer, 0..1; None where that is not known.
        more: how many faces are only in the JSON.
    """
    if not faces:
        said = "No face was found. A larger or brighter one may be; or choose <em>one face, cut out</em> above."
        return f'<div aria-live="polite">{_picture(picture, faces)}<p>{said}</p></div>'
    cards = [
        _card(number, face, pixels, None if heats is None else heats[number - 1])
        for number, (face, pixels) in enumerate(zip(faces, cut, strict=True), start=1)
    ]
    rest = f"<p>{more} smaller faces are not shown; their scores are in the JSON.</p>" if more else ""
    return f'<div aria-live="polite">{_picture(picture, faces)}<div class="faces">{"".join(cards)}</div>{rest}</div>'


def _picture(picture: Picture, faces: Sequence[Face]) -> str:
    image = annotated(picture, faces)
    image.thumbnail((LONGEST, LONGEST))
    told = "; ".join(f"face {number}: {caption(face)}" for number, face in enumerate(faces, start=1))
    alternative = (
        f"Your picture with {len(faces)} face{'s' if len(faces) > 1 else ''}. {told}"
        if faces
        else "Your picture, without a face"
    )
    return f'<div class="picture">{_image(image, alternative, "JPEG")}</div>'


def _card(number: int, face: Face, pixels: Picture, heat: NDArray[np.float32] | None) -> str:
    shown = _figure(pixels, "what the model sees", f"Face {number}, gray, 48 by 48 pixels")
    if heat is not None:
        shown += _figure(_glowing(pixels, heat), f"what spoke for {face.emotion}", f"Face {number} with a heat map")
    unsure = ""
    if face.answer == UNSURE:
        unsure = f"<p>{escape(face.emotion)} is most likely, but less than {face.unsure_below:.0%} sure.</p>"
    rows = "".join(
        f'<tr><th scope="row">{emotion}</th><td><div class="bar" style="width:{100 * score:.1f}%;'
        f'background:{COLOURS[emotion]}"></div></td><td>{score:.1%}</td></tr>'
        for emotion, score in sorted(face.scores.items(), key=lambda it: -it[1])
    )
    head = f"<h3>Face {number}: {escape(face.answer)}</h3>"
    table = f'<table aria-label="Scores of face {number}">{rows}</table>'
    return f'<article>{head}{unsure}<div class="pair">{shown}</div>{table}</article>'


def _figure(pixels: Picture, text: str, alternative: str) -> str:
    image = Image.fromarray(pixels).convert("RGB").resize((FACE, FACE), Image.Resampling.BICUBIC)
    return f"<figure>{_image(image, alternative, 'PNG')}<figcaption>{escape(text)}</figcaption></figure>"


def _glowing(pixels: Picture, heat: NDArray[np.float32]) -> Picture:
    """The face with its heat map over it."""
    strength = 0.6 * heat[..., None]
    colours = 255 * colormaps["inferno"](heat)[..., :3]
    return np.asarray(pixels[..., None] * (1 - strength) + colours * strength, np.uint8)


def _image(image: Image.Image, alternative: str, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/{kind.lower()};base64,{data}">'


def served(title: str, facts: Mapping[str, str], note: str = "") -> str:
    """Which version answers, and how good it is."""
    figures = [
        f"{name} {float(facts[key]):.1%}"
        for key, name in (("test.accuracy", "accuracy"), ("test.macro_f1", "macro F1"))
        if key in facts
    ]
    text = f"<strong>{escape(title)}</strong> answers."
    if figures:
        text += f" On its test images: {', '.join(figures)}."
    if "data" in facts:
        text += f" Trained on {escape(facts['data'])}."
    if note:
        text += f" <strong>{escape(note)}</strong>"
    return f'<p class="served">{text}</p>'
