"""Validation of parameters and its error messages."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from emotion.params.load import load_params, load_preset, load_train_preset
from emotion.params.sections import Params
from emotion.params.space import Choice, Scalar
from emotion.runtime.errors import UserError
from support.project import ROOT, imported


def changed(tmp_path: Path, section: str, **values: Any) -> Path:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content[section] |= values
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.parametrize("reason", ["medical: patients who cannot speak", "safety: drivers who fall asleep"])
def test_an_area_that_the_law_prohibits_is_accepted_with_a_medical_or_safety_reason(
    tmp_path: Path, reason: str
) -> None:
    use = {"area": "workplace", "purpose": "warning drivers", "not_for": "assessing them", "exception": reason}
    read = load_params(changed(tmp_path, "register", intended_use=use))
    assert read.register_.intended_use.tags()["use.exception"] == reason


def test_the_shipped_parameters_are_accepted(params: Params) -> None:
    assert params.fetch.source == "synthetic"


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("train", {"epochs": 0}, "train.epochs should be greater than or equal to 1, got 0"),
        ("train", {"epoch": 3}, "unknown key train.epoch, did you mean epochs?"),
        ("train", {"network": "lenet"}, "got 'lenet'"),
        ("fetch", {"source": "web"}, "fetch.source should be 'synthetic', 'path' or 'kaggle', got 'web'"),
        ("fetch", {"sha256": "12"}, "fetch.sha256"),
        (
            "register",
            {"intended_use": {"area": "workplace", "purpose": "assessing employees", "not_for": "anything else"}},
            "register.intended_use: the area workplace is prohibited except for medical or safety reasons"
            " (Art. 5(1)(f)) of Regulation (EU) 2024/1689",
        ),
        (
            "register",
            {"intended_use": {"area": "education", "purpose": "who listens", "not_for": "x" * 10, "exception": "fun"}},
            "register.intended_use.exception",
        ),
        (
            "register",
            {"intended_use": {"area": "research", "not_for": "x" * 10}},
            "register.intended_use.purpose is missing",
        ),
        ("tune", {"space": {"depth": {"choice": [1]}}}, "tune.space allows depth 1: unknown key train.depth"),
        (
            "tune",
            {"space": {"dropout": {"min": 0.5, "max": 1.5}}},
            "tune.space allows dropout 1.5: train.dropout should be less than 1, got 1.5",
        ),
        ("tune", {"space": {"dropout": {"min": 0.5, "max": 0.1}}}, "min must be below max, got 0.5 and 0.1"),
        ("tune", {"space": {"dropout": {"min": 0, "max": 0.1, "sampling": "log"}}}, "log sampling needs min above 0"),
        ("tune", {"space": {"width": {"min": 8, "max": 64, "step": 1.5}}}, "step must be an integer"),
        ("tune", {"space": {"width": {"min": 8, "max": 64, "step": 1, "sampling": "log"}}}, "step must be above 1"),
        (
            "tune",
            {"space": {"augmentation.erazing": {"choice": [0.1]}}},
            "tune.space allows augmentation.erazing 0.1: unknown key train.augmentation.erazing, did you mean erasing?",
        ),
        (
            "tune",
            {"space": {"ensemble": {"choice": [1, 2], "when": {"network": "vgg"}}}},
            "space.ensemble.when names network, which is not a choice above it in the space",
        ),
        (
            "tune",
            {"space": {"network": {"choice": ["vgg"]}, "ensemble": {"choice": [1, 2], "when": {"network": "vg"}}}},
            "space.ensemble.when names network 'vg', which is not among its choices",
        ),
        (
            "tune",
            {"space": {"network": {"choice": ["vgg", "basic_cnn"]}, "ensemble": {"choice": [1, 2]}}},
            "tune.space allows network 'basic_cnn' with ensemble 2: train: ensemble above 1 needs network",
        ),
        ("tune", {"space": {}}, "space is empty: name what to search, or set max_trials to 0"),
        (
            "tune",
            {"space": {"width": {"min": 16.0, "max": 64.0}}},
            "tune.space allows width 34.3312: train.width should be a valid integer",
        ),
        ("tune", {"space": {"tta": {"choice": ["flip"]}}}, "tune.space.tta cannot be searched"),
        ("tune", {"oracle": "hyperband", "pruning": "median"}, "pruning must be none with oracle hyperband"),
    ],
)  # fmt: skip
def test_the_error_for_an_invalid_value_names_key_and_constraint(
    tmp_path: Path, section: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        load_params(changed(tmp_path, section, **values))
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["quick", "standard", "record"])
def test_a_preset_contains_only_valid_parameters(name: str) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in load_preset(name).items():
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        assert last in section, key
        section[last] = value
    Params.model_validate(content)


def test_the_training_part_of_a_preset_overrides_the_section(params: Params) -> None:
    assert params.train.override(load_train_preset("standard")).ensemble == 3


def test_the_error_for_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"there is no preset fast\. Choose one of quick, standard, record\."):
        load_preset("fast")


def test_ensembles_need_a_network_that_supports_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ensemble above 1 needs network residual or vgg, got basic_cnn"):
        load_params(changed(tmp_path, "train", network="basic_cnn", ensemble=2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 1}, "found.json: unknown key train.rate"),
        ({"dropout": 2}, "found.json: train.dropout should be less than 1, got 2"),
    ],
)
def test_invalid_hyperparameters_are_reported_with_file(params: Params, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        params.with_hyperparameters(values, "found.json")
    assert message in str(error.value)


def test_the_error_names_a_missing_section(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("fetch: {}\n")
    with pytest.raises(UserError, match="preprocess is missing"):
        load_params(path)


@pytest.mark.parametrize("content", ["train: [", "- 1\n- 2\n", ""])
def test_a_file_without_a_mapping_is_rejected(tmp_path: Path, content: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"params\.yaml"):
        load_params(path)


@pytest.mark.parametrize("stage", ["train", "tune"])
def test_a_duplicate_key_is_rejected(tmp_path: Path, stage: str) -> None:
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    path.write_text(text.replace(f"{stage}:\n", f"{stage}:\n  seed: 7\n"))
    with pytest.raises(
        UserError, match=r"^\S+params\.yaml, line \d+ is not valid YAML: found duplicate key \"seed\"[^\n]+$"
    ):
        load_params(path)


def test_the_error_for_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Run from the project's root"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("stage", ["fetch", "preprocess", "tune", "train", "evaluate", "register"])
def test_every_stage_rejects_an_invalid_value_before_heavy_imports(tmp_path: Path, stage: str) -> None:
    changed(tmp_path, "train", epochs=0)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"emotion.{stage}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    message = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert message == [f"{stage}: params.yaml: train.epochs should be greater than or equal to 1, got 0"]
    assert "emotion.params" in imported(done.stderr)
    assert "tensorflow" not in imported(done.stderr)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml"]


def test_numbers_that_yaml_parses_as_strings_are_converted(tmp_path: Path) -> None:
    path = changed(tmp_path, "tune", space={"learning_rate": {"choice": ["1e-4", "5e-4"]}})
    (dimension,) = load_params(path).tune.space.values()
    assert isinstance(dimension, Choice)
    assert dimension.choice == (1e-4, 5e-4)


def test_a_condition_restricts_a_dimension_to_the_networks_that_support_it(tmp_path: Path) -> None:
    space = {
        "network": {"choice": ["basic_cnn", "vgg"]},
        "ensemble": {"choice": [1, 2], "when": {"network": "vgg"}},
        "dropout": {"min": 0.1, "max": 0.3, "step": 0.2, "when": {"ensemble": [2]}},
    }
    combinations = list(load_params(changed(tmp_path, "tune", space=space)).tune.pairwise_boundaries())
    everything: dict[str, Scalar] = {"dropout": 0.1, "ensemble": 2, "network": "vgg"}
    assert everything in combinations
    assert {values["network"] for values in combinations if "ensemble" in values} == {"vgg"}
