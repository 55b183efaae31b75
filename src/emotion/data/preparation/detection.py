"""Find the faces in an image, and cut them out upright; shared by `preprocess`, `emotion predict` and the demo."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion.data.dataset import InputShape
from emotion.data.preparation.images import RGBImage, UnreadableImageError, load_image, model_input
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
    angle: float = 0.0  # degrees by which the face in it is turned clockwise

    @classmethod
    def from_detection(cls, left: float, top: float, width: float, height: float, angle: float = 0.0) -> "Box":
        """A detected box with the margin of FER-2013's images."""
        side = max(1, round(CROP_MARGIN * (width * height) ** 0.5))
        return cls(round(left + (width - side) / 2), round(top + (height - side) / 2), side, angle)

    @classmethod
    def center_square(cls, image: RGBImage) -> "Box":
        """The largest square in the center of an image."""
        height, width = image.shape[:2]
        side = min(height, width)
        return cls((width - side) // 2, (height - side) // 2, side)

    def crop(self, image: RGBImage, shape: InputShape) -> NDArray[np.uint8]:
        """A model's input, see `model_input`: the face upright; beyond the border, border pixels are repeated."""
        if not self.angle:
            return model_input(Image.fromarray(self._cut(image, 0)), shape)
        margin = math.ceil(0.21 * self.side)  # the corners of a turned square are this far outside
        wide = Image.fromarray(self._cut(image, margin)).rotate(self.angle, Image.Resampling.BILINEAR)
        return model_input(wide.crop((margin, margin, margin + self.side, margin + self.side)), shape)

    def _cut(self, image: RGBImage, margin: int) -> RGBImage:
        height, width = image.shape[:2]
        rows = np.clip(np.arange(self.top - margin, self.top + self.side + margin), 0, height - 1)
        columns = np.clip(np.arange(self.left - margin, self.left + self.side + margin), 0, width - 1)
        return image[np.ix_(rows, columns)]


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
        detections = []
        for face in faces:
            left, top, width, height = (length / scale for length in face["box"])
            box = Box.from_detection(left, top, width, height, _angle(face["keypoints"]))
            detections.append(Detection(box, float(face["confidence"])))
        return sorted(detections, key=lambda detection: (detection.box.left, detection.box.top))


def _angle(keypoints: Mapping[str, Sequence[float]]) -> float:
    """How far the line through the eyes is turned clockwise from the horizontal, in degrees."""
    (left_x, left_y), (right_x, right_y) = sorted(
        (float(x), float(y)) for x, y in (keypoints["left_eye"], keypoints["right_eye"])
    )
    return math.degrees(math.atan2(right_y - left_y, right_x - left_x)) if right_x > left_x else 0.0


def load_detected_face(content: bytes, shape: InputShape, detector: Detector) -> NDArray[np.uint8]:
    """Decode a photograph, and cut out the face in it.

    Args:
        content: the bytes of an image file.
        shape: the height, width and channels of the result.
        detector: what finds the face.

    Returns:
        As `model_input`.

    Raises:
        UnreadableImageError: if the image cannot be decoded, or does not show exactly one face.
    """
    image = load_image(content)
    found = detector.find(image)
    if len(found) != 1:
        raise UnreadableImageError(f"{len(found) or 'no'} face{'s' if len(found) > 1 else ''} found")
    return found[0].box.crop(image, shape)


@contextmanager
def _ignore_finalizer_errors() -> Iterator[None]:
    """Hide that lz4 flushes weights files that are closed already, which Python 3.13 reports on stderr."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook
