"""Print the page about the commands: `python docs/command_line.py > docs/command-line.md`."""

import typer
from typer.core import TyperGroup

from emotion.cli.main import app

START = """\
# Command line

{help}
`make docs` writes this page from the help texts that `emotion COMMAND --help` prints."""

COMMAND = """
## emotion {name}

{help}

```text
emotion {name} {usage}
```"""


def main() -> None:
    """Print a section for each command."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group, info_name="emotion")
    print(START.format(help=group.help))
    commands = dict(group.commands)
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            position = list(commands).index(name)
            inner = {f"{name} {title}": it for title, it in command.commands.items()}
            items = list(commands.items())
            commands = dict([*items[:position], *inner.items(), *items[position + 1 :]])
    for name, command in commands.items():
        usage = " ".join(command.collect_usage_pieces(context))
        print(COMMAND.format(name=name, help=command.help, usage=usage))
        records = filter(None, (param.get_help_record(context) for param in command.params))
        if lines := [f"- `{names}`: {text}" for names, text in records]:
            print("", *lines, sep="\n")


if __name__ == "__main__":
    main()
