"""What the command line shows as tables."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from emotion.cli.doctor import Finding
    from emotion.inference.convert import Parity
    from emotion.registry.promotion.history import Entry
    from emotion.registry.promotion.rules import Verdict
    from emotion.registry.reproduce import Reproduction
    from emotion.serving.batch import Answer

WITHOUT_TERMINAL = 250  # characters a line, so that nothing is cut in a log


def show(table: Table) -> None:
    """Print a table, as wide as the terminal; whole where there is none."""
    Console(width=None if sys.stdout.isatty() else WITHOUT_TERMINAL).print(table)


def show_frame(frame: Any, title: str) -> None:
    """Print a pandas table."""
    shown = _table(title, *map(str, frame.columns))
    for row in frame.itertuples(index=False):
        shown.add_row(*(escape(_cell(value)) for value in row))
    show(shown)


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left")


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def verdict(found: "Verdict") -> Table:
    """A row per rule."""
    against = f"against version {found.champion}" if found.champion else "there is no champion yet"
    shown = _table(f"Version {found.version}, {against}", "rule", "figure", "bound", "outcome")
    for rule in found.rules:
        shown.add_row(
            rule.name, escape(rule.figure), escape(rule.bound), "[green]passed" if rule.passed else "[red bold]failed"
        )
    return shown


def history(name: str, entries: "list[Entry]") -> Table:
    """A row per entry, the newest last."""
    columns = ("at", "what", "version", "champion before", "verdict", "by", "commit", "reason")
    shown = _table(f"History of {name}", *columns)
    for entry in entries:
        verdict = f"{entry.verdict}{', forced' if entry.forced else ''}"
        cells = (entry.at, entry.action, entry.version, entry.before, verdict, entry.by, entry.commit[:8], entry.reason)
        shown.add_row(*(escape(_cell(cell)) for cell in cells))
    return shown


def trace(found: dict[str, dict[str, Any]]) -> Table:
    """A row per fact, by subject."""
    shown = _table("Where it comes from", "", "", "")
    shown.show_header = False
    for subject, facts in found.items():
        for number, (name, value) in enumerate(facts.items()):
            shown.add_row(subject if number == 0 else "", name, escape(_cell(value)))
        shown.add_section()
    return shown


def reproduction(found: "Reproduction") -> Table:
    """A row per metric that differs."""
    shown = _table("Metrics that differ", "metric", "on record", "again", "difference")
    for name, (then, again) in found.metrics.items():
        if again != then:
            shown.add_row(name, f"{then:.6f}", f"{again:.6f}", f"{again - then:+.6f}")
    return shown


def findings(found: "list[Finding]") -> Table:
    """A row per finding."""
    colours = {"well": "green", "warning": "yellow", "ill": "red bold"}
    shown = _table("What is needed here", "subject", "state", "found", "what to do")
    for finding in found:
        state = f"[{colours[finding.state]}]{finding.state}"
        shown.add_row(finding.subject, state, escape(finding.what), escape(finding.fix))
    return shown


def answers(found: "list[Answer]") -> Table:
    """A row per face."""
    shown = _table(
        f"{len(found)} picture{'s' if len(found) != 1 else ''}",
        "picture",
        "face",
        "answer",
        "confidence",
        "next",
        "place",
    )
    for answer in found:
        if answer.error and not answer.faces:
            shown.add_row(escape(answer.name), "", "[red]failed, see below")
        elif not answer.faces:
            shown.add_row(escape(answer.name), "", "no face")
        for number, face in enumerate(answer.faces, start=1):
            first, second, *_ = sorted(face.scores.items(), key=lambda it: -it[1])
            named = face.answer if face.answer == first[0] else f"{face.answer}, {first[0]}?"
            place = f"{face.box.left}, {face.box.top}, {face.box.side} wide"
            shown.add_row(
                escape(answer.name), str(number), named, f"{first[1]:.0%}", f"{second[0]} {second[1]:.0%}", place
            )
    return shown


def parity(title: str, target: Path, found: "Parity") -> Table:
    """The exported file beside the SavedModel."""
    shown = _table(f"{title} as {target}, on validation images", "", str(target.name), "SavedModel")
    shown.add_row("size", f"{found.size_mib:.2f} MiB", f"{found.size_before_mib:.2f} MiB")
    shown.add_row("largest difference of a probability", f"{found.largest_difference:.2g}", "")
    shown.add_row("same answers", f"{found.same_answers:.2%}", "")
    shown.add_row("accuracy", f"{found.accuracy:.4f}", f"{found.accuracy_before:.4f}")
    for key, name in (("latency_ms_median", "one image, ms"), ("images_per_second", "images/s in batches of 32")):
        shown.add_row(name, f"{found.speed[key]:,.2f}", f"{found.speed_before[key]:,.2f}")
    return shown
