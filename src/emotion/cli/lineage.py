"""`emotion summary`, `trace` and `reproduce`."""

import json
import math
from dataclasses import asdict

import typer

from emotion.cli.promotion import JsonOption, VersionArgument

DIFFERENT = 3  # exit code


def summary(as_json: JsonOption = False) -> None:
    """Show what `dvc repro` trained, how accurate it is, and what to run next."""
    from emotion.registry.promotion.reconcile import known_aliases
    from emotion.runtime.files import read_json
    from emotion.runtime.paths import REGISTERED, SCORES
    from emotion.runtime.text import printable
    from emotion.tracking.records import Registered, Scores, read_record

    registered = Registered.model_validate(read_json(REGISTERED, "Run `dvc repro`.", Registered))
    scores = read_json(SCORES, "Run `dvc repro`.", Scores)
    train, test = read_record("train").params, scores["test"]
    is_champion = known_aliases(registered.name).get("champion") == registered.version
    if as_json:
        facts = {"network": train["train.network"], "data": scores["data"], "is_champion": is_champion}
        print(json.dumps({**registered.model_dump(), **facts, "test": test}, indent=2))
        return
    error = math.sqrt(test["accuracy"] * (1 - test["accuracy"]) / test["images"])
    score = f"accuracy {test['accuracy']:.1%} (standard error {error:.1%}), macro F1 {test['macro_f1']:.2f}"
    version = f"{registered.name} version {registered.version}{', the champion' if is_champion else ''}"
    print(f"\nTrained     {printable(train['train.network'])} on {printable(scores['data'])}")
    print(f"Test        {score}, on {test['images']:,.0f} images")
    print(f"Registered  {printable(version)}\n\nNext")
    promote = f".venv/bin/emotion promote {registered.version}"
    for command, purpose in {
        "make ui": "browse runs, trials and versions in MLflow",
        **({} if is_champion else {promote: "make this version the champion, if it passes the gate"}),
        "make demo": "show the champion in a web page",
    }.items():
        print(f"  {command:<30}{purpose}")


def trace(version: VersionArgument, as_json: JsonOption = False) -> None:
    """Show where a version comes from: code, data, search, training, parameters, decisions."""
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry.lineage import trace_version
    from emotion.registry.names import find_version

    name = load_params().register_.name
    lineage = trace_version(name, find_version(name, version))
    if as_json:
        print(lineage.model_dump_json(indent=2))
    else:
        tables.show_lineage(lineage)


def reproduce(version: VersionArgument, as_json: JsonOption = False) -> None:
    """Train a version again from its commit, patch and data, and compare the metrics.

    Everything happens in a temporary folder. Exit codes: 0 if the metrics are equal, 3 if they differ.
    """
    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry import reproduce as reproduction
    from emotion.registry.names import find_version

    name = load_params().register_.name
    result = reproduction.reproduce(name, find_version(name, version))
    if as_json:
        print(json.dumps({"is_equal": result.is_equal, **asdict(result)}, indent=2))
        raise typer.Exit(0 if result.is_equal else DIFFERENT)
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
