"""The web demo: in a real browser, through Gradio's client, under load, and with malicious requests."""

import io
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import skimage.data
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import RGBImage
from emotion.serving.demo.app import CROPPED, PHOTO
from emotion.serving.predictor import Predictor
from emotion.tracking.client import connection
from support.archives import image_bytes
from support.project import Project

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
    upload(page, "astronaut.jpg", image_bytes(Image.fromarray(astronaut), "JPEG"))
    expect(page.get_by_role("heading", name="Face 1:")).to_be_visible(timeout=SECONDS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def ask(client: Client, path: Path, kind: str = PHOTO, alias: str = "champion") -> dict[str, Any]:
    answer: dict[str, Any] = client.predict(handle_file(str(path)), kind, alias, api_name="/predict")[1]
    return answer


@pytest.fixture
def portrait(tmp_path: Path, astronaut: RGBImage) -> Path:
    path = tmp_path / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    return path


def test_the_api_returns_the_same_result_as_predict(
    demo: str, portrait: Path, in_champion_project: Project, astronaut: RGBImage
) -> None:
    ((expected,),) = Predictor.from_champion().predict([astronaut])
    answer = ask(Client(demo, verbose=False), portrait)
    assert answer["model"] == "facial-emotion version 1"
    assert answer["faces"][0]["scores"] == pytest.approx(expected.scores, abs=1e-3)
    assert answer["faces"][0]["box"]["left"] == expected.box.left


def test_uploads_are_deleted_after_the_response(demo: str, portrait: Path, scratch: Path) -> None:
    ask(Client(demo, verbose=False), portrait)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and list(scratch.rglob("astronaut*")):
        time.sleep(1)
    assert list(scratch.rglob("astronaut*")) == []
    assert len(list(scratch.rglob("samples/*.png"))) == len(EMOTIONS)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "params.yaml", "mlflow.db", "reports/metrics.json", "../../etc/passwd"]
)
def test_files_outside_the_demos_folder_are_not_served(demo: str, champion_project: Project, path: str) -> None:
    for named in (path, str(champion_project.folder / path)):
        assert requests.get(f"{demo}/gradio_api/file={named}", timeout=10).status_code in (403, 404)


def call(demo: str, payload: list[Any]) -> str:
    """The server's response to a request that the page would not send."""
    started = requests.post(f"{demo}/gradio_api/call/predict", json={"data": payload}, timeout=10)
    if started.status_code != 200:
        return str(started.text)
    return str(requests.get(f"{demo}/gradio_api/call/predict/{started.json()['event_id']}", timeout=30).text)


def test_errors_reveal_no_internals(demo: str) -> None:
    said = [
        call(demo, [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, PHOTO, "champion"]),
        call(demo, [{"path": None, "url": "file:///etc/passwd", "meta": {"_type": "gradio.FileData"}}, PHOTO, "x"]),
        call(demo, [{"nonsense": 1}, 7, None]),
        call(demo, []),
    ]
    for text in said:
        assert "error" in text
        for inside in ("Traceback", "site-packages", "emotion/", "root:"):
            assert inside not in text


def test_oversized_uploads_are_rejected(demo: str) -> None:
    large = io.BytesIO(os.urandom(11_000_000))
    refused = requests.post(f"{demo}/gradio_api/upload", files={"files": ("large.png", large)}, timeout=30)
    assert refused.status_code == 413


