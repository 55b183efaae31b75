"""`emotion runs`, `versions` and `compare`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from emotion.cli.promotion import JsonOption

RunsArgument = Annotated[
    list[str],
    typer.Argument(
        help="Versions (3 or champion), DVC experiments, trials of the newest search (trial-003), or starts of run ids."
    ),
]


def runs(as_json: JsonOption = False) -> None:
    """List all training runs, the best first."""
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry.listing import SHOWN_OF_RUNS, runs_table

    tables.show_or_print(runs_table(load_params().register_.name), "Training runs", SHOWN_OF_RUNS, as_json)


def versions(as_json: JsonOption = False) -> None:
    """List all versions of the registered model, the newest first."""
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry.listing import SHOWN_OF_VERSIONS, versions_table

    name = load_params().register_.name
    tables.show_or_print(versions_table(name), f"Versions of {name}", SHOWN_OF_VERSIONS, as_json)


def compare(
    runs: RunsArgument,
    code: Annotated[bool, typer.Option("--code", help="Also show how the code differs.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with all figures instead.", metavar="FILE", dir_okay=False)
    ] = None,
    validation: Annotated[
        bool, typer.Option("--validation", help="Compare predictions for validation images, to choose by them.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare runs with the first one: parameters, metrics, predictions, code."""
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry.comparison.code import code_differences
    from emotion.registry.comparison.compare import compare_runs
    from emotion.registry.names import find_runs

    split = "validation" if validation else None
    result = compare_runs(find_runs(load_params().register_.name, *runs), runs, split)
    differences = code_differences(result) if code else {}
    if html:
        from emotion.registry.comparison.page import write_page

        write_page(result, differences, html)
        print(f"Wrote {html}, a self-contained page that compares {', '.join(runs)}.")
        return
    if as_json:
        content = {
            "runs": {label: run.id for label, run in zip(result.labels, result.runs, strict=True)},
            "parameters": json.loads(result.params.to_json(orient="index")),
            "metrics": json.loads(result.metrics.to_json(orient="index")),
            "tests": [asdict(test) for test in result.tests],
            "code": differences,
        }
        print(json.dumps(content, indent=2))
        return
    tables.show_frame(result.params.reset_index(names="parameter"), "Parameters that differ")
    metrics = result.metrics
    if len(runs) == 2:
        metrics = metrics.assign(difference=metrics.iloc[:, 1] - metrics.iloc[:, 0])
    tables.show_frame(metrics.reset_index(names="metric"), "Metrics")
    for test in result.tests:
        print(f"\n{test.sentence}")
    if not result.tests:
        print(f"\nNo other run has predictions for the same images as {runs[0]}, so nothing was tested.")
    for label, difference in differences.items():
        print(f"\nCode of {label} compared with {runs[0]}:\n{difference or 'the same'}")
