"""Text from outside the program, such as file names and tags, made safe to print."""

import re


def printable(text: str) -> str:
    r"""Replace characters that a terminal may interpret or that cannot be encoded by escapes such as `\x1b`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def without_front_matter(markdown: str) -> str:
    """A Markdown text without the YAML between --- at its beginning."""
    return re.sub(r"\A---\n.*?\n---\n+", "", markdown, flags=re.DOTALL)