def memory(pid: int) -> float:
    """The resident memory of a process in MiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def test_fifty_concurrent_clients_get_a_result_or_a_busy_message(demo: str) -> None:
    port = demo.rpartition(":")[2]
    commands = {int(path.parent.name): path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    (pid,) = [pid for pid, command in commands.items() if f"demo\0--port\0{port}".encode() in command]
    said: Counter[str] = Counter()
    uploaded = requests.post(
        f"{demo}/gradio_api/upload", timeout=30,
        files={"files": ("face.png", image_bytes(Image.fromarray(skimage.data.astronaut()).resize((96, 96))))},
    ).json()[0]  # fmt: skip
    ends = time.monotonic() + 8

    def client() -> None:
        while time.monotonic() < ends:
            text = call(demo, [{"path": uploaded, "meta": {"_type": "gradio.FileData"}}, CROPPED, "champion"])
            said["answered" if '"faces"' in text else "busy" if "ueue is full" in text else text[:200]] += 1
            time.sleep(0.5)

    call(demo, [{"path": uploaded, "meta": {"_type": "gradio.FileData"}}, CROPPED, "champion"])
    before = memory(pid)
    threads = [threading.Thread(target=client) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(said) <= {"answered", "busy"}
    assert said["answered"] > 0
    assert memory(pid) < before + 150


def test_the_demo_follows_a_promotion_and_a_rollback(demo: str, portrait: Path, in_champion_project: Project) -> None:
    """Version 2 is a copy of version 1."""
    client = connection().client
    first = client.get_model_version("facial-emotion", "1")
    second = client.create_model_version("facial-emotion", first.source, first.run_id, first.tags)
    page = Client(demo, verbose=False)
    try:
        client.set_registered_model_alias("facial-emotion", "champion", second.version)
        client.set_registered_model_alias("facial-emotion", "previous", "1")
        deadline = time.monotonic() + 60
        while ask(page, portrait)["model"] != "facial-emotion version 2":
            assert time.monotonic() < deadline
        assert ask(page, portrait, alias="previous")["model"] == "facial-emotion version 1"
    finally:
        client.set_registered_model_alias("facial-emotion", "champion", "1")
        client.delete_registered_model_alias("facial-emotion", "previous")
        client.delete_model_version("facial-emotion", second.version)
    other_page = Client(demo, verbose=False)  # an answer on the first one would remove the choice there
    while ask(other_page, portrait)["model"] != "facial-emotion version 1":
        assert time.monotonic() < deadline
    assert ask(page, portrait, alias="previous")["model"] == "facial-emotion version 1"


def test_a_port_in_use_gives_one_message(demo: str, champion_project: Project) -> None:
    done = champion_project.run("emotion", "demo", "--port", demo.rpartition(":")[2], check=False)
    assert done.returncode == 1
    assert "Choose another port with `--port`" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_samples_are_the_projects_own_drawings(scratch: Path, demo: str) -> None:
    drawn = sorted(path.stem for path in scratch.rglob("samples/*.png"))
    assert drawn == sorted(EMOTIONS)


def test_a_cropped_face_is_the_whole_image(demo: str, portrait: Path) -> None:
    answer = ask(Client(demo, verbose=False), portrait, CROPPED)
    assert answer["faces"][0]["box"] == {"left": 0, "top": 0, "side": 512}


def test_clients_cannot_bypass_the_queue(demo: str) -> None:
    for place in ("run/predict", "api/predict"):
        asked = requests.post(f"{demo}/gradio_api/{place}", json={"data": [None, PHOTO, "champion"]}, timeout=10)
        assert asked.status_code >= 400


def test_images_are_not_fetched_from_urls(demo: str) -> None:
    """By default, Gradio fetches them regardless of size."""
    for address in (f"{demo}/theme.css", "https://example.com/face.png", "FILE:///etc/passwd"):
        said = call(demo, [{"path": address, "meta": {"_type": "gradio.FileData"}}, PHOTO, "champion"])
        assert "error" in said
        assert "faces" not in said


def test_all_faces_are_predicted_and_only_the_largest_are_shown(demo: str, astronaut: RGBImage, tmp_path: Path) -> None:
    one = np.asarray(Image.fromarray(astronaut).crop((130, 30, 320, 220)).resize((80, 80)))
    Image.fromarray(np.tile(one, (6, 6, 1))).save(tmp_path / "crowd.png")
    html, told, *_ = Client(demo, verbose=False).predict(
        handle_file(str(tmp_path / "crowd.png")), PHOTO, "champion", api_name="/predict"
    )
    assert len(told["faces"]) > 24
    assert html.count("<article>") == 24
    assert f"{len(told['faces']) - 24} smaller faces are not shown" in html
