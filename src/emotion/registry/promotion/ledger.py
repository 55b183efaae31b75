"""The append-only ledger of a model's promotions.

It is an MLflow run whose parameters are the entries. MLflow never overwrites a parameter, so only one of two
simultaneous changes succeeds.
"""

import re
from collections.abc import Sequence

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from securesystemslib.signer import CryptoSigner

from emotion.registry.promotion.chain import entry_key, entry_text, parse_entries
from emotion.registry.promotion.history import Entry
from emotion.registry.signing.keys import trusted_keys
from emotion.registry.versions import no_model_error
from emotion.runtime.errors import UserError
from emotion.tracking.client import connection
from emotion.tracking.runs import start_run

LEDGER_TAG = "history.run_id"  # tag of a model: the run that is its ledger
APPLIED_TAG = "history.applied"  # tag of a model: how many entries its aliases and tags reflect
LEDGER_OF_TAG = "history.of"  # tag of a ledger's run: its model
MODEL_DESCRIPTION = """Classifiers of facial emotions. `dvc repro` registers what it trained as a new version.
`emotion promote VERSION` makes a version the **champion** if it passes the gate, and `emotion rollback` returns to the
one before. `emotion predict` and the demo use the champion. `emotion history` shows who changed it and why."""
MAX_ENTRY = 6000  # characters; MLflow truncates longer parameters


class LostLedgerError(UserError):
    """A model's ledger was deleted permanently."""


def ledger_run(name: str, create: bool = False) -> str:
    """The id of the run that is a model's ledger.

    Args:
        name: the name of the model.
        create: create the model if there is none. If two processes try, only one succeeds, so there are never
            two ledgers.

    Raises:
        UserError: if there is no such model.
    """
    client = connection().client
    with connection().translate_errors():
        known = _model_tag(name, LEDGER_TAG)
        if known is None and create:
            created = _create_ledger(name)
            try:
                client.create_registered_model(name, {LEDGER_TAG: created}, MODEL_DESCRIPTION)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                client.delete_run(created)  # another process was first
            known = _model_tag(name, LEDGER_TAG)
        if known is None:
            raise no_model_error(name)
        if not known:  # the model was registered by another program
            _create_ledger(name)
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            order = ["attributes.start_time ASC", "attributes.run_id ASC"]
            oldest = client.search_runs(
                experiments, f"tags.`{LEDGER_OF_TAG}` = '{name}'", order_by=order, max_results=1
            )
            known = str(oldest[0].info.run_id)
            client.set_registered_model_tag(name, LEDGER_TAG, known)
    return known


def _model_tag(name: str, key: str) -> str | None:
    """A tag of a registered model, empty if it has none; None if there is no such model."""
    try:
        return str(connection().client.get_registered_model(name).tags.get(key, ""))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _create_ledger(name: str) -> str:
    with start_run(f"history of {name}", {LEDGER_OF_TAG: name}, {}, purpose="promotions") as run:
        run.set_description("The promotions of the model: `emotion history` shows them. Every parameter is an entry.")
    return run.id


def read_entries(name: str) -> list[Entry]:
    """The entries of a model's ledger, in order.

    Raises:
        LostLedgerError: if the ledger was deleted permanently.
        SignatureError: if the project has keys, and the entries are not as a holder of one wrote them.
        UserError: if there is no such model, or an entry was not written by this program.
    """
    return parse_entries(name, _read_ledger(name).data.params, trusted_keys())


def _read_ledger(name: str) -> Run:
    run_id = ledger_run(name)
    with connection().translate_errors():
        try:
            return connection().client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise LostLedgerError(
                f"the history of {name} is lost: its run {run_id} was deleted permanently. `emotion history --restart`"
                " begins a new history from the current aliases."
            ) from error


def replace_lost_ledger(name: str, entries: list[Entry], signer: CryptoSigner | None) -> None:
    """Begin a new ledger with some entries, if the model's ledger was deleted permanently.

    Raises:
        UserError: if the ledger exists.
    """
    try:
        _read_ledger(name)
    except LostLedgerError:
        client = connection().client
        with connection().translate_errors():
            created = _create_ledger(name)
            text = ""
            for number, entry in enumerate(entries, start=1):
                text = entry_text(name, entry, text, signer)
                client.log_param(created, entry_key(number), text)
            set_applied_entries(name, 0)
            client.set_registered_model_tag(name, LEDGER_TAG, created)  # last: until then, the history is lost
    else:
        raise UserError(f"the history of {name} exists, so it cannot be restarted. See `emotion history`.")


def write_entry(name: str, entries: Sequence[Entry], entry: Entry, signer: CryptoSigner | None = None) -> bool:
    """Write an entry after others, unless another one was written there.

    Args:
        name: the name of the model.
        entries: those before it, as `read_entries` verified them.
        entry: the entry; its id makes it unique.
        signer: the private key, if the project has keys.

    Returns:
        True if this entry was written, False if another process was first.
    """
    client, run_id = connection().client, _read_ledger(name).info.run_id
    key, text = entry_key(len(entries) + 1), entry_text(name, entry, entries[-1].stored if entries else "", signer)
    if len(text) > MAX_ENTRY:
        raise UserError(f"an entry can have at most {MAX_ENTRY} characters, got {len(text)}. Shorten the reason.")
    with connection().translate_errors():
        try:
            client.log_param(run_id, key, text)
        except MlflowException as error:
            run = client.get_run(run_id)
            if run.info.lifecycle_stage == "deleted":
                raise UserError(
                    f"the run with the history of {name} was deleted. Restore it with `mlflow runs restore --run-id"
                    f" {run_id}`."
                ) from error
            if key not in run.data.params:
                raise
        return bool(client.get_run(run_id).data.params[key] == text)


def applied_entries(name: str) -> int | None:
    """How many entries the model's aliases and tags reflect; None if the tag is no number: anyone can edit it."""
    with connection().translate_errors():
        text = _model_tag(name, APPLIED_TAG) or "0"
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def set_applied_entries(name: str, count: int) -> None:
    """Record how many entries the aliases and tags reflect."""
    with connection().translate_errors():
        connection().client.set_registered_model_tag(name, APPLIED_TAG, str(count))
