"""The directive ``api``: a table of summaries, then each name with its docstring.

.. api:: tighnari_graph

   SurveyTable
   virtual.virtual_europe
"""

import inspect
import sys
from pathlib import Path

from doc_names import OURS, find
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Api(SphinxDirective):
    """One group of names of a package."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Text of autosummary and autodoc, parsed in place."""
        package = self.arguments[0]
        names = [f"{package}.{line.strip()}" for line in self.content if line.strip()]
        text = [".. autosummary::", "   :nosignatures:", "", *(f"   ~{name}" for name in names), ""]
        for name in names:
            value = find(name)
            kind = "data"
            if inspect.isclass(value):
                kind = "class"
            elif callable(value):
                kind = "function"
            text.append(f".. auto{kind}:: {name}")
            if kind == "class":
                text += ["   :members:", "   :inherited-members: object,BaseException"]
            if kind == "data":
                text.append("   :no-value:")
            text.append("")
        return self.parse_text_to_nodes("\n".join(text))


def skip_foreign(
    app: Sphinx, what: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    """Leave out what a class of ours inherits from PyG, torch or Lightning."""
    inner = getattr(value, "fget", None) or inspect.unwrap(getattr(value, "__func__", value))
    module = getattr(inner, "__module__", None)
    return True if isinstance(module, str) and not _is_ours(module) else None


def _is_ours(module: str) -> bool:
    """Whether its file lies in our packages: PyG writes methods into modules of like names."""
    package = module.partition(".")[0]
    if package not in OURS:
        return False
    folder = Path(str(sys.modules[package].__file__)).parent
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and folder in Path(file).parents


def plain_defaults(
    app: Sphinx, what: str, name: str, value: object, options: object,
    signature: str | None, returned: str | None,
) -> tuple[str, str | None] | None:  # fmt: skip
    """A default that a function makes, as ``...``: Sphinx cannot parse ``<factory>``."""
    return None if signature is None else (signature.replace("<factory>", "..."), returned)


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directive known."""
    app.add_directive("api", Api)
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-signature", plain_defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
