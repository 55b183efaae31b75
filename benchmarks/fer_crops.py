"""Measure the package `fer` on cropped faces.

PYTHON benchmarks/fer_crops.py START CROPS.npz litert|keras

`versus_fer.py` runs this script in an environment with `fer`.
"""

import sys

import numpy as np
from crops import Classify, report

CLASS_ORDER = [0, 1, 2, 3, 6, 4, 5]  # fer's angry, disgust, fear, happy, sad, surprise, neutral in this project's order


def load() -> Classify:
    """Load fer's classifier, with its preprocessing: 64x64 pixels, scaled to -1..1."""
    import cv2
    from fer.fer import FER

    detector = FER(mtcnn=False, use_tflite=sys.argv[3] == "litert")

    def classify(faces: object) -> object:
        resized = np.array([cv2.resize(face, (64, 64)) for face in np.asarray(faces)], "float32")
        probabilities = np.asarray(detector._classify_emotions((resized / 255 - 0.5) * 2))
        return probabilities[:, CLASS_ORDER]

    return classify


if __name__ == "__main__":
    report(float(sys.argv[1]), load, sys.argv[2])
