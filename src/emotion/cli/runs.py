"""`emotion restore`, `sync`, `cleanup-runs` and `ui`."""

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from emotion.runtime.errors import UserError
from emotion.runtime.text import printable


def restore(context: typer.Context) -> None:
    """Log lost MLflow runs again from the pipeline's files.

    Use this after `dvc pull`, or with a new tracking store: the runs of fetch, preprocess, tune, train and evaluate are
    logged again, tagged as restored, and the model is registered again.
    """
    from emotion.params.load import load_params
    from emotion.registry.registration import register_trained
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
        registered = register_trained(params, Path(folder) / "model_card", exit_callbacks)
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


def ui(port: Annotated[int, typer.Option(help="The port to listen on.")] = 5000) -> None:
    """Browse runs and models in MLflow's UI."""
    from emotion.tracking.client import connection

    store = connection()
    if store.is_remote:
        raise UserError(f"the runs are on a server: open {store.shown_uri} in a browser.")
    # Also creates an empty store, which the server's workers would race for. MLflow's start page is about language
    # models; this one is the experiment's.
    page = f"experiments/{store.experiment_id}/runs?workflowType=machine_learning"
    print(f"Open http://127.0.0.1:{port}/#/{page}", flush=True)
    # One worker and no job runner: a local store has one reader and little memory to spare.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    program = str(Path(sys.executable).with_name("mlflow"))
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store.uri  # arguments are visible to all users; a URI may have a password
    os.execv(program, [program, "server", "--workers", "1", "--port", str(port)])
