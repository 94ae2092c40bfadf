"""Formulas as MathML, made at build time: browsers draw them, and no script is needed."""

import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

_LEFT = re.compile(r'<mi>&</mi>|linebreak="newline"|\\')
"""What the converter makes of ``&`` and of two backslashes outside an environment, and of a
command that it does not know."""


def mathml(formula: str, display: str = "inline") -> str:
    """MathML of a formula in LaTeX.

    Raises:
        ValueError: if it has marks that would be printed: columns, lines or unknown commands. Rows
            need a formula each.
    """
    made = convert(formula, display=display)
    left = _LEFT.search(made)
    if left or "\n\n" in formula.strip():
        what = left[0] if left else "an empty line"
        raise ValueError(f"a formula has {what} left over; give each row a formula: {formula}")
    return made


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    """A formula within a line."""
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own line; a wide one scrolls sideways."""
    translator.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Make "mathml" known to `html_math_renderer`."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
