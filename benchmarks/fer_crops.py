"""The package `fer` on crops: run by `versus_fer.py` in an environment that has it.

PYTHON benchmarks/fer_crops.py START CROPS.npz litert|keras
"""

import sys

import numpy as np
from crops import Classify, report

ORDER = [0, 1, 2, 3, 6, 4, 5]  # its angry, disgust, fear, happy, sad, surprise, neutral in our order


def load() -> Classify:
    """Its classifier, with its own scaling of its own 64x64 pixels."""
    import cv2
    from fer.fer import FER

    detector = FER(mtcnn=False, use_tflite=sys.argv[3] == "litert")

    def classify(faces: object) -> object:
        large = np.array([cv2.resize(face, (64, 64)) for face in np.asarray(faces)], "float32")
        answers = np.asarray(detector._classify_emotions((large / 255 - 0.5) * 2))
        return answers[:, ORDER]

    return classify


if __name__ == "__main__":
    report(float(sys.argv[1]), load, sys.argv[2])
