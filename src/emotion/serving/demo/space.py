"""A folder that a Hugging Face Space, or any machine with Python 3.11, runs the demo from."""

import shutil
from importlib.metadata import requires, version
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import emotion
from emotion.runtime.errors import UserError
from emotion.runtime.paths import whole
from emotion.serving.model_source import CARD, Served

# What the demo imports; what these need in turn is pinned as well.
PACKAGES = ("gradio", "keras", "matplotlib", "mtcnn", "numpy", "pillow", "pydantic", "pyyaml", "scipy", "tensorflow")

APP = '''"""The demo of the model beside this file: `python app.py`."""

import os
import threading
from pathlib import Path

from emotion.serving.hot_reload import Fixed, load
from emotion.serving.demo.app import launched

HERE = Path(__file__).parent

if __name__ == "__main__":
    models = Fixed(load(str(HERE / "model")))
    host, port = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), int(os.environ.get("GRADIO_SERVER_PORT", 7860))
    with launched(models, host, port, drawn=HERE / "samples") as address:
        print(f"Open {address}", flush=True)
        threading.Event().wait()
'''


def write(served: Served, folder: Path) -> None:
    """Write the Space: app.py, README.md, requirements.txt, this package, the model and samples.

    Args:
        served: what it shows.
        folder: which must not exist yet.

    Raises:
        UserError: where it does.
    """
    from emotion.serving.demo.app import samples

    if folder.exists():
        raise UserError(f"{folder} is there already. Remove it, or name another folder.")
    with whole(folder) as part:
        part.mkdir(parents=True)
        package = Path(emotion.__file__).parent
        shutil.copytree(package, part / "emotion", ignore=shutil.ignore_patterns("__pycache__"))
        served.write(part / "model")
        samples(part / "samples")
        (part / "app.py").write_text(APP)
        (part / "requirements.txt").write_text("".join(f"{pin}\n" for pin in pins(PACKAGES)))
        (part / "README.md").write_text(f"---\n{_front_matter(served)}---\n\n{(part / 'model' / CARD).read_text()}")


def _front_matter(served: Served) -> str:
    """What Hugging Face asks of a Space's README."""
    return yaml.safe_dump(
        {
            "title": "Which emotion?",
            "emoji": "🙂",
            "colorFrom": "indigo",
            "colorTo": "yellow",
            "sdk": "gradio",
            "sdk_version": version("gradio"),
            "python_version": "3.11",
            "app_file": "app.py",
            "short_description": served.title[:60],
            "license": "apache-2.0",
        },
        allow_unicode=True,
        sort_keys=False,
    )


def pins(names: tuple[str, ...]) -> list[str]:
    """The installed versions of packages and of all that they need."""
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
        for needed in map(Requirement, requires(name) or ()):
            if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                queue.append(needed)
    return [f"{name}=={pinned[name]}" for name in sorted(pinned)]
