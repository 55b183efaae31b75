"""How a program ends on a user's mistake, on Ctrl-C, and on an error of our own."""

import pytest

from emotion.errors import UserError, exit_cleanly


def fail(error: BaseException) -> None:
    raise error


def interrupted_while_closing() -> None:
    """As a process pool that is interrupted while it starts."""
    try:
        raise KeyboardInterrupt
    finally:
        raise RuntimeError("cannot join thread before it is started")


def test_a_users_mistake_is_one_line() -> None:
    with pytest.raises(SystemExit) as ended:
        exit_cleanly("train", lambda: fail(UserError("no faces. Run fetch.")))
    assert ended.value.code == "train: no faces. Run fetch."


@pytest.mark.parametrize("main", [lambda: fail(KeyboardInterrupt()), interrupted_while_closing])
def test_an_interrupt_says_what_is_kept(main: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        exit_cleanly("train", main)  # type: ignore[arg-type]
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("train: interrupted; finished stages, and of train finished epochs,")


def test_an_error_of_our_own_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="ours"):
        exit_cleanly("train", lambda: fail(RuntimeError("ours")))
