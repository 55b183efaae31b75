"""The models to serve: a fixed one; or the reference model and the versions that aliases name, which are reloaded."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotion.runtime.errors import UserError
from emotion.serving.model_source import CHAMPION, NO_CHAMPION, REFERENCE, ModelInfo, open_model
from emotion.serving.predictor import Predictor

if TYPE_CHECKING:
    from emotion.serving.gradcam import GradCAM

POLL_INTERVAL = 2.0  # seconds between queries of the registry
RETRY_INTERVAL = 60.0  # seconds before a version that could not be loaded is tried again


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to serve."""

    info: ModelInfo
    predictor: Predictor
    gradcam: "GradCAM | None"


def load_model(source: str | None, min_confidence: float | None = None) -> LoadedModel:
    """Load a model from any source of `open_model`; without heat maps if these are not available."""
    with open_model(source) as bundle:
        predictor = Predictor.from_bundle(bundle, min_confidence)
        gradcam = None
        if bundle.classifier:
            from emotion.serving.gradcam import GradCAM

            try:
                gradcam = GradCAM(bundle.classifier, predictor.emotions, predictor.input_shape)
            except Exception as error:  # noqa: BLE001  predictions do not depend on heat maps
                reason = f"{type(error).__name__}: {error}"
                print(f"No heat maps for {bundle.info.title}: {reason}", file=sys.stderr, flush=True)
    return LoadedModel(bundle.info, predictor, gradcam)


class StaticModel:
    """One fixed model, independent of the registry."""

    aliases: tuple[str, ...] = (CHAMPION,)

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def get(self, alias: str) -> tuple[LoadedModel, str]:
        """The model, and no note."""
        return self._model, ""


class AliasWatcher:
    """The versions of a registered model that aliases name, and the reference model.

    A thread polls the registry and loads new versions, so that no request waits for it.

    Args:
        name: the name of the registered model.
        get_aliases: returns version numbers by alias.
        load: loads a version, given its URI.
    """

    def __init__(
        self, name: str, get_aliases: Callable[[], dict[str, str]], load: Callable[[str], LoadedModel]
    ) -> None:
        self._name, self._get_aliases, self._load = name, get_aliases, load
        self._loaded: dict[str, LoadedModel] = {}  # by number
        self._failures: dict[str, tuple[float, str]] = {}  # by number: when, and why
        # Read by request threads, and replaced as a whole.
        self._serving = {REFERENCE: load(REFERENCE)}
        self._notes: dict[str, str] = {}
        if number := get_aliases().get(CHAMPION):
            self._serving[CHAMPION] = self._loaded[number] = load(f"models:/{name}/{number}")
        else:
            self._notes[REFERENCE] = NO_CHAMPION
        threading.Thread(target=self._poll, daemon=True).start()

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases with a loaded version, the champion first and the reference model last."""
        return tuple(sorted(self._serving, key=lambda alias: (alias != CHAMPION, alias == REFERENCE, alias)))

    def get(self, alias: str) -> tuple[LoadedModel, str]:
        """The version that an alias names (the first of `aliases` if it names none), and a note to show with it."""
        serving, notes = self._serving, self._notes
        alias = next(it for it in (alias, CHAMPION, REFERENCE) if it in serving)
        return serving[alias], notes.get(alias, "")

    def _poll(self) -> None:
        while True:
            time.sleep(POLL_INTERVAL)
            self.refresh()

    def refresh(self) -> None:
        """Query the registry. If a version cannot be loaded, the one before it stays in use, with a note."""
        try:
            numbers = self._get_aliases()
        except Exception as error:  # noqa: BLE001  the loaded versions stay in use
            from emotion.registry.signing.envelope import SignatureError  # MLflow is here, unlike in a Space

            is_changed = isinstance(error, SignatureError)
            note = str(error) if is_changed else "The registry is unavailable; there may be a newer champion."
            self._notes = dict.fromkeys(self._serving, note)
            return
        notes = {}
        serving = {alias: model for alias, model in self._serving.items() if alias in (CHAMPION, REFERENCE)}
        if CHAMPION not in numbers:
            if CHAMPION in serving:
                notes[CHAMPION] = "There is no champion anymore; this version was the last one."
            else:
                notes[REFERENCE] = NO_CHAMPION
        for alias, number in numbers.items():
            if model := self._try_load(number):
                serving[alias] = model
            elif alias in self._serving:
                serving[alias] = self._serving[alias]
                notes[alias] = (
                    f"Version {number} is the new {alias}, but it cannot be used: {self._failures[number][1]}"
                )
        self._serving, self._notes = serving, notes
        self._loaded = {number: model for number, model in self._loaded.items() if model in serving.values()}

    def _try_load(self, number: str) -> LoadedModel | None:
        failed_at, _ = self._failures.get(number, (None, ""))
        if number not in self._loaded and (failed_at is None or time.monotonic() - failed_at > RETRY_INTERVAL):
            try:
                self._loaded[number] = self._load(f"models:/{self._name}/{number}")
                self._failures.pop(number, None)
            except Exception as error:  # noqa: BLE001  the version before it stays in use
                reason = str(error) if isinstance(error, UserError) else type(error).__name__
                self._failures[number] = time.monotonic(), reason
        return self._loaded.get(number)
