"""`emotion trace` and `reproduce`."""

import typer

from emotion.cli.promotion import JsonOption, VersionArgument

DIFFERENT = 3  # exit code


def trace(version: VersionArgument, as_json: JsonOption = False) -> None:
    """Show where a version comes from: code, data, search, training, parameters, decisions."""
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry.lineage import trace_version

    lineage = trace_version(load_params().register_.name, version)
    if as_json:
        print(lineage.model_dump_json(indent=2))
    else:
        tables.show(tables.lineage_table(lineage))


def reproduce(version: VersionArgument) -> None:
    """Train a version again from its commit, patch and data, and compare the metrics.

    Everything happens in a temporary folder. Exit codes: 0 if the metrics are equal, 3 if they differ.
    """
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry import reproduce as reproduction

    result = reproduction.reproduce(load_params().register_.name, version)
    if not result.is_equal:
        tables.show(tables.reproduction_table(result))
    for library, (recorded, installed) in result.libraries.items():
        print(f"{library}: recorded {recorded}, installed {installed}.")
    print(f"The data came from {result.data_from}.")
    if not result.is_equal:
        metric, difference = result.max_difference
        print(f"Different: {metric} differs most, by {difference:.6f}.")
        raise typer.Exit(DIFFERENT)
    print(f"Equal: all {len(result.metrics)} metrics match the recorded ones.")
