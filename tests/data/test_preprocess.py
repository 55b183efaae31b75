"""Preprocessing: from the archive to three splits."""

import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emotion.data.dataset import Dataset, open_dataset
from emotion.fetch import fetch
from emotion.params.sections import Params
from emotion.preprocess import preprocess
from emotion.runtime.errors import UserError
from support.archives import layout, noise, write_zip

Run = Callable[..., Dataset]


def prepare(path: Path, params: Params, folder: Path, **changes: Any) -> None:
    """Run `fetch` and `preprocess` on what is at a path, with other parameters of `preprocess`."""
    archive, faces = folder / "faces.zip", folder / "faces.csv"
    source = fetch(params.fetch.model_copy(update={"source": "path", "path": str(path)}), archive, faces)
    settings = params.preprocess.model_copy(update=changes)
    preprocess(settings, archive, faces, source, folder / "faces", folder / "report")


@pytest.fixture
def run(tmp_path: Path, params: Params) -> Run:
    def preprocess_files(files: dict[str, bytes], **changes: Any) -> Dataset:
        prepare(write_zip(tmp_path / "a.zip", files), params, tmp_path, **changes)
        return open_dataset(tmp_path / "faces")

    return preprocess_files


def test_usages_map_to_the_splits_of_the_challenge(run: Run) -> None:
    faces = run(layout())
    assert dict(zip(faces.index["usage"], faces.index["split"], strict=True)) == {
        "Training": "train",
        "PublicTest": "validation",
        "PrivateTest": "test",
    }


def test_row_i_of_the_index_describes_image_i_of_the_array(run: Run) -> None:
    files = layout()
    faces = run(files)
    for row in (0, 50, 100):
        content = files[faces.index["name"][row]]
        expected = next(n for n, c in enumerate(files.values()) if c == content)
        pixels = np.random.default_rng(expected).integers(0, 256, (48, 48), dtype=np.uint8)
        np.testing.assert_array_equal(faces.images[row], pixels)


def test_the_array_is_memory_mapped(run: Run) -> None:
    assert isinstance(run(layout()).images, np.memmap)


def test_the_order_of_the_zip_does_not_matter(run: Run) -> None:
    files = layout()
    first = run(files).index
    shuffled = list(files.items())
    random.shuffle(shuffled)
    pd.testing.assert_frame_equal(run(dict(shuffled)).index, first)


def test_the_folders_protocol_stratifies_validation_and_keeps_the_test_folder(run: Run) -> None:
    faces = run(layout(private=False, each=10), protocol="folders", validation_fraction=0.2)
    table = pd.crosstab(faces.index["emotion"], faces.index["split"])
    assert (table["validation"] == 2).all()
    assert (table["train"] == 8).all()
    assert (table["test"] == 10).all()


def test_identical_images_are_never_in_both_training_and_validation(run: Run) -> None:
    files = layout(private=False, each=12)
    names = [name for name in files if name.startswith("train/")]
    for name in names[1::2]:  # every second training image duplicates the previous one
        files[name] = files[names[names.index(name) - 1]]
    index = run(files, protocol="folders", validation_fraction=0.3).index
    validation, train = (set(index.loc[index["split"] == s, "pixel_hash"]) for s in ("validation", "train"))
    assert validation
    assert not validation & train


def test_another_seed_chooses_other_validation_images(run: Run) -> None:
    first = run(layout(), protocol="folders").index["split"]
    assert (run(layout(), protocol="folders", seed=1).index["split"] != first).any()


def test_the_challenge_protocol_requires_private_test_images(run: Run) -> None:
    with pytest.raises(UserError, match=r"no PrivateTest images.*protocol=folders"):
        run(layout(private=False), protocol="challenge")


def test_names_without_a_usage_are_accepted_only_by_the_folders_protocol(run: Run) -> None:
    files = layout() | {"train/train/happy/smile.png": noise(999)}
    with pytest.raises(UserError, match=r"smile\.png.*protocol=folders"):
        run(files, protocol="challenge")
    assert "train/train/happy/smile.png" in set(run(files, protocol="folders").index["name"])


def leaky() -> dict[str, bytes]:
    files = layout()
    files["test/test/sad/PrivateTest_0.png"] = files["train/train/sad/Training_0.png"]
    files["test/test/sad/PublicTest_0.png"] = files["train/train/happy/Training_0.png"]
    return files


def test_held_out_images_that_are_also_in_training_are_flagged(run: Run) -> None:
    index = run(leaky()).index
    flagged = set(index.loc[index["seen_in_training"], "name"])
    assert flagged == {"test/test/sad/PrivateTest_0.png", "test/test/sad/PublicTest_0.png"}


def test_leaked_images_are_dropped_from_training_only(run: Run) -> None:
    index = run(leaky(), drop_leaked=True).index
    unused = set(index.loc[index["split"] == "unused", "name"])
    assert unused == {"train/train/sad/Training_0.png", "train/train/happy/Training_0.png"}
    assert not index["seen_in_training"].any()


def test_duplicates_leaks_and_conflicting_labels_are_counted(run: Run, tmp_path: Path) -> None:
    run(leaky())
    counts = json.loads((tmp_path / "report" / "counts.json").read_text())
    assert counts["images"] == 126
    assert counts["distinct_images"] == 124
    assert counts["duplicate_groups"] == 2
    assert counts["groups_with_conflicting_labels"] == 1
    assert counts["seen_in_training"] == {"validation": 1, "test": 1}
    assert counts["splits"]["train"]["happy"] == 6


