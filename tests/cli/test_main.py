"""Options of the program itself."""

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from emotion.cli.main import app

COMMANDS = [command.callback.__name__.replace("_", "-") for command in app.registered_commands if command.callback]


def test_the_version_is_printed() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"emotion {version('emotion')}\n")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_h_is_short_for_help(command: list[str]) -> None:
    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.stdout == long.stdout
    assert "Usage" in short.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    done = CliRunner().invoke(app, ["--show-completion"], prog_name="emotion")
    assert done.exit_code == 0
    assert "_EMOTION_COMPLETE" in done.stdout
