"""`emotion restore`, `sync`, `cleanup-runs`, `clean` and `ui`."""

import contextlib
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from emotion.cli.promotion import JsonOption
from emotion.runtime.text import printable


def restore(context: typer.Context) -> None:
    """Log lost MLflow runs again from the pipeline's files.

    Use this after `dvc pull`, or with a new tracking store: the runs of fetch, preprocess, tune, train and evaluate are
    logged again, tagged as restored, and the model is registered again.
    """
    from emotion.params.load import load_params
    from emotion.registry.model_card.exports import read_exports
    from emotion.registry.registration import register_trained
    from emotion.runtime.paths import MODEL_CARD
    from emotion.tracking.client import connection
    from emotion.tracking.records import RECORDED_STAGES
    from emotion.tracking.restore import restore as restore_stage
    from emotion.tracking.runs import fail_open_runs

    params = load_params()
    connection().disable_offline_mode()
    context.call_on_close(fail_open_runs)
    with connection().translate_errors():
        for stage in RECORDED_STAGES:
            print(f"{stage}: run {restore_stage(stage)}")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as exit_callbacks:
        # Not to models/model_card, which is an output of the pipeline.
        registered = register_trained(params, Path(folder) / "model_card", exit_callbacks, read_exports(MODEL_CARD))
    print(f"register: {registered.name} version {registered.version}")


def sync(
    drop_first: Annotated[
        bool, typer.Option("--drop-first", help="First discard the oldest queued operation (if it is undeliverable).")
    ] = False,
) -> None:
    """Deliver logs that were queued while the MLflow server was unavailable."""
    from emotion.tracking.client import connection
    from emotion.tracking.delivery import flush

    outbox = connection().outbox
    if drop_first and (dropped := outbox.drop_first()) is not None:
        kind, run_id = dropped.get("kind", "a damaged operation"), dropped.get("run_id", "unknown")
        print(printable(f"Discarded: {kind} of run {run_id}."))
    print(f"{flush()} operations delivered, {len(outbox)} still queued.")


def cleanup_runs() -> None:
    """Set RUNNING runs whose process has exited to KILLED, and delete the models that they were still writing."""
    from emotion.tracking.client import connection
    from emotion.tracking.queries import cleanup_runs as cleanup
    from emotion.tracking.queries import delete_incomplete_models
    from emotion.tracking.runs import PROCESS_TAG

    connection().disable_offline_mode()
    killed, others = cleanup()
    for run in killed:
        print(f"{printable(run.name)} {run.id}: KILLED")
    for run in others:
        process = run.tags.get(PROCESS_TAG, "unknown")
        print(printable(f"{run.name} {run.id}: left alone; its process: {process}"))
    models = delete_incomplete_models()
    for model in models:
        print(f"Incomplete model {printable(model)}: deleted")
    print(f"Runs set to KILLED: {len(killed)}; left alone: {len(others)}. Models deleted: {len(models)}.")


PURGE = "Run `mlflow gc` to remove the deleted entries from MLflow's database, too."


def clean(
    older_than: Annotated[float, typer.Option(min=0, help="Days; anything younger is kept.")] = 30,
    keep_best: Annotated[
        int,
        typer.Option(
            min=0,
            help="How many of the best versions and trainings to keep, and of the trials of each search that is kept.",
        ),
    ] = 10,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed, with its files.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List old searches, trials, trainings and versions that nothing needs; with --delete, delete them and their files.

    Kept: what an alias or an entry of the history leads to, the pipeline's current outputs, and the best.
    """
    import json
    from dataclasses import asdict

    import pandas as pd

    from emotion.cli import tables
    from emotion.params.load import load_params
    from emotion.registry.cleaning import delete as delete_items
    from emotion.registry.cleaning import find_old
    from emotion.registry.listing import age
    from emotion.tracking.client import connection

    name = load_params().register_.name
    connection().disable_offline_mode()
    found = find_old(name, older_than, keep_best) if connection().has_store else []
    if delete:
        delete_items(name, found)
    if as_json:
        print(json.dumps({"deleted": delete, "items": [asdict(item) for item in found]}, indent=2))
        return
    rows = [
        {"kind": item.kind, "name": item.name, "score": item.score, "age": age(item.created), "MiB": item.size / 2**20}
        for item in found
    ]
    title = "Deleted" if delete else "Can be deleted"
    tables.show_frame(pd.DataFrame(rows, columns=["kind", "name", "score", "age", "MiB"]), title)
    freed = sum(item.size for item in found) / 2**20
    if delete:
        print(f"Freed {freed:,.1f} MiB." + (f" {PURGE}" if found else ""))
    elif found:
        print(f"`--delete` frees {freed:,.1f} MiB. Nothing was changed.")


def ui(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port to listen on.")] = 5000,
    open_page: Annotated[bool, typer.Option("--open", help="Open the first view in a browser.")] = False,
) -> None:
    """Browse runs and models in MLflow's UI, with prepared views of training runs and trials."""
    import webbrowser

    from emotion.tracking.client import connection
    from emotion.tracking.server import mlflow_server
    from emotion.tracking.views import update_views

    store = connection()
    store.disable_offline_mode()
    # Also creates an empty store, which the server's workers would race for.
    views = update_views()
    with mlflow_server(store, port) as address:
        for view in views:
            print(f"{view.name}: {address}{view.address}")
        print(
            f"Registered models: {address}/#/models?workflowType=machine_learning"
            + ("" if store.is_remote else "\nPress Ctrl-C to stop."),
            flush=True,
        )
        if open_page:
            webbrowser.open(address + views[0].address)
        if not store.is_remote:
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
