"""Where the faces are in a picture, cut out as the training images are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emotion.data.preparation import images as pictures
from emotion.data.preparation.images import Picture
from emotion.runtime.tensorflow import load_tensorflow

LONGEST = 960  # pixels a side in which faces are looked for; larger pictures are reduced
SHORTEST = 64  # pixels a side to which smaller pictures are enlarged
LEAST = 12  # pixels a side that the detector needs
SURE = 0.8  # the detector's own score, from which on a face is one
# FER-2013's images show more than the detector's box, `python benchmarks/detectors.py`: a square of
# this side, in units of the box's (the root of its area).
LOOSENESS = 1.1


@dataclass(frozen=True)
class Box:
    """A square in a picture, in its pixels; it may reach beyond the border."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, left: float, top: float, width: float, height: float) -> "Box":
        """As loose around a detected box as FER-2013's images are."""
        side = max(1, round(LOOSENESS * (width * height) ** 0.5))
        return cls(round(left + (width - side) / 2), round(top + (height - side) / 2), side)

    @classmethod
    def of_all(cls, picture: Picture) -> "Box":
        """The largest square in the middle of a picture."""
        height, width = picture.shape[:2]
        side = min(height, width)
        return cls((width - side) // 2, (height - side) // 2, side)

    def cut(self, picture: Picture) -> NDArray[np.uint8]:
        """What the network sees: (48, 48) uint8; beyond the border, the border again."""
        height, width = picture.shape[:2]
        rows = np.clip(np.arange(self.top, self.top + self.side), 0, height - 1)
        columns = np.clip(np.arange(self.left, self.left + self.side), 0, width - 1)
        return np.asarray(pictures.face(Image.fromarray(picture[np.ix_(rows, columns)])))


@dataclass(frozen=True)
class Found:
    """A face in a picture."""

    box: Box
    score: float  # the detector's, 0..1


class Detector:
    """MTCNN (Zhang et al., 2016), whose weights come with its package. Threads may share one."""

    def __init__(self) -> None:
        load_tensorflow()
        from mtcnn import MTCNN

        self._mtcnn = MTCNN()

    def find(self, picture: Picture) -> list[Found]:
        """All faces, from left to right."""
        height, width = picture.shape[:2]
        scale = min(LONGEST / max(height, width), max(1.0, SHORTEST / min(height, width)))
        size = round(width * scale), round(height * scale)
        if min(size) < LEAST:
            return []
        image = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
        # Its min_face_size stays at 20: with more it fails at some sizes of picture, and says "no face" (1.0).
        found = self._mtcnn.detect_faces(np.asarray(image), threshold_onet=SURE)
        boxes = [Box.around(*(length / scale for length in face["box"])) for face in found]
        faces = [Found(box, float(face["confidence"])) for box, face in zip(boxes, found, strict=True)]
        return sorted(faces, key=lambda face: (face.box.left, face.box.top))
