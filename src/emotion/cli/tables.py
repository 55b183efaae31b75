"""The tables of the command line."""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from emotion.runtime.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from pydantic import BaseModel

    from emotion.cli.doctor import Finding
    from emotion.inference.convert import Parity
    from emotion.registry.lineage import Lineage
    from emotion.registry.promotion.gate.rules import Verdict
    from emotion.registry.promotion.history import Entry
    from emotion.registry.reproduce import Reproduction
    from emotion.serving.batch import ImageResult
    from emotion.tracking.searches import SearchProgress

WATCH_INTERVAL = 2.0  # seconds
LOG_WIDTH = 250  # characters per line outside a terminal, so that nothing is cut in a log
SUBJECTS = ("version", "code", "data", "search", "training")  # of a lineage
STATE_STYLES = {"ok": "green", "warning": "yellow", "error": "red bold"}


def show(table: Table) -> None:
    """Print a table, or a list of its rows if not every word fits into the width of the terminal, or into COLUMNS.

    Nothing is cut.
    """
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_WIDTH)
    unlimited = console.options.update(width=10 * LOG_WIDTH)
    if not table.rows:
        console.print(f"{table.title}: none")
        return
    if Measurement.get(console, unlimited, table).minimum <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title, soft_wrap=True)
    names = [Text.from_markup(str(column.header)).plain for column in table.columns]
    longest = max(map(len, names))
    for row in zip(*(column.cells for column in table.columns), strict=True):
        lines = (f"{escape(f'{name:{longest}}')}  {cell}" for name, cell in zip(names, row, strict=True) if cell)
        console.print("", *lines, sep="\n", soft_wrap=True)


def show_frame(frame: "pd.DataFrame", title: str) -> None:
    """Print a pandas table."""
    table = _table(title, *map(_text, map(str, frame.columns)))
    for row in frame.itertuples(index=False):
        table.add_row(*(_text(_cell(value)) for value in row))
    show(table)


def show_or_print(frame: "pd.DataFrame", title: str, columns: list[str], as_json: bool) -> None:
    """Print some columns of a pandas table, if it has them, or all of them as JSON."""
    if as_json:
        print(frame.to_json(orient="records", indent=2))
    else:
        show_frame(frame[[column for column in columns if column in frame]], title)


def faces_table(faces: "pd.DataFrame") -> Table:
    """A row per emotion of recognized faces: its labels, and its images by the split that the data states."""
    # The parts of FER-2013's challenge tell more than its splits.
    by = "usage" if (faces["usage"] != "").all() else "given_split"
    order = ("Training", "PublicTest", "PrivateTest", "train", "validation", "test", "")
    parts = [part for part in order if (faces[by] == part).any()]
    table = _table("", "emotion", "labels", "images", *(part or "without a split" for part in parts))
    for emotion, rows in faces.groupby("emotion"):
        counts = [f"{(rows[by] == part).sum():,}" for part in parts]
        table.add_row(_text(str(emotion)), _text(", ".join(sorted(set(rows["label"])))), f"{len(rows):,}", *counts)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _text(text: str) -> str:
    """A text from outside the program, which may contain markup or control characters."""
    return escape(printable(text))


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def watch(table: "Callable[[], tuple[Table, bool]]") -> None:
    """Show a table that changes, until it says that it is final, or Ctrl-C.

    Args:
        table: returns the table, and whether it is final.
    """
    with contextlib.suppress(KeyboardInterrupt), Live(console=Console(), auto_refresh=False) as live:
        while True:
            shown, is_final = table()
            live.update(shown, refresh=True)
            if is_final:
                return
            time.sleep(WATCH_INTERVAL)


def progress_table(progress: "SearchProgress") -> tuple[Table, bool]:
    """A row per trial, the running ones first, and whether the search has ended."""
    best = "none yet" if progress.best is None else f"{progress.best:.4f}"
    left = "" if progress.seconds_left is None else f", about {progress.seconds_left / 60:.0f} min left"
    title = f"Search {progress.search.id}: {progress.search.status.lower()}, best score {best}{left}"
    table = _table(title, "trial", "status", "epoch", "score", "values")
    for row in progress.trials:
        table.add_row(*(_text(_cell(value)) for value in row.values()))
    return table, progress.search.status != "RUNNING"


def verdict_table(verdict: "Verdict") -> Table:
    """A row per rule."""
    champion = f"compared with version {verdict.champion}" if verdict.champion else "there is no champion yet"
    table = _table(f"Version {verdict.version}, {champion}", "rule", "value", "threshold", "outcome")
    for rule in verdict.rules:
        style = "red bold" if not rule.passed else "green" if rule.judged else "yellow"
        table.add_row(_text(rule.name), _text(rule.value), _text(rule.threshold), f"[{style}]{rule.outcome}")
    return table