def test_a_broken_image_is_quarantined_with_its_reason(run: Run, tmp_path: Path) -> None:
    files = layout() | {"train/train/sad/Training_77.png": b"broken"}
    faces = run(files)
    quarantine = pd.read_csv(tmp_path / "report" / "quarantine.csv")
    assert quarantine["name"].tolist() == ["train/train/sad/Training_77.png"]
    assert "not an image of a known format" in quarantine["reason"][0]
    assert len(faces.index) == len(files) - 1


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_image_damaged_inside_the_zip_is_quarantined(tmp_path: Path, params: Params, compression: int) -> None:
    archive, damaged = tmp_path / "b.zip", "train/train/sad/Training_3.png"
    with zipfile.ZipFile(archive, "w", compression) as opened:
        for name, image in layout().items():
            opened.writestr(name, image)
        entry = opened.getinfo(damaged)
    content = bytearray(archive.read_bytes())
    start = entry.header_offset + 30 + len(damaged) + 50  # inside the entry's data
    content[start : start + 200] = bytes(200)
    archive.write_bytes(content)
    prepare(archive, params, tmp_path)
    quarantine = pd.read_csv(tmp_path / "report" / "quarantine.csv")
    assert "damaged: " in quarantine["reason"][0]


def test_too_many_broken_images_fail_the_stage_without_a_dataset(run: Run, tmp_path: Path) -> None:
    files = layout()
    broken = dict.fromkeys(list(files)[::3], b"broken")
    with pytest.raises(UserError, match=r"42 of 126 images cannot be used.*max_bad_fraction = 0\.05"):
        run(files | broken)
    assert not (tmp_path / "faces").exists()
    assert len(pd.read_csv(tmp_path / "report" / "quarantine.csv")) == 42


def test_a_split_without_an_emotion_is_rejected(run: Run) -> None:
    files = {name: content for name, content in layout().items() if "disgust/PrivateTest" not in name}
    with pytest.raises(UserError, match="no image for test/disgust"):
        run(files)


def test_opening_an_inconsistent_dataset_fails(run: Run, tmp_path: Path) -> None:
    run(layout())
    np.save(tmp_path / "faces" / "images.npy", np.zeros((3, 48, 48), np.uint8))
    with pytest.raises(UserError, match="126 rows, but images of shape"):
        open_dataset(tmp_path / "faces")


DAMAGED = {
    "images.npy": [b"", b"\x93NUMPY", pickle.dumps([1, 2])],
    "index.csv": [b"", b"name,emotion\na,happy\n"],
    "dataset.json": [b"", b'{"emotions": ["sad"], "source": {}}', b'{"source": NaN}'],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name in DAMAGED for content in DAMAGED[name]])
def test_a_damaged_file_of_the_dataset_gives_one_message(run: Run, tmp_path: Path, name: str, content: bytes) -> None:
    run(layout())
    (tmp_path / "faces" / name).write_bytes(content)
    with pytest.raises(UserError, match=f"^[^\\n]*{name} is damaged: [^\\n]*dvc repro[^\\n]*$"):
        open_dataset(tmp_path / "faces")


@pytest.mark.parametrize(("known", "unknown"), [("happy", "bored"), ("validation", "nowhere")])
def test_an_unknown_label_in_the_index_gives_one_message(run: Run, tmp_path: Path, known: str, unknown: str) -> None:
    run(layout())
    index = tmp_path / "faces/index.csv"
    index.write_text(index.read_text().replace(f",{known},", f",{unknown},"))
    with pytest.raises(UserError, match=f"index.csv is damaged: its column .* contains '{unknown}'"):
        open_dataset(tmp_path / "faces")


def test_images_for_the_gate_come_from_every_emotion_of_the_test_images_alone(run: Run) -> None:
    files = layout(private=False, each=10)
    names = [name for name in files if name.startswith("test/")]
    for name in names[1::5]:  # some test images duplicate the one before
        files[name] = files[names[names.index(name) - 1]]
    whole, split = (run(files, protocol="folders", gate_fraction=fraction).index for fraction in (0, 0.5))
    assert set(whole["split"][split["split"] == "gate"]) == {"test"}
    assert set(split["split"][whole["split"] == "test"]) == {"test", "gate"}
    assert set(split["emotion"][split["split"] == "gate"]) == set(split["emotion"])
    of_gate, of_test = (set(split["pixel_hash"][split["split"] == name]) for name in ("gate", "test"))
    assert not of_gate & of_test


def test_attributes_in_the_archive_become_columns_of_the_index(run: Run) -> None:
    files = layout()
    first, second, *_ = files
    table = f"name,age,glasses\n{second},30,no\n{first},41,yes\nelsewhere.jpg,1,no\n"
    index = run({**files, "attributes.csv": table.encode()}).index
    described = {row["name"]: (str(row["age"]), row["glasses"]) for row in index.to_dict("records")}
    assert described[first] == ("41", "yes")
    assert described[second] == ("30", "no")
    assert len(index) == len(files)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (b"name,emotion\na.jpg,happy\n", "has the column emotion, which the dataset has"),
        (b"file,age\na.jpg,30\n", "has the columns ['file', 'age']; expected name and at most 20 attributes"),
        (b"name,age\na.jpg,30\na.jpg,31\n", "names a.jpg twice"),
        (b"", "cannot be read: No columns to parse"),
        (b"name,age\n\xff\xfe,1\n", "is not a text in UTF-8"),
        (("name," + ",".join(f"a{n}" for n in range(21)) + "\n").encode(), "expected name and at most 20 attributes"),
    ],
)
def test_a_wrong_table_of_attributes_is_refused_with_one_message(run: Run, table: bytes, reason: str) -> None:
    with pytest.raises(UserError) as refused:
        run({**layout(), "attributes.csv": table})
    assert reason in str(refused.value)
    assert str(refused.value).endswith("it.")
