"""Which faults are tried, and the table of outcomes.

`make test` tries one of each kind. `make faults` tries all: it sets FAULTS to a file that keeps the outcome of each
case, and tries only those that have not passed yet, so that it can be interrupted.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from support.faults import Place
from support.project import Project

RESULTS = os.environ.get("FAULTS")
QUICK = 1  # cases of each kind in `make test`


def claim(node_id: str) -> str:
    """The claim that a case tests."""
    return node_id.partition("::test_")[2].partition("[")[0].replace("_", " ")


def outcomes() -> dict[str, dict[str, str]]:
    """The last outcome of every case in the file of results, by the id of the case."""
    path = Path(RESULTS or "")
    lines = path.read_text().splitlines() if path.is_file() else []
    return {outcome["case"]: outcome for outcome in map(json.loads, lines)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the faults that are not tried now."""
    passed = {case for case, outcome in outcomes().items() if outcome["outcome"] == "passed"}
    here, seen = Path(__file__).parent, Counter[str]()
    deselected = []
    for item in items:
        if here in item.path.parents:
            seen[claim(item.nodeid)] += 1
            is_extra = seen[claim(item.nodeid)] > QUICK or item.get_closest_marker("long") is not None
            if item.nodeid in passed if RESULTS else is_extra:
                deselected.append(item)
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in deselected]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the outcome of a case."""
    is_final = report.when == "call" or report.outcome != "passed"
    if RESULTS and is_final and "PYTEST_XDIST_WORKER" not in os.environ:
        facts = dict(report.user_properties)
        if report.outcome == "failed":
            facts["reason"] = report.longreprtext[-3000:]
        with Path(RESULTS).open("a") as file:
            print(json.dumps({"case": report.nodeid, "outcome": report.outcome, **facts}), file=file)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of outcomes."""
    if RESULTS and (found := outcomes()):
        rows = [{"fault": claim(case), "outcome": outcome["outcome"]} for case, outcome in found.items()]
        table = pd.crosstab(pd.DataFrame(rows)["fault"], pd.DataFrame(rows)["outcome"], margins=True)
        terminalreporter.section("faults")
        terminalreporter.write_line(table.to_markdown())


@pytest.fixture
def place(promoted_project: Project, tmp_path: Path) -> Iterator[Place]:
    """A project with a champion to break something in; afterwards nothing may be left behind."""
    made = Place(promoted_project, tmp_path)
    yield made
    made.remove()
