"""Pictures in, faces with emotions out: detection, the Python API, `emotion predict`."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from emotion.data.preparation.images import RGBImage, load_face, load_image
from emotion.serving.detection import Box, Detector
from support.archives import image_bytes


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.mark.parametrize("side", range(64, 1100, 74))
def test_a_face_is_found_whatever_the_size_of_the_picture(detector: Detector, astronaut: RGBImage, side: int) -> None:
    picture = np.asarray(Image.fromarray(astronaut).resize((side, side)))
    (face,) = detector.find(picture)
    middle = (face.box.left + face.box.side / 2, face.box.top + face.box.side / 2)
    np.testing.assert_allclose(np.array(middle) / side, (0.44, 0.23), atol=0.03)
    assert 0.17 < face.box.side / side < 0.26


def test_faces_come_from_left_to_right(detector: Detector, two_astronauts: RGBImage) -> None:
    left, right = detector.find(two_astronauts)
    assert left.box.left < 512 < right.box.left


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea", "text", "brick"])
def test_no_face_is_found_where_there_is_none(detector: Detector, name: str) -> None:
    """A cat is none."""
    pixels = getattr(skimage.data, name)()
    assert detector.find(np.asarray(Image.fromarray(pixels).convert("RGB"))) == []


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 2000, 3), (3000, 8, 3), (12, 12, 3)])
def test_pictures_of_odd_shapes_have_no_face(detector: Detector, shape: tuple[int, int, int]) -> None:
    assert detector.find(np.zeros(shape, np.uint8)) == []


def test_beyond_the_border_a_box_repeats_it() -> None:
    picture = np.zeros((48, 48, 3), np.uint8)
    picture[:, 0] = 255
    pixels = Box(-48, 0, 96).crop(picture)
    assert pixels[:, :20].min() == 255
    assert pixels[:, 30:].max() == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_cut_face_is_what_training_saw_of_the_same_file(mode: str) -> None:
    """No other way of scaling in use than in `preprocess`."""
    content = image_bytes(Image.fromarray(skimage.data.astronaut()).crop((150, 50, 300, 200)).convert(mode))
    picture = load_image(content)
    np.testing.assert_allclose(Box.center_square(picture).crop(picture).astype(int), load_face(content), atol=1)
