"""The web demo through Gradio's client, under load, and with malicious requests."""

import io
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import skimage.data
from gradio_client import Client, handle_file
from PIL import Image

from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import RGBImage
from emotion.serving.demo.app import CROPPED, PHOTO
from emotion.serving.predictor import Predictor
from emotion.tracking.client import connection
from support.archives import image_bytes
from support.project import Project


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
