"""Pictures in, faces with emotions out: detection, the Python API, `emotion predict`."""

import threading
from typing import Any

import numpy as np
import pytest
import skimage.data

from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import RGBImage
from emotion.inference.load import load_saved_model
from emotion.serving.predictor import Predictor
from support.project import Project


@pytest.fixture(scope="module")
def predictor(finished_project: Project) -> Predictor:
    return Predictor(load_saved_model(finished_project.folder / "models/saved_model"))


class Asked:
    """Predictions every face with "happy", and remembers how many it was asked about."""

    def __init__(self, confidence: float = 0.7) -> None:
        self.asked: list[int] = []
        rest = (1 - confidence) / 6
        self.answer = [confidence if emotion == "happy" else rest for emotion in EMOTIONS]

    def serve(self, pixels: Any) -> Any:
        self.asked.append(len(pixels))
        return np.tile(np.array(self.answer, np.float32), (len(pixels), 1))


def test_each_picture_has_its_faces_and_all_are_asked_about_at_once(
    astronaut: RGBImage, two_astronauts: RGBImage
) -> None:
    model = Asked()
    answers = Predictor(model).predict([two_astronauts, skimage.data.coffee(), astronaut])
    assert [len(faces) for faces in answers] == [2, 0, 1]
    assert model.asked == [3]
    assert sum(answers[0][0].scores.values()) == pytest.approx(1)


def test_below_the_threshold_the_answer_is_unsure(astronaut: RGBImage) -> None:
    ((sure,),) = Predictor(Asked(0.7), unsure_below=0.69).predict([astronaut], detect=False)
    ((unsure,),) = Predictor(Asked(0.7), unsure_below=0.71).predict([astronaut], detect=False)
    assert (sure.answer, sure.emotion) == ("happy", "happy")
    assert (unsure.answer, unsure.emotion) == ("unsure", "happy")


def test_threads_share_a_predictor(predictor: Predictor, astronaut: RGBImage, two_astronauts: RGBImage) -> None:
    pictures = [two_astronauts, astronaut, skimage.data.coffee(), two_astronauts[:, ::-1]]
    alone = [predictor.predict([picture]) for picture in pictures]
    together: dict[int, Any] = {}

    def ask(number: int) -> None:
        together[number] = predictor.predict([pictures[number % 4]])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == len(threads)
    for number, answer in together.items():
        for mine, theirs in zip(answer[0], alone[number % 4][0], strict=True):
            assert mine.box == theirs.box
            assert list(mine.scores.values()) == pytest.approx(list(theirs.scores.values()), abs=1e-5)


def test_faces_of_another_shape_are_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"faces should be \(n, 48, 48\) uint8, got \(1, 64, 64\) uint8"):
        predictor.classify(np.zeros((1, 64, 64), np.uint8))
    assert predictor.classify(np.zeros((0, 48, 48), np.uint8)).shape == (0, 7)


def test_pictures_of_another_shape_are_refused(predictor: Predictor) -> None:
    for picture in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32)):
        with pytest.raises(ValueError, match=r"images should be \(height, width, 3\) uint8"):
            predictor.predict([picture], detect=False)  # type: ignore[list-item]
