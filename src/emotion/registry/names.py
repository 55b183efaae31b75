"""Find runs and versions by the names that people give: numbers, aliases, DVC experiments, trials, and run ids."""

import re

from emotion.registry.promotion.history import ALIASES
from emotion.registry.promotion.reconcile import trusted_aliases
from emotion.registry.versions import Version, get_version, list_versions, no_model_error
from emotion.runtime.errors import UserError
from emotion.tracking.client import connection
from emotion.tracking.delivery import RESTORED_FROM_TAG
from emotion.tracking.queries import RunInfo, search_runs
from emotion.tracking.runs import KEY_TAG, PARENT_TAG
from emotion.tracking.searches import newest_search

MIN_PREFIX = 4  # characters of a run id
EXPERIMENT_TAG = "dvc.experiment"


def find_version(name: str, text: str) -> str:
    """The number of a version that is given by its number, its alias, its DVC experiment, or the id of its run.

    Args:
        name: the name of the model.
        text: what was given.

    Raises:
        UserError: if there is no such version.
    """
    versions = list_versions(name) if connection().has_store else {}
    if not versions:
        raise no_model_error(name)
    if number := _match_version(text, versions, trusted_aliases(name)):
        return number
    if text in ALIASES:
        raise UserError(f"{name} has no {text} now. `emotion versions` lists its versions with their aliases.")
    raise UserError(
        f"{name} has no version {text}. Its versions: {', '.join(versions)}. `emotion versions` lists their aliases,"
        " experiments and run ids."
    )


def parse_model_uri(uri: str) -> tuple[str, Version] | None:
    """The model and version that models:/NAME/NUMBER, /latest or @ALIAS names; None for other URIs.

    Raises:
        UserError: if there is no such version.
    """
    parts = re.fullmatch(r"models:/([^/@]+)(?:/(\d+|latest)|@(.+))", uri)
    if not parts:
        return None
    name, number, alias = parts.groups()
    if alias:
        number = trusted_aliases(name).get(alias)
    elif number == "latest":
        number = next(reversed(list_versions(name)), "latest")
    if number is None:
        raise UserError(
            f"{name} has no {alias}. `emotion promote VERSION` makes a version the champion;"
            f" models:/{name}/VERSION names any version."
        )
    return name, get_version(name, number)


def _match_version(text: str, versions: dict[str, Version], aliases: dict[str, str]) -> str | None:
    if text in versions:
        return text
    if text in aliases:
        return aliases[text]
    of_experiment = [number for number, version in versions.items() if version.tags.get(EXPERIMENT_TAG) == text]
    of_run = [number for number, version in versions.items() if _starts_with(version.run_id, text)]
    if len({versions[number].run_id for number in of_run}) > 1:
        raise UserError(f"the runs of versions {', '.join(of_run)} start with {text}. Give more characters of the id.")
    return next(reversed(of_experiment or of_run), None)


def _starts_with(run_id: str, text: str) -> bool:
    return len(text) >= MIN_PREFIX and run_id.startswith(text)


def find_runs(name: str, *texts: str) -> list[RunInfo]:
    """Find runs by a version, its alias, a DVC experiment, a trial of the newest search, or the start of their ids.

    Args:
        name: the name of the model, for versions.
        texts: what was given.

    Raises:
        UserError: if there is no such run, or more than one.
    """
    known = search_runs()
    versions = list_versions(name) if known else {}
    aliases = (trusted_aliases(name)) if known else {}
    search = newest_search() if known else None
    return [_find_run(text, known, versions, aliases, search) for text in texts]


def _find_run(
    text: str, known: list[RunInfo], versions: dict[str, Version], aliases: dict[str, str], search: RunInfo | None
) -> RunInfo:
    if number := _match_version(text, versions, aliases):
        matches = [run for run in known if versions[number].run_id in (run.id, run.tags.get(RESTORED_FROM_TAG))]
        if matches:
            return matches[0]
    for matches in (
        [run for run in known if run.tags.get(EXPERIMENT_TAG) == text and run.tags.get("stage") == "train"][:1],
        [run for run in known if search and run.tags.get(KEY_TAG) == text and run.tags.get(PARENT_TAG) == search.id],
        [run for run in known if _starts_with(run.id, text)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UserError(f"{len(matches)} runs have ids that start with {text}. Give more characters of the id.")
    raise UserError(
        f"there is no run {text}. Give a version, an alias, a DVC experiment, a trial of the newest search, or at least"
        f" {MIN_PREFIX} characters of a run id; `emotion runs`, `versions` and `trials` list them."
    )
