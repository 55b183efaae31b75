"""Tags and parameters in MLflow, which anyone can edit."""

import sqlite3
from contextlib import closing

import pytest

from support.faults import Place, cases, stage
from support.project import MODEL

DAMAGES = {
    "missing": None, "empty": "", "not JSON": '{"a": ', "a list": "[1, null]", "NaN": "NaN", "a number": "99",
    "huge": "9" * 5000, "control characters": "\x1b[31m\x07\r\n\x9bx",
}  # fmt: skip
TABLES = {  # what holds them: table, and which rows
    "version": ("model_version_tags", "version = 1"),
    "model": ("registered_model_tags", "1"),
    "train": ("tags", "run_uuid IN (SELECT run_uuid FROM runs WHERE name LIKE 'train %')"),
    "trial": ("tags", "run_uuid IN (SELECT run_uuid FROM runs WHERE name LIKE 'trial-000 %')"),
    "history": ("tags", f"run_uuid IN (SELECT run_uuid FROM runs WHERE name = 'history of {MODEL}')"),
    "parameter of train": ("params", "run_uuid IN (SELECT run_uuid FROM runs WHERE name LIKE 'train %')"),
    "history entry": ("params", f"run_uuid IN (SELECT run_uuid FROM runs WHERE name = 'history of {MODEL}')"),
}
COMMANDS = {
    "history": ("emotion", "history"),
    "promote": ("emotion", "promote", "1", "--dry-run"),
    "rollback": ("emotion", "rollback"),
    "trace": ("emotion", "trace", "1"),
    "trials": ("emotion", "trials"),
    "compare": ("emotion", "compare", "trial-000", "trial-001"),
    "predict": ("emotion", "predict", "data/face.png", "--no-detect"),
    "space": ("emotion", "space", "data/space"),
    "restore": ("emotion", "restore"),
    "evaluate": stage("evaluate"),
}


@pytest.mark.parametrize(
    ("table", "position", "damage", "name"),
    cases("tags", tuple(TABLES), range(24), tuple(DAMAGES), tuple(COMMANDS), limit=1000),
)
def test_a_damaged_tag_or_parameter_is_reported_in_one_line_or_has_no_effect(
    table: str, position: int, damage: str, name: str, place: Place
) -> None:
    place.add_face("data/face.png")
    source, condition = TABLES[table]
    with closing(sqlite3.connect(place.project.folder / "mlflow.db")) as database, database:
        keys = [key for (key,) in database.execute(f"SELECT key FROM {source} WHERE {condition} ORDER BY key")]
        if position >= len(keys):
            pytest.skip(f"{table} has only {len(keys)}")
        key = keys[position]
        if DAMAGES[damage] is None:
            database.execute(f"DELETE FROM {source} WHERE key = ? AND {condition}", (key,))
        else:
            database.execute(f"UPDATE {source} SET value = ? WHERE key = ? AND {condition}", (DAMAGES[damage], key))
    before = place.state
    done = place.attempt(*COMMANDS[name])
    if done.returncode:
        assert place.state == before
    place.assert_tidy()
