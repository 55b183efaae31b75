"""The versions that aliases name, kept loaded and followed as they change."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotion.runtime.errors import UserError
from emotion.serving import model_source as served
from emotion.serving.model_source import Served
from emotion.serving.predictor import Predictor

if TYPE_CHECKING:
    from emotion.serving.gradcam import HeatMap

CHAMPION = "champion"
ASKED_EVERY = 2.0  # seconds between looks at the registry
TRIED_AGAIN = 60.0  # seconds after which a version that could not be loaded is tried again


@dataclass(frozen=True)
class Loaded:
    """A version that answers."""

    about: Served
    predictor: Predictor
    heat_map: "HeatMap | None"


def load(address: str | None, unsure_below: float | None = None) -> Loaded:
    """A model from any address of `served.brought`, ready to answer; without heat maps, where these cannot be had."""
    with served.brought(address) as it:
        model = it.load()
        heat_map = None
        if it.classifier:
            from emotion.serving.gradcam import HeatMap

            try:
                heat_map = HeatMap(it.classifier)
            except Exception as error:  # noqa: BLE001  whatever Keras finds wrong, the answers are right
                print(f"{it.title} has no heat maps: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return Loaded(it, Predictor(model, it.unsure_below if unsure_below is None else unsure_below), heat_map)


class Fixed:
    """One model, whatever becomes of the registry."""

    aliases: tuple[str, ...] = (CHAMPION,)

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def get(self, alias: str) -> tuple[Loaded, str]:
        """The model, and nothing to note."""
        return self._loaded, ""


class Followed:
    """The versions of a registered model that aliases name now.

    A thread looks at the registry and loads what is new, so that no answer waits for it.

    Args:
        name: of the registered model.
        look: gives version numbers by alias.
        load: makes a version, by its address, ready.
    """

    def __init__(self, name: str, look: Callable[[], dict[str, str]], load: Callable[[str], Loaded]) -> None:
        self._name, self._look, self._load = name, look, load
        number = look().get(CHAMPION)
        if number is None:
            raise UserError(f"{name} has no champion. `emotion promote VERSION` makes a version the champion.")
        self._loaded = {number: load(f"models:/{name}/{number}")}  # by number
        self._failed: dict[str, tuple[float, str]] = {}  # when, and why
        # Read by the threads that answer, and only ever replaced.
        self._serving = {CHAMPION: self._loaded[number]}
        self._notes: dict[str, str] = {}
        threading.Thread(target=self._follow, daemon=True).start()

    @property
    def aliases(self) -> tuple[str, ...]:
        """Those that name a version that can be asked, the champion first."""
        return tuple(sorted(self._serving, key=lambda alias: (alias != CHAMPION, alias)))

    def get(self, alias: str) -> tuple[Loaded, str]:
        """What an alias names now, and what is to be told beside; the champion, where it names nothing."""
        serving, notes = self._serving, self._notes
        alias = alias if alias in serving else CHAMPION
        return serving[alias], notes.get(alias, "")

    def _follow(self) -> None:
        while True:
            time.sleep(ASKED_EVERY)
            self.refresh()

    def refresh(self) -> None:
        """Look at the registry. What cannot be had leaves the version before at work, and is noted."""
        try:
            numbers = self._look()
        except Exception:  # noqa: BLE001  whatever it was, what is loaded answers on
            self._notes = dict.fromkeys(self._serving, "The registry does not answer; there may be a newer champion.")
            return
        serving, notes = {CHAMPION: self._serving[CHAMPION]}, {}
        if CHAMPION not in numbers:
            notes[CHAMPION] = "There is no champion any more; this was the last."
        for alias, number in numbers.items():
            if loaded := self._ready(number):
                serving[alias] = loaded
            elif alias in self._serving:
                serving[alias] = self._serving[alias]
                notes[alias] = f"Version {number} is the {alias} now but cannot be used: {self._failed[number][1]}"
        self._serving, self._notes = serving, notes
        self._loaded = {number: it for number, it in self._loaded.items() if it in serving.values()}

    def _ready(self, number: str) -> Loaded | None:
        failed, _ = self._failed.get(number, (None, ""))
        if number not in self._loaded and (failed is None or time.monotonic() - failed > TRIED_AGAIN):
            try:
                self._loaded[number] = self._load(f"models:/{self._name}/{number}")
                self._failed.pop(number, None)
            except Exception as error:  # noqa: BLE001  whatever it was, the version before answers on
                told = str(error) if isinstance(error, UserError) else type(error).__name__
                self._failed[number] = time.monotonic(), told
        return self._loaded.get(number)
