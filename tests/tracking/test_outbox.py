"""The outbox: queued operations are complete, ordered and delivered once."""

import threading
from pathlib import Path
from typing import Any

import pytest

from emotion.tracking.outbox import Content, Outbox


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox")


def always() -> bool:
    return True


def test_operations_are_applied_once_and_in_order(outbox: Outbox) -> None:
    for number in range(12):
        outbox.append(f"run{number % 2}", {"number": number})
    done: list[int] = []
    assert outbox.flush(lambda operation, source: done.append(operation["number"]), always) == 12
    assert done == list(range(12))
    assert outbox.flush(lambda operation, source: done.append(operation["number"]), always) == 0
    assert len(outbox) == 0


def test_a_failed_operation_and_all_later_ones_stay_queued(outbox: Outbox) -> None:
    for number in range(3):
        outbox.append("run", {"number": number})
    done: list[int] = []

    def fails_at_1(operation: Content, source: Path | None) -> None:
        if operation["number"] == 1 and not done[1:]:
            done.append(-1)
            raise ConnectionError
        done.append(operation["number"])

    with pytest.raises(ConnectionError):
        outbox.flush(fails_at_1, always)
    assert len(outbox) == 2
    outbox.flush(fails_at_1, always)
    assert done == [0, -1, 1, 2]


def test_queued_files_and_folders_are_snapshots(outbox: Outbox, tmp_path: Path) -> None:
    file, folder = tmp_path / "metrics.json", tmp_path / "figures"
    folder.mkdir()
    (folder / "curves.png").write_bytes(b"picture")
    file.write_text("first")
    outbox.append("run", {"kind": "files"}, file)
    outbox.append("run", {"kind": "files"}, folder)
    file.write_text("second")
    seen: list[Any] = []

    def read(operation: Content, source: Path | None) -> None:
        assert source
        seen.append((source.name, (source / "curves.png" if source.is_dir() else source).read_bytes()))

    outbox.flush(read, always)
    assert seen == [("metrics.json", b"first"), ("figures", b"picture")]
    assert {path.suffix for path in outbox.folder.iterdir()} == {".lock"}


def test_partially_written_operations_are_ignored(outbox: Outbox) -> None:
    outbox.append("run", {"number": 0})
    (outbox.folder / "tmp-00000002-run.json").write_text('{"half')
    outbox.append("run", {"number": 1})
    done: list[int] = []
    outbox.flush(lambda operation, source: done.append(operation["number"]), always)
    assert done == [0, 1]


def test_an_undeliverable_operation_can_be_dropped(outbox: Outbox) -> None:
    assert outbox.drop_first() is None
    outbox.append("run", {"number": 0})
    outbox.append("run", {"number": 1})
    dropped = outbox.drop_first()
    assert dropped
    assert dropped["number"] == 0
    assert len(outbox) == 1


def test_flush_delivers_nothing_while_another_process_holds_the_lock(outbox: Outbox) -> None:
    outbox.append("run", {})
    with outbox._lock("flush"):
        other = Outbox(outbox.folder)
        assert other.flush(lambda operation, source: None, lambda: False) == 0
    assert len(outbox) == 1


def test_has_pending_reports_the_runs_with_queued_operations(outbox: Outbox) -> None:
    assert not outbox.has_pending()
    outbox.append("local-12", {})
    assert outbox.has_pending()
    assert outbox.has_pending("local-12")
    assert not outbox.has_pending("12")
    assert not outbox.has_pending("local-1")


def test_operations_stay_queued_after_the_timeout(outbox: Outbox) -> None:
    for _ in range(5):
        outbox.append("run", {})
    left = iter([True, True, False])
    assert outbox.flush(lambda operation, source: None, lambda: next(left)) == 2
    assert len(outbox) == 3


def test_concurrent_writers_lose_no_operations(outbox: Outbox) -> None:
    def write(run: str) -> None:
        for number in range(50):
            outbox.append(run, {"number": number})

    threads = [threading.Thread(target=write, args=(f"run{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen: dict[str, list[int]] = {}
    outbox.flush(lambda it, source: seen.setdefault(it["run_id"], []).append(it["number"]), always)
    assert seen == {f"run{n}": list(range(50)) for n in range(4)}


DAMAGES = [
    b"",
    b"[1]",
    b'{"kind": ',
    b"\xff\xfe",
    b'{"source": "absent.png"}',
    b'{"source": "../../file"}',
    b'{"source": 7}',
]


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_operation_is_set_aside_and_the_others_are_delivered(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    outbox = Outbox(tmp_path / "outbox")
    for number in range(3):
        outbox.append("run", {"number": number})
    damaged = outbox.folder / "00000002-run.json"
    damaged.write_bytes(content)
    done: list[int] = []
    assert outbox.flush(lambda operation, source: done.append(operation["number"]), always) == 2
    assert done == [0, 2]
    assert f"was renamed to {damaged.with_suffix('.damaged')}" in capsys.readouterr().err
    assert damaged.with_suffix(".damaged").read_bytes() == content


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_operation_can_be_dropped(outbox: Outbox, content: bytes) -> None:
    outbox.append("run", {"kind": "tags"})
    (outbox.folder / "00000001-run.json").write_bytes(content)
    assert outbox.drop_first() == {}
    assert len(outbox) == 0