def history_table(name: str, entries: "list[Entry]") -> Table:
    """A row per entry, the newest last."""
    table = _table(f"History of {name}", "time (UTC)", "action", "before", "verdict", "by", "reason")
    for entry in entries:
        verdict = f"{entry.verdict}{', promoted by force' if entry.forced else ''}"
        action = f"{entry.action} {entry.version or ''}"
        cells = (entry.at[:16].replace("T", " "), action, entry.before, verdict, entry.by, entry.reason)
        table.add_row(*(_text(_cell(cell)) for cell in cells))
    return table


def show_lineage(lineage: "Lineage") -> None:
    """Print a line per fact, by subject."""
    sections = {
        **{subject: _labelled(getattr(lineage, subject)) for subject in SUBJECTS},
        "parameters": lineage.parameters,
        "metrics": lineage.metrics,
        "decisions": lineage.decision or {"last": "none"},
        "reproduction": {"last": lineage.reproduction or "none"},
    }
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_WIDTH)
    for subject, facts in sections.items():
        console.print(f"[bold]{subject}")
        longest = max(map(len, facts), default=0)
        for name, value in facts.items():
            console.print(f"  {escape(f'{name:{longest}}')}  {_text(_fact(value))}", soft_wrap=True, highlight=False)


def _labelled(section: "BaseModel") -> dict[str, Any]:
    return {field.title or name: getattr(section, name) for name, field in type(section).model_fields.items()}


def _fact(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(f"{key} {item}" for key, item in value.items())
        case tuple():
            return ", ".join(value) or "none"
        case bool():
            return "yes" if value else "none"
        case None:
            return "none"
        case _:
            return _cell(value)


def reproduction_table(reproduction: "Reproduction") -> Table:
    """A row per metric that differs."""
    table = _table("Different metrics", "metric", "recorded", "reproduced", "difference")
    for name, (recorded, reproduced) in reproduction.metrics.items():
        if reproduced != recorded:
            table.add_row(name, f"{recorded:.6f}", f"{reproduced:.6f}", f"{reproduced - recorded:+.6f}")
    return table


def findings_table(findings: "list[Finding]") -> Table:
    """A row per check."""
    table = _table("Checks", "subject", "state", "finding", "fix")
    for finding in findings:
        state = f"[{STATE_STYLES[finding.state]}]{finding.state}"
        table.add_row(finding.subject, state, _text(finding.what), _text(finding.fix))
    return table


def predictions_table(results: "list[ImageResult]") -> Table:
    """A row per face."""
    title = f"{len(results)} image{'s' if len(results) != 1 else ''}"
    table = _table(title, "image", "face", "answer", "most likely", "second", "position", "note")
    for result in results:
        if result.error and not result.faces:
            table.add_row(_text(result.name), "", "[red]error, see below")
        elif not result.faces:
            table.add_row(_text(result.name), "", "no face")
        for number, face in enumerate(result.faces, start=1):
            first, second, *_ = sorted(face.scores.items(), key=lambda item: -item[1])
            likely, runner_up = (f"{emotion} {score:.0%}" for emotion, score in (first, second))
            position = f"{face.box.left}, {face.box.top}, {face.box.side} wide"
            note = "; ".join(filter(None, (face.reason, result.caution)))
            table.add_row(_text(result.name), str(number), face.answer, likely, runner_up, position, note)
    return table


def parity_table(title: str, target: Path, parity: "Parity") -> Table:
    """The converted file compared with the SavedModel."""
    table = _table(f"{title} as {target}, on validation images", "", str(target.name), "SavedModel")
    table.add_row("size", f"{parity.size_mib:.2f} MiB", f"{parity.size_before_mib:.2f} MiB")
    table.add_row("largest difference in probability", f"{parity.max_difference:.2g}", "")
    table.add_row("same predicted emotion", f"{parity.agreement:.2%}", "")
    if parity.same_familiarity is not None:
        table.add_row("same verdict on familiarity", f"{parity.same_familiarity:.2%}", "")
    table.add_row("accuracy", f"{parity.accuracy:.4f}", f"{parity.accuracy_before:.4f}")
    table.add_row("p-value of the difference in accuracy", f"{parity.p_value:.3g}", "")
    for key, name in (("latency_ms_median", "ms per image"), ("images_per_second", "images/s in batches of 32")):
        table.add_row(name, f"{parity.speed[key]:,.2f}", f"{parity.speed_before[key]:,.2f}")
    return table
