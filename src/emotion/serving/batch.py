"""Predict many images in batches, and convert the results to JSON or tables."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion.runtime.errors import describe_os_error
from emotion.runtime.files import atomic_write
from emotion.runtime.text import printable
from emotion.serving.annotation import annotate
from emotion.serving.inputs import Input
from emotion.serving.predictor import Face, Predictor

if TYPE_CHECKING:
    import pandas as pd

# Limits of a batch: the number of images, and their total pixels, which only a single image may exceed.
MAX_IMAGES, MAX_PIXELS = 32, 60_000_000


@dataclass(frozen=True)
class ImageResult:
    """The prediction for an image."""

    name: str
    model: str  # that predicted it
    faces: tuple[Face, ...] = ()
    caution: str = ""  # the predictor's
    error: str = ""  # why the image could not be read or its annotated copy could not be written

    def to_dict(self) -> dict[str, Any]:
        """Convert the result to plain values for JSON."""
        content = {"image": self.name, "model": self.model, **faces_to_dict(self.faces, self.caution)}
        return content | ({"error": self.error} if self.error else {})


def faces_to_dict(faces: Iterable[Face], caution: str) -> dict[str, Any]:
    """Convert the faces of an image to plain values for JSON.

    Args:
        faces: the predictions.
        caution: the predictor's.
    """
    content: dict[str, Any] = {"faces": [face_to_dict(face) for face in faces]}
    return content | ({"caution": caution} if caution else {})


def face_to_dict(face: Face) -> dict[str, Any]:
    """Convert a face to plain values for JSON."""
    return {
        "answer": face.answer,
        "confidence": round(face.confidence, 4),
        "reason": face.reason,
        "novelty": None if face.novelty is None else round(face.novelty, 4),
        "box": {"left": face.box.left, "top": face.box.top, "side": face.box.side},
        "detection": round(face.detection, 4),
        "scores": {emotion: round(score, 4) for emotion, score in face.scores.items()},
    }


def predict_images(
    predictor: Predictor, inputs: Iterable[Input], detect: bool = True, annotated: Path | None = None
) -> Iterator[ImageResult]:
    """Yield the results in the order of the inputs.

    Args:
        predictor: the predictor to use.
        inputs: the images; an input without an image yields its error.
        detect: False if each image is a single cropped face.
        annotated: a folder for copies of the images with boxes and captions; each has its input's place below it.
    """
    taken: set[Path] = set()
    for batch in _batches(inputs):
        images = [it.image for it in batch if it.image is not None]
        faces = iter(predictor.predict(images, detect))
        for item in batch:
            if item.image is None:
                yield ImageResult(item.name, predictor.title, error=item.error)
                continue
            result = ImageResult(item.name, predictor.title, tuple(next(faces)), predictor.caution)
            if annotated:
                try:
                    with atomic_write(_output_path(annotated / item.place, taken)) as tmp:
                        annotate(item.image, result.faces).save(tmp, "PNG")
                except OSError as error:
                    reason = describe_os_error(error)
                    result = replace(result, error=f"the annotated image could not be written: {reason}")
            yield result


def _batches(inputs: Iterable[Input]) -> Iterator[list[Input]]:
    batch: list[Input] = []
    pixels = 0
    for item in inputs:
        size = 0 if item.image is None else item.image.shape[0] * item.image.shape[1]
        if len(batch) == MAX_IMAGES or (batch and pixels + size > MAX_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append(item)
        pixels += size
    if batch:
        yield batch


def _output_path(path: Path, taken: set[Path]) -> Path:
    """A PNG file at a place, different from all others."""
    wanted = path.with_suffix(".png")
    result, number = wanted, 1
    while result in taken:
        number += 1
        result = wanted.with_name(f"{wanted.stem}-{number}.png")
    taken.add(result)
    return result


def results_table(results: Iterable[ImageResult], emotions: Sequence[str]) -> "pd.DataFrame":
    """A row per face, or per image without one; its status is ok, unsure, no face, or error."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for result in results:
        for number, face in enumerate(result.faces, start=1):
            content = face_to_dict(face)
            status = "error" if result.error else "unsure" if face.reason else "ok"
            own = {"face": number, "status": status, "caution": result.caution}
            rows.append(_shared(result) | own | content | content["box"] | content["scores"])
        if not result.faces:
            rows.append(_shared(result) | {"status": "error" if result.error else "no face"})
    columns = [
        "image", "status", "face", "answer", "confidence", "reason", "novelty", "caution",
        "left", "top", "side", "detection", *emotions, "model", "error",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("face", "left", "top", "side"), "Int64"))


def _shared(result: ImageResult) -> dict[str, Any]:
    return {"image": printable(result.name), "model": result.model, "error": result.error}
