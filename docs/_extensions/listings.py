"""Blocks of code: those of docs/compiler.md, ```listing stage, and examples without an empty last line."""

from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx


def strip(_app: Sphinx, document: nodes.document) -> None:
    """Examples end with an empty line, which tells doctest that their output ends there."""
    for block in document.findall(nodes.literal_block):
        text = block.astext().rstrip("\n")
        block.rawsource, block[:] = text, [nodes.Text(text)]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_lexer("listing", TextLexer)
    app.connect("doctree-read", strip)
    return {"parallel_read_safe": True}
