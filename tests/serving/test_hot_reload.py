"""Hot reload of the champion."""

from unittest.mock import MagicMock

import pytest

from emotion.registry.signing.envelope import SignatureError
from emotion.runtime.errors import UserError
from emotion.serving import hot_reload
from emotion.serving.hot_reload import AliasWatcher, LoadedModel
from emotion.serving.model_source import NO_CHAMPION, ModelInfo
from emotion.serving.predictor import Predictor


def test_the_loaded_champion_is_kept_if_a_new_one_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_reload, "POLL_INTERVAL", 1e6)  # the test refreshes by hand
    numbers = {"champion": "1"}
    broken, failure = False, UserError("dead")
    asked: list[str] = []
    unused = MagicMock()

    def get_aliases() -> dict[str, str]:
        if broken:
            raise failure
        return dict(numbers)

    def load(address: str) -> LoadedModel:
        asked.append(address.rpartition("/")[2])
        if address.endswith("/2"):
            raise UserError("its files are not those that were registered.")
        return LoadedModel(ModelInfo(address), Predictor(unused), None)

    models = AliasWatcher("facial-emotion", get_aliases, load)
    assert models.get("champion")[1] == ""
    assert models.aliases == ("champion", "reference")
    numbers |= {"champion": "2", "challenger": "2"}
    models.refresh()
    loaded, note = models.get("champion")
    assert loaded.info.title == "models:/facial-emotion/1"
    assert note == "Version 2 is the new champion, but it cannot be used: its files are not those that were registered."
    assert models.aliases == ("champion", "reference")
    models.refresh()
    assert asked == ["reference", "1", "2"], "what failed is not tried again at once"
    broken = True
    models.refresh()
    loaded, note = models.get("challenger")
    assert (loaded.info.title, note) == (
        "models:/facial-emotion/1", "The registry is unavailable; there may be a newer champion.",
    )  # fmt: skip
    failure = SignatureError("the history was changed")
    models.refresh()
    assert models.get("champion")[1] == "the history was changed"
    broken = False
    numbers["champion"] = "3"
    models.refresh()
    loaded, note = models.get("nobody")
    assert (loaded.info.title, note) == ("models:/facial-emotion/3", "")
    numbers.clear()
    models.refresh()
    loaded, note = models.get("champion")
    assert (loaded.info.title, note[:32]) == ("models:/facial-emotion/3", "There is no champion anymore; th")


def test_the_reference_model_answers_until_there_is_a_champion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_reload, "POLL_INTERVAL", 1e6)  # the test refreshes by hand
    numbers: dict[str, str] = {}
    unused = MagicMock()
    models = AliasWatcher(
        "facial-emotion", lambda: dict(numbers), lambda uri: LoadedModel(ModelInfo(uri), Predictor(unused), None)
    )
    for _ in range(2):
        loaded, note = models.get("champion")
        assert (loaded.info.title, note, models.aliases) == ("reference", NO_CHAMPION, ("reference",))
        models.refresh()
    numbers["champion"] = "1"
    models.refresh()
    assert models.aliases == ("champion", "reference")
    assert [models.get(alias)[0].info.title for alias in ("champion", "reference")] == [
        "models:/facial-emotion/1", "reference",
    ]  # fmt: skip
    assert [models.get(alias)[1] for alias in models.aliases] == ["", ""]
