"""The description of a version in MLflow: what a person needs to know to promote it."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from emotion.data.dataset import FIX, DatasetMetadata, is_drawn
from emotion.params.intended_use import IntendedUse
from emotion.registry.promotion.gate.rules import Verdict
from emotion.registry.promotion.reconcile import known_aliases
from emotion.registry.versions import Version, get_version
from emotion.runtime.files import read_json
from emotion.runtime.paths import DATASET
from emotion.tracking.client import connection
from emotion.tracking.experiments import Purpose
from emotion.tracking.queries import RunInfo, get_run
from emotion.tracking.run_names import network_name

VERDICTS = re.compile(r"\n\n### Verdict for the (?=champion|challenger)")  # separates a version's description


def describe(name: str, number: str, run: RunInfo, scores: Mapping[str, Any], use: IntendedUse, verdicts: str) -> str:
    """The description of a version, as Markdown.

    Args:
        name: the name of the model.
        number: the number of the version.
        run: the run that trained it.
        scores: the content of reports/evaluation/scores.json.
        use: what the model is for.
        verdicts: the verdicts so far, from its description; see `split_description`.
    """
    from emotion.evaluation.significance import CONFIDENCE, wilson_interval  # SciPy, which takes half a second

    metadata = read_json(DATASET / "dataset.json", FIX, DatasetMetadata)
    templates = Environment(loader=PackageLoader("emotion.registry"), undefined=StrictUndefined, autoescape=False)  # noqa: S701
    test = scores["test"]
    trial = run.tags.get("tune.trial")
    text = templates.get_template("version.md.j2").render(
        number=number,
        test=test,
        unseen=scores.get("test_unseen"),
        confidence=CONFIDENCE,
        interval=wilson_interval(round(test["accuracy"] * test["images"]), int(test["images"])),
        is_drawn=is_drawn(metadata),
        champion=_champion(name, number, run),
        use=use,
        per_emotion=_recalls(scores),
        data=scores["data"],
        images=sum(metadata["counts"]["splits"]["train"].values()),
        network=network_name(run.params),
        epochs=run.params["train.epochs"],
        run=run_link(run.id),
        trial={"name": trial, "link": run_link(run.tags.get("tune.trial_run_id", ""))} if trial else None,
    )
    return text.strip() + verdicts


def run_link(run_id: str, purpose: Purpose = "training") -> str:
    """A link to the page of a run in MLflow's UI."""
    return f"#/experiments/{connection().experiment_id(purpose)}/runs/{run_id}"


def _champion(name: str, number: str, run: RunInfo) -> dict[str, Any] | None:
    """The champion's number and accuracy, and whether it learned from the same data; None if there is none."""
    champion = known_aliases(name).get("champion")
    if champion in (None, number):
        return None
    version = get_version(name, str(champion))
    try:
        accuracy = float(version.test_accuracy)
    except ValueError:
        return None
    return {
        "number": champion,
        "accuracy": accuracy,
        "has_same_data": version.tags.get("data.dvc_hash") == run.tags.get("data.dvc_hash"),
    }


def _recalls(scores: Mapping[str, Any]) -> str:
    from emotion.evaluation.significance import format_interval

    rows = [
        {
            "emotion": emotion,
            "test images": int(row["support"]),
            "recall": format_interval(row["recall"], row["support"]),
        }
        for emotion, row in scores["test_per_class"].items()
    ]
    return str(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))


def split_description(text: str) -> tuple[str, dict[str, str]]:
    """A description without the verdicts, and the verdicts by the alias that they are about."""
    body, *parts = VERDICTS.split(text)
    return body, {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def join_description(body: str, verdicts: Mapping[str, str]) -> str:
    """The opposite of `split_description`."""
    return body + "".join(f"\n\n### Verdict for the {alias}\n{text}" for alias, text in verdicts.items())


def describe_verdict(name: str, version: Version, alias: str, verdict: Verdict, decision: str, run_id: str) -> None:
    """Replace the verdict about an alias in a version's description and card; those about other aliases stay.

    Args:
        name: the name of the model.
        version: the version.
        alias: the alias that the verdict is about.
        verdict: the verdict.
        decision: what was decided, by whom, when and why.
        run_id: the id of the run with the verdict.
    """
    from emotion.registry.model_card.write import log_verdicts  # scikit-learn, which takes a second

    compared = f", compared with version {verdict.champion}" if verdict.champion else ""
    failed = "".join(f"\n- {rule.name}: {rule.value} (required: {rule.threshold})" for rule in verdict.failed)
    rules = f"Failed rules:\n{failed}" if failed else f"All {len(verdict.rules)} rules passed."
    body, verdicts = split_description(get_version(name, version.number).description)  # the gate took a while
    listed = "".join(f"\n- {note}" for note in verdict.notes)
    notes = f"\n\nAbout the test images and the comparison:\n{listed}" if listed else ""
    verdicts[alias] = f"\n**{decision}**{compared}. {rules}{notes}\n\n[All rules]({run_link(run_id, 'promotions')})"
    with connection().translate_errors():
        connection().client.update_model_version(name, version.number, join_description(body, verdicts))
    if run := get_run(version.run_id) if version.run_id else None:
        log_verdicts(run.id, verdicts)
