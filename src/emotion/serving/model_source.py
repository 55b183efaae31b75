"""Where a model for serving comes from: the registry, a folder, or a file."""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import Field

from emotion.data.labels import LABELS
from emotion.inference.load import Model, assess, load_saved_model, predict
from emotion.inference.op_allowlist import disallowed_ops
from emotion.params.validation import Section
from emotion.runtime.errors import UserError
from emotion.runtime.files import file_digests, read_json, write_json
from emotion.runtime.text import without_front_matter

CHAMPION = "champion"
NO_CHAMPION = "There is no champion (`emotion promote VERSION` makes one): the reference model answers."
SHIPPED_FACTS = (
    "data",
    "test.",
    "test_unseen.",
    "ferplus_test",
    "use.",
)  # tags of versions, by the beginning of their names
REFERENCE = "reference"  # as a source: the model that is part of the package
REFERENCE_MODEL = Path(__file__).parent / "reference_model"
BUNDLE, MODEL, CLASSIFIER, CARD = "bundle.json", "saved_model", "classifier.keras", "model_card.md"


@dataclass(frozen=True)
class ModelInfo:
    """The title, threshold, facts and card of a model."""

    title: str
    unsure_below: float = 0.0  # the confidence below which the answer is "unsure"
    facts: Mapping[str, str] = field(default_factory=dict)  # the tags of a registered version
    card: str = ""  # the model card, as Markdown

    @property
    def shown_card(self) -> str:
        """The card without facts for Hugging Face, and without figures, which are files beside it."""
        return re.sub(r"## Figures\n.*?(?=## |\Z)", "", without_front_matter(self.card), flags=re.DOTALL)

    @property
    def is_of_drawings(self) -> bool:
        """Whether the model learned from the faces that this project draws."""
        return self.facts.get("data.source") == "synthetic"


@dataclass(frozen=True)
class ModelBundle:
    """A model's files, which may be temporary: see `open_model`."""

    info: ModelInfo
    model: Path  # a SavedModel's folder, or a LiteRT file
    classifier: Path | None = None  # the network in Keras' format, for heat maps

    def load(self) -> Model:
        """Load the model.

        Raises:
            UserError: if it contains operations that are not allowed, or takes or returns other shapes.
        """
        if self.model.is_file():
            from emotion.inference.litert import LiteRT

            model: Model = LiteRT(self.model)
        else:
            self.check()
            model = load_saved_model(self.model)
        black = np.zeros((1, *model.input_shape), np.uint8)
        try:
            shapes = [predict(model, black, 1).shape, *(array.shape for array in assess(model, black, 1))]
        except Exception as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            height, width, channels = model.input_shape
            kind = "color" if channels == 3 else "grayscale"
            raise UserError(f"{self.info.title} does not accept {height}x{width} {kind} faces: {reason}") from error
        count = len(model.emotions)
        for shape, right in zip(shapes, [(1, count), (1, count), (1,)], strict=True):
            if shape != right:
                raise UserError(
                    f"{self.info.title} returns an output of shape {shape}, expected {right}, for the emotions"
                    f" {', '.join(model.emotions)}. If it has others, list them in {LABELS}, one per line."
                )
        return model

    def check(self) -> None:
        """Check a SavedModel without running it.

        Raises:
            UserError: if it is not a SavedModel, or contains operations that are not allowed.
        """
        if not (self.model / "saved_model.pb").exists():
            raise UserError(f"no SavedModel in {self.model}. `dvc repro train` writes one to models/saved_model.")
        if disallowed := disallowed_ops(self.model):
            listed = ", ".join(sorted(disallowed))
            raise UserError(
                f"{self.info.title} is refused: its graph contains {listed}, which may do more than compute."
                " Use a model without such operations."
            )

    def write(self, folder: Path, shipped: tuple[str, ...] = SHIPPED_FACTS) -> None:
        """Copy the model to a folder that `open_model` can open, without the name of who registered it.

        Args:
            folder: the folder to write.
            shipped: the facts to include, by the beginning of their names.
        """
        self.check()
        folder.mkdir(parents=True)
        shutil.copytree(self.model, folder / MODEL)
        if self.classifier:
            shutil.copy(self.classifier, folder / CLASSIFIER)
        card = [line for line in self.info.shown_card.splitlines() if not line.startswith("| registered by ")]
        (folder / CARD).write_text("\n".join([*card, ""]))
        facts = {key: value for key, value in self.info.facts.items() if key.startswith(shipped)}
        bundle = BundleFile(
            title=self.info.title, unsure_below=self.info.unsure_below, facts=facts, sha256=file_digests(folder)
        )
        write_json(folder / BUNDLE, bundle.model_dump())


