"""How a program ends on a user's mistake, on Ctrl-C, and on an error of our own."""

import pytest

from emotion.runtime.errors import UserError, exit_cleanly


def fail(error: BaseException) -> None:
    raise error


def test_a_users_mistake_is_one_line() -> None:
    with pytest.raises(SystemExit) as ended:
        exit_cleanly("train", lambda: fail(UserError("no faces. Run fetch.")))
    assert ended.value.code == "train: no faces. Run fetch."


def test_an_interrupt_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        exit_cleanly("train", lambda: fail(KeyboardInterrupt()))
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("train: interrupted; finished stages, trials and epochs are kept")


def test_an_error_of_our_own_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="ours"):
        exit_cleanly("train", lambda: fail(RuntimeError("ours")))
