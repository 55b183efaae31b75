"""Build the documentation site into a new folder: `python docs/build.py site`.

On GitHub, pages link to files outside docs/. A site is a folder of its own. So the pages are copied to a temporary
folder together with the files that they link to, and the links are changed accordingly.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = {page: page.name for page in (ROOT / "docs").glob("*.md")} | {ROOT / "benchmarks/README.md": "benchmarks.md"}


def copy_page(page: Path, folder: Path) -> None:
    """Copy a page and the files that it links to. A link to the README or to a folder becomes text."""

    def link(match: re.Match[str]) -> str:
        text, path, anchor = match.groups()
        target = (page.parent / path).resolve()
        if target in PAGES:
            return f"[{text}]({PAGES[target]}{anchor})"
        if target.is_dir() or target == ROOT / "README.md":
            return text
        if target.exists():
            copy = folder / str(target.relative_to(ROOT)).removeprefix("docs/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(target, copy)
            return f"[{text}]({copy.relative_to(folder)})"
        return match[0]  # an address, or a broken link

    text = re.sub(r"\[([^]]+)\]\(([^)\s#]+)(#[^)\s]+|)\)", link, page.read_text())
    (folder / PAGES[page]).write_text(text)


def main(site: str) -> None:
    """Build the site."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "docs").mkdir()
        for page in PAGES:
            copy_page(page, folder / "docs")
        shutil.copy(ROOT / "zensical.toml", folder)
        if subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder).returncode:
            sys.exit(1)
        shutil.copytree(folder / "site", site)


if __name__ == "__main__":
    main(sys.argv[1])
