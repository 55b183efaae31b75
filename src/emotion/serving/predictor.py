"""Find faces in images and predict their emotions: the Python API behind `emotion predict` and the demo."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from emotion.data.labels import EMOTIONS, IMAGE_SIZE
from emotion.data.preparation.images import RGBImage
from emotion.inference.load import Model, predict
from emotion.serving.detection import Box, Detection, Detector
from emotion.serving.model_source import open_model

if TYPE_CHECKING:
    from emotion.data.dataset import Images
    from emotion.evaluation.metrics import Probabilities

BATCH_SIZE = 256  # faces per call of the model
UNSURE = "unsure"


@dataclass(frozen=True)
class Face:
    """A face in an image, and the model's prediction for it."""

    box: Box
    detection: float  # the detector's score, 0..1
    scores: dict[str, float]  # the probability of each emotion; they sum to 1
    unsure_below: float

    @property
    def emotion(self) -> str:
        """The most probable emotion."""
        return max(self.scores, key=lambda emotion: self.scores[emotion])

    @property
    def confidence(self) -> float:
        """The probability of the most probable emotion."""
        return self.scores[self.emotion]

    @property
    def answer(self) -> str:
        """The emotion, or "unsure"."""
        return UNSURE if self.confidence < self.unsure_below else self.emotion


class Predictor:
    """A model with a face detector. Threads may share a predictor.

    Args:
        model: see `emotion.inference.load.Model`.
        unsure_below: the confidence below which the answer is "unsure", 0..1.
    """

    def __init__(self, model: Model, unsure_below: float = 0.0) -> None:
        self.model, self.unsure_below = model, unsure_below

    @classmethod
    def from_champion(cls) -> "Predictor":
        """Load the champion of the registered model that params.yaml names.

        Raises:
            UserError: if there is no champion, or its files have changed since it was registered.
        """
        return cls.from_source(None)

    @classmethod
    def from_source(cls, source: str | None, min_confidence: float | None = None) -> "Predictor":
        """Load any model that `emotion predict --model` accepts.

        Args:
            source: see `open_model`.
            min_confidence: replaces the model's own threshold for "unsure".
        """
        with open_model(source) as bundle:
            return cls(bundle.load(), bundle.info.unsure_below if min_confidence is None else min_confidence)

    @cached_property
    def detector(self) -> Detector:
        """The face detector, loaded when it is first used."""
        return Detector()

    def classify(self, faces: "Images") -> "Probabilities":
        """Predict the emotions of cropped faces.

        Args:
            faces: (n, 48, 48) uint8, 0 black to 255 white, cropped like FER-2013's.

        Returns:
            (n, 7) float32 in the order of `emotion.data.labels.EMOTIONS`; rows sum to 1.
        """
        if faces.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE) or faces.dtype != np.uint8:
            expected = f"(n, {IMAGE_SIZE}, {IMAGE_SIZE}) uint8"
            raise ValueError(f"faces should be {expected}, got {faces.shape} {faces.dtype}")
        return predict(self.model, faces, BATCH_SIZE) if len(faces) else np.empty((0, len(EMOTIONS)), np.float32)

    def predict(self, images: Sequence[RGBImage], detect: bool = True) -> list[list[Face]]:
        """Find the faces of each image, and classify the faces of all images together.

        Args:
            images: each (height, width, 3) uint8, red, green and blue, 0..255.
            detect: False if each image is a single cropped face.

        Returns:
            The faces of each image, from left to right.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(f"images should be (height, width, 3) uint8, got {image.shape} {image.dtype}")
        detections = [self.detector.find(it) if detect else [Detection(Box.center_square(it), 1.0)] for it in images]
        crops = [it.box.crop(image) for image, found in zip(images, detections, strict=True) for it in found]
        probabilities = iter(self.classify(np.array(crops, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)))
        return [[self._face(detection, next(probabilities)) for detection in found] for found in detections]

    def _face(self, detection: Detection, probabilities: np.ndarray) -> Face:
        scores = dict(zip(EMOTIONS, map(float, probabilities), strict=True))
        return Face(detection.box, detection.score, scores, self.unsure_below)
