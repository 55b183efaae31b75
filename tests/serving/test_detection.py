"""Face detection and cropping."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from emotion.data.preparation.images import RGBImage, load_face, load_image
from emotion.serving.detection import Box, Detector
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
