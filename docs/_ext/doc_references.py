"""Names of the reference and numbers of decisions become links, wherever a text has them."""

import re
from collections.abc import Iterable, Mapping

from doc_names import WHOLE, the_one
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

_NAME = re.compile(r"([A-Za-z_][\w.]*)(?:\(.*\))?")
_DECISION = re.compile(r"(?<![\w.,/-])(00\d\d)(?![\w/-]|[.,]\d)")
_CLOSED = (nodes.reference, nodes.literal, nodes.literal_block, nodes.title, pending_xref)


def in_docstring(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """A name in backticks that lacks its module, or has one that the reference does not list.

    ``docs/decisions/NNNN-title.md`` is the page of that decision.
    """
    target, here = node.get("reftarget", ""), node["refdoc"]
    page = target.removeprefix("docs/").removesuffix(".md")
    if page != target and page in env.found_docs:
        return make_refnode(app.builder, here, page, None, contnode)
    if node.get("refdomain") != "py":
        return None
    name = the_one(target.removesuffix("()"), _kinds(env))
    return None if name is None else _link(app, here, name, contnode)


def in_text(app: Sphinx, doctree: nodes.document, here: str) -> None:
    """Code in a line that is a name of the reference, and decisions by their number.

    A method is a link only behind its class. In docstrings two backticks are arguments, and one
    has made a link already.
    """
    kinds = _kinds(app.env)
    named = [] if here.startswith("api/") else list(doctree.findall(nodes.literal))
    for code in named:
        match = _NAME.fullmatch(code.astext())
        if not match or _within(code, (nodes.reference, nodes.title)):
            continue
        name = the_one(match[1], kinds)
        if name is not None and (kinds[name] in WHOLE or "." in match[1]):
            code.replace_self(_link(app, here, name, code.deepcopy()))
    pages = {page.split("/")[1][:4]: page for page in app.env.found_docs
             if page.startswith("decisions/0")}  # fmt: skip
    for text in list(doctree.findall(nodes.Text)):
        if not _within(text, _CLOSED):
            parts = _DECISION.split(str(text))
            if len(parts) > 1:
                text.parent.replace(text, _linked(app, here, parts, pages))


def _kinds(env: BuildEnvironment) -> dict[str, str]:
    """Full name of each entry of the reference → what it is; a second name is left out."""
    objects = env.domains.python_domain.objects
    return {name: entry.objtype for name, entry in objects.items() if not entry.aliased}


def _link(app: Sphinx, here: str, name: str, text: nodes.TextElement) -> nodes.reference:
    entry = app.env.domains.python_domain.objects[name]
    return make_refnode(app.builder, here, entry.docname, entry.node_id, text, name)


def _within(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def _linked(
    app: Sphinx, here: str, parts: Iterable[str], pages: Mapping[str, str]
) -> list[nodes.Node]:
    """Text and numbers in turn; a number of a page is a link, except on that page."""
    made: list[nodes.Node] = []
    for part in parts:
        page = pages.get(part)
        text = nodes.Text(part)
        if page and page != here:
            made.append(make_refnode(app.builder, here, page, None, [text]))
        else:
            made.append(text)
    return made


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect both."""
    app.connect("missing-reference", in_docstring)
    app.connect("doctree-resolved", in_text)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
