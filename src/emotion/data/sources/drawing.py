"""Draws faces: facial action units on a random head, rendered like a poor-quality photograph.

An emotion is a set of action units, the visible muscle movements of the Facial Action
Coding System (Ekman and Friesen, 1978). Each unit displaces a few points of a schematic
head or adds a wrinkle; the head is then rotated, lit and blurred, and noise is added.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from emotion.data.labels import IMAGE_SIZE
from emotion.data.sources.canvas import OVERSAMPLING, Canvas, arc, ellipse

# The action units that make up each emotion.
ACTION_UNITS: Mapping[str, tuple[int, ...]] = {
    "angry": (4, 5, 7, 23),
    "disgust": (9, 15, 16),
    "fear": (1, 2, 4, 5, 7, 20, 26),
    "happy": (6, 12),
    "neutral": (),
    "sad": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
}


@dataclass(frozen=True)
class Person:
    """The features of a head that do not depend on its expression. Tones are gray levels, 0..255."""

    skin: float
    hair: float
    lips: float
    width: float
    jaw: float
    brow_thickness: float
    brow_height: float
    eye_size: float
    eye_distance: float
    nose: float
    mouth_width: float
    lip_thickness: float
    hairline: float
    hair_length: float
    glasses: bool
    beard: float


def a_person(rng: np.random.Generator) -> Person:
    """Sample a random head, independent of the emotion."""
    skin = rng.uniform(85, 225)
    return Person(
        skin=skin,
        hair=rng.choice([rng.uniform(10, 70), rng.uniform(90, 210)], p=[0.7, 0.3]),
        lips=skin * rng.uniform(0.55, 0.85),
        width=rng.uniform(0.68, 0.84),
        jaw=rng.uniform(0.55, 0.85),
        brow_thickness=rng.uniform(0.05, 0.11),
        brow_height=rng.uniform(-0.44, -0.36),
        eye_size=rng.uniform(0.15, 0.2),
        eye_distance=rng.uniform(0.3, 0.38),
        nose=rng.uniform(0.1, 0.17),
        mouth_width=rng.uniform(0.22, 0.3),
        lip_thickness=rng.uniform(0.04, 0.09),
        hairline=rng.choice([-1.3, rng.uniform(-0.85, -0.6)], p=[0.1, 0.9]),
        hair_length=rng.choice([-0.2, rng.uniform(0.2, 1.2)], p=[0.55, 0.45]),
        glasses=rng.random() < 0.15,
        beard=rng.choice([0.0, rng.uniform(0.3, 1.0)], p=[0.82, 0.18]),
    )


def action_units(emotion: str, rng: np.random.Generator) -> dict[int, float]:
    """Sample the intensity (0..1.2) of every unit that any emotion uses.

    Units of `emotion` vary around a common intensity; all other units stay near 0.
    """
    every = sorted({unit for units in ACTION_UNITS.values() for unit in units})
    intensity = rng.uniform(0.5, 1.15)
    active = ACTION_UNITS[emotion]
    return {unit: intensity * rng.uniform(0.65, 1.1) if unit in active else abs(rng.normal(0, 0.09)) for unit in every}


def draw_face(emotion: str, rng: np.random.Generator) -> Image.Image:
    """Draw one 48x48 grayscale face that shows `emotion` (a key of ACTION_UNITS).

    The same generator state always produces the same pixels.
    """
    return draw_face_with_attributes(emotion, rng)[0]


def draw_face_with_attributes(emotion: str, rng: np.random.Generator) -> tuple[Image.Image, dict[str, str]]:
    """The face that `draw_face` draws, and its attributes: skin, hair, glasses, pose and light."""
    person, units = a_person(rng), action_units(emotion, rng)
    pose = {
        "yaw": rng.normal(0, 0.22),
        "pitch": rng.normal(0, 0.12),
        "roll": rng.normal(0, 0.12),
        "zoom": rng.uniform(0.4, 0.52),
        "x": rng.normal(0, 0.05),
        "y": rng.normal(0.02, 0.05),
    }
    canvas = Canvas(rng.uniform(10, 245), pose)
    _draw_head(canvas, person, units)
    _draw_mouth(canvas, person, units)
    _draw_nose(canvas, person, units)
    for side in (-1, 1):
        _draw_eye(canvas, person, units, side)
        _draw_brow(canvas, person, units, side)
    _draw_fringe(canvas, person, rng)
    image, side_light = _photograph(canvas.image, rng)
    return image, {
        "skin": "dark" if person.skin < 132 else "medium" if person.skin < 178 else "light",
        "hair": "long" if person.hair_length > 0 else "short" if person.hairline > -1.2 else "none",
        "glasses": "yes" if person.glasses else "no",
        "pose": "frontal" if abs(pose["yaw"]) < 0.22 else "turned",
        "light": "even" if side_light < 0.2 else "from one side",
    }


def _draw_head(canvas: Canvas, person: Person, units: Mapping[int, float]) -> None:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x, y = np.sin(angle), -np.cos(angle)
    width = np.where(y > 0, person.width * (1 - (1 - person.jaw) * y**2), person.width)
    if person.hair_length > 0:
        canvas.polygon(ellipse(0, -0.1, person.width * 1.25, 1.08), person.hair)
        low = person.hair_length
        canvas.polygon(
            np.array([(-1.25, -0.1), (1.25, -0.1), (1.15, low), (-1.15, low)]) * (person.width, 1),
            person.hair,
        )
    elif person.hairline > -1.2:
        canvas.polygon(ellipse(0, -0.25, person.width * 1.08, 0.9), person.hair)
    neck = person.width * 0.55
    canvas.polygon(np.array([(-neck, 0.4), (neck, 0.4), (neck, 1.6), (-neck, 1.6)]), person.skin * 0.75)
    chin = 1 + 0.16 * units[26]
    outline = np.stack([x * width, np.where(y > 0, y * chin, y)], axis=1)
    canvas.polygon(outline, person.skin)
    if person.beard:
        tone = person.skin + (person.hair - person.skin) * person.beard * 0.6
        canvas.polygon(outline[(y > 0.35)] * 0.99, tone)


def _draw_fringe(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Draw hair over the forehead, and glasses, which may hide some of the expression."""
    if person.hairline > -1.2:
        parting = rng.uniform(-0.4, 0.4)
        top = ellipse(0, -0.15, person.width * 1.04, 0.95)
        top = top[top[:, 1] < person.hairline + 0.15]
        top = top[np.argsort(top[:, 0])]
        edge = arc((top[-1, 0], top[-1, 1]), (parting, person.hairline), (top[0, 0], top[0, 1]))
        canvas.polygon(np.concatenate([top, edge]), person.hair)
    if person.glasses:
        for side in (-1, 1):
            rim = ellipse(side * person.eye_distance, -0.12, 0.25, 0.2)
            canvas.line(np.concatenate([rim, rim[:1]]), 0.035, 25)
        canvas.line(np.array([(-0.1, -0.14), (0.1, -0.14)]), 0.03, 25)


