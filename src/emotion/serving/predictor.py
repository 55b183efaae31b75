"""Find faces in images and predict their emotions: the Python API behind `emotion predict` and the demo."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emotion.data.dataset import InputShape
from emotion.data.preparation.detection import Box, Detection, Detector
from emotion.data.preparation.images import RGBImage
from emotion.inference.load import NOVELTY_LIMIT, Model, assess
from emotion.serving.model_source import ModelBundle, open_model

if TYPE_CHECKING:
    from emotion.data.dataset import Images
    from emotion.evaluation.metrics import Probabilities

BATCH_SIZE = 256  # faces per call of the model
UNSURE = "unsure"
OF_DRAWINGS = "this model learned from drawings"


@dataclass(frozen=True)
class Face:
    """A face in an image, and the model's prediction for it."""

    box: Box
    detection: float  # the detector's score, 0..1
    scores: dict[str, float]  # the probability of each emotion; they sum to 1
    unsure_below: float
    novelty: float | None = None  # how unlike the training faces it is, familiar up to 1; None if not measured

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
        return UNSURE if self.reason else self.emotion

    @property
    def is_familiar(self) -> bool:
        """Whether it is like the faces that the model learned from."""
        return self.novelty is None or self.novelty <= NOVELTY_LIMIT

    @property
    def reason(self) -> str:
        """Why the answer is "unsure"; empty if it is not."""
        if not self.is_familiar:
            return f"unlike the training faces (novelty {self.novelty:.2f}, limit {NOVELTY_LIMIT:g})"
        if self.confidence < self.unsure_below:
            return f"{self.emotion} is most likely, but its probability is below {self.unsure_below:.0%}"
        return ""


class Predictor:
    """A model with a face detector. Threads may share a predictor.

    Args:
        model: see `emotion.inference.load.Model`.
        unsure_below: the confidence below which the answer is "unsure", 0..1.
        caution: what to say with every answer, such as that the model learned from drawings.
        title: what the model is called.
    """

    def __init__(self, model: Model, unsure_below: float = 0.0, caution: str = "", title: str = "") -> None:
        self.model, self.unsure_below, self.caution, self.title = model, unsure_below, caution, title

    @classmethod
    def from_champion(cls) -> "Predictor":
        """Load the champion of the registered model that params.yaml names, or the reference model if there is none.

        Raises:
            UserError: if the champion's files have changed since it was registered.
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
            return cls.from_bundle(bundle, min_confidence)

    @classmethod
    def from_bundle(cls, bundle: ModelBundle, min_confidence: float | None = None) -> "Predictor":
        """Load the model of a bundle; see `from_source`."""
        info = bundle.info
        unsure_below = info.unsure_below if min_confidence is None else min_confidence
        return cls(bundle.load(), unsure_below, OF_DRAWINGS if info.is_of_drawings else "", info.title)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions that the model tells apart."""
        return self.model.emotions

    @property
    def input_shape(self) -> InputShape:
        """The height, width and channels of the faces that the model takes."""
        return self.model.input_shape

    @property
    def _face_shape(self) -> tuple[int, ...]:
        height, width, channels = self.input_shape
        return (height, width, 3) if channels == 3 else (height, width)

    @cached_property
    def detector(self) -> Detector:
        """The face detector, loaded when it is first used."""
        return Detector()

    def classify(self, faces: "Images") -> "Probabilities":
        """Predict the emotions of cropped faces.

        Args:
            faces: (n, height, width) uint8, or (n, height, width, 3) in color, as `input_shape` tells, 0 to 255.

        Returns:
            (n, classes) float32 in the order of `emotions`; rows sum to 1.
        """
        return self.assess(faces)[0]

    def assess(self, faces: "Images") -> "tuple[Probabilities, NDArray[np.float32]]":
        """Predict the emotions of cropped faces, and how unlike the training faces they are.

        Args:
            faces: as for `classify`.

        Returns:
            The result of `classify`, and the novelty, (n,) float32: at most 1 for familiar faces; NaN if the model
            does not measure it.
        """
        expected_shape = self._face_shape
        if faces.shape[1:] != expected_shape or faces.dtype != np.uint8:
            expected = f"(n, {', '.join(map(str, expected_shape))}) uint8"
            raise ValueError(f"faces should be {expected}, got {faces.shape} {faces.dtype}")
        if not len(faces):
            return np.empty((0, len(self.emotions)), np.float32), np.empty(0, np.float32)
        return assess(self.model, faces, BATCH_SIZE)

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
        crops = [
            it.box.crop(image, self.input_shape)
            for image, found in zip(images, detections, strict=True)
            for it in found
        ]
        answers = zip(*self.assess(np.array(crops, np.uint8).reshape(-1, *self._face_shape)), strict=True)
        return [[self._face(detection, *next(answers)) for detection in found] for found in detections]

    def _face(self, detection: Detection, probabilities: NDArray[np.float32], novelty: np.float32) -> Face:
        scores = dict(zip(self.emotions, map(float, probabilities), strict=True))
        known = None if np.isnan(novelty) else float(novelty)
        return Face(detection.box, detection.score, scores, self.unsure_below, known)
