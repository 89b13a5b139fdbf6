"""How Sphinx builds the site (`make docs`).

The pages under reference/ are generated from the code, and index.md, with the navigation, from README.md: each of its
headings becomes a group of pages. Neither is in version control.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

from _generate import operators, python  # noqa: E402  (found beside this file)
from sphinx.application import Sphinx  # noqa: E402

from evoseg import __version__  # noqa: E402

project = "evoseg"
copyright = "the evoseg authors, Apache-2.0"
version = release = __version__
root_doc = "index"
exclude_patterns = ["README.md", "_generate"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_ivar = True  # a class may list a property under "Attributes" as well
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"evoseg {__version__}"
html_static_path = ["static"]
html_css_files = ["evoseg.css"]
html_copy_source = False
html_show_sphinx = False


_START = """\
```{include} ../README.md
:end-before: "## Try it"
:relative-docs: docs/
:relative-images:
```
"""


def setup(app: Sphinx) -> None:
    """Write the generated pages before Sphinx looks for pages."""
    operators.write(HERE / "reference" / "operators")
    python.write(HERE / "reference" / "python.md")
    python.write_changed(HERE / "index.md", _index((HERE / "README.md").read_text("utf-8")))


def _index(contents: str) -> str:
    """Return the first page: the project's README, the table of contents, and the navigation."""
    _, *groups = re.split(r"^## (.+)\n", contents, flags=re.MULTILINE)
    pages = {
        name: re.findall(r"^- .*?\]\(([\w/-]+)\.md\)", text, re.MULTILINE)
        for name, text in zip(groups[::2], groups[1::2], strict=True)
    }
    named = {page for group in pages.values() for page in group}
    pages["Guides"] += sorted({page.stem for page in HERE.glob("*.md")} - named - {"README", "index"})
    pages["Reference"] += ["reference/operators/index", "reference/python"]
    trees = [
        "\n".join([f"```{{toctree}}\n:caption: {name}\n:hidden:\n", *found, "```\n"]) for name, found in pages.items()
    ]
    return "\n".join([_START, contents.replace("# Documentation", "", 1), *trees])
