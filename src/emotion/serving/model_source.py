"""A model that is asked, wherever it comes from, and what is known of it."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emotion import params
from emotion.data.labels import EMOTIONS, SIZE
from emotion.inference.op_allowlist import digests, forbidden_operations
from emotion.runtime.errors import UserError
from emotion.runtime.paths import write_json

ABOUT, MODEL, CLASSIFIER, CARD = "served.json", "saved_model", "classifier.keras", "model_card.md"


@dataclass(frozen=True)
class Served:
    """Where a model lies, and what is known of it."""

    title: str
    model: Path  # the SavedModel's folder, or a LiteRT file
    unsure_below: float = 0.0  # the confidence below which its answer is "unsure"
    facts: Mapping[str, str] = field(default_factory=dict)  # the tags of a registered version
    classifier: Path | None = None  # the network as Keras has it, for heat maps
    card: str = ""  # Markdown

    def load(self) -> Any:
        """The model, ready to be asked.

        Raises:
            UserError: where it does more than compute, or answers something else.
        """
        from emotion.inference.load import load_saved_model

        if self.model.is_file():
            from emotion.inference.litert import LiteRT

            model: Any = LiteRT(self.model)
        else:
            self.check()
            model = load_saved_model(self.model)
        try:
            shape = np.shape(model.serve(np.zeros((1, SIZE, SIZE, 1), np.float32)))
        except Exception as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise UserError(f"{self.title} does not take faces of {SIZE}x{SIZE} gray pixels: {reason}") from error
        if shape != (1, len(EMOTIONS)):
            raise UserError(f"{self.title} answers in the shape {shape}, not with {len(EMOTIONS)} probabilities.")
        return model

    def check(self) -> None:
        """Look into a SavedModel without running it.

        Raises:
            UserError: where it is none, or does more than compute.
        """
        if not (self.model / "saved_model.pb").exists():
            raise UserError(f"no SavedModel in {self.model}. `dvc repro train` makes one in models/saved_model.")
        if forbidden := forbidden_operations(self.model):
            named = ", ".join(sorted(forbidden))
            raise UserError(f"{self.title} is refused: its graph holds {named}, which may do more than compute.")

    def write(self, folder: Path) -> None:
        """Copy all of it but who made it to a folder, from which `brought` brings it."""
        self.check()
        folder.mkdir(parents=True)
        shutil.copytree(self.model, folder / MODEL)
        if self.classifier:
            shutil.copy(self.classifier, folder / CLASSIFIER)
        card = [line for line in self.card.splitlines() if not line.startswith("| registered by |")]
        (folder / CARD).write_text("\n".join([*card, ""]))
        shown = {key: value for key, value in self.facts.items() if key == "data" or key.startswith("test.")}
        about = {"title": self.title, "unsure_below": self.unsure_below, "facts": shown}
        write_json(folder / ABOUT, {**about, "sha256": digests(folder)})


@contextmanager
def brought(address: str | None) -> Iterator[Served]:
    """Bring a model here, for as long as it takes to load it.

    Args:
        address: the folder of a SavedModel, what `Served.write` wrote, a LiteRT file, or an address of
            MLflow's, such as models:/facial-emotion/3; None for the champion.

    Raises:
        UserError: where there is none, or its files are not those that were registered.
    """
    path = Path(address) if address else None
    if path and path.exists():
        yield _of_path(path)
    elif path and "/" not in str(address).partition(":")[2]:
        raise UserError(f"no model at {address}: neither a file or folder here nor an address of MLflow's.")
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield _of_mlflow(address or f"models:/{params.load().register_.name}@champion", Path(folder))


def _of_path(path: Path) -> Served:
    if not (path / ABOUT).exists():
        return Served(str(path), path)
    try:
        about = json.loads((path / ABOUT).read_text())
        about["title"], about["unsure_below"], about["facts"], about["sha256"]
    except (ValueError, KeyError) as error:
        raise UserError(f"{path / ABOUT} is damaged ({error}). `emotion space` writes another.") from error
    found = {name: content for name, content in digests(path).items() if name != ABOUT}
    if changed := sorted(name for name in {*found, *about["sha256"]} if found.get(name) != about["sha256"].get(name)):
        raise UserError(f"{path / changed[0]} is not as it was when {about['title']} was written to {path}.")
    classifier = path / CLASSIFIER
    return Served(
        about["title"],
        path / MODEL,
        about["unsure_below"],
        about["facts"],
        classifier if classifier.exists() else None,
        (path / CARD).read_text(),
    )


def _of_mlflow(address: str, folder: Path) -> Served:
    from emotion.registry import versions as registry
    from emotion.tracking import runs as tracking

    named = registry.addressed(address)
    if not named:
        downloaded = registry.download_from(address, folder)
        found = sorted(downloaded.rglob("saved_model.pb"))
        if not found:
            raise UserError(f"there is no SavedModel at {address}.")
        return Served(address, found[0].parent)
    name, version = named
    downloaded = registry.download(name, version.number, folder)
    if registry.file_digests(downloaded) != version.files:
        raise UserError(
            f"the files of {name} version {version.number} are not those that were registered."
            f" `emotion rollback` returns to the champion before."
        )
    classifier = registry.classifier_of(downloaded)
    card = tracking.artifact(version.run_id, f"model_card/{CARD}")
    return Served(
        f"{name} version {version.number}",
        registry.saved_model_of(downloaded),
        float(version.tags.get(registry.UNSURE_BELOW, 0)),
        {**version.tags, "run_id": version.run_id},
        classifier if classifier.exists() else None,
        card.read_text() if card else "",
    )
