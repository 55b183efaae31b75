"""Compare two commits, in Markdown: parameters, metrics, and the accuracy of both models on the test images.

    python .github/report.py BASE [HEAD] >> "$GITHUB_STEP_SUMMARY"

Reads committed files, and the test predictions of both commits from DVC's cache or its default remote.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import dvc.api
import pandas as pd
import typer

from emotion.evaluation import predictions
from emotion.evaluation.significance import mcnemar_test, paired_interval
from emotion.params.load import load_params
from emotion.runtime.errors import UserError, causes, run_main
from emotion.runtime.paths import EVALUATION, METRICS

HEADLINE = (
    "test.accuracy",
    "test.balanced_accuracy",
    "test.macro_f1",
    "test.loss",
    "test.expected_calibration_error",
    "validation.accuracy",
)
REPORT = """\
## Changes from {base} to {head}

### Parameters

{params}

### Metrics

{metrics}

### Test accuracy

{accuracy}
"""
DETAILS = """

<details><summary>Other metrics that differ: {count}</summary>

{table}

</details>"""


def main(
    base: Annotated[str, typer.Argument(help="The commit to compare with.")],
    head: Annotated[str, typer.Argument(help="The commit that is compared.")] = "HEAD",
) -> None:
    """Print the differences between two commits as Markdown."""
    base, head = _commit(base), _commit(head)
    files = ["params.yaml", "dvc.lock", str(METRICS)]
    if subprocess.run(["git", "diff", "--quiet", base, head, "--", *files]).returncode == 0:
        print(f"Nothing changed from {base} to {head}: both have the same {', '.join(files)}.")
        return
    params, metrics = _dvc_diff("params", base, head), _dvc_diff("metrics", base, head, "--targets", str(METRICS))
    print(
        REPORT.format(
            base=base,
            head=head,
            params="\n".join(params) if params[2:] else "No parameter differs.",
            metrics=_metrics_section(metrics),
            accuracy=_accuracy_section(base, head),
        )
    )


def _commit(name: str) -> str:
    """The abbreviated hash of a commit."""
    command = ["git", "rev-parse", "--verify", "--short", f"{name}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"there is no commit {name} here. Give a commit, a branch or a tag, or run `git fetch --all`.")
    return done.stdout.strip()


def _dvc_diff(kind: str, base: str, head: str, *options: str) -> list[str]:
    """The lines of a Markdown table: two of its header, and one for each value that differs."""
    command = ["dvc", kind, "diff", "--md", "--no-path", base, head, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout.strip().splitlines()


def _metrics_section(table: list[str]) -> str:
    header, rows = table[:2], table[2:]
    if not rows:
        return "No metric differs."
    headline = [row for row in rows if row.split()[1] in HEADLINE]
    others = [row for row in rows if row not in headline]
    section = "\n".join([*header, *headline]) if headline else f"None of {', '.join(HEADLINE)} differs."
    if others:
        section += DETAILS.format(count=len(others), table="\n".join([*header, *others]))
    return section


def _accuracy_section(base: str, head: str) -> str:
    tables = {commit: _test_predictions(commit) for commit in (base, head)}
    missing = [commit for commit, table in tables.items() if table is None]
    first, second = tables[base], tables[head]
    if first is None or second is None:
        return (
            f"The test predictions of {' and '.join(missing)} are not available here; `dvc push` uploads them from"
            " the machine that has them."
        )
    if not predictions.same_images(first, second):
        return "The two models were tested on different images, so their accuracies cannot be compared."
    before, after = predictions.is_correct(first), predictions.is_correct(second)
    gate = load_params().register_.gate
    test, confidence = mcnemar_test(before, after), 1 - 2 * gate.significance
    low, high = paired_interval(before, after, confidence)
    verdict = "is" if test["p_value"] < gate.significance else "is not"
    return (
        f"On the same {len(before)} test images, {base} has an accuracy of {before.mean():.2%} and {head} of"
        f" {after.mean():.2%}: {100 * test['difference']:+.2f} percentage points ({100 * confidence:g}%"
        f" interval {100 * low:+.2f} to {100 * high:+.2f}). The difference {verdict} statistically significant"
        f" (McNemar's exact test, p = {test['p_value']:.3g})."
    )


def _test_predictions(commit: str) -> pd.DataFrame | None:
    """A commit's predictions for the test images; None if neither DVC's cache nor its remote has them."""
    file = EVALUATION / "test" / predictions.FILE_NAME
    try:
        content: bytes = dvc.api.read(str(file), rev=commit, mode="rb")
    except Exception as error:  # noqa: BLE001  DVC does not translate the errors of its storage
        *_, reason = causes(error)
        print(f"report: no test predictions of {commit}: {reason}", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / predictions.FILE_NAME
        path.write_bytes(content)
        return predictions.read(path, f"It is {file} of {commit}: evaluate its model again.")


if __name__ == "__main__":
    run_main("report", lambda exit_callbacks: typer.run(main))
