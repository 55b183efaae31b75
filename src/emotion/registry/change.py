"""How a version differs from the champion, and from the version before it."""

from emotion.registry.comparison.compare import compare_runs
from emotion.registry.versions import find_aliases, list_versions
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
    champion = (find_aliases(name) or {}).get("champion")
    others = {
        "the champion": None if champion == number else champion,
        "the version before": earlier[-1] if earlier else None,
    }
    parts = []
    for title, other in others.items():
        other_run = get_run(versions[other].run_id) if other in versions else None
        if other_run is None or other_run.id == run.id:
            parts.append(f"**With {title}**: there is none.")
            continue
        labels = [f"version {other}", f"version {number}"]
        found = compare_runs([other_run, run], labels)
        sentences = [test.sentence for test in found.tests] or ["They did not predict the same images."]
        params = [f"`{key}` {row[labels[0]]} → {row[labels[1]]}" for key, row in found.params.iterrows()]
        changed = f" Changed parameters: {', '.join(params)}." if params else " No parameter changed."
        parts.append(f"**With {title}** (version {other}, when this one was registered): {sentences[0]}{changed}")
    return "\n\n".join(
        [*parts, "The gate's verdict is on the page of the version in MLflow, and in `emotion history --all`."]
    )
