"""The web demo in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import RGBImage
from emotion.runtime.errors import UserError
from emotion.serving.demo.app import read_notice
from support.archives import image_bytes

SECONDS = 20_000  # playwright counts milliseconds


@pytest.fixture
def page(browser: Browser, demo: str) -> Iterator[Page]:
    """The demo's page in a browser."""
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    opened.set_default_timeout(SECONDS)
    opened.goto(demo)
    expect(opened.get_by_text("Model: facial-emotion version 1.")).to_be_visible(timeout=SECONDS)
    yield opened
    opened.close()


def upload(page: Page, name: str, content: bytes) -> None:
    page.set_input_files("input[type=file]", {"name": name, "mimeType": "image/png", "buffer": content})


def faces(page: Page) -> list[str]:
    return page.get_by_role("heading", level=3).all_inner_texts()


def test_clicking_a_sample_shows_its_prediction(page: Page) -> None:
    page.get_by_role("button", name="happy").click()
    expect(page.get_by_role("heading", name="Face 1:")).to_be_visible()
    table = page.get_by_role("table", name="Scores of face 1")
    assert set(table.get_by_role("rowheader").all_inner_texts()) == set(EMOTIONS)
    scores = [float(text.rstrip("%")) for text in table.locator("td:last-child").all_inner_texts()]
    assert sum(scores) == pytest.approx(100, abs=0.5)
    assert scores == sorted(scores, reverse=True)
    expect(page.get_by_alt_text("Face 1 with a heat map")).to_be_visible()


def test_the_page_opens_with_a_notice_and_an_answered_sample_which_an_upload_replaces(
    page: Page, astronaut: RGBImage
) -> None:
    expect(page.get_by_text("An AI system on this page recognizes facial expressions.")).to_be_visible()
    expect(page.get_by_role("heading", name="Face 1:")).to_be_visible()
    expect(page.get_by_text("Answer of facial-emotion version 1")).to_be_visible()
    both = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    upload(page, "two.png", image_bytes(Image.fromarray(both)))
    expect(page.get_by_role("heading", name="Face 2:")).to_be_visible()  # detected, unlike the face of a sample


def test_the_notice_can_be_replaced_and_has_a_contact(tmp_path: Path) -> None:
    notice = tmp_path / "notice.md"
    notice.write_text("Cameras are in room 7.\n")
    assert read_notice(notice, "lab@example.org") == "Cameras are in room 7. Contact: lab@example.org."
    for content in (b"", b"\xff\xfe"):
        notice.write_bytes(content)
        with pytest.raises(UserError, match=r"notice\.md is not a text in UTF-8"):
            read_notice(notice, "")


def test_a_standalone_model_predicts_and_reports_when_it_is_unsure(browser: Browser, fixed_demo: str) -> None:
    page = browser.new_page()
    page.goto(fixed_demo)
    expect(page.get_by_text("Model: models/saved_model.")).to_be_visible(timeout=SECONDS)
    page.get_by_role("button", name="sad").click()
    expect(page.get_by_role("heading", name="Face 1: unsure")).to_be_visible(timeout=SECONDS)
    expect(page.get_by_text("is most likely, but its probability is below 100%.")).to_be_visible()
    page.close()


def test_a_photo_shows_the_face_box_and_the_versions_metrics(page: Page, astronaut: RGBImage) -> None:
    upload(page, "astronaut.jpg", image_bytes(Image.fromarray(astronaut), "JPEG"))
    expect(page.get_by_role("heading", name="Face 1:")).to_be_visible()
    assert len(faces(page)) == 1
    expect(page.get_by_alt_text(re.compile(r"Your image with 1 face\. face 1: "))).to_be_visible()
    expect(page.get_by_text(re.compile(r"On its test images: accuracy \d+\.\d%, macro F1"))).to_be_visible()
    page.get_by_role("button", name="Model card").click()
    expect(page.get_by_text("Not intended")).to_be_visible()


def test_every_face_in_a_photo_has_a_card(page: Page, astronaut: RGBImage) -> None:
    both = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    upload(page, "two.png", image_bytes(Image.fromarray(both)))
    expect(page.get_by_role("heading", name="Face 2:")).to_be_visible()
    assert len(faces(page)) == 2


def test_an_image_without_a_face_is_reported(page: Page) -> None:
    upload(page, "coffee.png", image_bytes(Image.fromarray(skimage.data.coffee())))
    expect(page.get_by_text("No face was found.")).to_be_visible()
    assert faces(page) == []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("text.jpg", b"<script>alert(1)</script>", "it is not a readable image file"),
        ("bomb.png", image_bytes(Image.new("1", (20_000, 20_000))), "it is too large"),
    ],
)
def test_a_file_that_is_not_a_usable_image_is_rejected_in_one_sentence(
    page: Page, name: str, content: bytes, told: str
) -> None:
    upload(page, name, content)
    expect(page.get_by_text(f"This image cannot be used: {told}.")).to_be_visible()
    assert "Traceback" not in page.content()


def test_every_control_is_keyboard_accessible_and_labelled(page: Page) -> None:
    """Press Tab from the top and collect the accessible names."""
    names: set[str] = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        names.add(
            page.evaluate(
                "(it => it.ariaLabel || it.innerText.trim() || it.labels?.[0]?.innerText.trim() || it.title)"
                "(document.activeElement)"
            )
        )
    assert set(EMOTIONS) <= names
    for beginning in ("Upload file", "Capture from camera", "a photo", "As JSON", "Model card"):
        assert any(str(name).startswith(beginning) for name in names), names


def test_the_page_fits_a_phone_screen(browser: Browser, demo: str, astronaut: RGBImage) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(demo)
    expect(page.get_by_role("heading", name="Face 1:")).to_be_visible(timeout=SECONDS)
    answer = page.get_by_role("heading", name="Face 1:").bounding_box()
    assert answer
    assert answer["y"] < 844, "the answer is on the first screen"
    upload(page, "astronaut.jpg", image_bytes(Image.fromarray(astronaut), "JPEG"))
    expect(page.get_by_alt_text(re.compile("Your image with 1 face"))).to_be_visible(timeout=SECONDS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
