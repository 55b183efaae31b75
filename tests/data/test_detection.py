"""Face detection and cropping."""

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from emotion.data.labels import EMOTIONS
from emotion.data.preparation.detection import Box, Detector, load_detected_face
from emotion.data.preparation.images import RGBImage, UnreadableImageError, load_face, load_image
from emotion.serving.predictor import Predictor
from support.archives import image_bytes
from support.networks import SHAPE


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.mark.parametrize("side", range(64, 1100, 74))
def test_a_face_is_detected_at_any_image_size(detector: Detector, astronaut: RGBImage, side: int) -> None:
    image = np.asarray(Image.fromarray(astronaut).resize((side, side)))
    (face,) = detector.find(image)
    middle = (face.box.left + face.box.side / 2, face.box.top + face.box.side / 2)
    np.testing.assert_allclose(np.array(middle) / side, (0.44, 0.23), atol=0.03)
    assert 0.17 < face.box.side / side < 0.26


def test_faces_are_ordered_from_left_to_right(detector: Detector, two_astronauts: RGBImage) -> None:
    left, right = detector.find(two_astronauts)
    assert left.box.left < 512 < right.box.left


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea", "text", "brick"])
def test_images_without_a_human_face_have_no_detections(detector: Detector, name: str) -> None:
    """A cat is not a human face."""
    pixels = getattr(skimage.data, name)()
    assert detector.find(np.asarray(Image.fromarray(pixels).convert("RGB"))) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 2000, 3), (3000, 8, 3), (12, 12, 3)])
def test_images_with_extreme_shapes_have_no_detections(detector: Detector, shape: tuple[int, int, int]) -> None:
    assert detector.find(np.zeros(shape, np.uint8)) == []


def test_a_crop_beyond_the_border_repeats_edge_pixels() -> None:
    image = np.zeros((48, 48, 3), np.uint8)
    image[:, 0] = 255
    pixels = Box(-48, 0, 96).crop(image, SHAPE)
    assert pixels[:, :20].min() == 255
    assert pixels[:, 30:].max() == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_cropped_face_matches_the_training_preprocessing(mode: str) -> None:
    """Inference resizes images like `preprocess`."""
    content = image_bytes(Image.fromarray(skimage.data.astronaut()).crop((150, 50, 300, 200)).convert(mode))
    picture = load_image(content)
    np.testing.assert_allclose(
        Box.center_square(picture).crop(picture, SHAPE).astype(int), load_face(content, SHAPE), atol=1
    )


@pytest.mark.parametrize("turn", [-20, 15])
def test_a_turned_face_is_cut_out_upright(detector: Detector, astronaut: RGBImage, turn: int) -> None:
    turned = np.asarray(Image.fromarray(astronaut).rotate(-turn, Image.Resampling.BILINEAR))
    (upright,), (face,) = detector.find(astronaut), detector.find(turned)
    assert face.box.angle - upright.box.angle == pytest.approx(turn, abs=5)
    expected, found = (it.crop(image, SHAPE) for it, image in ((upright.box, astronaut), (face.box, turned)))
    without = Box(face.box.left, face.box.top, face.box.side).crop(turned, SHAPE)
    assert _difference(expected, found) < 0.85 * _difference(expected, without)


def _difference(first: RGBImage, second: RGBImage) -> float:
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


def test_training_and_prediction_cut_out_the_same_pixels(detector: Detector, astronaut: RGBImage) -> None:
    content = image_bytes(Image.fromarray(astronaut))
    shown: list[RGBImage] = []

    class Model:
        """Records the faces that it is asked about."""

        emotions: tuple[str, ...] = EMOTIONS
        input_shape = (96, 96, 3)

        def serve(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            shown.extend(pixels.astype(np.uint8))
            return np.full((len(pixels), 7), 1 / 7, np.float32)

    Predictor(Model()).predict([load_image(content)])
    np.testing.assert_array_equal(shown[0], load_detected_face(content, (96, 96, 3), detector))


@pytest.mark.parametrize(("name", "reason"), [("coffee", "no face found"), ("two", "2 faces found")])
def test_a_photograph_without_exactly_one_face_is_not_used(
    detector: Detector, two_astronauts: RGBImage, name: str, reason: str
) -> None:
    pixels = two_astronauts if name == "two" else skimage.data.coffee()
    with pytest.raises(UnreadableImageError, match=reason):
        load_detected_face(image_bytes(Image.fromarray(pixels)), SHAPE, detector)
