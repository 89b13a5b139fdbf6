"""How Sphinx builds the site: `make docs`. Pages under reference/ are made here, from the code, and not kept."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

from made import operators, python  # noqa: E402  (found beside this file)
from sphinx.application import Sphinx  # noqa: E402

from evoseg import __version__  # noqa: E402

project = "evoseg"
copyright = "the evoseg authors, Apache-2.0"
version = release = __version__
root_doc = "index"
exclude_patterns = ["README.md", "made"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"evoseg {__version__}"
html_static_path = ["static"]
html_css_files = ["evoseg.css"]
html_copy_source = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Make the pages of the reference before pages are looked for, and give every page a place."""
    operators.write(HERE / "reference" / "operators")
    python.write(HERE / "reference" / "python.md")
    app.connect("source-read", _with_new_pages)


def _with_new_pages(app: Sphinx, name: str, source: list[str]) -> None:
    """Put pages that index.md does not name where it says so, so that a new page appears without being listed."""
    if name == root_doc:
        named = set(re.findall(r"^[\w/-]+$", source[0], re.MULTILINE))
        new = sorted({page.stem for page in HERE.glob("*.md")} - named - {"README", root_doc})
        source[0] = source[0].replace("(new pages)", "\n".join(new))
