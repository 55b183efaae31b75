"""A canvas for drawing a schematic head, rotated by yaw, pitch and roll.

Head coordinates: the origin lies between the eyes and the mouth, x points to the viewer's right,
y points down, and the head is about 2 units high. Angles are in radians.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from emotion.data.labels import IMAGE_SIZE

OVERSAMPLING = 3  # factor by which drawings are enlarged, then downsampled to smooth the edges

Points = NDArray[np.float64]  # (n, 2)


class Canvas:
    """Draws shapes given in head coordinates as they appear on the rotated head."""

    def __init__(self, background: float, pose: Mapping[str, float]) -> None:
        side = IMAGE_SIZE * OVERSAMPLING
        self.image = Image.new("L", (side, side), int(background))
        self.draw = ImageDraw.Draw(self.image)
        self.pose = pose
        self.scale = side * pose["zoom"]

    def project(self, points: Points) -> list[tuple[float, float]]:
        """Convert head coordinates to pixels, rotating the points as if they lay on a rounded head."""
        x, y = points[:, 0], points[:, 1]
        z = np.sqrt(np.clip(1 - 0.9 * x**2 - 0.4 * y**2, 0, None))
        yaw, pitch, roll = self.pose["yaw"], self.pose["pitch"], self.pose["roll"]
        x = x * np.cos(yaw) + (z - 0.6) * np.sin(yaw)
        y = y * np.cos(pitch) + (z - 0.6) * np.sin(pitch)
        rotated_x = x * np.cos(roll) - y * np.sin(roll) + self.pose["x"]
        rotated_y = x * np.sin(roll) + y * np.cos(roll) + self.pose["y"]
        half = self.image.width / 2
        return list(zip(half + rotated_x * self.scale, half + rotated_y * self.scale, strict=True))

    def polygon(self, points: Points, tone: float) -> None:
        """Fill a closed outline."""
        self.draw.polygon(self.project(points), fill=_tone(tone))

    def line(self, points: Points, width: float, tone: float) -> None:
        """Stroke an open curve; `width` is in head coordinates."""
        pixels = max(1, round(width * self.scale))
        self.draw.line(self.project(points), fill=_tone(tone), width=pixels, joint="curve")


def _tone(value: float) -> int:
    return int(np.clip(value, 0, 255))


def arc(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> Points:
    """Return a parabola through three points, sampled at 11 points from left to right."""
    t = np.linspace(0, 1, 11)[:, None]
    a, b, c = (np.array(p) for p in (left, middle, right))
    return a * (1 - t) * (1 - 2 * t) + b * 4 * t * (1 - t) + c * t * (2 * t - 1)


def ellipse(x: float, y: float, width: float, height: float) -> Points:
    """Return points on an ellipse centered at (x, y), with semi-axes `width` and `height`."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], axis=1)
