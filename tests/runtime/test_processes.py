"""The identity of a process."""

from emotion.runtime.processes import has_exited, process_id


def test_has_exited_distinguishes_ended_from_running_processes() -> None:
    assert not has_exited(process_id())
    machine, number, started = process_id().split(" ")
    assert has_exited(f"{machine} {number} {float(started) - 60}")  # its number was given to another process
    assert has_exited(f"{machine} {2**22 + 1} {started}")
    assert not has_exited(f"elsewhere {number} {started}")
    assert not has_exited("")
    assert not has_exited(f"{machine} none {started}")
