"""The versions that aliases name, kept loaded and followed as they change."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emotion.errors import UserError
from emotion.serving import served
from emotion.serving.predictor import Predictor
from emotion.serving.served import Served

if TYPE_CHECKING:
    from emotion.serving.heatmap import HeatMap

ASKED_EVERY = 2.0  # seconds between looks at the registry
KEPT = 3  # versions in memory


@dataclass(frozen=True)
class Loaded:
    """A version that answers."""

    about: Served
    predictor: Predictor
    heat_map: "HeatMap | None"


def load(address: str | None, unsure_below: float | None = None) -> Loaded:
    """A model from any address of `served.brought`, ready to answer."""
    with served.brought(address) as it:
        model = it.load()
        heat_map = None
        if it.classifier:
            from emotion.serving.heatmap import HeatMap

            heat_map = HeatMap(it.classifier)
    return Loaded(it, Predictor(model, it.unsure_below if unsure_below is None else unsure_below), heat_map)


class Fixed:
    """One model, whatever becomes of the registry."""

    aliases: tuple[str, ...] = ()

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def get(self, alias: str) -> tuple[Loaded, str]:
        """The model, and nothing to note."""
        return self._loaded, ""


class Followed:
    """The versions of a registered model that aliases name now.

    Args:
        name: of the registered model.
        look: gives version numbers by alias.
        load: makes a version, by its address, ready.
    """

    def __init__(self, name: str, look: Callable[[], dict[str, str]], load: Callable[[str], Loaded]) -> None:
        self._name, self._look, self._load = name, look, load
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._numbers, self._looked = look(), time.monotonic()
        if "champion" not in self._numbers:
            raise UserError(f"{name} has no champion. `emotion promote VERSION` makes a version the champion.")
        self._serving = dict(self._numbers)  # what answers by each alias
        self.get("champion")

    @property
    def aliases(self) -> tuple[str, ...]:
        """Those that name a version, the champion first."""
        return tuple(sorted(self._numbers, key=lambda alias: (alias != "champion", alias)))

    def get(self, alias: str) -> tuple[Loaded, str]:
        """What an alias names now, and what is to be told beside: the champion, where it names nothing.

        A version that cannot be had leaves the one before at work.
        """
        with self._lock:
            note = self._refresh()
            alias = alias if alias in self._numbers else "champion"
            wanted = self._numbers.get(alias, self._serving["champion"])
            try:
                loaded = self._ready(wanted)
                self._serving[alias] = wanted
            except UserError as error:
                loaded = self._ready(self._serving[alias])
                note = f"Version {wanted} is the {alias} now but cannot be used: {error}"
            return loaded, note

    def _refresh(self) -> str:
        if time.monotonic() - self._looked >= ASKED_EVERY:
            self._looked = time.monotonic()
            try:
                self._numbers = self._look()
            except UserError:
                return "The registry does not answer; there may be a newer champion."
        return ""

    def _ready(self, number: str) -> Loaded:
        if number not in self._loaded:
            self._loaded[number] = self._load(f"models:/{self._name}/{number}")
        self._loaded.move_to_end(number)
        while len(self._loaded) > KEPT:
            self._loaded.popitem(last=False)
        return self._loaded[number]
