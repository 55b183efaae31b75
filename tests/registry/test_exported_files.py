"""The comparison of exported files on the model card."""

import re
from pathlib import Path

import pytest

from emotion.data.labels import EMOTIONS
from emotion.inference import convert as converting
from emotion.inference.convert import Format, Parity, RefusedError
from emotion.networks.build import build
from emotion.networks.inference import export
from emotion.registry.model_card.exports import measure_exports
from emotion.registry.model_card.tables import exports_table
from support.networks import RANDOM, SHAPE, to_export
from support.project import Project


def test_the_files_of_both_signatures_are_compared_for_the_card(
    in_champion_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(to_export(build("vgg", 4, 0.0, RANDOM, 7, SHAPE), "flip_and_shift"), tmp_path / "saved_model", EMOTIONS)
    original = converting._check

    def check(parity: Parity, to_format: Format) -> None:
        if to_format == "int8":
            raise RefusedError("refused")
        original(parity, to_format)

    monkeypatch.setattr(converting, "_check", check)
    table = measure_exports(tmp_path / "saved_model")
    assert list(table["signature"]) == ["serve"] * 3 + ["fast"] * 3
    assert list(table["file"]) == ["SavedModel", "LiteRT, 32 bits", "LiteRT, 8 bits"] * 2
    figures = table[["MiB", "ms per image", "validation accuracy"]]
    assert figures.iloc[[2, 5]].isna().all(axis=None)
    assert (figures.iloc[[0, 1, 3, 4]] > 0).all(axis=None)
    assert table["validation accuracy"][0] == table["validation accuracy"][1]
    rows = exports_table(table).splitlines()
    assert re.fullmatch(r"\| `fast` +\| LiteRT, 32 bits +\| \d\.\d\d +\| \d+\.\d\d +\| \d+\.\d% +\|", rows[6])
    assert rows[7].count("refused") == 3
