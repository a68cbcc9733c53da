"""Settings of the documentation site (decision 068), which `sphinx-build -E -W -q docs build/site` builds.

Nothing is fetched: the theme has all that it needs, and pages link to each other and to files of the repository.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_extensions")]

os.environ.pop("MPLBACKEND", None)  # another one than notebooks' own leaves their figures out

import fdl  # noqa: E402

project, author, copyright = "fdl", "the authors of fdl", "the authors of fdl, Apache License 2.0"
version = release = fdl.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "listings",
    "public_names",
]
exclude_patterns = ["_extensions"]
root_doc = "index"
nitpicky = False

# Pages: Markdown as GitHub shows it, so that they can be read in the repository too.
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]

# Notebooks are executed by the build; one that raises fails it. `copy_notebooks` brings them here.
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

# Docstrings: in single backticks are names of arguments.
default_role = "literal"
autosummary_generate = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": False}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "fdl"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_last_updated_fmt = None
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

NOTEBOOKS = ROOT / "examples" / "notebooks"

#: Pages whose text is a file outside of this folder.
ELSEWHERE = {
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "benchmarks": "benchmarks/README.md",
    "operations": "benchmarks/operations.md",
    "libraries": "benchmarks/libraries.md",
    "programs": "benchmarks/programs.md",
    "jax-tests": "benchmarks/jax_tests.md",
    "array-api": "benchmarks/array_api.md",
}


LINK = re.compile(r"\]\((?!https?:|/|#)([^)#\s]+)(#[^)\s]*)?\)")


def read_source(app: Sphinx, page: str, source: list[str]) -> None:
    """Take a page of ELSEWHERE from its file, and lead links to pages to where they are on the site."""
    pages = {ROOT / path: f"/{name}.md" for name, path in ELSEWHERE.items()}
    path = ROOT / ELSEWHERE[page] if page in ELSEWHERE else Path(app.srcdir, f"{page}.md")
    if path.suffix != ".md" or not path.exists():
        return

    def on_the_site(link: re.Match[str]) -> str:
        target, anchor = (path.parent / link[1]).resolve(), link[2] or ""
        if target in pages:
            return f"]({pages[target]}{anchor})"
        if target.is_relative_to(NOTEBOOKS):
            return f"](/notebooks/{target.name}{anchor})"
        if target.is_relative_to(app.srcdir):
            return f"](/{target.relative_to(app.srcdir)}{anchor})"
        return f"]({os.path.relpath(target, Path(app.srcdir, page).parent)}{anchor})"

    text = path.read_text()
    if page == "index":  # pages that it does not name stand in its menu, too
        others = [p.stem for p in sorted(Path(app.srcdir).glob("*.md")) if not re.search(rf"^{p.stem}$", text, re.M)]
        text = text.replace("\nsettings\n", "\n".join(["", "settings", *(o for o in others if o != "index"), ""]))
    if page == "decisions/README":
        text += "\n```{toctree}\n:hidden:\n:glob:\n\n[0-9]*\n```\n"
    if page == "notebooks" and NOTEBOOKS.is_dir():
        text += "\n```{toctree}\n:glob:\n\nnotebooks/*\n```\n"
    source[0] = LINK.sub(on_the_site, text)


def copy_notebooks(app: Sphinx) -> None:
    """Sphinx executes what lies in its folder: the notebooks are copied there, to a folder that git ignores."""
    here = Path(app.srcdir, "notebooks")
    shutil.rmtree(here, ignore_errors=True)
    if NOTEBOOKS.is_dir():
        shutil.copytree(NOTEBOOKS, here)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", copy_notebooks)
    app.connect("source-read", read_source)
