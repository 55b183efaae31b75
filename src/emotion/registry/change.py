"""How a version differs from the champion, and from the version before it."""

from emotion.registry.comparison.compare import compare_runs
from emotion.registry.promotion.reconcile import known_aliases
from emotion.registry.versions import list_versions
from emotion.runtime.errors import UserError
from emotion.tracking.queries import RunInfo, get_run


def describe_change(name: str, number: str, run: RunInfo) -> str:
    """The differences of predictions and parameters, as Markdown.

    Args:
        name: the name of the model.
        number: the number of the version.
        run: the run that trained it.
    """
    versions = list_versions(name)
    earlier = [other for other in versions if int(other) < int(number)]
    champion = known_aliases(name).get("champion")
    others = {
        "the champion": None if champion == number else champion,
        "the version before": earlier[-1] if earlier else None,
    }
    parts = []
    for title, other in others.items():
        other_run = get_run(versions[other].run_id) if other in versions and versions[other].run_id else None
        if other is None or (other_run and other_run.id == run.id):
            parts.append(f"**Compared with {title}**: there was none when this version was registered.")
            continue
        if other_run is None:
            parts.append(f"**Compared with {title}** (version {other}): its run is no longer in MLflow.")
            continue
        labels = [f"version {other}", f"version {number}"]
        try:
            found = compare_runs([other_run, run], labels)
        except UserError as error:  # what another run logged does not keep this one from being registered
            parts.append(f"**Compared with {title}** (version {other}): not possible, because {error}")
            continue
        sentences = [test.sentence for test in found.tests] or ["They did not predict the same images."]
        params = [f"`{key}` {row[labels[0]]} → {row[labels[1]]}" for key, row in found.params.iterrows()]
        changed = f" Changed parameters: {', '.join(params)}." if params else " No parameter changed."
        parts.append(
            f"**Compared with {title}** (version {other}, when this one was registered): {sentences[0]}{changed}"
        )
    return "\n\n".join(parts)
