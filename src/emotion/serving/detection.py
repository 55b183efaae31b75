"""Find the faces in an image, and crop them like the training images."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion.data.dataset import InputShape
from emotion.data.preparation.images import RGBImage, model_input
from emotion.runtime.tensorflow import load_tensorflow

MAX_SIDE = 960  # pixels; larger images are reduced to this for detection
MIN_SIDE = 64  # pixels; smaller images are enlarged to this for detection
DETECTOR_MIN_SIDE = 12  # pixels that the detector needs
MIN_CONFIDENCE = 0.8  # of the detector
# The side of the crop, relative to that of the detector's box (the square root of its area). FER-2013's images show
# more than the box: see `python benchmarks/detectors.py`.
CROP_MARGIN = 1.1


@dataclass(frozen=True)
class Box:
    """A square in an image, in pixels; it may extend beyond the border."""

    left: int
    top: int
    side: int

    @classmethod
    def from_detection(cls, left: float, top: float, width: float, height: float) -> "Box":
        """A detected box with the margin of FER-2013's images."""
        side = max(1, round(CROP_MARGIN * (width * height) ** 0.5))
        return cls(round(left + (width - side) / 2), round(top + (height - side) / 2), side)

    @classmethod
    def center_square(cls, image: RGBImage) -> "Box":
        """The largest square in the center of an image."""
        height, width = image.shape[:2]
        side = min(height, width)
        return cls((width - side) // 2, (height - side) // 2, side)

    def crop(self, image: RGBImage, shape: InputShape) -> NDArray[np.uint8]:
        """A model's input, see `model_input`; beyond the border, border pixels are repeated."""
        height, width = image.shape[:2]
        rows = np.clip(np.arange(self.top, self.top + self.side), 0, height - 1)
        columns = np.clip(np.arange(self.left, self.left + self.side), 0, width - 1)
        return model_input(Image.fromarray(image[np.ix_(rows, columns)]), shape)


@dataclass(frozen=True)
class Detection:
    """A detected face."""

    box: Box
    score: float  # the detector's confidence, 0..1


class Detector:
    """MTCNN (Zhang et al., 2016), whose weights come with its package. Threads may share one."""

    def __init__(self) -> None:
        load_tensorflow()
        from mtcnn import MTCNN

        with _ignore_finalizer_errors():
            self._mtcnn = MTCNN()

    def find(self, image: RGBImage) -> list[Detection]:
        """All faces, from left to right."""
        height, width = image.shape[:2]
        scale = min(MAX_SIDE / max(height, width), max(1.0, MIN_SIDE / min(height, width)))
        size = round(width * scale), round(height * scale)
        if min(size) < DETECTOR_MIN_SIDE:
            return []
        resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        # min_face_size stays at its default of 20: with more, MTCNN 1.0 misses faces at some image sizes.
        faces = self._mtcnn.detect_faces(np.asarray(resized), threshold_onet=MIN_CONFIDENCE)
        detections = [
            Detection(Box.from_detection(*(length / scale for length in face["box"])), float(face["confidence"]))
            for face in faces
        ]
        return sorted(detections, key=lambda detection: (detection.box.left, detection.box.top))


@contextmanager
def _ignore_finalizer_errors() -> Iterator[None]:
    """Hide that lz4 flushes weights files that are closed already, which Python 3.13 reports on stderr."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook
