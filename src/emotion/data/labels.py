"""The emotions, usages, splits and image sizes, and the file that names the emotions of a SavedModel."""

from collections.abc import Sequence
from pathlib import Path

from emotion.runtime.errors import UserError

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")  # FER-2013's, and the drawn faces'
USAGES = ("Training", "PublicTest", "PrivateTest")
SPLITS = ("train", "validation", "test")
GATE = "gate"  # the split of test images that only the gate of `emotion promote` looks at
UNUSED = "unused"  # the split of images that belong to none of them
IMAGE_SIZE = 48  # pixels per side of FER-2013's images, and of the drawn ones
IMAGE_SIZES = (48, 64, 96, 112)  # pixels per side of the images of a dataset
# In a SavedModel's folder, where TensorFlow allows extra files: one emotion per line, in the order of the outputs.
LABELS = Path("assets.extra") / "labels.txt"
MAX_BYTES = 10_000


def write_labels(saved_model: Path, emotions: Sequence[str]) -> None:
    """Write the emotions into a SavedModel's folder."""
    path = saved_model / LABELS
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{emotion}\n" for emotion in emotions), encoding="utf-8")


def read_labels(saved_model: Path) -> tuple[str, ...]:
    """The emotions of a SavedModel; those of FER-2013 if it was exported without names.

    Raises:
        UserError: if the file is damaged.
    """
    path = saved_model / LABELS
    return parse_labels(path.read_bytes(), str(path)) if path.exists() else EMOTIONS


def parse_labels(content: bytes, shown: str) -> tuple[str, ...]:
    """The emotions in a file, called `shown` in the message.

    Raises:
        UserError: if it is damaged.
    """
    try:
        names = tuple(content.decode("utf-8").splitlines()) if len(content) <= MAX_BYTES else ()
    except UnicodeDecodeError:
        names = ()
    if len(set(names)) < max(2, len(names)) or not all(name.strip() == name and name.isprintable() for name in names):
        raise UserError(f"{shown} is damaged: expected one emotion per line, each once. Export the model again.")
    return names
