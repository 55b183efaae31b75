"""Prepared views of MLflow's runs page: a table of trainings, their curves, and the trials of the newest search.

MLflow keeps such a view as a tag of the experiment, `mlflow.sharedViewState.` and a key. Its value is JSON with a name
and the state of the page; the page's address names the key. The views are in the page's menu *Views*.
"""

import base64
import json
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from emotion.params.objective import Objective
from emotion.tracking.client import connection, retry_conflicts
from emotion.tracking.metric_names import TEST_ACCURACY
from emotion.tracking.operations import current_milliseconds
from emotion.tracking.runs import PARENT_TAG
from emotion.tracking.searches import newest_search, searched_params

VIEW_TAG = "mlflow.sharedViewState."
NAME = "attributes.`Run Name`"
TRAININGS = "tags.stage = 'train'"


@dataclass(frozen=True)
class View:
    """A view of the runs page."""

    key: str
    name: str
    filter: str
    order_by: str  # a column
    columns: list[str]  # as metrics.`NAME`, params.`NAME` or attributes.`NAME`
    ascending: bool = False
    charts: list[dict[str, Any]] = field(default_factory=list)  # instead of a table

    @property
    def address(self) -> str:
        """The address of the page, below that of the server."""
        mode = "&compareRunsMode=CHART" if self.charts else ""
        experiment = connection().experiment_id()
        return f"/#/experiments/{experiment}/runs?viewStateShareKey={self.key}&workflowType=machine_learning{mode}"

    @property
    def state(self) -> dict[str, Any]:
        """The state of the page, as MLflow 3.17 stores it."""
        charts = [
            {
                "uuid": f"{self.key}-{number}", "metricSectionId": self.key, "deleted": False, "isGenerated": False,
                "runsCountToCompare": 100, **chart,
            }
            for number, chart in enumerate(self.charts)
        ]  # fmt: skip
        section = {
            "uuid": self.key, "name": self.name, "display": True, "isReordered": True, "deleted": False,
            "isGenerated": False,
        }  # fmt: skip
        return {
            "searchFilter": self.filter,
            "orderByKey": self.order_by,
            "orderByAsc": self.ascending,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": self.columns,
            "columnOrder": [NAME, *self.columns],
            "columnWidths": {NAME: 380, **dict.fromkeys(self.columns, 150)},  # pixels
            "runsHiddenMode": "SHOW_ALL",
            "viewMaximized": False,
            "runListHidden": False,
            "isAccordionReordered": bool(self.charts),
            "autoRefreshEnabled": True,
            "useGroupedValuesInCharts": True,
            "hideEmptyCharts": True,
            "groupBy": None,
            "groupsExpanded": {},
            **({"compareRunCharts": charts, "compareRunSections": [section]} if charts else {}),
        }


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _param(name: str) -> str:
    return f"params.`train.{name}`"


def _lines(*metrics: str) -> list[dict[str, Any]]:
    """A chart of the epochs for each metric."""
    return [
        {
            "type": "LINE", "metricKey": f"train/{name}", "selectedMetricKeys": [f"train/{name}"], "lineSmoothness": 0,
            "xAxisKey": "step", "xAxisScaleType": "linear", "yAxisKey": "metric", "yAxisExpressions": [],
            "scaleType": "linear", "range": {},
            "useGlobalLineSmoothing": True, "useGlobalXaxisKey": False, "selectedXAxisMetricKey": "",
        }
        for name in metrics
    ]  # fmt: skip


def prepared_views() -> list[View]:
    """The views of the project's experiment, the first to open first."""
    settings = [_param(name) for name in ("network", "width", "epochs", "learning_rate")]
    scores = [TEST_ACCURACY, "test/macro_f1", "validation/accuracy", "speed/latency_ms_median"]
    views = [
        View(
            "emotion-runs", "Runs by test accuracy", TRAININGS, _metric(TEST_ACCURACY),
            [*map(_metric, scores), "attributes.`Models`", *settings],
        ),
        View(
            "emotion-curves", "Training curves", TRAININGS, "attributes.start_time", list(map(_metric, scores)),
            charts=_lines("val_accuracy", "accuracy", "val_loss", "loss", "learning_rate"),
        ),
    ]  # fmt: skip
    search = newest_search()
    if search:
        searched = [f"train.{name}" for name in searched_params(search)]
        columns = [
            *(f"params.`{name}`" for name in searched),
            _metric("score"),
            _metric("trial/val_accuracy"),
        ]
        parallel = {"type": "PARALLEL", "selectedParams": searched, "selectedMetrics": ["score"], "showAllRuns": True}
        views.append(
            View(
                "emotion-trials", "Trials of the newest search", f"tags.`{PARENT_TAG}` = '{search.id}'",
                _metric("score"), columns, search.params.get("tune.objective") == Objective.VAL_LOSS,
                [parallel, *_lines("val_accuracy", "val_loss")],
            )
        )  # fmt: skip
    return views


def update_views() -> list[View]:
    """Write the prepared views, if the store is available; return them."""
    store = connection()

    def update() -> list[View]:
        views = prepared_views()
        for view in views:
            key, value = VIEW_TAG + view.key, _encode(view)
            retry_conflicts(partial(store.client.set_experiment_tag, store.experiment_id(), key, value))
        return views

    return store.query(update, [])


def _encode(view: View) -> str:
    now = current_milliseconds()
    packed = base64.b64encode(zlib.compress(json.dumps(view.state).encode(), 9)).decode()
    return json.dumps({"name": view.name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"})
