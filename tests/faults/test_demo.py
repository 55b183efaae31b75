"""The demo while the champion changes."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from emotion.runtime.files import folder_size
from emotion.serving.demo.app import CROPPED
from support.faults import PROMOTE, Place
from support.project import MODEL
from support.servers import free_port, serving

CHANGES = 50
CLIENTS = 4


@pytest.mark.long
def test_the_demo_follows_fifty_changes_of_champion_under_load_without_growing(
    place: Place, record_property: Callable[[str, str], None]
) -> None:
    place.add_face("data/face.png")
    place.add_second_version()
    place.succeed(*PROMOTE)
    face, port = place.project.folder / "data/face.png", free_port()
    with serving(["emotion", "demo", "--port", str(port)], place.project, port, is_warm=False) as said:
        address = said.split()[1]
        (server,) = {psutil.Process(it.pid) for it in psutil.net_connections() if it.laddr[1:] == (port,)}
        ends = threading.Event()
        failures: list[str] = []
        load = [threading.Thread(target=ask_until, args=(address, face, ends, failures)) for _ in range(CLIENTS)]
        for thread in load:
            thread.start()
        page, sizes = Client(address, verbose=False), []
        for change in range(CHANGES):
            version = str(1 + change % 2)
            place.project.client.set_registered_model_alias(MODEL, "champion", version)
            deadline = time.monotonic() + 120
            while answer(page, face) != f"{MODEL} version {version}":
                assert time.monotonic() < deadline
            sizes.append((folder_size(place.temporary), server.memory_info().rss, server.num_threads()))
        ends.set()
        for thread in load:
            thread.join()
    assert failures == []
    disk, memory, threads = zip(*sizes, strict=True)
    record_property("disk, memory and threads after 10 and 50 changes", f"{sizes[9]}, {sizes[-1]}")
    assert max(disk[-10:]) < max(disk[:10]) + 1_000_000
    assert max(memory[-10:]) < max(memory[:10]) + 200_000_000
    assert max(threads[-10:]) < max(threads[:10]) + 20
    place.assert_tidy()


def answer(page: Client, face: Path) -> str:
    """The version that answers; empty if the demo is busy."""
    try:
        return str(page.predict(handle_file(str(face)), CROPPED, "champion", api_name="/predict")[1]["model"])
    except AppError as error:
        if "full" not in str(error):
            raise
        return ""


def ask_until(address: str, face: Path, ends: threading.Event, failures: list[str]) -> None:
    """Ask one question after another, and note those that end in an error."""
    page = Client(address, verbose=False)
    while not ends.is_set():
        try:
            answer(page, face)
        except Exception as error:  # noqa: BLE001  any error is a failure of the demo
            failures.append(f"{type(error).__name__}: {error}")
        time.sleep(0.2)
