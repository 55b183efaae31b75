"""What a predictor says of many pictures, some at a time, and how it is written down."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion.data.labels import EMOTIONS
from emotion.runtime.errors import explain
from emotion.runtime.paths import whole
from emotion.serving.annotation import annotated
from emotion.serving.inputs import Input
from emotion.serving.predictor import Face, Predictor

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE, PIXELS_AT_ONCE = 32, 60_000_000  # pictures in memory, and what they may hold beside the first


@dataclass(frozen=True)
class Answer:
    """What is said of a picture."""

    name: str
    faces: tuple[Face, ...] = ()
    error: str = ""  # why it could not be read, or written

    def as_json(self) -> dict[str, Any]:
        """Of plain values."""
        told = {"picture": self.name, "faces": [facts(face) for face in self.faces]}
        return told | ({"error": self.error} if self.error else {})


def facts(face: Face) -> dict[str, Any]:
    """What is said of a face, in plain values."""
    return {
        "answer": face.answer,
        "confidence": round(face.confidence, 4),
        "box": {"left": face.box.left, "top": face.box.top, "side": face.box.side},
        "detection": round(face.detection, 4),
        "scores": {emotion: round(score, 4) for emotion, score in face.scores.items()},
    }


def of(predictor: Predictor, inputs: Iterable[Input], crop: bool, annotate: Path | None) -> Iterator[Answer]:
    """Answers in the order of the inputs.

    Args:
        predictor: is asked.
        inputs: some of which may have no picture.
        crop: whether each picture is a face.
        annotate: where to write the pictures with boxes and scores, each by the name of its input.
    """
    taken: set[Path] = set()
    for some in _some_at_a_time(inputs):
        seen = [it.picture for it in some if it.picture is not None]
        faces = iter(predictor.predict(seen, crop))
        for it in some:
            if it.picture is None:
                yield Answer(it.name, error=it.error)
                continue
            answer = Answer(it.name, tuple(next(faces)))
            if annotate:
                try:
                    with whole(_place(annotate, it.name, taken)) as part:
                        annotated(it.picture, answer.faces).save(part, "PNG")
                except OSError as error:
                    answer = replace(answer, error=f"its annotated picture was not written: {explain(error)}")
            yield answer


def _some_at_a_time(inputs: Iterable[Input]) -> Iterator[list[Input]]:
    some: list[Input] = []
    pixels = 0
    for it in inputs:
        size = 0 if it.picture is None else it.picture.shape[0] * it.picture.shape[1]
        if len(some) == AT_ONCE or (some and pixels + size > PIXELS_AT_ONCE):
            yield some
            some, pixels = [], 0
        some.append(it)
        pixels += size
    if some:
        yield some


def _place(folder: Path, name: str, taken: set[Path]) -> Path:
    """A PNG of its own for every input, whose name tells where it came from."""
    parts = [part for part in Path(name).parts if part not in ("/", "..", ".")]
    place = folder.joinpath(*parts[:-1], f"{parts[-1]}.png")
    number = 1
    while place in taken:
        number += 1
        place = place.with_name(f"{parts[-1]}-{number}.png")
    taken.add(place)
    return place


def table(found: Iterable[Answer]) -> "pd.DataFrame":
    """A row per face, or per picture without one."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for answer in found:
        for number, face in enumerate(answer.faces, start=1):
            told = facts(face)
            rows.append(
                {"picture": answer.name, "face": number, "error": answer.error, **told, **told["box"], **told["scores"]}
            )
        if not answer.faces:
            rows.append({"picture": answer.name, "error": answer.error or "no face"})
    columns = ["picture", "face", "answer", "confidence", "left", "top", "side", "detection", *EMOTIONS, "error"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("face", "left", "top", "side"), "Int64"))
