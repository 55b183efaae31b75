"""Pictures in, faces with emotions out: the Python API behind `emotion predict` and the demo."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion.data.labels import EMOTIONS, SIZE
from emotion.data.preparation.images import Picture
from emotion.inference.load import predict
from emotion.serving import model_source as served
from emotion.serving.detection import Box, Detector, Found

if TYPE_CHECKING:
    from emotion.data.dataset import Images
    from emotion.evaluation.metrics import Probabilities

BATCH = 256  # faces asked about at once
UNSURE = "unsure"


@dataclass(frozen=True)
class Face:
    """A face in a picture, and what the model says of it."""

    box: Box
    detection: float  # the detector's score, 0..1
    scores: dict[str, float]  # the probability of each emotion; they sum to 1
    unsure_below: float

    @property
    def emotion(self) -> str:
        """The most probable."""
        return max(self.scores, key=lambda emotion: self.scores[emotion])

    @property
    def confidence(self) -> float:
        """Its probability."""
        return self.scores[self.emotion]

    @property
    def answer(self) -> str:
        """The emotion, or "unsure"."""
        return UNSURE if self.confidence < self.unsure_below else self.emotion


class Predictor:
    """A model with a face detector. Threads may share one.

    Args:
        model: has a `serve` from (n, 48, 48, 1) float32, 0..255, to (n, 7) probabilities.
        unsure_below: the confidence below which the answer is "unsure", 0..1.
    """

    def __init__(self, model: Any, unsure_below: float = 0.0) -> None:
        self.model, self.unsure_below = model, unsure_below

    @classmethod
    def from_champion(cls) -> "Predictor":
        """Of the registered model that params.yaml names.

        Raises:
            UserError: where there is no champion, or its files are not those that were registered.
        """
        return cls.from_address(None)

    @classmethod
    def from_address(cls, address: str | None, unsure_below: float | None = None) -> "Predictor":
        """Of any model that `emotion predict --model` takes.

        Args:
            address: see `served.brought`.
            unsure_below: in place of the model's own.
        """
        with served.brought(address) as it:
            return cls(it.load(), it.unsure_below if unsure_below is None else unsure_below)

    @cached_property
    def detector(self) -> Detector:
        """Made when it is needed first."""
        return Detector()

    def classify(self, faces: "Images") -> "Probabilities":
        """Of faces alone.

        Args:
            faces: (n, 48, 48) uint8, 0 black to 255 white, cut out as FER-2013's are.

        Returns:
            (n, 7) float32 in the order of `emotion.data.labels.EMOTIONS`; rows sum to 1.
        """
        if faces.shape[1:] != (SIZE, SIZE) or faces.dtype != np.uint8:
            raise ValueError(f"faces should be (n, {SIZE}, {SIZE}) uint8, got {faces.shape} {faces.dtype}")
        return predict(self.model, faces, BATCH) if len(faces) else np.empty((0, len(EMOTIONS)), np.float32)

    def predict(self, pictures: Sequence[Picture], crop: bool = False) -> list[list[Face]]:
        """Find the faces of each picture, and classify those of all together.

        Args:
            pictures: each (height, width, 3) uint8, red, green and blue, 0..255.
            crop: whether each picture is one face, cut out already.

        Returns:
            For each picture its faces, from left to right.
        """
        for picture in pictures:
            if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
                raise ValueError(f"pictures should be (height, width, 3) uint8, got {picture.shape} {picture.dtype}")
        found = [[Found(Box.of_all(it), 1.0)] if crop else self.detector.find(it) for it in pictures]
        cut = [it.box.cut(picture) for picture, faces in zip(pictures, found, strict=True) for it in faces]
        answers = iter(self.classify(np.array(cut, np.uint8).reshape(-1, SIZE, SIZE)))
        return [
            [
                Face(it.box, it.score, dict(zip(EMOTIONS, map(float, next(answers)), strict=True)), self.unsure_below)
                for it in faces
            ]
            for faces in found
        ]
