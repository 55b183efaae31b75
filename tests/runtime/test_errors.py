"""How a program ends after a user error, Ctrl-C or an unexpected error."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from emotion.runtime.errors import UserError, run_main


def fails_with(error: BaseException) -> Callable[[ExitStack], None]:
    def main(exit_callbacks: ExitStack) -> None:
        exit_callbacks.callback(print, "closed")
        raise error

    return main


def test_a_user_error_gives_one_line() -> None:
    with pytest.raises(SystemExit) as ended:
        run_main("train", fails_with(UserError("no faces. Run fetch.")))
    assert ended.value.code == "train: no faces. Run fetch."


@pytest.mark.parametrize("error", [UserError("\x1b[2J\udcff.jpg"), OSError(2, "no", "\x1b[2J\udcff.jpg")])
def test_control_characters_in_a_message_are_escaped(error: Exception) -> None:
    with pytest.raises(SystemExit) as ended:
        run_main("train", fails_with(error))
    assert "\\x1b[2J\\udcff.jpg" in str(ended.value.code)
    assert "\x1b" not in str(ended.value.code)


def test_an_interrupt_reports_what_is_saved(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_main("train", fails_with(KeyboardInterrupt()))
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("train: interrupted. Finished stages, trials and epochs are saved")


def test_an_unexpected_error_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="ours"):
        run_main("train", fails_with(RuntimeError("ours")))


@pytest.mark.parametrize("error", [UserError("no faces"), KeyboardInterrupt(), RuntimeError("ours")])
def test_exit_callbacks_run_however_main_ends(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BaseException):  # noqa: B017, PT011  the tests above check the type
        run_main("train", fails_with(error))
    assert capsys.readouterr().out == "closed\n"
