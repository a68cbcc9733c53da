"""Code blocks ```listing stage, by which docs/compiler.md shows what the compiler prints."""

from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_lexer("listing", TextLexer)
    return {"parallel_read_safe": True}