def _draw_brow(canvas: Canvas, person: Person, units: Mapping[int, float], side: int) -> None:
    """Draw a brow: units 1 (inner brow raised), 2 (outer brow raised), 4 (lowered, drawn together), 9."""
    height = person.brow_height + 0.1 * units[9]
    inner_lift, outer_lift, lowered = 0.17 * units[1], 0.16 * units[2], 0.16 * units[4]
    # If the brows are raised and drawn together, as in sadness and fear, their inner ends still go up.
    inner_y = height - inner_lift + lowered * (1 - 0.65 * min(1, units[1]))
    inner = (side * (person.eye_distance - 0.19 - 0.05 * units[4]), inner_y)
    middle = (side * person.eye_distance, height - 0.04 - (inner_lift + outer_lift) / 2 + lowered * 0.4)
    outer = (side * (person.eye_distance + 0.23), height + 0.05 - outer_lift + lowered * 0.1)
    canvas.line(arc(inner, middle, outer), person.brow_thickness, min(person.hair, person.skin * 0.6))
    shade = person.skin * (1 - 0.35 * min(1, units[4]))
    canvas.line(np.array([(side * 0.06, height + 0.02), (side * 0.05, height + 0.2)]), 0.03, shade)
    raised = (units[1] + units[2]) / 2
    for row in (0.13, 0.22) if raised > 0.35 else ():
        y = height - inner_lift - row
        crease = arc((0, y), (side * 0.2, y - 0.02), (side * 0.42, y + 0.03))
        canvas.line(crease, 0.02, person.skin * (1 - 0.22 * raised))


def _draw_eye(canvas: Canvas, person: Person, units: Mapping[int, float], side: int) -> None:
    """Draw an eye: units 5 (upper lid raised), 6 (cheek raised), 7 (lids tightened), 9."""
    x, y, half = side * person.eye_distance, -0.13, person.eye_size
    upper = half * (0.5 + 0.55 * units[5] - 0.22 * units[7] - 0.22 * units[9] - 0.12 * units[6])
    lower = half * (0.42 + 0.1 * units[5] - 0.25 * units[7] - 0.4 * units[6] - 0.25 * units[9])
    top = arc((x - half, y), (x, y - max(0.02, upper)), (x + half, y))
    bottom = arc((x - half, y), (x, y + max(0.0, lower)), (x + half, y))
    opening = np.concatenate([top, bottom[::-1]])
    canvas.polygon(opening, min(250, person.skin * 0.35 + 160))
    iris = ellipse(x, y - 0.01, half * 0.46, half * 0.46)
    iris[:, 1] = np.clip(iris[:, 1], y - max(0.02, upper), y + max(0.0, lower))
    canvas.polygon(iris, 35)
    canvas.line(top, 0.035, min(50, person.skin * 0.4))
    canvas.line(bottom, 0.015, person.skin * 0.6)
    if units[6] > 0.3:  # crow's feet and the fold under a raised cheek
        shade = person.skin * (1 - 0.3 * units[6])
        for tilt in (-0.07, 0.05):
            canvas.line(np.array([(x + side * (half + 0.04), y), (x + side * (half + 0.15), y + tilt)]), 0.02, shade)
        fold = arc((x - half, y + 0.1), (x, y + 0.16), (x + half, y + 0.1))
        canvas.line(fold, 0.025, shade)


