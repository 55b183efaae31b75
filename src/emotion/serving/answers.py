"""What a predictor says of many pictures, some at a time, and how it is written down."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion.labels import EMOTIONS
from emotion.paths import whole
from emotion.serving.annotation import annotated
from emotion.serving.inputs import Input
from emotion.serving.predictor import Face, Predictor

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE = 32  # pictures in memory


@dataclass(frozen=True)
class Answer:
    """What is said of a picture."""

    name: str
    faces: tuple[Face, ...] = ()
    error: str = ""  # why it could not be read

    def as_json(self) -> dict[str, Any]:
        """Of plain values."""
        if self.error:
            return {"picture": self.name, "error": self.error}
        return {"picture": self.name, "faces": [facts(face) for face in self.faces]}


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
    waiting = iter(inputs)
    while some := list(islice(waiting, AT_ONCE)):
        seen = [it.picture for it in some if it.picture is not None]
        faces = iter(predictor.predict(seen, crop))
        for it in some:
            if it.picture is None:
                yield Answer(it.name, error=it.error)
                continue
            answer = Answer(it.name, tuple(next(faces)))
            if annotate:
                with whole(_place(annotate, it.name)) as part:
                    annotated(it.picture, answer.faces).save(part, "PNG")
            yield answer


def _place(folder: Path, name: str) -> Path:
    """A PNG of its own for every input, whose name tells where it came from."""
    parts = [part for part in Path(name).parts if part not in ("/", "..", ".")]
    return folder.joinpath(*parts[:-1], f"{parts[-1]}.png")


def table(found: Iterable[Answer]) -> "pd.DataFrame":
    """A row per face, or per picture without one."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for answer in found:
        for number, face in enumerate(answer.faces, start=1):
            told = facts(face)
            rows.append({"picture": answer.name, "face": number, **told, **told["box"], **told["scores"]})
        if not answer.faces:
            rows.append({"picture": answer.name, "error": answer.error or "no face"})
    columns = ["picture", "face", "answer", "confidence", "left", "top", "side", "detection", *EMOTIONS, "error"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("face", "left", "top", "side"), "Int64"))
