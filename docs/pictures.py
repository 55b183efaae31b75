"""Make the pictures of the documents, in a browser, from this project after `make repro` and `emotion promote 1`.

    python docs/pictures.py

writes docs/pictures/. Each picture is taken when the texts that it should show are visible; tests look for the same
texts, so that a change of a page is noticed. No picture shows a photograph that is not free to use.
"""

import io
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import skimage.data
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

FOLDER = Path(__file__).parent / "pictures"
WIDTH = 1280  # pixels
TIMEOUT = 60_000  # milliseconds
UI_PORT, DEMO_PORT = 5098, 7898


@dataclass(frozen=True)
class Addresses:
    """Where the pages are."""

    ui: str  # of `emotion ui`
    demo: str
    project: Path  # after `dvc repro`

    def run_page(self, stage: str) -> str:
        """The address of the MLflow run of a stage."""
        record = json.loads((self.project / f"reports/runs/{stage}.json").read_text())
        return f"{self.ui}/#/experiments/1/runs/{record['run_id']}"


@dataclass(frozen=True)
class Picture:
    """A page, what is done on it, and the texts that it then shows."""

    address: Callable[[Addresses], str]
    texts: tuple[str, ...]
    act: Callable[[Page], None] = lambda page: None
    height: int = 800


def _close_assistant(page: Page) -> None:
    """Close the panel that MLflow opens at first."""
    page.get_by_role("button", name="Close").first.click()


def _show_astronaut(page: Page) -> None:
    """Let the reference model predict a photograph in the public domain."""
    page.get_by_text("Model: ").wait_for()
    page.get_by_label("reference").check()
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "astronaut.png"
        Image.fromarray(skimage.data.astronaut()).save(photo)
        page.set_input_files("input[type=file]", photo)
        page.get_by_role("heading", name="Face 1: happy").wait_for()
        page.get_by_text("Model: reference model").wait_for()


PICTURES = {
    "demo": Picture(
        lambda at: at.demo,
        ("Which emotion does a face show?", "Face 1: happy", "model input", "evidence for happy (Grad-CAM"),
        _show_astronaut,
        height=1330,
    ),
    "runs": Picture(
        lambda at: f"{at.ui}/#/experiments/1/runs?viewStateShareKey=emotion-runs&workflowType=machine_learning",
        ("Runs by test accuracy", "test/accuracy", "train residual"),
        _close_assistant,
        height=700,
    ),
    "version": Picture(
        lambda at: f"{at.ui}/#/models/facial-emotion/versions/1?workflowType=machine_learning",
        ("Version 1", "champion", "Trained on", "model card"),
        _close_assistant,
    ),
    "search": Picture(
        lambda at: f"{at.run_page('tune')}/artifacts/tuning/by_hyperparameter.png?workflowType=machine_learning",
        ("tune", "best_so_far.png", "by_hyperparameter.png", "importance.png"),
        _close_assistant,
        height=600,
    ),
    "model-card": Picture(
        lambda at: (at.project / "models/model_card/model_card.html").resolve().as_uri(),
        ("Intended", "Metrics", "recall", "Familiar and unfamiliar inputs"),
        height=1600,
    ),
}


@contextmanager
def opened(picture: Picture, at: Addresses, browser: Browser) -> Iterator[Page]:
    """The page of a picture, once its texts are visible."""
    page = browser.new_page(viewport={"width": WIDTH, "height": picture.height})
    page.set_default_timeout(TIMEOUT)
    page.goto(picture.address(at))
    picture.act(page)
    for text in picture.texts:
        expect(page.get_by_text(text).first).to_be_visible(timeout=TIMEOUT)
    try:
        yield page
    finally:
        page.close()


@contextmanager
def _started(command: str, port: int) -> Iterator[str]:
    """The address of a command, once it answers."""
    address = f"http://127.0.0.1:{port}"
    arguments, silent = ["emotion", command, "--port", str(port)], subprocess.DEVNULL
    with subprocess.Popen(arguments, stdout=silent, stderr=silent) as process:
        try:
            while True:
                try:
                    urllib.request.urlopen(address, timeout=1)
                    break
                except OSError:
                    if process.poll() is not None:
                        raise SystemExit(f"`emotion {command}` ended; run it to see why.") from None
                    time.sleep(0.5)
            yield address
        finally:
            process.terminate()


def main() -> None:
    """Make all pictures."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        raise SystemExit("Chromium is missing: install it, for instance with `apt-get install chromium`.")
    with _started("ui", UI_PORT) as ui, _started("demo", DEMO_PORT) as demo, sync_playwright() as playwright:
        at = Addresses(ui, demo, Path())
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, picture in PICTURES.items():
            with opened(picture, at, browser) as page:
                page.wait_for_timeout(1000)  # until everything has moved to its place
                screenshot = Image.open(io.BytesIO(page.screenshot()))
            screenshot.convert("RGB").quantize(256).save(FOLDER / f"{name}.png", optimize=True)
            print(FOLDER / f"{name}.png", flush=True)


if __name__ == "__main__":
    main()
