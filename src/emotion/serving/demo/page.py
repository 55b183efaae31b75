"""The demo's results as HTML: images are embedded, so that nothing is kept on disk."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from emotion.data.preparation.detection import Box
from emotion.data.preparation.images import RGBImage
from emotion.serving.annotation import COLORS, OTHER_COLOR, annotate, caption
from emotion.serving.predictor import Face

MAX_SIDE = 960  # pixels, of the image that is shown
FACE_SIDE = 144  # pixels, of a face that is shown
SCORES = {
    "test.accuracy": "accuracy", "test.macro_f1": "macro F1",
    "ferplus_test.accuracy": "accuracy (FER+)", "ferplus_test.macro_f1": "macro F1 (FER+)",
}  # fmt: skip
STYLE = (Path(__file__).parent / "templates" / "style.css").read_text()
TEMPLATES = Environment(loader=PackageLoader("emotion.serving.demo"), autoescape=True, undefined=StrictUndefined)


def render_result(
    image: RGBImage,
    faces: Sequence[Face],
    crops: Sequence[RGBImage],
    heat_maps: NDArray[np.float32] | None,
    caution: str = "",
    hidden: int = 0,
    model: str = "",
) -> str:
    """Render an image, and each of its faces with all scores.

    Args:
        image: the uploaded image.
        faces: the predictions.
        crops: each face as the model saw it, as `Box.crop` returns it.
        heat_maps: (faces, height, width), 0..1; None if they are not available.
        caution: a sentence to show with every face.
        hidden: how many faces are only in the JSON.
        model: the title of the model that answered.
    """
    shown = annotate(image, faces)
    shown.thumbnail((MAX_SIDE, MAX_SIDE))
    captions = "; ".join(f"face {number}: {caption(face)}" for number, face in enumerate(faces, start=1))
    count = f"{len(faces)} face{'s' if len(faces) > 1 else ''}"
    cards = [
        {
            "answer": face.answer,
            "reason": face.reason,
            "emotion": face.emotion,
            "crop": _enlarge(crop),
            "heat_map": _enlarge(_overlay_heatmap(crop, heat_maps[number]))
            if heat_maps is not None and heat_maps[number].any()  # else nothing speaks for the emotion
            else None,
            "scores": [
                (emotion, score, COLORS.get(emotion, OTHER_COLOR))
                for emotion, score in sorted(face.scores.items(), key=lambda it: -it[1])
            ],
        }
        for number, (face, crop) in enumerate(zip(faces, crops, strict=True))
    ]
    return TEMPLATES.get_template("result.html.j2").render(
        # A face that fills the image is on its card.
        image=None if [face.box for face in faces] == [Box.center_square(image)] else _data_uri(shown, "JPEG"),
        alternative=f"Your image with {count}. {captions}" if faces else "Your image; no face was found",
        input=_describe_input(crops),
        faces=cards,
        caution=caution,
        hidden=hidden,
        model=model,
    )


def _describe_input(crops: Sequence[RGBImage]) -> str:
    """The kind of images that the model takes."""
    if not crops:
        return ""
    return f"{'gray' if crops[0].ndim == 2 else 'color'}, {crops[0].shape[1]} by {crops[0].shape[0]} pixels"


def _enlarge(pixels: RGBImage) -> str:
    image = Image.fromarray(pixels).convert("RGB").resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC)
    return _data_uri(image, "PNG")


def _overlay_heatmap(crop: RGBImage, heat_map: NDArray[np.float32]) -> RGBImage:
    opacity = 0.6 * heat_map[..., None]
    colors = 255 * colormaps["inferno"](heat_map)[..., :3]
    return np.asarray((crop[..., None] if crop.ndim == 2 else crop) * (1 - opacity) + colors * opacity, np.uint8)


def _data_uri(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def render_model_info(title: str, facts: Mapping[str, str], note: str = "") -> str:
    """Render the title of the model in use and its test metrics.

    Args:
        title: the title of the model.
        facts: the tags of a registered version.
        note: a note to show with the model.
    """
    known = {name: _number(facts.get(key, "")) for key, name in SCORES.items()}
    scores = [(name, value) for name, value in known.items() if value is not None]
    return TEMPLATES.get_template("model_info.html.j2").render(
        title=title,
        scores=scores,
        data=facts.get("data"),
        use={key: facts.get(f"use.{key}", "") for key in ("area", "purpose", "not_for", "exception")},
        note=note,
    )


def _number(text: str) -> float | None:
    """A number in a tag, which anyone can edit in MLflow."""
    try:
        return float(text)
    except ValueError:
        return None
