"""The page of the commands: what their own parsers print for ``--help``."""

import os
import subprocess
import sys

COMMANDS = ("tighnari_graph", "tighnari_models")


def command_line() -> str:
    """Markdown: a section for each command with its help, 88 columns wide."""
    sections = []
    for name in COMMANDS:
        printed = subprocess.run(
            [sys.executable, "-m", name, "--help"],
            check=True, capture_output=True, text=True, env={**os.environ, "COLUMNS": "88"},
        ).stdout  # fmt: skip
        sections.append(f"## `python -m {name}`\n\n```text\n{printed.rstrip()}\n```\n")
    return "\n".join(sections)
