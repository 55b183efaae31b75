"""Whether what a version was made from, and its model, exist anywhere but on this machine."""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from emotion.registry.lineage import LOCK
from emotion.registry.versions import Version
from emotion.runtime.errors import UserError
from emotion.runtime.paths import DATASET, SAVED_MODEL, project_root
from emotion.tracking.dvc_files import Lock
from emotion.tracking.git import is_pushed
from emotion.tracking.queries import get_run, read_artifact


def version_warnings(version: Version) -> list[str]:
    """What of a version is at risk, in sentences; empty if all of it was pushed."""
    return backup_warnings(version.tags.get("git.commit", "unknown"), _outputs(version))


def _outputs(version: Version) -> dict[str, str]:
    """DVC's hashes of the version's data and model, by path, as far as they are recorded."""
    found = {DATASET.as_posix(): version.tags.get("data.dvc_hash", "unknown")}
    try:
        run = get_run(version.run_id) if version.run_id else None
        content = read_artifact(run.id, LOCK) if run else None
        lock = Lock.model_validate(YAML(typ="safe", pure=True).load(content.decode())) if content else None
    except (UserError, ValidationError, YAMLError, UnicodeDecodeError, RecursionError):  # lost or damaged
        lock = None
    if lock:
        found |= hashes(lock)
    return {path: md5 for path, md5 in found.items() if md5 != "unknown"}


def hashes(lock: Lock) -> dict[str, str]:
    """DVC's hashes of the data and the model in dvc.lock, by path."""
    wanted = {DATASET.as_posix(), SAVED_MODEL.as_posix()}
    return {out.path: out.md5 for stage in lock.stages.values() for out in stage.outs if out.path in wanted}


def backup_warnings(commit: str, outputs: Mapping[str, str]) -> list[str]:
    """What is only on this machine, in sentences.

    Args:
        commit: the commit of the code; `unknown` if there is none.
        outputs: DVC's hashes by path.
    """
    warnings = []
    if commit != "unknown" and not is_pushed(commit):
        warnings.append(f"The commit {commit[:8]} was never pushed. Run `git push`.")
    try:
        missing = _not_in_remote(outputs)
    except Exception as error:  # noqa: BLE001  remotes of many kinds raise many kinds
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        question = "The default DVC remote could not be asked whether it has the data and the model"
        return [*warnings, f"{question}: {reason.rstrip('.')}. Check it with `dvc status --cloud`."]
    if missing is None:
        warnings.append(
            f"No default DVC remote is set, so DVC has no other copy of {' and '.join(outputs)}. Add one with"
            " `dvc remote add --default NAME URL`, and run `dvc push`."
        )
    elif missing:
        warnings.append(f"The default DVC remote lacks {' and '.join(missing)}. Run `dvc push`.")
    return warnings


def _not_in_remote(outputs: Mapping[str, str]) -> Sequence[str] | None:
    """The paths of outputs that the default remote does not have; None if there is no remote."""
    if not outputs or not (project_root() / ".dvc").is_dir():
        return []
    from dvc.config import NoRemoteError
    from dvc.repo import Repo

    with Repo(str(project_root())) as repository:
        try:
            remote = repository.cloud.get_remote_odb()
        except NoRemoteError:
            return None
        return [path for path, md5 in outputs.items() if not remote.exists(md5)]
