"""The documentation site builds, is complete, and has no broken link."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from support.project import ROOT


class Page(HTMLParser):
    """The anchors of an HTML page, its links, and the files that it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in {"href", "src"} and value is not None:
                (self.links if tag == "a" else self.loaded).add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documentation") / "site"
    command = [sys.executable, "docs/build.py", str(folder)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    assert done.returncode == 0, output
    assert "No issues found" in output
    assert "Warning" not in output
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_the_page_about_the_commands_is_up_to_date() -> None:
    """Its lines are independent of the terminal."""
    command = [sys.executable, "docs/command_line.py"]
    narrow = os.environ | {"COLUMNS": "40"}
    done = subprocess.run(command, cwd=ROOT, env=narrow, capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "docs/command-line.md").read_text(), "Run `make docs`."


def test_the_page_about_the_networks_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "docs/networks.py", "--print"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == (ROOT / "docs/networks.md").read_text(), "Run `make docs`."


def test_every_document_is_in_the_navigation(site: Path, pages: dict[Path, Page]) -> None:
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert {f"/{name}/" for name in documents} <= pages[site / "404.html"].links  # a page with nothing else


def test_every_internal_link_leads_to_a_file_and_an_anchor(site: Path, pages: dict[Path, Page]) -> None:
    broken = [
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items()
        for link in page.links | page.loaded
        if not urlsplit(link).netloc and not leads_somewhere(link, path, site, pages)
    ]
    assert not broken


def leads_somewhere(link: str, path: Path, site: Path, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(link)
    name = unquote(parts.path)
    target = path if not name else site / name.lstrip("/") if name.startswith("/") else (path.parent / name).resolve()
    if target.is_dir():
        target /= "index.html"
    known = not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].anchors
    return target.is_relative_to(site) and target.is_file() and known


def test_no_page_loads_anything_from_another_server(pages: dict[Path, Page]) -> None:
    assert not {address for page in pages.values() for address in page.loaded if urlsplit(address).netloc}
