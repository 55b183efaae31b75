"""What waits for a server: whole, in order, until it was done."""

import threading
from pathlib import Path
from typing import Any

import pytest

from emotion.tracking.outbox import Journal, Operation


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def always() -> bool:
    return True


def test_operations_are_done_in_their_order_and_once(journal: Journal) -> None:
    for number in range(12):
        journal.append(f"run{number % 2}", {"number": number})
    done: list[int] = []
    assert journal.deliver(lambda operation, source: done.append(operation["number"]), always) == 12
    assert done == list(range(12))
    assert journal.deliver(lambda operation, source: done.append(operation["number"]), always) == 0
    assert len(journal) == 0


def test_what_fails_stays_with_all_that_comes_after_it(journal: Journal) -> None:
    for number in range(3):
        journal.append("run", {"number": number})
    done: list[int] = []

    def fails_at_1(operation: Operation, source: Path | None) -> None:
        if operation["number"] == 1 and not done[1:]:
            done.append(-1)
            raise ConnectionError
        done.append(operation["number"])

    with pytest.raises(ConnectionError):
        journal.deliver(fails_at_1, always)
    assert len(journal) == 2
    journal.deliver(fails_at_1, always)
    assert done == [0, -1, 1, 2]


def test_a_file_or_folder_waits_as_it_was(journal: Journal, tmp_path: Path) -> None:
    file, folder = tmp_path / "metrics.json", tmp_path / "figures"
    folder.mkdir()
    (folder / "curves.png").write_bytes(b"picture")
    file.write_text("first")
    journal.append("run", {"kind": "files"}, file)
    journal.append("run", {"kind": "files"}, folder)
    file.write_text("second")
    seen: list[Any] = []

    def read(operation: Operation, source: Path | None) -> None:
        assert source
        seen.append((source.name, (source / "curves.png" if source.is_dir() else source).read_bytes()))

    journal.deliver(read, always)
    assert seen == [("metrics.json", b"first"), ("figures", b"picture")]
    assert {path.suffix for path in journal.folder.iterdir()} == {".lock"}


def test_what_a_killed_process_left_half_written_counts_for_nothing(journal: Journal) -> None:
    journal.append("run", {"number": 0})
    (journal.folder / "part-00000002-run.json").write_text('{"half')
    journal.append("run", {"number": 1})
    done: list[int] = []
    journal.deliver(lambda operation, source: done.append(operation["number"]), always)
    assert done == [0, 1]


def test_what_cannot_be_delivered_can_be_given_up(journal: Journal) -> None:
    assert journal.drop_first() is None
    journal.append("run", {"number": 0})
    journal.append("run", {"number": 1})
    dropped = journal.drop_first()
    assert dropped
    assert dropped["number"] == 0
    assert len(journal) == 1


def test_a_delivery_that_another_process_is_at_is_waited_for_as_long_as_there_is_time(journal: Journal) -> None:
    journal.append("run", {})
    with journal._locked("deliver"):
        other = Journal(journal.folder)
        assert other.deliver(lambda operation, source: None, lambda: False) == 0
    assert len(journal) == 1


def test_it_knows_which_runs_wait(journal: Journal) -> None:
    assert not journal.waits_for()
    journal.append("local-12", {})
    assert journal.waits_for()
    assert journal.waits_for("local-12")
    assert not journal.waits_for("12")
    assert not journal.waits_for("local-1")


def test_the_rest_is_left_where_the_time_is_up(journal: Journal) -> None:
    for _ in range(5):
        journal.append("run", {})
    left = iter([True, True, False])
    assert journal.deliver(lambda operation, source: None, lambda: next(left)) == 2
    assert len(journal) == 3


def test_processes_that_write_at_once_lose_nothing(journal: Journal) -> None:
    def write(run: str) -> None:
        for number in range(50):
            journal.append(run, {"number": number})

    threads = [threading.Thread(target=write, args=(f"run{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen: dict[str, list[int]] = {}
    journal.deliver(lambda it, source: seen.setdefault(it["run_id"], []).append(it["number"]), always)
    assert seen == {f"run{n}": list(range(50)) for n in range(4)}