class BundleFile(Section):
    """The content of bundle.json."""

    title: str
    unsure_below: float = Field(ge=0, le=1)
    facts: dict[str, str]
    sha256: dict[str, str]  # of every other file


@contextmanager
def open_model(source: str | None) -> Iterator[ModelBundle]:
    """Get a model's files, which exist until the end of the context.

    Args:
        source: the folder of a SavedModel, a folder that `ModelBundle.write` wrote, a LiteRT file, an MLflow URI
            such as models:/facial-emotion/3, a version of the project (see `find_version`), or "reference"; None for
            the champion, or for the reference model if there is none, which is printed.

    Raises:
        UserError: if there is no such model, or its files have changed since it was registered.
    """
    if source is None:
        source = champion_uri()
        if source is None:
            print(NO_CHAMPION, file=sys.stderr, flush=True)
            source = REFERENCE
    path = REFERENCE_MODEL if source == REFERENCE else Path(source)
    if source and path.exists():
        yield _from_path(path)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield _from_mlflow(source if "/" in source.partition(":")[2] else _version_uri(source), Path(folder))


def _version_uri(text: str) -> str:
    """The URI of a version of the project."""
    if not text or "/" in text or not Path("params.yaml").exists():
        raise UserError(
            f"no model at '{text}'. Give a folder, a file, an MLflow URI such as models:/NAME/VERSION, or reference;"
            " in a project, also a version, such as 3 or champion."
        )
    from emotion.params.load import load_params
    from emotion.registry.names import find_version

    name = load_params().register_.name
    return f"models:/{name}/{find_version(name, text)}"


def champion_uri() -> str | None:
    """The URI of the champion; None if there is none, or if this is not a project's folder."""
    if not Path("params.yaml").exists():
        return None
    from emotion.params.load import load_params
    from emotion.registry.promotion.reconcile import trusted_aliases

    name = load_params().register_.name
    return f"models:/{name}@{CHAMPION}" if CHAMPION in trusted_aliases(name) else None


def _from_path(path: Path) -> ModelBundle:
    if not (path / BUNDLE).exists():
        return ModelBundle(ModelInfo(str(path)), path)
    fix = "Write the folder again with `emotion space`."
    bundle = BundleFile.model_validate(read_json(path / BUNDLE, fix, BundleFile))
    found = {name: digest for name, digest in file_digests(path).items() if name != BUNDLE}
    changed = sorted(name for name in {*found, *bundle.sha256} if found.get(name) != bundle.sha256.get(name))
    if changed:
        raise UserError(f"{path / changed[0]} has changed since {bundle.title} was written to {path}. {fix}")
    classifier = path / CLASSIFIER
    info = ModelInfo(bundle.title, bundle.unsure_below, bundle.facts, (path / CARD).read_text())
    return ModelBundle(info, path / MODEL, classifier if classifier.exists() else None)


def _from_mlflow(uri: str, folder: Path) -> ModelBundle:
    from emotion.registry import versions
    from emotion.registry.names import parse_model_uri
    from emotion.registry.signature import classifier_of, saved_model_of
    from emotion.registry.signing.keys import trusted_keys
    from emotion.registry.signing.versions import verify_version
    from emotion.tracking.queries import read_artifact

    registered = parse_model_uri(uri)
    if not registered:
        if trusted_keys():
            raise UserError(f"{uri} is not a version, so its signature cannot be verified. Give a version instead.")
        downloaded = versions.download_model(uri, folder)
        found = sorted(downloaded.rglob("saved_model.pb"))
        if not found:
            raise UserError(f"there is no SavedModel at {uri}. Give the URI of a model that contains one.")
        return ModelBundle(ModelInfo(uri), found[0].parent)
    name, version = registered
    downloaded = versions.download_version(name, version.number, folder)
    if versions.changed_files(version, downloaded):
        raise UserError(
            f"the files of {name} version {version.number} have changed since it was registered."
            " If it is the champion, `emotion rollback` returns to the previous one."
        )
    signed = verify_version(name, version, versions.downloaded_digests(downloaded))
    facts = signed[0].facts.tags if signed else version.tags
    classifier = classifier_of(downloaded)
    card = read_artifact(version.run_id, f"model_card/{CARD}") or b""
    info = ModelInfo(
        f"{name} version {version.number}",
        version.unsure_below,
        {**facts, "run_id": version.run_id},
        card.decode(errors="replace"),
    )
    return ModelBundle(info, saved_model_of(downloaded), classifier if classifier.exists() else None)
