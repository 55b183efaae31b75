"""Tables of trainings and of versions."""

import time

import pandas as pd

from emotion.registry.names import EXPERIMENT_TAG
from emotion.registry.promotion.reconcile import known_aliases
from emotion.registry.versions import list_versions
from emotion.tracking.client import connection
from emotion.tracking.delivery import RESTORED_FROM_TAG
from emotion.tracking.metric_names import FERPLUS_ACCURACY, TEST_ACCURACY
from emotion.tracking.queries import search_runs

FERPLUS = "FER+ accuracy"  # a column of its own: by other labels than FER-2013's
SHOWN_OF_RUNS = ["run", "test accuracy", FERPLUS, "version", "alias", "age", "id"]  # in the terminal
RUN_COLUMNS = [*SHOWN_OF_RUNS, "validation accuracy", "status", "run_id"]
SHOWN_OF_VERSIONS = ["version", "alias", "test accuracy", FERPLUS, "gate", "experiment", "age", "id"]
VERSION_COLUMNS = [*SHOWN_OF_VERSIONS, "data", "run_id"]
ID_LENGTH = 8  # characters of a run id that are shown, as git does; they identify a run for every command
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def runs_table(name: str) -> pd.DataFrame:
    """A row per training, the best first, with RUN_COLUMNS.

    Args:
        name: the name of the registered model.
    """
    runs = search_runs("train")
    versions = list_versions(name) if runs else {}
    aliases = _aliases_by_version(name) if runs else {}
    of_run = {version.run_id: number for number, version in versions.items()}
    rows = [
        {
            "run": run.name.removeprefix("train "),
            "test accuracy": run.metrics.get(TEST_ACCURACY),
            FERPLUS: run.metrics.get(FERPLUS_ACCURACY),
            "validation accuracy": run.metrics.get("train/val_accuracy"),
            "version": (number := of_run.get(run.id) or of_run.get(run.tags.get(RESTORED_FROM_TAG, ""))),
            "alias": aliases.get(number or ""),
            "status": run.status.lower(),
            "age": age(run.start),
            "id": run.id[:ID_LENGTH],
            "run_id": run.id,
        }
        for run in runs
    ]
    table = _without_unused(pd.DataFrame(rows, columns=RUN_COLUMNS))
    return table.sort_values("test accuracy", ascending=False, kind="stable")


def versions_table(name: str) -> pd.DataFrame:
    """A row per version, the newest first, with VERSION_COLUMNS."""
    versions = list_versions(name) if connection().has_store else {}
    aliases = _aliases_by_version(name) if versions else {}
    rows = [
        {
            "version": number,
            "alias": aliases.get(number),
            "test accuracy": version.tags.get("test.accuracy"),
            FERPLUS: version.tags.get(FERPLUS_ACCURACY.replace("/", ".")),
            "data": version.tags.get("data", "").partition(" (")[0],
            "gate": version.tags.get("gate.champion", "").partition(", by ")[0],
            "experiment": version.tags.get(EXPERIMENT_TAG),
            "age": age(version.created),
            "id": version.run_id[:ID_LENGTH],
            "run_id": version.run_id,
        }
        for number, version in reversed(versions.items())
    ]
    return _without_unused(pd.DataFrame(rows, columns=VERSION_COLUMNS))


def _without_unused(table: pd.DataFrame) -> pd.DataFrame:
    """Without the column about FER+ if nothing is in it."""
    return table.drop(columns=FERPLUS) if table[FERPLUS].isna().all() else table


def _aliases_by_version(name: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for alias, number in known_aliases(name).items():
        found.setdefault(number, []).append(alias)
    return {number: ", ".join(aliases) for number, aliases in found.items()}


def age(milliseconds: int) -> str:
    """How long ago a time in milliseconds since 1970 was, in a few characters."""
    seconds = time.time() - milliseconds / 1000
    for length, unit in UNITS:
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
