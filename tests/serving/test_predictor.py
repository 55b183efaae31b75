"""The Python API: batching, the confidence threshold and input validation."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data

from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import RGBImage
from emotion.inference.load import load_saved_model
from emotion.serving.annotation import caption
from emotion.serving.batch import face_to_dict, predict_images, results_table
from emotion.serving.demo.page import render_result
from emotion.serving.inputs import Input
from emotion.serving.predictor import OF_DRAWINGS, Predictor
from support.networks import SHAPE
from support.project import Project


@pytest.fixture(scope="module")
def predictor(finished_project: Project) -> Predictor:
    return Predictor(load_saved_model(finished_project.folder / "models/saved_model"))


class RecordingModel:
    """Predicts "happy" for every face, and records the batch sizes."""

    emotions: tuple[str, ...] = EMOTIONS
    input_shape = SHAPE

    def __init__(self, confidence: float = 0.7) -> None:
        self.asked: list[int] = []
        rest = (1 - confidence) / 6
        self.answer = [confidence if emotion == "happy" else rest for emotion in EMOTIONS]

    def serve(self, pixels: Any) -> Any:
        self.asked.append(len(pixels))
        return np.tile(np.array(self.answer, np.float32), (len(pixels), 1))


def test_the_faces_of_all_images_are_predicted_in_one_batch(astronaut: RGBImage, two_astronauts: RGBImage) -> None:
    model = RecordingModel()
    answers = Predictor(model).predict([two_astronauts, skimage.data.coffee(), astronaut])
    assert [len(faces) for faces in answers] == [2, 0, 1]
    assert model.asked == [3]
    assert sum(answers[0][0].scores.values()) == pytest.approx(1)


def test_a_prediction_below_the_threshold_is_unsure(astronaut: RGBImage) -> None:
    ((sure,),) = Predictor(RecordingModel(0.7), unsure_below=0.69).predict([astronaut], detect=False)
    ((unsure,),) = Predictor(RecordingModel(0.7), unsure_below=0.71).predict([astronaut], detect=False)
    assert (sure.answer, sure.emotion) == ("happy", "happy")
    assert (unsure.answer, unsure.emotion) == ("unsure", "happy")


class NovelModel(RecordingModel):
    """Also measures novelty, which is the same for every face."""

    def __init__(self, novelty: float) -> None:
        super().__init__(0.7)
        self.novelty = novelty

    def assess(self, pixels: Any) -> Any:
        return {"probabilities": self.serve(pixels), "novelty": np.full(len(pixels), self.novelty, np.float32)}


def test_an_unfamiliar_face_is_unsure_with_the_reason_in_every_output(astronaut: RGBImage) -> None:
    ((familiar,),) = Predictor(NovelModel(1.0)).predict([astronaut], detect=False)
    ((unfamiliar,),) = Predictor(NovelModel(1.8)).predict([astronaut], detect=False)
    assert (familiar.answer, familiar.reason, familiar.is_familiar) == ("happy", "", True)
    reason = "unlike the training faces (novelty 1.80, limit 1)"
    assert (unfamiliar.answer, unfamiliar.emotion, unfamiliar.reason) == ("unsure", "happy", reason)
    assert face_to_dict(unfamiliar) | {"answer": "unsure", "reason": reason, "novelty": 1.8} == face_to_dict(unfamiliar)
    assert caption(unfamiliar) == "unsure: unlike the training faces"
    assert "Unlike the training faces (novelty 1.80, limit 1)." in render_result(
        astronaut, [unfamiliar], [unfamiliar.box.crop(astronaut, SHAPE)], None
    )


def test_a_model_without_novelty_calls_every_face_familiar(astronaut: RGBImage) -> None:
    ((face,),) = Predictor(RecordingModel()).predict([astronaut], detect=False)
    assert (face.novelty, face.is_familiar) == (None, True)


def test_a_model_of_drawings_says_so_with_every_answer(astronaut: RGBImage) -> None:
    predictor = Predictor(RecordingModel(), caution=OF_DRAWINGS)
    results = list(predict_images(predictor, [Input("a.png", Path("a.png"), astronaut)], detect=False))
    assert results[0].to_dict()["caution"] == OF_DRAWINGS
    assert results_table(results, EMOTIONS)["caution"].tolist() == [OF_DRAWINGS]
    face = results[0].faces[0]
    page = render_result(astronaut, [face, face], [face.box.crop(astronaut, SHAPE)] * 2, None, OF_DRAWINGS)
    assert page.count("This model learned from drawings.") == 2


def test_a_predictor_is_thread_safe(predictor: Predictor, astronaut: RGBImage, two_astronauts: RGBImage) -> None:
    images = [two_astronauts, astronaut, skimage.data.coffee(), two_astronauts[:, ::-1]]
    alone = [predictor.predict([image]) for image in images]
    together: dict[int, Any] = {}

    def ask(number: int) -> None:
        together[number] = predictor.predict([images[number % 4]])

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


def test_faces_of_the_wrong_shape_are_rejected(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"faces should be \(n, 48, 48\) uint8, got \(1, 64, 64\) uint8"):
        predictor.classify(np.zeros((1, 64, 64), np.uint8))
    assert predictor.classify(np.zeros((0, 48, 48), np.uint8)).shape == (0, 7)


def test_images_of_the_wrong_shape_are_rejected(predictor: Predictor) -> None:
    for image in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32)):
        with pytest.raises(ValueError, match=r"images should be \(height, width, 3\) uint8"):
            predictor.predict([image], detect=False)  # type: ignore[list-item]
