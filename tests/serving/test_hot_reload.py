"""Hot reload of the champion."""

from unittest.mock import MagicMock

import pytest

from emotion.runtime.errors import UserError
from emotion.serving import hot_reload
from emotion.serving.hot_reload import AliasWatcher, LoadedModel
from emotion.serving.model_source import ModelInfo
from emotion.serving.predictor import Predictor


def test_the_loaded_champion_is_kept_if_a_new_one_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_reload, "POLL_INTERVAL", 1e6)  # the test refreshes by hand
    numbers = {"champion": "1"}
    broken = False
    asked: list[str] = []
    unused = MagicMock()

    def get_aliases() -> dict[str, str]:
        if broken:
            raise UserError("dead")
        return dict(numbers)

    def load(address: str) -> LoadedModel:
        asked.append(address.rpartition("/")[2])
        if address.endswith("/2"):
            raise UserError("its files are not those that were registered.")
        return LoadedModel(ModelInfo(address), Predictor(unused), None)

    models = AliasWatcher("facial-emotion", get_aliases, load)
    assert models.get("champion")[1] == ""
    numbers |= {"champion": "2", "challenger": "2"}
    models.refresh()
    loaded, note = models.get("champion")
    assert loaded.info.title == "models:/facial-emotion/1"
    assert note == "Version 2 is the new champion, but it cannot be used: its files are not those that were registered."
    assert models.aliases == ("champion",)
    models.refresh()
    assert asked == ["1", "2"], "what failed is not tried again at once"
    broken = True
    models.refresh()
    loaded, note = models.get("challenger")
    assert (loaded.info.title, note) == (
        "models:/facial-emotion/1", "The registry is unavailable; there may be a newer champion.",
    )  # fmt: skip
    broken = False
    numbers["champion"] = "3"
    models.refresh()
    loaded, note = models.get("nobody")
    assert (loaded.info.title, note) == ("models:/facial-emotion/3", "")
    numbers.clear()
    models.refresh()
    loaded, note = models.get("champion")
    assert (loaded.info.title, note[:32]) == ("models:/facial-emotion/3", "There is no champion anymore; th")
