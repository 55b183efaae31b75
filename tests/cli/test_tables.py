"""The tables of the command line, in narrow terminals and in logs."""

import pandas as pd
import pytest

from emotion.cli import tables

RUN_ID = "3b612e8dc67d4810956645863ac68cfb"
PATH = "a/folder/with/a/long/name/and/a/photo.jpg"


def show(frame: pd.DataFrame, columns: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    tables.show_frame(frame, "Some rows")


@pytest.mark.parametrize("columns", ["80", "60"])
def test_a_table_that_is_too_wide_becomes_a_list_in_which_nothing_is_cut(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"trial": "trial-001", "status": "completed", "score": 0.5, "[learning_rate]": 0.03, "run_id": RUN_ID}
    show(pd.DataFrame([row | {"image": PATH}, row]), columns, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Some rows"
    for line in ("trial            trial-001", f"run_id           {RUN_ID}", f"image            {PATH}"):
        assert line in lines
    assert lines.count("[learning_rate]  0.03") == 2
    assert sum(line.startswith("image") for line in lines) == 1, "an empty cell is left out"


def test_a_table_that_fits_stays_a_table_and_folds_what_is_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show(pd.DataFrame([{"text": "some words " * 20, "image": PATH}]), "80", monkeypatch)
    out = capsys.readouterr().out
    assert "┃ text" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


def test_a_log_is_wide_unless_columns_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame([{"text": "some words " * 12, "id": RUN_ID}])
    show(frame, None, monkeypatch)
    assert any(line.count("some words") == 12 and RUN_ID in line for line in capsys.readouterr().out.splitlines())
    show(frame, "80", monkeypatch)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_table_without_rows_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show(pd.DataFrame({"run": []}), "80", monkeypatch)
    assert capsys.readouterr().out == "Some rows: none\n"
