"""A folder that runs the demo on Hugging Face Spaces, or on any machine with the same version of Python."""

import shutil
import sys
from importlib.metadata import requires, version
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import emotion
from emotion.runtime.errors import UserError
from emotion.runtime.files import atomic_write
from emotion.serving.model_source import CARD, REFERENCE_MODEL, ModelBundle, ModelInfo

# What the demo imports; the dependencies of these are pinned, too.
PACKAGES = (
    "gradio", "jinja2", "keras", "matplotlib", "mtcnn", "numpy", "pillow", "pydantic", "pyyaml", "scipy",
    "tensorflow",
)  # fmt: skip
APP = Path(__file__).parent / "templates" / "app.py.txt"


def write_space(bundle: ModelBundle, folder: Path, notice: Path | None = None, contact: str = "") -> None:
    """Write the Space: app.py, README.md, notice.md, requirements.txt, this package, the model and samples.

    Args:
        bundle: the model to show.
        folder: the folder to write, which must be empty or not exist yet.
        notice: see `launch`; None for the notice of this package.
        contact: see `launch`.

    Raises:
        UserError: if the folder exists and is not empty, or the notice cannot be read.
    """
    from emotion.serving.demo.app import NOTICE, read_notice, write_samples

    text = read_notice(notice or NOTICE, contact)

    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} already exists and is not an empty folder. Remove it, or choose another folder.")
    with atomic_write(folder) as tmp:
        tmp.mkdir(parents=True)
        package = Path(emotion.__file__).parent
        shutil.copytree(
            package, tmp / "emotion", ignore=shutil.ignore_patterns("__pycache__", "*.pyi", REFERENCE_MODEL.name)
        )
        bundle.write(tmp / "model")
        write_samples(tmp / "samples")
        shutil.copy(APP, tmp / "app.py")
        (tmp / "notice.md").write_text(f"{text}\n", encoding="utf-8")
        (tmp / "requirements.txt").write_text("".join(f"{pin}\n" for pin in pin_requirements(PACKAGES)))
        card = (tmp / "model" / CARD).read_text()
        (tmp / "README.md").write_text(f"---\n{_front_matter(bundle.info)}---\n\n{card}")


def _front_matter(info: ModelInfo) -> str:
    """The configuration that Hugging Face expects in the README of a Space."""
    return yaml.safe_dump(
        {
            "title": "Which emotion?",
            "emoji": "🙂",
            "colorFrom": "indigo",
            "colorTo": "yellow",
            "sdk": "gradio",
            "sdk_version": version("gradio"),
            "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",  # the pins are for this one
            "app_file": "app.py",
            "short_description": info.title[:60],
            "license": "apache-2.0",
        },
        allow_unicode=True,
        sort_keys=False,
    )


def pin_requirements(names: tuple[str, ...]) -> list[str]:
    """The installed versions of packages and of all their dependencies."""
    pinned: dict[str, str] = {}
    queue = [Requirement(name) for name in names]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        requirement = queue.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        pinned[name] = version(name)
        for dependency in map(Requirement, requires(name) or ()):
            if not dependency.marker or any(dependency.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                queue.append(dependency)
    return [f"{name}=={pinned[name]}" for name in sorted(pinned)]