def _draw_nose(canvas: Canvas, person: Person, units: Mapping[int, float]) -> None:
    """Draw the nose: unit 9 (nose wrinkled), and the folds beside the nose, which units 9 and 12 deepen."""
    tip = 0.25 - 0.07 * units[9]
    width = person.nose * (1 + 0.3 * units[9])
    shade = person.skin * 0.72
    canvas.line(np.array([(0.05, -0.1), (width * 0.9, tip - 0.03)]), 0.02, person.skin * 0.85)
    canvas.line(arc((-width, tip), (0, tip + 0.06), (width, tip)), 0.03, shade)
    for side in (-1, 1):
        canvas.polygon(ellipse(side * width * 0.55, tip + 0.015, 0.035, 0.022), person.skin * 0.4)
        depth = min(1.0, 0.9 * units[9] + 0.7 * units[12])
        fold = arc(
            (side * (width + 0.02), tip - 0.06),
            (side * (width + 0.16), tip + 0.06),
            (side * (person.mouth_width + 0.1), 0.45),
        )
        canvas.line(fold, 0.025, person.skin * (1 - 0.35 * depth))
    for row in (-0.13, -0.05, 0.03) if units[9] > 0.3 else ():
        wrinkle = arc((-0.1, row), (0, row - 0.04), (0.1, row))
        canvas.line(wrinkle, 0.025, person.skin * (1 - 0.5 * min(1, units[9])))


def _draw_mouth(canvas: Canvas, person: Person, units: Mapping[int, float]) -> None:
    """Draw the mouth: units 9, 12, 15 (corners), 16 (lower lip down), 20 (stretched), 23 (tightened), 26 (jaw)."""
    half = person.mouth_width * (1 + 0.32 * units[12] + 0.35 * units[20] - 0.22 * units[23])
    half *= 1 - 0.3 * units[26] * (1 - min(1, units[20]))
    y = 0.5 + 0.02 * units[23]
    corner = y - 0.2 * units[12] + 0.15 * units[15] + 0.03 * units[20] + 0.06 * units[26]
    upper = y - 0.07 * units[9]
    gap = 0.3 * units[26] * (1 - 0.45 * min(1, units[20])) + 0.06 * units[16] + 0.12 * max(0, units[12] - 0.35)
    lower = upper + gap
    lip = person.lip_thickness * (1 - 0.6 * min(1, units[23]) - 0.25 * min(1, units[20]))
    left, right = (-half, corner), (half, corner)
    outline = [arc(left, (0, upper - lip), right), arc(left, (0, lower + lip * 1.4), right)[::-1]]
    canvas.polygon(np.concatenate(outline), person.lips)
    opening = np.concatenate([arc(left, (0, upper), right), arc(left, (0, lower), right)[::-1]])
    if gap > 0.03:
        canvas.polygon(opening, 30)
        if units[12] > 0.35 or units[16] > 0.35 or units[20] > 0.4:  # teeth
            shown = 0.75 if units[12] > 0.35 else 0.5
            inner = np.array(left) * 0.8 + np.array([0, 0.2 * y])
            band = [
                arc((inner[0], corner), (0, upper), (-inner[0], corner)),
                arc((inner[0], corner), (0, upper + gap * shown), (-inner[0], corner))[::-1],
            ]
            canvas.polygon(np.concatenate(band), 225)
    else:
        canvas.line(arc(left, (0, (upper + lower) / 2), right), 0.03, person.lips * 0.45)
    below = y + 0.2 + gap
    canvas.line(arc((-0.1, below), (0, below - 0.03), (0.1, below)), 0.02, person.skin * 0.85)


def _photograph(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, float]:
    """Simulate light from one side, defocus, exposure and sensor noise; return the strength of the light, too."""
    blurred = image.filter(ImageFilter.GaussianBlur(OVERSAMPLING * rng.uniform(0.1, 0.75)))
    pixels = np.asarray(blurred.reduce(OVERSAMPLING), dtype=np.float64)
    across = np.linspace(-1, 1, IMAGE_SIZE)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.4)
    slope = np.cos(angle) * across[None, :] + np.sin(angle) * across[:, None]
    pixels *= 1 + strength * slope
    pixels = 128 + (pixels - 128) * rng.uniform(0.6, 1.1) + rng.normal(0, 15)
    pixels += rng.normal(0, rng.uniform(1, 11), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), strength
