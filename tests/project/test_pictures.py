"""The pictures in the documents show what the pages still show."""

import importlib.util
import re
import sys
from contextlib import ExitStack
from types import ModuleType

from PIL import Image
from playwright.sync_api import Browser

from support.project import ROOT, Project
from support.servers import free_port, serving

FOLDER = ROOT / "docs/pictures"
PLOTS = ("gate",)  # drawn by programs in benchmarks/


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs/pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["pictures"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


pictures = _load()


def test_every_page_still_shows_the_texts_of_its_picture(champion_project: Project, browser: Browser) -> None:
    with ExitStack() as servers:
        addresses = {}
        for command in ("ui", "demo"):
            port = free_port()
            servers.enter_context(serving(["emotion", command, "--port", str(port)], champion_project, port))
            addresses[command] = f"http://127.0.0.1:{port}"
        at = pictures.Addresses(**addresses, project=champion_project.folder)
        for name, picture in pictures.PICTURES.items():
            with pictures.opened(picture, at, browser) as page:
                assert page.url, name


def test_every_picture_exists_and_is_shown_in_a_document() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {name for path in documents for name in re.findall(r"pictures/([\w-]+)\.png", path.read_text())}
    assert shown == {*pictures.PICTURES, *PLOTS} == {path.stem for path in FOLDER.glob("*.png")}
    for name in pictures.PICTURES:
        with Image.open(FOLDER / f"{name}.png") as image:
            assert image.width == pictures.WIDTH
