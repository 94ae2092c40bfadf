"""The page of the commands: what their own parsers print for ``--help``."""

import os
import re
import subprocess
import sys

COMMANDS = ("tighnari_graph", "tighnari_models")
_OPTION = re.compile(r"^  (-.+?)(?:\n? {2,}(\S.*))?$", re.MULTILINE)


def command_line() -> str:
    """Markdown: a section for each command, its options as a definition list."""
    return "\n".join(section(name, printed_help(name)) for name in COMMANDS)


def printed_help(name: str) -> str:
    """What ``python -m NAME --help`` prints on a terminal so wide that no text is broken."""
    return subprocess.run(
        [sys.executable, "-m", name, "--help"],
        check=True, capture_output=True, text=True, env={**os.environ, "COLUMNS": "9999"},
    ).stdout  # fmt: skip


def section(name: str, printed: str) -> str:
    """A heading, what the command does, and each option with its text.

    Raises:
        ValueError: if what was printed has no options, or one without a text.
    """
    about, mark, options = printed.partition("\noptions:\n")
    found = _OPTION.findall(options)
    if not mark or not found or not all(text for _, text in found):
        raise ValueError(f"python -m {name} --help: no options, or one without a text: {printed}")
    what = about.partition("\n\n")[2].strip()
    listed = "\n".join(f"`{option}`\n: {_plain(text)}\n" for option, text in found)
    return f"## `python -m {name}`\n\n{what}\n\n{listed}"


def _plain(text: str) -> str:
    """Marks of Markdown, that a parser prints as they are."""
    return re.sub(r"([*_`\[\]<>])", r"\\\1", text)
