"""The review of labels."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser

from emotion.data.dataset import Split
from emotion.data.preparation.corrections import Action, read_corrections
from emotion.evaluation.review.issues import conflicting_groups, confused_pairs, corrections_by_rule, doubted_labels
from emotion.evaluation.review.out_of_fold import assign_folds, predict_out_of_fold
from emotion.evaluation.review.page import write_page
from emotion.params.sections import Params
from emotion.training.trainer import fit
from support.training import TRAIN

EMOTIONS = ("angry", "happy", "sad")
COUNT = 300
EARLIER = pd.DataFrame([["earlier.png", "sad", "drop", "happy"]], columns=["name", "emotion", "action", "suggested"])
FLIPPED = list(range(0, 60, 6))


def labelled(votes: bool = False) -> tuple[Split, np.ndarray]:
    """Images of which some have the label of the next emotion, and the predictions of a model that knows better."""
    truth = np.arange(COUNT) % 3
    labels = truth.copy()
    labels[FLIPPED] = (labels[FLIPPED] + 1) % 3
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet((1, 1, 1), COUNT) * 0.3
    probabilities[np.arange(COUNT), truth] += 0.7
    index = pd.DataFrame(
        {
            "name": [f"{n}, <b>.png" for n in range(COUNT)],
            "emotion": [EMOTIONS[label] for label in labels],
            "split": ["train" if n % 5 else "test" for n in range(COUNT)],
            "pixel_hash": [str(n // 2) for n in range(COUNT)],
            "duplicate_group": [n // 2 if n < 12 else -1 for n in range(COUNT)],
        }
    )
    if votes:
        for label, emotion in enumerate(EMOTIONS):
            index[f"votes.{emotion}"] = np.where(labels == label, 8, 1)
    images = rng.integers(0, 256, (COUNT, 48, 48), dtype=np.uint8)
    return Split(images, labels, index, EMOTIONS), probabilities.astype(np.float32)


def test_wrong_labels_are_doubted_with_the_right_suggestion() -> None:
    split, probabilities = labelled()
    doubted = doubted_labels(split, probabilities)
    wrong = {split.index["name"][row] for row in FLIPPED}
    assert set(doubted["name"]) <= wrong
    assert len(doubted) >= 0.8 * len(wrong)
    for row in doubted.to_dict("records"):
        number = int(row["name"].split(",")[0])
        assert row["suggested"] == EMOTIONS[number % 3]
        assert row["confidence"] > row["own"]
    assert doubted["rank"].tolist() == list(range(1, len(doubted) + 1))
    conflicts = {name: group["labels"] for group in conflicting_groups(split.index).to_dict("records")
                 for name in group["names"]}  # fmt: skip
    assert doubted["identical"].tolist() == [conflicts.get(name, "") for name in doubted["name"]]


def test_identical_images_with_different_labels_are_listed() -> None:
    split, _ = labelled()
    groups = conflicting_groups(split.index)
    labels = split.index["emotion"].tolist()
    expected = [n for n in range(6) if labels[2 * n] != labels[2 * n + 1]]
    assert [names[0] for names in groups["names"]] == [f"{2 * n}, <b>.png" for n in expected]
    assert set(groups["labels"]) <= {"angry, happy", "angry, sad", "happy, sad"}


def test_the_most_confused_emotions_come_first() -> None:
    split, probabilities = labelled(votes=True)
    pairs = confused_pairs(split, probabilities, has_votes=True)
    assert len(pairs) == 6
    assert pairs["by_annotators"].is_monotonic_decreasing
    assert pairs["by_annotators"].max() == pytest.approx(0.1)
    without, _ = labelled()
    assert confused_pairs(without, probabilities, has_votes=False)["by_annotators"].isna().all()


def test_a_rule_corrects_only_training_images(tmp_path: Path) -> None:
    split, probabilities = labelled()
    doubted = doubted_labels(split, probabilities)
    corrections = corrections_by_rule(doubted, Action.DROP, EARLIER)
    assert 0 < len(corrections) - len(EARLIER) < len(doubted)
    assert corrections["name"][0] == EARLIER["name"][0]
    corrections.to_csv(tmp_path / "corrections.csv", index=False)
    assert read_corrections(tmp_path / "corrections.csv").equals(corrections.reset_index(drop=True))


def test_identical_images_are_in_one_fold_and_folds_are_of_one_size() -> None:
    split, _ = labelled()
    folds = assign_folds(split, 4, seed=0)
    assert pd.Series(folds).groupby(split.index["pixel_hash"]).nunique().eq(1).all()
    assert np.bincount(folds).tolist() == [76, 76, 74, 74]


def test_no_image_is_predicted_by_a_network_that_learned_from_it(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = TRAIN.index.assign(pixel_hash=TRAIN.index["name"], split=["train"] * 80 + ["test"] * 16)
    split = Split(TRAIN.images, TRAIN.labels, index, TRAIN.emotions)
    settings = params.train.override({"width": 2, "epochs": 1, "batch_size": 16, "precision": "float32"})
    learned: list[set[str]] = []

    def recording_fit(settings: object, train: Split, validation: Split, **options: object) -> object:
        learned.append({*train.index["name"]})
        return fit(settings, train, validation, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("emotion.evaluation.review.out_of_fold.fit", recording_fit)
    probabilities = predict_out_of_fold(settings, split, 2, tmp_path)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-3)
    folds = assign_folds(split, 2, settings.seed)
    for fold, names in enumerate(learned):
        assert not names & set(index["name"][folds == fold])
        assert not names & set(index["name"][80:])
    np.testing.assert_array_equal(predict_out_of_fold(settings, split, 2, tmp_path), probabilities)
    assert len(learned) == 2, "finished folds are not trained again"


def test_decisions_on_the_page_become_a_table_of_corrections(tmp_path: Path, browser: Browser) -> None:
    split, probabilities = labelled(votes=True)
    doubted = doubted_labels(split, probabilities)
    pairs, conflicts = confused_pairs(split, probabilities, has_votes=True), conflicting_groups(split.index)
    write_page(tmp_path / "index.html", split, "test images", doubted, conflicts, pairs, EARLIER, top=8)
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    cards = page.locator("li[data-name]")
    assert cards.count() == 8
    cards.nth(0).get_by_role("combobox").select_option("relabel")
    cards.nth(3).get_by_role("combobox").select_option("drop")
    assert page.get_by_text("2 new corrections.").is_visible()
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="Download corrections.csv").click()
    downloaded.value.save_as(tmp_path / "corrections.csv")
    with (tmp_path / "corrections.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["action"], row["suggested"]) for row in rows] == [
        ("earlier.png", "drop", "happy"),
        (doubted["name"][0], "relabel", doubted["suggested"][0]),
        (doubted["name"][3], "drop", doubted["suggested"][3]),
    ]
    assert len(read_corrections(tmp_path / "corrections.csv")) == 3
    assert not errors
